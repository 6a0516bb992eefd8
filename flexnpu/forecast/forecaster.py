# SPDX-License-Identifier: Apache-2.0
"""Seconds of an iteration: the sum of its operators; phases side by side share the device's bandwidth.

Pure functions of their arguments; what is remembered between calls changes no answer. docs/forecast.md has the
equations.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np

from flexnpu.forecast.batch import Batch, Floats, ForecastError, Request
from flexnpu.forecast.load import Load
from flexnpu.forecast.operators import Amount, Cores, Cost, OperatorModel
from flexnpu.forecast.profile import Profile
from flexnpu.forecast.rows import Filled, Row, Rows
from flexnpu.forecast.workload import Operator, Workload
from flexnpu.hardware import Soc
from flexnpu.llm import ModelShape, Parallel

Requests = Iterable[Request] | Batch | Load
HALF = 0.5  # of the device's bandwidth: the least that a neighbour leaves
_REMEMBERED = 4096  # token counts and core counts whose operators are remembered


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
    bound: str
    links: float  # seconds of its links to other devices


@dataclass(frozen=True, slots=True)
class Forecast:
    """One iteration on a number of cores. demand says how it draws on bandwidth, for what runs beside it."""

    seconds: float
    parts: tuple[Part, ...]
    cores: int
    tokens: int
    demand: float  # mean part of the device's bandwidth that it draws when alone
    uncertainty: float = 0.0  # relative standard deviation of seconds
    link_demand: float = 0.0  # mean part of its links to other devices that it draws when alone

    @property
    def by_operator(self) -> Mapping[str, float]:
        return {part.name: part.seconds for part in self.parts}

    @property
    def bound_by(self) -> Mapping[str, str]:
        return {part.name: part.bound for part in self.parts}

    @property
    def tokens_per_second(self) -> float:
        return self.tokens / self.seconds if self.seconds else 0.0


class Forecaster:
    """Forecasts for one model on one device, or on several alike: then of each, and `part` is what each has of it.

    Whatever is named requests, prefill or decode is a Load, a Batch or an iterable of Request: where devices form
    groups that meet in the experts alone, those of one group.
    """

    def __init__(
        self, model: ModelShape, soc: Soc, profile: Profile | None = None, parallel: Parallel | None = None
    ) -> None:
        self.model, self.soc, self.profile = model, soc, profile or Profile.of(soc)
        self.parallel = parallel or Parallel()
        self.part = self.parallel.share(model)
        # What was measured of a whole model's layers says nothing of a part of them.
        self.operators = OperatorModel(soc, self.profile if self.part is model else self.profile.by_size())
        self.workload = Workload.of(model, soc, self.parallel, self.profile.link_efficiency)
        self.cores = soc.cube_cores
        self._output = next(place for place, one in enumerate(self.workload.by_tokens) if one.name == "o")
        self._all = np.arange(1, self.cores + 1)
        self._remembered: dict[tuple[str, float, int], tuple[Quote, ...]] = {}
        self._by_tokens = Rows(lambda tokens: self._fill(self.workload.by_tokens, tokens), self.cores)
        self._by_logits = Rows(lambda tokens: self._fill(self.workload.by_logits, tokens), self.cores)
        # Places in a Load, and the operators that have so many rows.
        others = {4: self.workload.by_decodes, 3: self.workload.by_seen}
        self._others = [
            (place, work, Rows(partial(self._fill, work), self.cores)) for place, work in others.items() if work
        ]

    def load(self, requests: Requests) -> Load:
        """The sums of those requests; the model's sliding window is applied here."""
        return requests if isinstance(requests, Load) else Load.of(requests, self.model.window)

    def seconds(self, cores: int, load: Load) -> float:
        """Seconds of one iteration, alone on `cores`. The quick way: a few microseconds once warm."""
        total = self._by_tokens.row(load.prefill_tokens + load.decode_sequences).alone.item(cores)
        if load.logits:
            total += self._by_logits.row(load.logits).alone.item(cores)
        for place, _, rows in self._others:
            total += rows.row(load[place]).alone.item(cores)
        return total + self._attention(load, cores)[0]  # type: ignore[return-value]

    def alone(self, requests: Requests) -> Floats:
        """Seconds of the iteration by cores; index 0 is no cores and infinite."""
        return self._summary(self.load(requests))[0]

    def split(self, prefill: Requests, decode: Requests, cores: int | None = None) -> tuple[Floats, Floats]:
        """Seconds of both phases side by side, by decode's cores; prefill has the rest of `cores` (default: all).

        At no cores of its own a phase takes for ever, and the other has the device to itself.
        """
        total = self.cores if cores is None else cores
        first, second = self._summary(self.load(prefill)), self._summary(self.load(decode))
        # Row i: decode on i cores, prefill on the rest.
        first = first._replace(alone=first.alone[total::-1], held=first.held[total::-1])
        second = second._replace(alone=second.alone[: total + 1], held=second.held[: total + 1])
        return _contended(first, second), _contended(second, first)

    def beside(self, prefill_cores: int, prefill: Requests, decode_cores: int, decode: Requests) -> tuple[float, float]:
        """Seconds of prefill and of decode side by side on so many cores each."""
        one = self._single(prefill_cores, self.load(prefill))
        two = self._single(decode_cores, self.load(decode))
        return _slowed(one, two), _slowed(two, one)

    def steps(self, cores: int, load: Requests, count: int) -> Floats:
        """Seconds of each of the next `count` iterations on `cores`; every running request grows by a token in each."""
        start = self.load(load)
        seen: Floats = start.decode_seen + start.decode_sequences * np.arange(count, dtype=np.float64)
        if self.model.window is not None:
            seen = np.minimum(seen, start.decode_sequences * self.model.window)
        steady = self._rows(start)[0].item(cores) if start.tokens else 0.0
        return np.full(count, steady) + self._attention(start, cores, seen=seen)[0]

    def forecast(self, cores: int, requests: Requests, beside: Forecast | None = None) -> Forecast:
        """One iteration of `requests` on `cores`, while the iteration `beside` (forecast alone) runs on other cores."""
        if not 1 <= cores <= self.cores or cores != int(cores):
            raise ForecastError(f"cores is {cores}; {self.soc.name} has 1 to {self.cores}")
        if beside is not None and cores + beside.cores > self.cores:
            raise ForecastError(f"{cores} cores beside {beside.cores}; {self.soc.name} has {self.cores} in all")
        load = self.load(requests)
        if not load.tokens:
            return Forecast(0.0, (), cores, 0, 0.0)
        quotes = self._quotes(cores, load)
        alone = sum(quote.alone for quote in quotes)
        traffic = sum(quote.traffic for quote in quotes)
        links = sum(quote.links for quote in quotes)
        parts = tuple(Part(quote.name, quote.alone, quote.bound) for quote in quotes)
        seconds = alone
        if beside is not None and (beside.demand > 0 or beside.link_demand > 0):
            seconds, parts = _beside(quotes, alone, min(1.0, beside.demand / HALF), beside.link_demand)
        return Forecast(
            seconds,
            parts,
            cores,
            int(load.tokens),
            min(1.0, traffic / alone),
            self._uncertainty(quotes),
            min(1.0, links / alone),
        )

    def _uncertainty(self, quotes: Sequence[Quote]) -> float:
        """Errors of one kind of operator go together, those of different kinds do not."""
        kinds: dict[str, float] = {}
        for quote in quotes:
            kinds[quote.kind] = kinds.get(quote.kind, 0.0) + quote.alone
        known = self.profile.uncertainty
        square = sum((seconds * known.get(kind, 0.5)) ** 2 for kind, seconds in kinds.items())
        return math.sqrt(square) / sum(kinds.values())

    def _rows(self, load: Load) -> Row:
        """All operators but attention together."""
        row = self._by_tokens.row(load.prefill_tokens + load.decode_sequences)
        if load.logits:
            row = row.plus(self._by_logits.row(load.logits))
        for place, _, rows in self._others:
            row = row.plus(rows.row(load[place]))
        return row

    def _summary(self, load: Load) -> Row:
        """The whole iteration by cores."""
        if not load.tokens:
            return Row(np.append(np.inf, np.zeros(self.cores)), np.zeros(self.cores + 1), 0.0, 0.0)
        row = self._rows(load)
        seconds, slower, traffic = self._attention(load, self._all, held=True)
        alone, held = row.alone.copy(), row.held.copy()
        alone[1:] += seconds
        held[1:] += slower
        return Row(alone, held, row.traffic + float(np.max(traffic)), row.links)

    def _single(self, cores: int, load: Load) -> _Single:
        """The whole iteration on so many cores."""
        if not load.tokens:
            return _Single(0.0, 0.0, 0.0, 0.0)
        row = self._by_tokens.row(load.prefill_tokens + load.decode_sequences)
        alone, held, traffic, links = row.alone.item(cores), row.held.item(cores), row.traffic, row.links
        more = [self._by_logits.row(load.logits)] if load.logits else []
        for row in [*more, *(rows.row(load[place]) for place, _, rows in self._others)]:
            alone, held = alone + row.alone.item(cores), held + row.held.item(cores)
            traffic, links = traffic + row.traffic, links + row.links
        seconds, slower, moved = self._attention(load, cores, held=True)
        return _Single(alone + seconds, held + slower, traffic + moved, links)  # type: ignore[arg-type]

    def _attention(
        self, load: Load, cores: Cores, *, seen: Amount | None = None, held: bool = False
    ) -> tuple[Amount, Amount, Amount]:
        """Attention of all layers: seconds alone, seconds with half of the bandwidth (if `held`), traffic.

        `seen` stands in for the load's keys of running requests.
        """
        operators, work = self.operators, self.workload.attention
        if not load.decode_sequences:
            if not load.prefill_sequences:
                return 0.0, 0.0, 0.0
            cost = work.context(operators, load, cores)
        else:
            cost = work.generation(operators, load.decode_sequences, load.decode_seen if seen is None else seen, cores)
            if load.prefill_sequences:
                context = work.context(operators, load, cores)
                seconds = operators.together(context, cost, 1.0, load, seen)
                slower = operators.together(context, cost, HALF, load, seen) if held else 0.0
                return seconds, slower, context.traffic + cost.traffic
        return operators.seconds(cost), operators.seconds(cost, HALF) if held else 0.0, cost.traffic

    def _fill(self, work: Sequence[Operator], tokens: Floats) -> Filled:
        alone, held = np.zeros((len(tokens), self.cores + 1)), np.zeros((len(tokens), self.cores + 1))
        alone[:, 0] = held[:, 0] = np.inf
        traffic, links = np.zeros(len(tokens)), np.zeros(len(tokens))
        for operator in work:
            cost = operator.cost(self.operators, tokens[:, None], self._all)
            alone[:, 1:] += self.operators.seconds(cost)
            held[:, 1:] += self.operators.seconds(cost, HALF)
            traffic += np.broadcast_to(cost.traffic, (len(tokens), self.cores))[:, -1]
            links += np.broadcast_to(cost.links, (len(tokens), self.cores))[:, -1]
        return Filled(alone, held, traffic, links)

    def _quotes(self, cores: int, load: Load) -> list[Quote]:
        quotes = list(self._known(self.workload.by_tokens, load.tokens, cores))
        within = self._attention_quotes(cores, load)
        for place, work, _ in self._others:
            if load[place]:
                within = [*self._known(work, load[place], cores), *within]
        # In the order of a layer, as far as the breakdown can have one.
        quotes[self._output : self._output] = within
        if load.logits:
            quotes += self._known(self.workload.by_logits, load.logits, cores)
        return quotes

    def _attention_quotes(self, cores: int, load: Load) -> list[Quote]:
        operators, work = self.operators, self.workload.attention
        quotes = []
        if load.prefill_sequences:
            cost = work.context(operators, load, cores)
            quotes.append(self._quote("prefill_attention", "context_attention", cost))
        if load.decode_sequences:
            cost = work.generation(operators, load.decode_sequences, load.decode_seen, cores)
            quotes.append(self._quote("decode_attention", "generation_attention", cost))
        if len(quotes) > 1:
            # What both take together is theirs in proportion to what each would take.
            alone, held, _ = self._attention(load, cores, held=True)
            part, slow = float(alone) / sum(quote.alone for quote in quotes), sum(quote.held for quote in quotes)
            quotes = [
                quote._replace(alone=quote.alone * part, held=quote.held * float(held) / slow) for quote in quotes
            ]
        return quotes

    def _known(self, work: tuple[Operator, ...], tokens: float, cores: int) -> tuple[Quote, ...]:
        """Quotes of token-level operators, remembered: the next iteration has as many tokens more often than not."""
        key = (work[0].name, tokens, cores)
        found = self._remembered.get(key)
        if found is None:
            if len(self._remembered) >= _REMEMBERED:
                self._remembered.clear()
            costs = [(operator, operator.cost(self.operators, tokens, cores)) for operator in work]
            found = tuple(self._quote(operator.name, operator.kind, cost) for operator, cost in costs)
            self._remembered[key] = found
        return found

    def _quote(self, name: str, kind: str, cost: Cost) -> Quote:
        seconds = self.operators.seconds
        alone, held = float(seconds(cost)), float(seconds(cost, HALF))
        bound = "compute" if cost.compute >= cost.memory else "bandwidth"
        if cost.fixed > alone - cost.fixed:
            bound = "launch" if cost.links < HALF * cost.fixed else "links"
        return Quote(name, kind, alone, held, float(cost.traffic), bound, float(cost.links))


class _Single(NamedTuple):
    """An iteration on one number of cores, as Row has it for all."""

    alone: float
    held: float
    traffic: float
    links: float


def _contended(mine: Row, other: Row) -> Floats:
    """Seconds by split of a phase beside another; row i of both is the same split."""
    seconds = mine.alone
    if mine.traffic and other.traffic:
        met = np.minimum(1.0, other.traffic / HALF / other.alone)
        pace = np.divide(mine.alone, mine.held, out=np.ones_like(met), where=mine.held < np.inf)
        seconds = mine.alone / (1.0 - met * (1.0 - pace))
    if mine.links and other.links:
        seconds = seconds + mine.links * np.minimum(1.0, other.links / other.alone)
    return seconds


def _slowed(mine: _Single, other: _Single) -> float:
    """The same for one split."""
    if not mine.alone or not other.alone:
        return mine.alone
    met = min(1.0, other.traffic / HALF / other.alone)
    seconds = mine.alone / (1.0 - met * (1.0 - mine.alone / mine.held))
    return seconds + mine.links * min(1.0, other.links / other.alone)


def _beside(quotes: list[Quote], alone: float, met: float, links: float) -> tuple[float, tuple[Part, ...]]:
    """The iteration when a neighbour takes half of the bandwidth in the part `met` of the time, and of links in
    `links`."""
    held = sum(quote.held for quote in quotes)
    seconds = alone / (1.0 - met * (1.0 - alone / held))
    # So much of the iteration is done beside the neighbour's bursts, and so much between them.
    between, within = (1.0 - met) * seconds / alone, met * seconds / held
    parts = tuple(
        Part(quote.name, quote.alone * between + quote.held * within + quote.links * links, quote.bound)
        for quote in quotes
    )
    return seconds + links * sum(quote.links for quote in quotes), parts


def forecast(model: ModelShape, soc: Soc, cores: int, requests: Requests, beside: Forecast | None = None) -> Forecast:
    """One iteration with the published constants; a Forecaster is quicker for many questions about one model."""
    return Forecaster(model, soc).forecast(cores, requests, beside)
