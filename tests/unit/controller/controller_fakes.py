# SPDX-License-Identifier: Apache-2.0
"""A device, engines and a clock that stand in at the loop's seams."""

from dataclasses import dataclass, field, replace
from types import SimpleNamespace

from flexnpu.client import Step
from flexnpu.controller import Applied, CoresError, Decision, DeviceView, Endpoint, Grant, Outcome, Seams, Service
from flexnpu.controller.seam import FollowError, Page
from flexnpu.planner import Split, Targets

PREFILL = Endpoint("prefill", "http://127.0.0.1:1")
DECODE = Endpoint("decode", "http://127.0.0.1:2")
EMBED = Endpoint("embed", "http://127.0.0.1:3")  # of another service


def pair(qwen, prefill=PREFILL, decode=DECODE, targets=None, **settings):
    """A service of one engine per phase."""
    targets = targets or Targets(ttft=1.0, itl=0.05)
    return Service("chat", qwen, targets, prefill=(prefill,), decode=(decode,), **settings)


def view(prefill=12, decode=12, *, cores=24, scale=1.0, **others):
    grants = {"prefill": Grant(prefill), "decode": Grant(decode)} | {
        name: Grant(count) for name, count in others.items()
    }
    return DeviceView((0,), "Ascend910B2", cores, scale, grants)


def split(grants):
    return Split(grants["prefill"].cores, grants["decode"].cores)


@dataclass
class FakeCores:
    """Keeps the cores it is told, unless it is to refuse. Views by device."""

    views: list[DeviceView] = field(default_factory=lambda: [view()])
    refusal: str | None = None
    away: str | None = None
    late: bool = False
    moves: list[dict[str, Grant]] = field(default_factory=list)

    def look(self):
        if self.away:
            raise CoresError(self.away)
        return list(self.views)

    def move(self, grants):
        if self.refusal or self.away:
            raise CoresError(self.refusal or self.away)
        after = [self._after(each, grants) for each in self.views]
        self.moves.append(dict(grants))
        self.views[:] = after
        revisions = {name: len(self.moves) for name in grants}
        return Applied(done=not self.late, wall_seconds=0.003, revisions=revisions)

    def _after(self, view, grants):
        """Refuses what a daemon would."""
        mine = {name: grant for name, grant in grants.items() if name in view.grants}
        if not mine:
            return view
        held = {**view.grants, **mine}
        alone = sum(grant.cores for grant in held.values() if grant.share is None)
        together = alone + max((grant.cores for grant in held.values() if grant.share is not None), default=0)
        if together > view.cores or min(grant.cores for grant in held.values()) < 1:
            raise CoresError(f"{held} do not fit {view.cores} cores")
        number = len(self.moves) + 1
        return replace(view, grants=held, pending={**view.pending, **dict.fromkeys(mine, number)} if self.late else {})

    @property
    def split(self):
        return split(self.views[0].grants)

    def forget(self, name):
        """That vNPU has ended."""
        for index, each in enumerate(self.views):
            kept = {other: grant for other, grant in each.grants.items() if other != name}
            pending = {other: number for other, number in each.pending.items() if other != name}
            self.views[index] = replace(each, grants=kept, pending=pending)


@dataclass
class FakeEngine:
    """An engine's page."""

    running: int = 0
    waiting: int = 0
    lengths: int | None = 2048
    prompt_tokens: int = 0
    prompts: int = 0
    itl_count: int = 0
    itl_sum: float = 0.0
    broken: Exception | None = None

    def page(self):
        if self.broken:
            return self.broken
        lines = [
            f'vllm:num_requests_running{{model_name="m",engine="0"}} {self.running}',
            f'vllm:num_requests_waiting{{model_name="m",engine="0"}} {self.waiting}',
            f'vllm:prompt_tokens_total{{model_name="m"}} {self.prompt_tokens}',
            f"vllm:time_to_first_token_seconds_count {self.prompts}",
            'vllm:inter_token_latency_seconds_bucket{le="+Inf"} 7',
            f"vllm:inter_token_latency_seconds_sum {self.itl_sum}",
            f"vllm:inter_token_latency_seconds_count {self.itl_count}",
        ]
        if self.lengths is not None:
            lines.append(f"pd:waiting_prompt_tokens {self.waiting * self.lengths}")
            lines.append(f"pd:running_context_tokens {self.running * self.lengths}")
        return "# TYPE vllm:num_requests_running gauge\n" + "\n".join(lines) + "\n"


@dataclass
class World:
    """Everything outside the loop, with a clock that only sleep moves."""

    cores: FakeCores = field(default_factory=FakeCores)
    prefill: FakeEngine = field(default_factory=FakeEngine)
    decode: FakeEngine = field(default_factory=FakeEngine)
    wall: float = 1000.0
    slept: list[float] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    unfollowed: dict[str, FollowError] = field(default_factory=dict)
    records: list[Decision | Outcome] = field(default_factory=list)
    numbers: dict[str, int] = field(default_factory=dict)

    pages: dict[str, FakeEngine] = field(default_factory=dict)

    def read(self):
        known = {PREFILL.url: self.prefill, DECODE.url: self.decode, **self.pages}
        return {url: Page(engine.page(), self.wall) for url, engine in known.items()}

    def fresh_steps(self):
        fresh, self.steps = self.steps, []
        return fresh, self.unfollowed

    def begin(self, vnpu, *, phase=None, requests=1, tokens=1, context=1, ago=0.0):
        """A step of that vNPU, which began so many wall seconds ago."""
        self.numbers[vnpu] = self.numbers.get(vnpu, 0) + 1
        told = {"vnpu": vnpu, "pid": 7, "number": self.numbers[vnpu], "ended": 0, "phase": phase or vnpu}
        told |= {"requests": requests, "new_tokens": tokens, "context_sum": context, "context_most": context}
        self.steps.append(Step(**told, graph=False, at_s=self.wall - ago))

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.wall += seconds

    def seams(self):
        scraper, follower = SimpleNamespace(fresh=self.read), SimpleNamespace(fresh=self.fresh_steps)
        return Seams(self.cores, lambda: self.wall, self.sleep, self.records.append, scraper, follower)

    @property
    def decisions(self):
        return [record for record in self.records if isinstance(record, Decision)]

    @property
    def outcomes(self):
        return [record for record in self.records if isinstance(record, Outcome)]
