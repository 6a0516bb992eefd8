# SPDX-License-Identifier: Apache-2.0
"""A device, engines and a clock that stand in at the loop's seams."""

from dataclasses import dataclass, field, replace

from flexnpu.client import Step
from flexnpu.controller import Applied, CoresError, Decision, DeviceView, Endpoint, Outcome, Seams
from flexnpu.controller.seam import FollowError
from flexnpu.planner import Split

PREFILL = Endpoint("prefill", "http://127.0.0.1:1")
DECODE = Endpoint("decode", "http://127.0.0.1:2")


@dataclass
class FakeCores:
    """Keeps the split it is told, unless it is to refuse."""

    view: DeviceView = field(default_factory=lambda: DeviceView("Ascend910B2", 24, 1.0, Split(12, 12)))
    refusal: str | None = None
    gone: str | None = None
    moves: list[Split] = field(default_factory=list)

    def look(self):
        if self.gone:
            raise CoresError(self.gone)
        return self.view

    def move(self, split):
        if self.refusal or self.gone:
            raise CoresError(self.refusal or self.gone)
        self.moves.append(split)
        self.view = replace(self.view, split=split)
        return Applied(done=True, wall_seconds=0.003, revisions={"prefill": len(self.moves), "decode": len(self.moves)})


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
    unfollowed: FollowError | None = None
    records: list[Decision | Outcome] = field(default_factory=list)
    numbers: dict[str, int] = field(default_factory=dict)

    def read(self, urls):
        assert urls == [PREFILL.url, DECODE.url]
        return [self.prefill.page(), self.decode.page()]

    def fresh(self):
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
        return Seams(self.cores, self, lambda: self.wall, self.sleep, self.records.append, self)

    @property
    def decisions(self):
        return [record for record in self.records if isinstance(record, Decision)]

    @property
    def outcomes(self):
        return [record for record in self.records if isinstance(record, Outcome)]
