# SPDX-License-Identifier: Apache-2.0
"""A snapshot as a queue: what waits, how long it takes, and what the first tokens of it bring to an iteration."""

from __future__ import annotations

from typing import NamedTuple
from weakref import WeakKeyDictionary

import numpy as np

from flexnpu._native import Queue
from flexnpu.forecast import Forecaster
from flexnpu.forecast.batch import Batch
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
    """A snapshot as a plan asks of it: prompts as a queue, what running requests take alone on the whole device.

    The queue (native/planner/queue.h) has a row per prompt: its seconds of the whole device, and those until its
    deadline. It says who can be on time, and in which order; a `Line` of it, what the first tokens of that bring.
    """

    forecaster: PhaseForecaster
    cores: int
    budget: int
    decode: Load
    alone: float
    cost: Cost
    queue: Queue

    @classmethod
    def of(cls, snapshot: Snapshot, forecaster: PhaseForecaster) -> Now:
        cores = snapshot.device_cores
        decode = forecaster.load(snapshot.decode)
        alone = float(forecaster.seconds(cores, decode)) if decode.decode_sequences else 0.0
        prompts, cost = Batch.of(snapshot.prefill), Cost.of(forecaster, cores)
        waits = np.zeros(len(prompts)) if snapshot.waits is None else np.asarray(snapshot.waits, dtype=np.float64)
        queue = Queue(prompts.new, prompts.cached, prompts.copies, waits, snapshot.targets.ttft, cost)
        return cls(forecaster, cores, snapshot.budget, decode, alone, cost, queue)

    def seconds(self, prompts: Load) -> float:
        """Of one iteration with these beside what runs, on the whole device."""
        return float(self.forecaster.seconds(self.cores, self.decode.plus(prompts)))

    def worth(self, prompts: Load) -> float:
        """Seconds of the whole device that the prompts of an iteration take by themselves."""
        return self.cost.token * prompts.prefill_tokens + self.cost.pair * prompts.prefill_pairs
