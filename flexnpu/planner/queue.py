# SPDX-License-Identifier: Apache-2.0
"""A snapshot as columns: what waits, how long it takes, and what the first tokens of it bring to an iteration."""

from __future__ import annotations

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
        waits = np.zeros(len(new)) if snapshot.waits is None else np.asarray(snapshot.waits, dtype=np.float64)
        if prompts.copies @ prompts.copies > len(new):  # somebody stands for several
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

    def take(self, places: Iterable[int], tokens: int) -> tuple[Load, int]:
        """The first `tokens` of the prompts in this order."""
        pairs = seen = logits = sequences = 0.0
        left = float(tokens)
        row, after = self.new.item, self.cached.item
        for place in places:
            new, cached = row(place), after(place)
            if new <= left:
                logits += 1.0
            else:
                new = left
            pairs += new * cached + new * (new + 1.0) / 2.0
            seen += new + cached
            sequences += 1.0
            left -= new
            if left < 1.0:
                break
        took = tokens - left
        return Load(took, sequences, pairs, seen, 0.0, 0.0, logits), int(took)

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
