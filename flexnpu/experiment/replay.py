# SPDX-License-Identifier: Apache-2.0
"""Replays a trace open-loop: each request is sent when its time has come, whatever became of those before."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from flexnpu.experiment.report import Cores, Served
from flexnpu.simulator import Arrival


@dataclass(slots=True)
class _Progress:
    """How far one request is; written by its thread alone."""

    arrival: Arrival
    sent: bool = False
    first: bool = False
    over: bool = False
    times: tuple[float, ...] = ()
    why: str | None = None


@dataclass(slots=True)
class Replay:
    """A replay against an engine on 127.0.0.1. Wall seconds inside, device seconds (wall / scale) in what it gives."""

    port: int
    arrivals: Sequence[Arrival]
    scale: float
    patience: float = 60.0  # wall seconds that an answer may take
    _start: float = 0.0
    _all: list[_Progress] = field(default_factory=list)

    def run(self, split: Callable[[], tuple[float, float]], tick: Callable[[Replay, Cores], None]) -> tuple[Cores, ...]:
        """Sends everything and waits for the answers. `split` gives the cores of prefill and decode; `tick` is called
        about ten times a second with the newest sample. Returns all samples."""
        self._all = [_Progress(arrival) for arrival in self.arrivals]
        self._start = time.monotonic() + 0.2
        threads = [threading.Thread(target=self._one, args=(each,), daemon=True) for each in self._all]
        for thread in threads:
            thread.start()
        samples: list[Cores] = []
        while any(thread.is_alive() for thread in threads):
            samples.append(self._sample(split()))
            tick(self, samples[-1])
            time.sleep(0.1)
        return tuple(samples)

    @property
    def served(self) -> tuple[Served, ...]:
        return tuple(
            Served(each.arrival.seconds, each.arrival.prompt, each.arrival.output, each.times, each.why)
            for each in self._all
            if each.over
        )

    @property
    def sent(self) -> int:
        return sum(each.sent for each in self._all)

    def _device(self, wall: float) -> float:
        return (wall - self._start) / self.scale

    def _sample(self, split: tuple[float, float]) -> Cores:
        waiting = sum(each.sent and not each.first and not each.over for each in self._all)
        running = sum(each.first and not each.over for each in self._all)
        return Cores(self._device(time.monotonic()), *split, waiting, running)

    def _one(self, progress: _Progress) -> None:
        time.sleep(max(0.0, self._start + progress.arrival.seconds * self.scale - time.monotonic()))
        progress.sent = True
        try:
            progress.times = tuple(self._device(at) for at in self._ask(progress))
        except (OSError, ValueError, http.client.HTTPException, KeyError) as error:
            progress.why = str(error) or type(error).__name__
        progress.over = True

    def _ask(self, progress: _Progress) -> list[float]:
        arrival = progress.arrival
        body = {
            "prompt_tokens": arrival.prompt,
            "max_tokens": arrival.output,
            "ignore_eos": True,
            "stream": True,
            "return_times": True,
        }
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=self.patience)
        try:
            connection.request("POST", "/v1/completions", json.dumps(body), {"Content-Type": "application/json"})
            answer = connection.getresponse()
            if answer.status != http.client.OK:
                raise ValueError(f"{answer.status} {answer.reason}")
            for event in _events(answer):
                if "error" in event:
                    raise ValueError(str(event["error"]["message"]))
                progress.first = True
                if "token_times" in event:
                    return [float(at) for at in event["token_times"]]
        finally:
            connection.close()
        raise ValueError("the answer ended before its last token")


def replayed(port: int, arrivals: Sequence[Arrival], scale: float) -> tuple[Served, ...]:
    """What became of requests that nobody watches, in the order of `arrivals`."""
    replay = Replay(port, arrivals, scale)
    replay.run(lambda: (0, 0), lambda _replay, _sample: None)
    return replay.served


def _events(answer: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    """The JSON of each server-sent event."""
    for line in answer:
        if line.startswith(b"data: {"):
            yield json.loads(line[len(b"data: ") :])
