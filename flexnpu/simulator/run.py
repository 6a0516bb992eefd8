# SPDX-License-Identifier: Apache-2.0
"""One trace under one policy, collected."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from flexnpu.errors import Refused
from flexnpu.planner import Policy, Targets
from flexnpu.simulator.arrival import Arrival, Finished, Watch
from flexnpu.simulator.config import EngineConfig
from flexnpu.simulator.engine import Simulation
from flexnpu.simulator.forecast import EngineForecaster
from flexnpu.simulator.results import Collector
from flexnpu.simulator.slo import Slo

Each = Callable[[Finished], None]


@dataclass(frozen=True, slots=True)
class Setup:
    """What all policies of a comparison have in common. `config.targets` are the SLO's: policies plan for them."""

    forecaster: EngineForecaster
    slo: Slo
    config: EngineConfig

    def for_policy(self, policy: Policy) -> EngineConfig:
        """The engine's settings; refuses a pool that the policy's layout cannot use."""
        prefill, decode = self.config.devices
        if policy.layout == "one device" or ":" not in policy.layout or (prefill and decode):
            return self.config
        raise Refused(
            f"policy {policy.name} runs prefill and decode on separate devices; the pool is {prefill}:{decode}",
            next_step="give --pool 1:1 or more, or leave the policy out",
        )


def run(  # noqa: PLR0913 - what is asked, and three ways to ask less
    trace: Iterable[Arrival],
    policy: Policy,
    setup: Setup,
    *,
    each: Each | None = None,
    hopeless: Callable[[Collector], bool] | None = None,
    watched: bool = True,
) -> Collector:
    """Simulates the trace to its end. `each` is called with every request that is over.

    hopeless: asked after each miss; True ends the run there, so that a search need not see a lost case through.
    watched: whether to keep what held over time, every token's gap and some of the plans, which an attainment does not
    need.
    """
    collector = Collector(setup.slo)
    watch = Watch(collector.sample, collector.plan, collector.gaps) if watched else Watch()
    for request in Simulation(trace, setup.forecaster, policy, setup.for_policy(policy), watch):
        collector.request(request)
        if each is not None:
            each(request)
        if hopeless is not None and hopeless(collector):
            break
    collector.series.advance(collector.end)
    return collector


def config_for(slo: Slo, config: EngineConfig | None = None, **changes: object) -> EngineConfig:
    """Engine settings whose targets are the SLO's."""
    return dataclasses.replace(config or EngineConfig(), targets=Targets(slo.ttft, slo.itl), **changes)  # type: ignore[arg-type]
