# SPDX-License-Identifier: Apache-2.0
"""What a policy answers: who runs where and how much of it next; why, and what it was weighed against, when asked.

Explaining costs more than deciding, and an engine decides a thousand times a second; so a plan carries a function that
explains it, and calls it when `reason`, `chosen` or `alternatives` is first read.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Literal, NamedTuple, Protocol

from flexnpu.planner.snapshot import PhaseForecaster, Snapshot, Split

Mode = Literal["aggregated", "split", "shared"]


class Alternative(NamedTuple):
    """One candidate with its forecast."""

    mode: Mode
    split: Split
    steps: int  # decode iterations during one prefill iteration
    prefill_seconds: float
    decode_seconds: float
    tokens_per_second: float
    verdict: str
    budget: int = 0  # tokens of the iteration, where candidates differ in it


class Explanation(NamedTuple):
    """A plan's words: why, the forecast of what was chosen, and of what it was weighed against."""

    reason: str
    chosen: Alternative
    alternatives: tuple[Alternative, ...] = ()
    meets_itl: bool = True  # decode's part of the plan is forecast to keep its target


@dataclass(frozen=True, slots=True)
class Plan:
    """The next iteration of a device. Two plans are equal when they decide the same.

    mode: "aggregated": one iteration with both phases mixed, on all of split's cores (named twice).
        "split": both phases at once, each on its own cores; a phase with nothing to run leaves its cores idle.
        "shared": both phases at once on the same cores (named twice), which decode has for `weight` of the time.
    steps: decode iterations per prefill iteration when split; the lanes then join. 0: the lanes run freely, and the
        policy is asked again when either has ended an iteration.
    budget: most tokens of the next mixed iteration, decode's included; of the next prefill iteration otherwise. 0 for
        an aggregated iteration of decode alone.
    order: indices into snapshot.prefill, who goes first; prompts not named follow as they came. None: as they came.
    """

    mode: Mode
    split: Split
    budget: int
    explain: Callable[[], Explanation] = field(compare=False, repr=False)
    steps: int = 1
    weight: float = 0.5
    order: tuple[int, ...] | None = None

    @property
    def reason(self) -> str:
        return self.explain().reason

    @property
    def chosen(self) -> Alternative:
        return self.explain().chosen

    @property
    def alternatives(self) -> tuple[Alternative, ...]:
        return self.explain().alternatives

    @property
    def meets_itl(self) -> bool:
        return self.explain().meets_itl

    @property
    def prefill_cores(self) -> int:
        return self.split.prefill

    @property
    def decode_cores(self) -> int:
        return self.split.decode

    @property
    def k(self) -> int:
        return self.steps

    @property
    def cores_used(self) -> int:
        """Cores that the device has to have for this plan."""
        return sum(self.split) if self.mode == "split" else max(self.split)


class Looks(Enum):
    """How much of a snapshot decides a policy's answer, so that it need not be asked what it has answered already."""

    NOTHING = "nothing that changes: the first answer holds"
    WINDOW = "the feedback of a window: an answer holds until the next one closes"
    BATCH = "which phases have work, and decode's requests in number: each case is asked for once"
    LOAD = "the next iterations of both phases: each cell of them is asked for once"
    WAIT = "those, and how long prompts have waited: each cell is asked for once"
    SPLIT = "decode's next step, what waits in tokens, and the split in force: each cell of them is asked for once"
    QUEUE = "anything while prompts wait, as with ALL; while none can run, nothing: that case is asked for once"
    ALL = "anything: the last answer holds while the state stays in its cell"


class Policy(Protocol):
    """A rule that plans. What it is set up with are its fields; it keeps nothing between two plans.

    It may say what it `looks` at; one that does not is taken to look at ALL.

    layout: "one device", or "N:M": N devices that run prompts, which hand their keys and values to M that decode.
    """

    @property
    def name(self) -> str: ...

    @property
    def layout(self) -> str: ...

    def plan(self, snapshot: Snapshot, forecaster: PhaseForecaster) -> Plan:
        """The next iteration; the same answer for the same question."""


def once(explain: Callable[[], Explanation]) -> Callable[[], Explanation]:
    """The explanation, made when first asked for and kept."""
    return _Once(explain)


class _Once:
    """As functools.cache, which costs more to make than most policies take to decide."""

    __slots__ = ("_explain", "_found")

    def __init__(self, explain: Callable[[], Explanation]) -> None:
        self._explain = explain
        self._found: Explanation | None = None

    def __call__(self) -> Explanation:
        if self._found is None:
            self._found = self._explain()
        return self._found


def verdict(holds: bool) -> str:
    """How a candidate does by the ITL target."""
    return f"{'meets' if holds else 'misses'} the ITL target"


def mixed(cores: int, seconds: float, tokens: float, said: str, budget: int = 0) -> Alternative:
    """One iteration of both phases on all cores, as a candidate; `said` is its verdict."""
    return Alternative("aggregated", Split(cores, cores), 1, seconds, seconds, rate(tokens, seconds), said, budget)


def rate(tokens: float, seconds: float) -> float:
    """Tokens per second; nothing to do is no rate."""
    return tokens / seconds if tokens and seconds > 0 else 0.0


def ms(seconds: float) -> str:
    return f"{seconds * 1e3:.1f} ms"
