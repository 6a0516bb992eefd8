# SPDX-License-Identifier: Apache-2.0
"""An iteration operator by operator: what a forecast is made of, and what it says."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from flexnpu.forecast.contention import busy, part_met


class Part(NamedTuple):
    """One operator of an iteration."""

    name: str
    seconds: float
    bound: str  # compute, bandwidth, links or launch: what most of its time goes to


class Quote(NamedTuple):
    """One operator on some cores: seconds alone, and when half of the device's bandwidth is left."""

    name: str
    kind: str
    alone: float
    held: float
    traffic: float  # seconds of the whole device's bandwidth
    links: float  # seconds of its links to other devices
    bound: str


class Known(NamedTuple):
    """Operators that were asked for before, those that come before attention in a layer and those after; summed up."""

    before: tuple[Quote, ...]
    after: tuple[Quote, ...]
    alone: float
    held: float
    traffic: float
    links: float
    variance: float  # of `alone`

    @classmethod
    def of(cls, before: Sequence[Quote], after: Sequence[Quote], errors: Mapping[str, float]) -> Known:
        """errors: relative standard deviation by kind of operator."""
        every = (*before, *after)
        return cls(
            tuple(before),
            tuple(after),
            sum(quote.alone for quote in every),
            sum(quote.held for quote in every),
            sum(quote.traffic for quote in every),
            sum(quote.links for quote in every),
            variance(every, errors),
        )

    def around(self, quotes: Sequence[Quote], errors: Mapping[str, float]) -> Known:
        """With attention, whose kinds are none of these, and each its own."""
        _, _, alone, held, traffic, links, square = self
        for quote in quotes:
            alone += quote.alone
            held += quote.held
            traffic += quote.traffic
            square += (quote.alone * errors.get(quote.kind, 0.5)) ** 2
        return Known((*self.before, *quotes), self.after, alone, held, traffic, links, square)


def variance(quotes: Sequence[Quote], errors: Mapping[str, float]) -> float:
    """Errors of one kind of operator go together, those of different kinds do not."""
    kinds: dict[str, float] = {}
    for quote in quotes:
        kinds[quote.kind] = kinds.get(quote.kind, 0.0) + quote.alone
    return sum([(seconds * errors.get(kind, 0.5)) ** 2 for kind, seconds in kinds.items()])


class Forecast(NamedTuple):
    """One iteration on a number of cores. The demands say how it draws on what it shares with what runs beside it."""

    seconds: float
    parts: tuple[Part, ...]
    cores: int
    tokens: int
    demand: float  # mean part of the device's bandwidth that it draws when alone
    uncertainty: float = 0.0  # relative standard deviation of seconds
    link_demand: float = 0.0  # mean part of the time that its links are in use when alone

    @property
    def by_operator(self) -> Mapping[str, float]:
        return {part.name: part.seconds for part in self.parts}

    @property
    def bound_by(self) -> Mapping[str, str]:
        return {part.name: part.bound for part in self.parts}

    @property
    def tokens_per_second(self) -> float:
        return self.tokens / self.seconds if self.seconds else 0.0

    @classmethod
    def of(cls, known: Known, cores: int, tokens: int, beside: Forecast | None) -> Forecast:
        """Of an iteration that takes as long as `known` when alone."""
        _, _, alone, held, traffic, links, square = known
        seconds, between, within, waited = alone, 1.0, 0.0, 0.0
        if beside is not None and (beside.demand > 0 or beside.link_demand > 0):
            # The neighbour takes half of the bandwidth in the part `met` of the time.
            met, waited = part_met(beside.demand), beside.link_demand
            slower = busy(alone, held, met)
            # So much of the iteration is done between the neighbour's bursts, and so much beside them.
            between, within = (1.0 - met) * slower / alone, met * slower / held
            seconds = slower + waited * links
        every = (*known.before, *known.after)
        if within or waited:
            parts = [
                Part(name, one * between + slow * within + sent * waited, bound)
                for name, _, one, slow, _, sent, bound in every
            ]
        else:
            parts = [Part(name, one, bound) for name, _, one, _, _, _, bound in every]
        demand, used = traffic / alone, links / alone
        return cls(
            seconds,
            tuple(parts),
            cores,
            tokens,
            demand if demand < 1.0 else 1.0,
            math.sqrt(square) / alone,
            used if used < 1.0 else 1.0,
        )
