# SPDX-License-Identifier: Apache-2.0
"""A full node under mixed load: 16 devices, 1,000 vNPUs, 200 tenants, 50 clients of the events, 500 requests a second.

    cd tests/load && python -m scale --seconds 600 --json scale.json

Then the daemon is killed five times under load. Prints what came out; 1 where a target was missed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
import sys
import time
from pathlib import Path
from typing import Any

from flexnpu.client import Client
from scale.listeners import Listener
from scale.model import Model
from scale.node import DEVICES, TENANTS, VNPUS, Node
from scale.traffic import CONNECTIONS, MIX, Traffic

P99_MS = 50.0
GROWTH_PERCENT = 10.0  # of the daemon's memory, from after a sixth of the time to the end
LISTENERS = 50
_KILL_EVERY_S = 6.0


async def steady(node: Node, model: Model, rate: float, seconds: float, listeners: int) -> dict[str, Any]:
    """The load without any trouble."""
    hearing = [Listener(node.admin_socket) for _ in range(listeners)]
    tasks = [asyncio.create_task(each.run()) for each in hearing]
    traffic = _traffic(node, model)
    await traffic.run(rate, seconds / 6)  # caches and rings fill
    before, used = node.resident_bytes, node.processor_seconds
    traffic.seconds.clear()
    own = time.process_time()
    await traffic.run(rate, seconds * 5 / 6)
    own = time.process_time() - own
    after, used = node.resident_bytes, node.processor_seconds - used
    await asyncio.sleep(1.0)  # the last events
    newest = {each.after for each in hearing}
    for task in tasks:
        task.cancel()
    model.check(_vnpus(node))
    faults = [*model.faults, *traffic.faults, *(fault for each in hearing for fault in each.faults)]
    if len(newest) > 1:
        faults.append(f"clients ended at different events: {sorted(map(str, newest))}")
    ordered = sorted(traffic.seconds)
    return {
        "requests": len(ordered),
        "p50_ms": 1e3 * ordered[len(ordered) // 2],
        "p99_ms": 1e3 * ordered[len(ordered) * 99 // 100],
        "most_ms": 1e3 * ordered[-1],
        "gone": traffic.gone,
        "statuses": dict(traffic.statuses),
        "events_per_client": min(each.heard for each in hearing) if hearing else 0,
        "resyncs": sum(each.resyncs for each in hearing),
        "load_cores": own / (seconds * 5 / 6),
        "daemon_cores": used / (seconds * 5 / 6),
        "memory_mib": [before / 2**20, after / 2**20],
        "memory_growth_percent": 100 * (after / before - 1),
        "faults": faults,
    }


async def killed(node: Node, model: Model, rate: float, times: int) -> dict[str, Any]:
    """The load while the daemon is killed and started again."""
    traffic = _traffic(node, model)
    for _ in range(times):
        load = asyncio.create_task(traffic.run(rate, _KILL_EVERY_S))
        await asyncio.sleep(_KILL_EVERY_S / 2)
        await asyncio.to_thread(node.kill)
        await asyncio.to_thread(node.start)
        await load
        model.check(_vnpus(node))
    return {"kills": times, "requests": len(traffic.seconds), "gone": traffic.gone, "faults": model.faults}


def _traffic(node: Node, model: Model) -> Traffic:
    pairs = [(node.owned[first], node.owned[first + DEVICES]) for first in range(DEVICES)]
    return Traffic(node.admin_socket, [*node.owned, *node.shared], pairs, model)


def _vnpus(node: Node) -> list[dict[str, Any]]:
    with Client(node.root) as client:
        return [each.model_dump() for each in client.vnpus()]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--rate", type=float, default=500.0, help="requests a second")
    parser.add_argument("--vnpus", type=int, default=VNPUS)
    parser.add_argument("--tenants", type=int, default=TENANTS)
    parser.add_argument("--listeners", type=int, default=LISTENERS)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    with Node(given.vnpus, given.tenants) as node:
        model = Model(_vnpus(node))
        calm = asyncio.run(steady(node, model, given.rate, given.seconds, given.listeners))
        kills = asyncio.run(killed(node, model, min(given.rate, 200.0), given.kills))
    checks = {
        f"p99 of {calm['requests']} requests at {given.rate:g}/s": (calm["p99_ms"], P99_MS, "ms"),
        "growth of the daemon's memory": (calm["memory_growth_percent"], GROWTH_PERCENT, "%"),
        "requests refused otherwise than as planned, events and updates lost": (len(calm["faults"]), 0, ""),
        "connections lost": (calm["gone"], 0, ""),
        f"updates lost over {kills['kills']} kills": (len(kills["faults"]), 0, ""),
    }
    missed = False
    for name, (figure, target, unit) in checks.items():
        missed |= figure > target
        print(f"{name}: {figure:.4g} {unit} (at most {target:g}){' MISSED' if figure > target else ''}")
    for fault in [*calm["faults"], *kills["faults"]][:10]:
        print(f"  {fault}")
    print(f"daemon: {calm['daemon_cores']:.2f} cores, {calm['memory_mib'][1]:.0f} MiB")
    if given.json is not None:
        setting = {"devices": DEVICES, "connections": CONNECTIONS, "mix_percent": MIX, "machine": platform.platform()}
        given.json.write_text(json.dumps({"setting": setting, "steady": calm, "killed": kills}, indent=1))
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
