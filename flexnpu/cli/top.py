# SPDX-License-Identifier: Apache-2.0
"""flexnpu top: the vNPUs of a daemon, live: cores, memory, phases, and how long the steps of their engines take."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

from rich.text import Text

from flexnpu.cli import options, tables
from flexnpu.cli.latencies import Latency, StepsFollower
from flexnpu.cli.listing import Column, Listing
from flexnpu.cli.live import Board
from flexnpu.client import Client, Device, Tenant, VNpu
from flexnpu.units import format_size

_BAR = 24  # characters


@dataclass(frozen=True, slots=True)
class Totals:
    """Of a vNPU's tenants, since they began; used_s: device time of its turns."""

    used_s: float
    waited_s: float
    launched: int
    tenants: frozenset[int]


@dataclass(frozen=True, slots=True)
class Row:
    """A vNPU over an interval. Rates are None where tenants came or went, and where nothing is measured. time: part of
    the wall time in which it had its turn; waited: seconds a second that its threads spent at the gate."""

    vnpu: VNpu
    phase: str | None
    memory_used: int
    time: float | None = None
    waited: float | None = None
    launches: float | None = None
    latency: Latency | None = None

    @property
    def median(self) -> float | None:
        return None if self.latency is None else self.latency.median

    @property
    def p99(self) -> float | None:
        return None if self.latency is None else self.latency.p99

    @property
    def steps(self) -> float | None:
        return None if self.latency is None else self.latency.per_second


@dataclass(frozen=True, slots=True)
class Sight:
    """The node over an interval."""

    devices: Sequence[Device]
    rows: Sequence[Row]
    tenants: int


class Node:
    """Looks at a daemon again and again."""

    def __init__(self, connect: Callable[[], Client], clock: Callable[[], float] = time.monotonic) -> None:
        self._client, self._clock = connect(), clock
        self._follower = StepsFollower(connect)
        self._at, self._before = -math.inf, dict[str, Totals]()
        self.look(0)

    def look(self, interval: float) -> Sight:
        """When so many seconds are over since the look before."""
        time.sleep(max(0.0, interval - (self._clock() - self._at)))
        devices, vnpus, tenants = self._client.devices(), self._client.vnpus(), self._client.tenants()
        by_vnpu: dict[str, list[Tenant]] = {}
        for tenant in tenants:
            by_vnpu.setdefault(tenant.vnpu, []).append(tenant)
        now = self._clock()
        passed = now - self._at
        totals = {vnpu.name: _totals(vnpu, by_vnpu.get(vnpu.name, ())) for vnpu in vnpus}
        self._follower.follow(name for name, own in by_vnpu.items() if any(each.iteration for each in own))
        latencies = self._follower.latencies(totals)
        rows = [
            _row(vnpu, by_vnpu.get(vnpu.name, ()), self._before.get(vnpu.name), passed, latencies.get(vnpu.name))
            for vnpu in vnpus
        ]
        self._at, self._before = now, totals
        return Sight(devices, rows, len(tenants))


def top(
    interval: options.Interval = 1.0,
    once: options.Once = False,
    as_json: options.Json = False,
    runtime_dir: options.RuntimeDir = None,
) -> None:
    """Show vNPUs as they run: cores, memory, phases, latency of their steps; keys sort and filter."""
    board = Board[Sight, Row](
        look=Node(lambda: Client(runtime_dir)).look,
        head=_head,
        rows=lambda sight: sight.rows,
        listing=Listing(_COLUMNS, lambda row: f"{row.vnpu.name} {row.phase or ''}", sort="c"),
        plain=_plain,
    )
    board.run(interval, once=once, as_json=as_json)


def _totals(vnpu: VNpu, tenants: Sequence[Tenant]) -> Totals:
    return Totals(
        used_s=sum(use.used_s for use in vnpu.use) / max(1, len(vnpu.use)),
        waited_s=sum(tenant.waited_s for tenant in tenants),
        launched=sum(tenant.launched for tenant in tenants),
        tenants=frozenset(tenant.pid for tenant in tenants),
    )


def _row(vnpu: VNpu, tenants: Sequence[Tenant], before: Totals | None, passed: float, latency: Latency | None) -> Row:
    memory = max((use.memory_used for use in vnpu.use), default=0)
    row = Row(vnpu, _phase(vnpu, tenants), memory, latency=latency)
    now = _totals(vnpu, tenants)
    # Counts of a tenant that came or went would look like work of this interval.
    if before is None or before.tenants != now.tenants:
        return row
    return Row(
        vnpu,
        row.phase,
        memory,
        time=max(0.0, now.used_s - before.used_s) / passed if vnpu.share_percent is not None else None,
        waited=max(0.0, now.waited_s - before.waited_s) / passed,
        launches=max(0, now.launched - before.launched) / passed,
        latency=latency,
    )


def _phase(vnpu: VNpu, tenants: Sequence[Tenant]) -> str | None:
    """Declared, or what its engine was in last."""
    seen = next((tenant.iteration.phase for tenant in tenants if tenant.iteration is not None), None)
    return vnpu.phase or seen


def _cores(row: Row) -> str:
    vnpu = row.vnpu
    granted = f"{vnpu.granted_cores}+{vnpu.lent_cores}" if vnpu.lent_cores else f"{vnpu.granted_cores}"
    return f"{granted}/{tables.cores(vnpu)}"


def _rate(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _ms(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1e3:.1f}"


_COLUMNS = (
    Column[Row]("name", "n", lambda row: row.vnpu.name, rising=True),
    Column[Row]("device", "d", lambda row: ",".join(map(str, row.vnpu.devices)), rising=True),
    Column[Row]("phase", "p", lambda row: row.phase or "-", rising=True),
    Column[Row]("cores", "c", _cores, lambda row: row.vnpu.granted_cores),
    Column[Row]("share", "s", lambda row: tables.share(row.vnpu), lambda row: row.vnpu.share_percent),
    Column[Row]("time", "t", lambda row: _rate(row.time, ".0%"), lambda row: row.time),
    Column[Row](
        "memory",
        "m",
        lambda row: f"{format_size(row.memory_used)}/{format_size(row.vnpu.memory_bytes)}",
        lambda row: row.memory_used,
    ),
    Column[Row]("launches/s", "l", lambda row: _rate(row.launches, ".0f"), lambda row: row.launches),
    Column[Row]("waits", "w", lambda row: _rate(row.waited, ".0%"), lambda row: row.waited),
    Column[Row]("steps/s", "e", lambda row: _rate(row.steps, ".1f"), lambda row: row.steps),
    Column[Row]("step ms", "i", lambda row: _ms(row.median), lambda row: row.median),
    Column[Row]("p99 ms", "x", lambda row: _ms(row.p99), lambda row: row.p99),
    Column[Row]("tenants", "u", lambda row: str(row.vnpu.tenants), lambda row: row.vnpu.tenants),
    Column[Row]("state", "a", lambda row: tables.state(row.vnpu), rising=True),
)


def _head(sight: Sight) -> list[Text]:
    lines = [_device(device, sight.rows) for device in sight.devices]
    return [*lines, Text(f"{len(sight.rows)} vNPUs, {sight.tenants} tenants", no_wrap=True)]


def _device(device: Device, rows: Sequence[Row]) -> Text:
    """Cores that are guaranteed, and memory that is used, or promised where the device does not say."""
    modelled = ", modelled" if device.kind == "software" else ""
    cores, memory = device.cores - device.cores_free, device.memory_bytes - device.memory_free
    used = memory if device.memory_used is None else device.memory_used
    line = Text(f"{device.index} {device.soc}{modelled} ", style="bold", no_wrap=True, overflow="ellipsis")
    line.append(f"cores {_bar(cores / device.cores)} {cores}/{device.cores} ", style="green")
    line.append(
        f"memory {_bar(used / device.memory_bytes)} {format_size(used)}/{format_size(device.memory_bytes)}", "cyan"
    )
    held = sum(row.vnpu.lent_cores for row in rows if device.index in row.vnpu.devices)
    return line.append(f" {held} lent", "yellow") if held else line


def _bar(part: float) -> str:
    filled = round(max(0.0, min(1.0, part)) * _BAR)
    return f"[{'|' * filled}{' ' * (_BAR - filled)}]"


def _plain(sight: Sight) -> object:
    return {
        "devices": sight.devices,
        "vnpus": [
            {
                **row.vnpu.model_dump(mode="json"),
                "phase_seen": row.phase,
                "memory_used": row.memory_used,
                "time_ratio": row.time,
                "waited_ratio": row.waited,
                "launches_per_s": row.launches,
                "step_s": asdict(row.latency) if row.latency else None,
            }
            for row in sight.rows
        ],
        "tenants": sight.tenants,
    }
