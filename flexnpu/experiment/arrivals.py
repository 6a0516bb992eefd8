# SPDX-License-Identifier: Apache-2.0
"""The requests of a load, as many as its time and the device have room for. Pure but for the trace that is read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from random import Random

from flexnpu.experiment.description import DATA, Load, Source
from flexnpu.forecast import Forecaster
from flexnpu.forecast import Load as Work
from flexnpu.simulator import Arrival
from flexnpu.simulator.traces import Part, Row

_LEAST_REQUESTS = 4  # of a source: fewer say nothing
_SEED = 7
# Seconds between requests that come at once: no client sends two in the same moment, and an engine that begins with the
# first one has the others in its next iteration.
_APART = 0.5e-3


@dataclass(frozen=True, slots=True)
class Estimate:
    """Seconds of a device that a request asks for, where it is used well: all cores for its prompt, and its part of
    decode steps of `batch` requests."""

    forecaster: Forecaster
    batch: int

    def seconds(self, prompt: int, output: int) -> float:
        cores, batch = self.forecaster.cores, self.batch
        seen = batch * (prompt + output / 2)
        step = self.forecaster.seconds(cores, Work.decode(batch, seen))
        return self.forecaster.seconds(cores, Work.prefill(prompt, 0)) + (output - 1) * step / batch


@dataclass(frozen=True, slots=True)
class Arrivals:
    """A load for one run. left_out: requests of a trace that the engine cannot hold; seconds: the time they come in."""

    name: str
    requests: tuple[Arrival, ...]
    left_out: int
    seconds: float
    work: float  # device seconds that they ask for, by the estimate


def arrivals_of(load: Load, seconds: float, estimate: Estimate, longest: int, trace: Path | None = None) -> Arrivals:
    """The requests of `load` for a run of so many device seconds.

    longest: tokens of prompt and output together that the engine takes. trace: read in place of the one that ships.
    Raises InvalidValue for a trace that cannot be read.
    """
    requests: list[Arrival] = []
    left_out, work = 0, 0.0
    for number, source in enumerate(load.requests):
        time = source.time * seconds
        chosen, skipped = _choose(_rows(source, trace), source, longest, source.work * time, estimate)
        left_out += skipped
        work += sum(estimate.seconds(prompt, output) for prompt, output in chosen)
        for at, (prompt, output) in zip(_times(source, len(chosen), time, number), chosen, strict=True):
            requests.append(Arrival(source.start * seconds + at, prompt, output))
    requests.sort(key=lambda each: each.seconds)
    first = requests[0].seconds
    shifted = tuple(each._replace(seconds=each.seconds - first) for each in requests)
    return Arrivals(load.name, shifted, left_out, seconds, work)


def shorten_gaps(arrivals: Sequence[Arrival], longest: float) -> list[Arrival]:
    """The same requests with no gap between two of them longer than `longest` seconds.

    A gap in which everything has been answered changes no latency, only how long the replay takes; `longest` is to be
    chosen so that this holds.
    """
    shortened: list[Arrival] = []
    removed = 0.0
    previous = arrivals[0].seconds if arrivals else 0.0
    for arrival in arrivals:
        removed += max(0.0, arrival.seconds - previous - longest)
        previous = arrival.seconds
        shortened.append(arrival._replace(seconds=arrival.seconds - removed))
    return shortened


def _rows(source: Source, trace: Path | None) -> Iterator[Row]:
    if source.trace is None or source.format is None:
        assert source.prompt is not None
        assert source.output is not None
        return repeat(Row(0.0, source.prompt, source.output))
    return Part(str(trace or DATA / source.trace), source.format).rows()


def _choose(
    rows: Iterator[Row], source: Source, longest: int, work: float, estimate: Estimate
) -> tuple[list[tuple[int, int]], int]:
    """Prompt and output of the first requests that ask for that much work; and how many did not fit on the way."""
    chosen: list[tuple[int, int]] = []
    skipped, asked = 0, 0.0
    for row in rows:
        prompt, output = (max(1, round(tokens * source.lengths)) for tokens in (row.prompt, row.output))
        if prompt + output > longest:
            skipped += 1
            continue
        asked += estimate.seconds(prompt, output)
        if asked > work and len(chosen) >= _LEAST_REQUESTS:
            break
        chosen.append((prompt, output))
    return chosen, skipped


def _times(source: Source, count: int, seconds: float, number: int) -> list[float]:
    """When they come, within `seconds`; a Poisson process that is known to have that many in that time."""
    if source.pace == "at once":
        return [place * _APART for place in range(count)]
    draw = Random(_SEED + number)
    return sorted(draw.uniform(0.0, seconds) for _ in range(count))
