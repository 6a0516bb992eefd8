# SPDX-License-Identifier: Apache-2.0
"""The highest rate at which a policy keeps a part of the requests within their targets, by bisection.

Rates lie on a grid, 2^(i / STEPS) times the trace's own, so that targets, policies and repeated searches ask for the
very same runs, and an answer is a grid rate that was met beside the next one, which was missed. Attainment need not
fall evenly with the rate; the answer is where the search crossed, and every run is kept to be looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from flexnpu.planner import Policy
from flexnpu.simulator.arrival import Arrival
from flexnpu.simulator.results import Collector
from flexnpu.simulator.run import Setup, run

STEPS = 32  # of the grid per doubling: rates are 2.2 % apart
LOWEST, HIGHEST = -12 * STEPS, 12 * STEPS  # 1/4096 to 4096 times the trace's own rate


class Point(NamedTuple):
    """One run. `whole` is False when it was ended early, because its target was out of reach; then attainment is the
    most that it could still have come to, and goodput is not known."""

    step: int
    rate: float  # offered requests per second
    attainment: float
    goodput: float | None
    whole: bool
    missed: tuple[tuple[str, int], ...] = ()  # by cause


class Answer(NamedTuple):
    """`rate` was met and `missed_at` was missed; None where no rate of the grid was.

    With a rate and no `missed_at`, the grid's highest was met: no limit was found, and such answers have no order.
    """

    attainment: float
    rate: float | None
    missed_at: float | None
    step: int | None

    @property
    def unlimited(self) -> bool:
        """No limit was found up to the grid's highest rate."""
        return self.rate is not None and self.missed_at is None


@dataclass(slots=True)
class Search:
    """Searches for one policy under one load. The same arguments give the same answers.

    arrivals: at the trace's own rate, `rate` requests per second. early: end a run once the attainment that is asked
    for is out of reach; of overload there is then no curve. told: called before each run with its factor.
    """

    arrivals: Sequence[Arrival]
    rate: float
    policy: Policy
    setup: Setup
    early: bool = False
    told: Callable[[float], None] | None = None
    points: dict[int, Point] = field(default_factory=dict)

    def answers(self, attainments: Sequence[float], start: int = 0) -> list[Answer]:
        """The highest rate at each of them, in the order given; at a higher attainment it is never higher."""
        found: dict[float, Answer] = {}
        missed: int | None = None
        for attainment in sorted(set(attainments)):
            answer = found[attainment] = self.highest(attainment, start, missed)
            start = LOWEST if answer.step is None else answer.step
            missed = start if answer.step is None else None if answer.unlimited else start + 1
        return [found[attainment] for attainment in attainments]

    def highest(self, attainment: float, start: int = 0, missed: int | None = None) -> Answer:
        """The highest rate of the grid with that attainment, searched from step `start`.

        missed: a step above the start that a lower attainment has missed, so that the answer lies under it.
        """
        low, high = self._bracket(attainment, start, HIGHEST + 1 if missed is None else missed)
        while low is not None and high is not None and high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self._met(middle, attainment) else (low, middle)
        return Answer(attainment, self._rate(low), self._rate(high), low)

    def ceiling(self) -> float:
        """The attainment at the lowest rate of the grid: what is possible when requests hardly meet."""
        return self.point(LOWEST).attainment

    def point(self, step: int, attainment: float = 0.0) -> Point:
        """The run at that step, made when first asked for; it may have been ended under `attainment`."""
        known = self.points.get(step)
        if known is None or not (known.whole or known.attainment < attainment):
            known = self.points[step] = self._run(step, attainment if self.early else 0.0)
        return known

    def curve(self) -> list[Point]:
        """All whole runs by rate."""
        return [point for _, point in sorted(self.points.items()) if point.whole]

    def _met(self, step: int, attainment: float) -> bool:
        return self.point(step, attainment).attainment >= attainment

    def _rate(self, step: int | None) -> float | None:
        return None if step is None else self.rate * 2 ** (step / STEPS)

    def _bracket(self, attainment: float, start: int, missed: int) -> tuple[int | None, int | None]:
        """A step that is met and one above it that is missed, doubling strides away from the start.

        missed: known to be, or beyond the grid.
        """
        stride = STEPS // 2
        if missed > LOWEST and self._met(start, attainment):
            low = start
            while (high := min(low + stride, HIGHEST)) < missed and high > low:
                if not self._met(high, attainment):
                    return low, high
                low, stride = high, stride * 2
            return low, missed if missed <= HIGHEST else None
        if missed <= LOWEST or not self._met(LOWEST, attainment):  # before a long way down that leads nowhere
            return None, LOWEST
        high = start
        while not self._met(low := max(high - stride, LOWEST), attainment):
            high, stride = low, stride * 2
        return low, high

    def _run(self, step: int, attainment: float) -> Point:
        factor = 2 ** (step / STEPS)
        if self.told is not None:
            self.told(factor)
        count = len(self.arrivals)
        allowed = int((1 - attainment) * count + 1e-9)

        def hopeless(collector: Collector) -> bool:
            return collector.requests - collector.good > allowed

        came = (each._replace(seconds=each.seconds / factor) for each in self.arrivals)
        collector = run(came, self.policy, self.setup, hopeless=hopeless, watched=False)
        whole = collector.requests == count
        goodput = collector.good / collector.seconds if whole and collector.seconds > 0 else None
        reached = 1 - (collector.requests - collector.good) / count
        return Point(step, self.rate * factor, reached, goodput, whole, tuple(collector.misses.items()))
