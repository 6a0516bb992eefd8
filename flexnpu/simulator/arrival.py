# SPDX-License-Identifier: Apache-2.0
"""What goes into a simulation and what comes out of it, one request at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from flexnpu.forecast.batch import Floats
from flexnpu.planner import Plan

NEVER = float("nan")


class Arrival(NamedTuple):
    """A request of a trace. `blocks` are hash ids of the prompt's blocks, `EngineConfig.hash_tokens` tokens each.

    Equal ids at the same place of two prompts mean equal tokens up to and including that block. The last id may stand
    for a block that is not full; it is never shared. Ids are whole numbers, taken modulo 2 ** 64. One stands for all
    before it; from one that a prompt has again, nothing is shared.
    """

    seconds: float
    prompt: int
    output: int
    blocks: Sequence[int] = ()


class Finished(NamedTuple):
    """A request that is over. Times are seconds of the simulation's clock, nan when the moment never came."""

    arrival: float
    first_token: float
    finish: float  # when the last token was there
    prompt: int
    output: int  # tokens that were wanted; a request that did not finish got fewer
    cached: int  # tokens of the prompt that prefix reuse saved, at the first admission
    itl_max: float  # longest gap between two tokens; 0 for a single token
    itl_p99: float  # 99th percentile (nearest rank) of the gaps
    mean_tpot: float  # (finish - first_token) / (output - 1); 0 for a single token
    preemptions: int
    dropped: bool  # refused at once, because it cannot fit into the device's KV cache
    number: int  # place in the trace, from 0

    @property
    def ttft(self) -> float:
        return self.first_token - self.arrival

    @property
    def latency(self) -> float:
        """End to end."""
        return self.finish - self.arrival

    @property
    def completed(self) -> bool:
        return self.finish == self.finish  # nan is not itself


class Watch(NamedTuple):
    """Who is told what a simulation does on its way.

    `sample` each `sample_seconds`, `plan` of each fresh plan, `gaps` of the gaps between a finished request's tokens.
    """

    sample: Callable[[Sample], None] | None = None
    plan: Callable[[float, Plan], None] | None = None
    gaps: Callable[[Sequence[Floats]], None] | None = None


class Sample(NamedTuple):
    """State of the pool at one moment, summed over its devices; it holds until the next sample."""

    seconds: float
    waiting: int  # requests without a first chunk
    running: int  # requests that hold KV
    prefill_cores: int  # at work on prompts alone
    decode_cores: int
    mixed_cores: int  # at work on mixed iterations, or shared in time by both phases
    kv_used: float  # of all blocks, those that requests hold
