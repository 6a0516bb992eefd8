# SPDX-License-Identifier: Apache-2.0
"""The ways to run both engines that an experiment's runs will see, asked of its engines and of the simulator."""

from __future__ import annotations

from collections.abc import Sequence

from flexnpu.experiment.calibrate import Pace
from flexnpu.experiment.costs import Costs, Way, Ways, alone_of, costs_of_parted, costs_of_turns, on_top
from flexnpu.experiment.description import Experiment, Static
from flexnpu.experiment.report import Served
from flexnpu.experiment.session import Session
from flexnpu.experiment.simulated import policy_of_static, simulate
from flexnpu.experiment.stack import Quotas
from flexnpu.forecast import Forecaster
from flexnpu.planner import Split
from flexnpu.simulator import Arrival, EngineConfig

_HALF = Static("shares 50/50", None, 0.5)


class Measured:
    """config: of the simulator, without costs."""

    def __init__(
        self,
        session: Session,
        forecaster: Forecaster,
        config: EngineConfig,
        experiment: Experiment,
        modes: Sequence[str],
    ) -> None:
        self._session, self._forecaster, self._config = session, forecaster, config
        cores = forecaster.cores
        parted = Static("parted", Split(cores - cores // 2, cores // 2), None)
        baseline, halves = experiment.baseline, _HALF.quotas(cores)
        before_prefill = {**halves, "decode": halves["decode"]._replace(priority=1)}
        self._parted = self._way(parted, parted.quotas(cores))
        shared = baseline.decode_share is not None
        self._turns = self._way(baseline, baseline.quotas(cores)) if shared else None
        self._priority = self._way(_HALF, before_prefill) if "co-located" in modes else None

    def costs(self, load: Sequence[Arrival]) -> Ways:
        """With requests as `load` has them."""
        usual = alone_of(self._parted, self._config, load)
        parted = costs_of_parted(self._parted, self._config, load, usual)
        turns, priority = (self._of_turns(way, load, usual) for way in (self._turns, self._priority))
        return Ways(parted, turns, priority)

    def _of_turns(self, way: Way | None, load: Sequence[Arrival], usual: Pace) -> Costs | None:
        if way is None:
            return None
        return costs_of_turns(way, self._config, load, on_top(alone_of(way, self._config, load), usual))

    def _way(self, same: Static, quotas: Quotas) -> Way:
        policy = policy_of_static(same)

        def live(arrivals: Sequence[Arrival]) -> Sequence[Served]:
            return self._session.asked(quotas, arrivals)

        def simulated(arrivals: Sequence[Arrival], config: EngineConfig) -> Sequence[Served]:
            return simulate(same.name, arrivals, policy, self._forecaster, config).requests

        return Way(live, simulated)
