# SPDX-License-Identifier: Apache-2.0
"""One device of the pool: its queues, its cache, its plan, and the runner that is at work."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from flexnpu.forecast.batch import Floats
from flexnpu.planner import Plan, Policy
from flexnpu.simulator.config import EngineConfig, machine
from flexnpu.simulator.decoding import Decoding
from flexnpu.simulator.forecast import EngineForecaster
from flexnpu.simulator.kv import KvCache
from flexnpu.simulator.lanes import Lanes
from flexnpu.simulator.mixed import Mixed
from flexnpu.simulator.planning import Answers, Planning
from flexnpu.simulator.prompts import NOTHING, Chunks, Prompts
from flexnpu.simulator.request import Request
from flexnpu.simulator.rounds import Rounds
from flexnpu.simulator.runner import INFINITE, Runner

_AHEAD = 64  # decode steps


@dataclass(slots=True)
class Counters:
    """What a device did."""

    turns: int = 0
    mixed: int = 0  # iterations with prompts in them, on the whole device
    prefills: int = 0  # iterations of a prefill lane
    steps: int = 0  # decode steps, those in mixed iterations included
    preemptions: int = 0
    switches: int = 0
    plans: int = 0
    kv_peak: int = 0


class Device:
    """State that all runners work on, and what they do alike."""

    def __init__(self, forecaster: EngineForecaster, policy: Policy, config: EngineConfig, answers: Answers) -> None:
        self.forecaster, self.config = forecaster, config
        self.kv = KvCache(
            config.blocks(*machine(forecaster)), config.block_tokens, config.hash_tokens, caching=config.prefix_caching
        )
        self.prompts = Prompts(whole=config.whole_prompts)
        self.decoding = Decoding(config.block_tokens, config.targets)
        self.admitted: dict[int, Request] = {}  # who holds KV, newest last
        self.joining: list[Request] = []  # whose prompt is complete, until decode's next boundary
        self._joined = (-1, 0)  # before which of decode's steps how many have joined
        self.flying: dict[int, int] = {}  # tokens of prompts that a lane has in flight, by request
        self.finished: list[Request] = []  # the pool takes them after each turn
        self.handed: list[Request] = []  # prompts complete on a device that does not decode; the pool takes them
        self.decodes = True
        self.coming = 0  # requests whose caches are on their way here
        self.counters = Counters()
        self.planning = Planning(self, policy, answers)
        self.runner: Runner | None = None
        self.next_seconds = INFINITE
        self._makers: dict[str, Runner] = {}
        # Seconds of decode's steps; of which batch on which cores, and from which of its steps on.
        self._steps: Floats = np.empty(0)
        self._steps_of: tuple[tuple[int, int], int] = (-1, -1), 0

    # -- from the pool

    def put(self, request: Request, now: float) -> None:
        """A request that has arrived."""
        self.prompts.put(request)
        self._woken(now)

    def put_decoding(self, request: Request, now: float) -> None:
        """A request whose keys and values have arrived from another device; its blocks are taken already."""
        self.admitted[request.index] = request
        self.joining.append(request)
        self._woken(now)

    def wake(self, now: float) -> None:
        """Blocks have become free from outside."""
        if self.prompts and self.runner is None:
            self.next_seconds = now

    def free_blocks(self, now: float) -> int:
        """Blocks that somebody from outside may take."""
        return self.kv.free - (self.runner.owed(now) if self.runner else 0)

    def take(self, blocks: int, now: float) -> None:
        """Blocks for a cache that is coming."""
        if self.runner is not None:
            self.runner.cut(now)
            self.next_seconds = self.runner.next_seconds
        self.kv.grow(blocks)
        self.coming += 1

    def _woken(self, now: float) -> None:
        if self.runner is None:
            self.next_seconds = now
        else:
            self.runner.arrived(now)
            self.next_seconds = self.runner.next_seconds

    def turn(self, now: float) -> None:
        """Book what is over, and start what comes next."""
        self.counters.turns += 1
        if self.runner is None or self.runner.turn(now):
            self._begin(now)
        self.next_seconds = self.runner.next_seconds if self.runner else INFINITE

    def _begin(self, now: float) -> None:
        self.join()
        if not self.prompts and not self.decoding.sequences:
            self.runner = None
            return
        plan = self.planning.ask(now)
        self.runner = self.runner_for(plan)
        self.runner.begin(now, plan)
        if self.runner.next_seconds == INFINITE:
            self.runner = None

    def runner_for(self, plan: Plan) -> Runner:
        kind = self.kind_of(plan)
        if kind not in self._makers:
            self._makers[kind] = RUNNERS[kind](self)
        return self._makers[kind]

    @staticmethod
    def kind_of(plan: Plan) -> str:
        """Which runner carries a plan out."""
        if plan.mode == "split" and plan.steps:
            return "rounds"
        return "mixed" if plan.mode == "aggregated" else "lanes"

    # -- for runners

    def join(self) -> None:
        """Decode is between two steps: who waits for that joins, as many as there is room for."""
        step, before = self._joined
        joined = before if step == self.decoding.step else 0
        count = min(len(self.joining), self._room)
        if self.config.joins_per_step is not None and self.decoding.sequences:
            count = min(count, self.config.joins_per_step - joined)
        for request in self.joining[:count]:
            self.decoding.join(request)
        del self.joining[:count]
        self._joined = self.decoding.step, joined + count

    @property
    def joins(self) -> bool:
        """Whether anybody joins decode when its step under way is over."""
        return bool(self.joining) and self._room > 0

    @property
    def _room(self) -> int:
        """For how many more requests decode has room."""
        most = self.config.max_decoding
        return len(self.joining) if most is None else most - self.decoding.sequences

    def secure(self, now: float) -> bool:
        """Make room for decode's next step; True when requests had to be preempted for it, newest first."""
        needed = self.decoding.blocks(1)
        if needed <= self.kv.free:
            return False
        while needed > self.kv.free:
            newest = next(index for index in reversed(self.admitted) if index not in self.flying)
            self._preempt(self.admitted.pop(newest), now)
            needed = self.decoding.blocks(1)
        return True

    def _preempt(self, request: Request, now: float) -> None:
        if request.index in self.decoding.members:
            self.decoding.leave(request)
        elif request in self.joining:
            self.joining.remove(request)
        self.kv.release(request)
        self.prompts.put_back(request, now)
        request.preemptions += 1
        self.counters.preemptions += 1

    def chunks(self, budget: int, *, admit: bool = True) -> Chunks:
        """What the prompts put into the next iteration."""
        if not self.prompts:
            return NOTHING
        if budget <= 0:
            if self.decoding.sequences:
                return NOTHING
            budget = self.config.token_budget  # an engine with nothing else to do does not hold prompts back
        room = self.config.max_running - len(self.admitted) - self.coming if admit else 0
        chunks = self.prompts.fill(budget, room, self.kv, self.admitted)
        self.counters.kv_peak = max(self.counters.kv_peak, self.kv.used)
        return chunks

    def prompts_ran(self, chunks: Chunks, now: float) -> None:
        """An iteration with these chunks is over."""
        for request in self.prompts.ran(chunks, self.kv):
            request.token(now)
            if request.generated == 1:
                self.planning.view.window.first_token(request)
            if request.generated >= request.output:
                self._over(request)
            elif self.decodes:
                self.joining.append(request)
            else:
                self.handed.append(request)

    def decodes_ran(self) -> None:
        """Steps have been booked: take out who has its last token."""
        for request in self.decoding.finish():
            self._over(request)

    def _over(self, request: Request) -> None:
        self.leave(request)
        self.planning.view.window.finished(request)
        self.finished.append(request)

    def leave(self, request: Request) -> None:
        """Give the request's blocks back."""
        self.kv.release(request)
        del self.admitted[request.index]

    def all_requests(self) -> list[Request]:
        """Whoever is still here."""
        for request in list(self.decoding.members.values()):
            self.decoding.leave(request)
        return [*self.prompts.waiting, *self.admitted.values()]

    def decode_steps(self, cores: int, count: int) -> Floats:
        """Seconds of each of decode's next steps, alone on so many cores. A copy, for the caller to change."""
        first = self._forecast_steps(cores, count)
        return self._steps[first : first + count].copy()

    def decode_step(self, cores: int) -> float:
        """The same of the next one."""
        first = self._forecast_steps(cores, 1)
        return self._steps.item(first)

    def _forecast_steps(self, cores: int, count: int) -> int:
        """Makes sure that `_steps` has so many; the place of the first."""
        decoding = self.decoding
        batch, start = self._steps_of
        first = decoding.step - start
        if batch != (decoding.changes, cores) or first + count > len(self._steps):
            # A neighbour that starts or ends changes their pace alone, so some more will be wanted.
            ahead = max(count, min(_AHEAD, decoding.until_finish()))
            self._steps = self.forecaster.steps(cores, decoding.load, ahead)
            self._steps_of = (decoding.changes, cores), decoding.step
            return 0
        return first

    def decode_floor(self, cores: int) -> float:
        """The least that a decode step takes: the launch of its graph, or of its kernels where there is none."""
        graphs = self.config.graphs
        if not graphs or cores in graphs or cores == self.forecaster.cores:
            return self.config.graph_seconds
        return self.config.dispatch_seconds

    @property
    def blocked(self) -> bool:
        """Nobody who waits can be admitted before a request finishes."""
        full = len(self.admitted) + self.coming >= self.config.max_running
        return full or self.prompts.stuck(self.kv)

    @property
    def prompted(self) -> bool:
        """There are prompts to run, beyond what a lane has in flight."""
        prompts, flying = self.prompts, self.flying
        half = prompts.half_run
        if half and (not flying or any(one.target - one.computed > flying.get(one.index, 0) for one in half)):
            return True
        return bool(prompts.waiting) and not self.blocked


RUNNERS: dict[str, Callable[[Device], Runner]] = {"mixed": Mixed, "rounds": Rounds, "lanes": Lanes}
