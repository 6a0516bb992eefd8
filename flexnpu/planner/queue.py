# SPDX-License-Identifier: Apache-2.0
"""A snapshot as columns: what waits, how long it takes, and what the first tokens of it bring to an iteration."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from typing import NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from flexnpu.forecast import Forecaster
from flexnpu.forecast.batch import Batch, Floats
from flexnpu.forecast.load import Load
from flexnpu.planner.snapshot import PhaseForecaster, Snapshot

_PROBES = tuple(Load.prefill(new, old, logits=0) for new, old in ((1024, 8192), (1024, 0), (2048, 0)))


class Cost(NamedTuple):
    """A prompt's seconds on the whole device: by token, and by query-key pair."""

    token: float
    pair: float

    @classmethod
    def of(cls, forecaster: PhaseForecaster, cores: int) -> Cost:
        """Remembered for a Forecaster, whose answers never change; others, which may learn, are asked again."""
        if type(forecaster) is not Forecaster:
            return cls._asked(forecaster, cores)
        known = _costs.setdefault(forecaster, {})
        if cores not in known:
            known[cores] = cls._asked(forecaster, cores)
        return known[cores]

    @classmethod
    def _asked(cls, forecaster: PhaseForecaster, cores: int) -> Cost:
        far, short, long = (float(forecaster.seconds(cores, load)) for load in _PROBES)
        pair = (far - short) / (1024 * 8192)
        token = (long - short - pair * (2048**2 - 1024**2) / 2) / 1024
        return cls(max(token, 1e-9), max(pair, 0.0))


_costs: WeakKeyDictionary[Forecaster, dict[int, Cost]] = WeakKeyDictionary()


class Now(NamedTuple):
    """A snapshot as columns, one row per prompt, with what running requests take alone on the whole device."""

    forecaster: PhaseForecaster
    cores: int
    budget: int
    decode: Load
    alone: float
    cost: Cost
    new: Floats
    cached: Floats
    slack: Floats
    entries: npt.NDArray[np.intp] | None  # of the snapshot's prefill, by row; None: the same

    @classmethod
    def of(cls, snapshot: Snapshot, forecaster: PhaseForecaster) -> Now:
        cores = snapshot.device_cores
        decode = forecaster.load(snapshot.decode)
        alone = float(forecaster.seconds(cores, decode)) if decode.decode_sequences else 0.0
        prompts = Batch.of(snapshot.prefill)
        new, cached, entries = prompts.new, prompts.cached, None
        waits = np.zeros(len(new)) if snapshot.waits is None else np.asarray(snapshot.waits)
        if prompts.copies.dot(prompts.copies) > len(new):  # somebody stands for several
            entries = np.repeat(np.arange(len(new)), prompts.copies.astype(np.intp))
            new, cached, waits = new[entries], cached[entries], waits[entries]
        slack = snapshot.targets.ttft - waits
        return cls(
            forecaster, cores, snapshot.budget, decode, alone, Cost.of(forecaster, cores), new, cached, slack, entries
        )

    def seconds(self, prompts: Load) -> float:
        """Of one iteration with these beside what runs, on the whole device."""
        return float(self.forecaster.seconds(self.cores, self.decode.plus(prompts)))

    def work(self) -> Floats:
        """Seconds of the whole device that each prompt takes."""
        return self.new * (self.cost.token + self.cost.pair * (self.cached + 0.5 * self.new))

    def worth(self, prompts: Load) -> float:
        """The same, of what an iteration runs."""
        return self.cost.token * prompts.prefill_tokens + self.cost.pair * prompts.prefill_pairs

    def named(self, rows: Sequence[int]) -> tuple[int, ...]:
        """Rows as entries of the snapshot, each once."""
        if self.entries is None:
            return tuple(rows)
        return tuple(dict.fromkeys(self.entries[list(rows)].tolist()))

    def rows(self, order: Sequence[int]) -> Sequence[int]:
        """The reverse, as an engine runs them: all that an entry stands for, one after the other."""
        if self.entries is None:
            return order
        starts = self.entries.searchsorted(order, side="left").tolist()
        ends = self.entries.searchsorted(order, side="right").tolist()
        return [row for start, end in zip(starts, ends, strict=True) for row in range(start, end)]


class Line:
    """Prompts in one order. A plan asks what several numbers of tokens bring, so sums are kept as far as they go."""

    __slots__ = ("_before", "_cached", "_ends", "_new", "_pairs", "_rest", "_seen")

    def __init__(self, now: Now, places: Iterable[int]) -> None:
        self._new, self._cached, self._rest = now.new.item, now.cached.item, iter(places)
        self._before: list[float] = []  # cached tokens by place in the line
        # Of so many prompts from the first on: their new tokens, pairs of query and key, and keys.
        self._ends, self._pairs, self._seen = [0.0], [0.0], [0.0]

    def take(self, tokens: int) -> tuple[Load, int]:
        """What the first `tokens` bring to an iteration, and how many of them there are."""
        if self._ends[-1] < tokens:
            self._reach(tokens)
        whole = bisect_right(self._ends, tokens) - 1
        end, pairs, seen, logits = self._ends[whole], self._pairs[whole], self._seen[whole], float(whole)
        left = tokens - end
        if left < 1.0 or whole == len(self._before):
            return Load(end, logits, pairs, seen, 0.0, 0.0, logits), int(end)
        cached = self._before[whole]
        pairs += left * cached + left * (left + 1.0) / 2.0
        return Load(end + left, logits + 1.0, pairs, seen + left + cached, 0.0, 0.0, logits), tokens

    def _reach(self, tokens: int) -> None:
        end, pairs, seen = self._ends[-1], self._pairs[-1], self._seen[-1]
        for place in self._rest:
            new, cached = self._new(place), self._cached(place)
            end += new
            pairs += new * cached + new * (new + 1.0) / 2.0
            seen += new + cached
            self._before.append(cached)
            self._ends.append(end)
            self._pairs.append(pairs)
            self._seen.append(seen)
            if end >= tokens:
                break
