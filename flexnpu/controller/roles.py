# SPDX-License-Identifier: Apache-2.0
"""Which of several devices runs prompts and which decodes, as the load wants; one at a time changes its phase."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from flexnpu.controller.device import Device
from flexnpu.controller.units import Phase
from flexnpu.planner import Ratio, ratio


class Roles:
    """Keeps each device's phase. dwell: device seconds for which another ratio has to be the better one.

    A device that cannot be planned for does not count; one that is left alone runs both phases.
    """

    def __init__(self, devices: Sequence[Device], dwell: float) -> None:
        self._devices, self._dwell = tuple(devices), dwell
        self._better: tuple[Phase, float] | None = None  # one more device for this phase has been, since when
        by_decode = sorted(self._devices, key=_decode_part)
        half = len(by_decode) // 2
        self._phases: dict[int, Phase] = {
            device.index: "prefill" if place < half else "decode" for place, device in enumerate(by_decode)
        }

    def adopt(self, old: Roles) -> None:
        """Go on where another one of the same devices was."""
        self._phases, self._better = old._phases, old._better

    def turn(self, at: float, seen: Sequence[Device]) -> str:
        """Gives each device its phase, and says why. seen: those whose engines can be planned for; at: device seconds,
        of any one device."""
        if len(seen) < 2:
            for device in self._devices:
                device.phase = None
            return (
                f"{len(seen)} of {len(self._devices)} devices can be planned for: it runs both phases" if seen else ""
            )
        now = sum(self._phases[device.index] == "prefill" for device in seen)
        found = self._ratio(seen, now)
        wanted: Phase | None = None
        if found.prefill != now:
            wanted = "prefill" if found.prefill > now else "decode"
        if wanted is None:
            self._better = None
        elif self._better is None or self._better[0] != wanted:
            self._better = wanted, at
        one_sided = now in {0, len(seen)}
        if wanted is not None and self._better is not None and (one_sided or at - self._better[1] >= self._dwell):
            self._change(wanted, seen)
            self._better = None
        for device in self._devices:
            device.phase = self._phases[device.index]
        return found.reason

    def _ratio(self, seen: Sequence[Device], now: int) -> Ratio:
        works = [device.units[0].work(device.clock.now()) for device in seen]
        first = seen[0].units[0]
        together = replace(
            first.state(seen[0].clock.now()),
            prefill=tuple(request for work in works for request in work.prefill),
            decode=tuple(request for work in works for request in work.decode),
        )
        return ratio(len(seen), together, first.forecaster, now)

    def _change(self, to: Phase, seen: Sequence[Device]) -> None:
        """The device of the other phase that has the least of it to finish."""

        def left(device: Device) -> int:
            work = device.units[0].work(device.clock.now())
            requests = work.decode if to == "prefill" else work.prefill
            return sum(request.new * request.copies for request in requests)

        others = [device for device in seen if self._phases[device.index] != to]
        self._phases[min(others, key=left).index] = to


def _decode_part(device: Device) -> float:
    prefill, decode = (device.view.grants.get(name) for name in device.units[0].vnpus)
    if prefill is None or decode is None:
        return 0.5
    return decode.cores / (prefill.cores + decode.cores)
