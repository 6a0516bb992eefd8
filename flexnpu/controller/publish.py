# SPDX-License-Identifier: Apache-2.0
"""Tells the daemon what this controller is and decides, so that others can read it there. Never in the loop's way."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from flexnpu.api.controller import ControllerTotals
from flexnpu.client import Client, ControlledService, ControllerState
from flexnpu.controller.decision import Decision, Outcome
from flexnpu.controller.services import Service, Settings
from flexnpu.errors import FlexNpuError, NotFound

_RENEW_EVERY_S = 5.0
_RENEW_WITHIN_S = 15.0
_AGAIN_AFTER_S = 0.5
_MOST_KEPT = 1000  # records of a daemon that is away
_END_WITHIN_S = 2.0


class Publisher:
    """Tells from a thread of its own while it is entered. state: of this moment, asked when it is told."""

    def __init__(self, name: str, state: Callable[[], ControllerState], runtime_dir: Path | None = None) -> None:
        self._name, self._state, self._runtime_dir = name, state, runtime_dir
        self._news = threading.Condition()
        self._kept: deque[Decision | Outcome] = deque(maxlen=_MOST_KEPT)
        self._stated = self._ending = False
        self._thread = threading.Thread(target=self._run, name="flexnpu-publish", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """What was recorded last is told before, where the daemon is there."""
        with self._news:
            self._ending = True
            self._news.notify()
        self._thread.join(_END_WITHIN_S)

    def tell(self, record: Decision | Outcome) -> None:
        with self._news:
            self._kept.append(record)
            self._news.notify()

    def state_changed(self) -> None:
        with self._news:
            self._stated = False
            self._news.notify()

    def _run(self) -> None:
        with Client(self._runtime_dir) as client:
            while not self._ending:
                try:
                    self._turn(client)
                except FlexNpuError:  # it is gone or starts anew; what is kept is told then
                    self._stated = False
                    with self._news:
                        self._news.wait_for(lambda: self._ending, _AGAIN_AFTER_S)
            try:
                self._tell_kept(client)
                client.delete_controller(self._name)
            except FlexNpuError:
                pass  # nobody is there to be told

    def _turn(self, client: Client) -> None:
        client.put_controller(self._name, self._state())
        self._stated = True
        until = time.monotonic() + _RENEW_EVERY_S
        while (left := until - time.monotonic()) > 0:
            with self._news:
                self._news.wait_for(lambda: self._kept or self._ending or not self._stated, left)
                if self._ending or not self._stated:
                    return
            self._tell_kept(client)

    def _tell_kept(self, client: Client) -> None:
        with self._news:
            records = list(self._kept)
        if not records:
            return
        decisions = [record.as_dict() for record in records if isinstance(record, Decision)]
        outcomes = [record.as_dict() for record in records if isinstance(record, Outcome)]
        try:
            client.add_decisions(self._name, decisions, outcomes)
        except NotFound:  # the daemon has been started anew
            client.put_controller(self._name, self._state())
            client.add_decisions(self._name, decisions, outcomes)
        with self._news:
            for _ in range(min(len(records), len(self._kept))):
                self._kept.popleft()


def state_of(
    services: tuple[Service, ...], settings: Settings, devices: list[int], totals: ControllerTotals
) -> ControllerState:
    """As the daemon is told it."""
    return ControllerState(
        mode=settings.mode,
        moves=settings.moves,
        devices=devices,
        services=[
            ControlledService(
                name=service.name,
                model=service.model.architecture,
                ttft_s=service.targets.ttft,
                itl_s=service.targets.itl,
                weight=service.weight,
                prefill=[engine.vnpu for engine in service.prefill],
                decode=[engine.vnpu for engine in service.decode],
                engines=[engine.vnpu for engine in service.engines],
            )
            for service in services
        ],
        config={
            "period_s": settings.period,
            "stale_after_s": settings.stale_after,
            "dwell_s": settings.dwell,
            "margin": settings.margin,
            "band": settings.band,
            "switch_s": settings.switch_seconds,
        },
        renew_within_s=_RENEW_WITHIN_S,
        totals=totals,
    )
