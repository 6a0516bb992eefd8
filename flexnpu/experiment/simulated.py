# SPDX-License-Identifier: Apache-2.0
"""The same requests in the simulator, under the engines' settings and the policy of the live run.

What the host costs is what was measured before the live run (calibrate.py); everything else is the forecast's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from flexnpu.controller.feasible import pair_minima
from flexnpu.controller.services import Settings
from flexnpu.experiment.calibrate import Calibration
from flexnpu.experiment.description import Experiment, Static
from flexnpu.experiment.report import Run, Served
from flexnpu.experiment.stack import BLOCK, CACHE_BLOCKS, MAX_BATCH, RUN_AHEAD, TOKEN_BUDGET
from flexnpu.forecast import Forecaster
from flexnpu.forecast.batch import Floats
from flexnpu.planner import Colocated, Instances, Looks, Plan, Policy, Snapshot, Split, Targets
from flexnpu.planner import Static as StaticSplit
from flexnpu.planner.plan import Explanation
from flexnpu.planner.snapshot import PhaseForecaster
from flexnpu.simulator import Arrival, EngineConfig, Finished, Simulation, Watch

_CONTROLLER = Settings()  # as `flexnpu controller` has them where nobody says otherwise


@dataclass(frozen=True, slots=True)
class _AsTold:
    """A policy that is told what `flexnpu controller` tells it: its own idea of what a move costs, and nothing of what
    the host takes in each iteration."""

    policy: Policy

    @property
    def name(self) -> str:
        return self.policy.name

    @property
    def layout(self) -> str:
        return self.policy.layout

    @property
    def looks(self) -> Looks:
        return getattr(self.policy, "looks", Looks.ALL)

    def plan(self, snapshot: Snapshot, forecaster: PhaseForecaster) -> Plan:
        told = replace(snapshot, switch_seconds=_CONTROLLER.switch_seconds, overhead=0.0)
        return self.policy.plan(told, forecaster)


@dataclass(frozen=True, slots=True)
class _Shares:
    """Both phases by turns on all cores. decode: its part of the time, which nothing moves."""

    decode: float
    name: str = "shares"
    layout: str = "one device"
    looks: ClassVar[Looks] = Looks.NOTHING

    def plan(self, snapshot: Snapshot, _forecaster: PhaseForecaster) -> Plan:
        both = Split(snapshot.device_cores, snapshot.device_cores)
        return Plan("shared", both, snapshot.budget, _not_explained, steps=0, weight=self.decode)


def _not_explained() -> Explanation:
    raise NotImplementedError("nobody asks why shares are what they are set to")


# What `flexnpu controller` plans with, by the planner's policy that is the same.
_MODES: dict[str, Policy] = {"split": _AsTold(Instances()), "co-located": _AsTold(Colocated())}


def policy_of(mode: str) -> Policy | None:
    """The planner's policy that a mode of `flexnpu controller` carries out; None where the simulator has none."""
    return _MODES.get(mode)


def policy_of_static(static: Static) -> Policy:
    if static.split is not None:
        return StaticSplit(decode=static.split.decode)
    assert static.decode_share is not None
    return _Shares(static.decode_share)


def engine_config(experiment: Experiment, calibration: Calibration, forecaster: Forecaster) -> EngineConfig:
    """As examples/pd_serving is started (stack.py), and as the controller sets its rules on this device."""
    cores, waits, targets = forecaster.cores, calibration.waits, Targets(experiment.ttft, experiment.tpot)
    return EngineConfig(
        targets=targets,
        token_budget=TOKEN_BUDGET,
        whole_prompts=True,
        max_running=2 * MAX_BATCH,
        max_decoding=min(MAX_BATCH, experiment.decode_batch),
        joins_per_step=1,
        kv_tokens=BLOCK * sum(CACHE_BLOCKS.values()),
        block_tokens=BLOCK,
        hash_tokens=BLOCK,
        prefix_caching=False,
        intake_seconds=calibration.intake / calibration.scale,
        launch_seconds=waits.decode,
        dispatch_seconds=max(0.0, calibration.host.prefill - calibration.intake) / calibration.scale,
        graph_seconds=calibration.host.decode / calibration.scale,  # no graphs: kernel by kernel
        switch_seconds=0.0,
        minima=pair_minima(targets, _CONTROLLER.margin, forecaster, cores),
        margin=_CONTROLLER.margin,
        idle_reserve=cores // 2,
    )


def under_controller(config: EngineConfig, forecaster: Forecaster) -> EngineConfig:
    """What is so of engines whose cores `flexnpu controller` moves: it reads their metrics once a period, and a prompt
    has other cores from the first layer on that is not launched yet. Launched are as many as run ahead, and what is
    left of the one that runs: half of it, on average."""
    launched = (RUN_AHEAD + 0.5) / forecaster.model.layers
    return replace(config, look_seconds=_CONTROLLER.period, launched_part=min(1.0, launched))


def simulate(
    name: str, arrivals: Sequence[Arrival], policy: Policy, forecaster: Forecaster, config: EngineConfig
) -> Run:
    """A run with every token's time, as a live one has them; without moves and cores over time."""
    last: list[Floats] = []  # gaps of the request that is told next

    def gaps(told: Sequence[Floats]) -> None:
        last[:] = told

    served: list[tuple[int, Served]] = []
    for request in Simulation(arrivals, forecaster, policy, config, Watch(gaps=gaps)):
        served.append((request.number, _served(request, last)))
        last.clear()
    served.sort(key=lambda each: each[0])
    return Run(name, tuple(request for _, request in served), ())


def _served(request: Finished, gaps: Sequence[Floats]) -> Served:
    if not request.completed:
        return Served(
            request.arrival, request.prompt, request.output, (), "dropped" if request.dropped else "unfinished"
        )
    times = request.first_token + np.concatenate(([0.0], *gaps)).cumsum()
    return Served(request.arrival, request.prompt, request.output, tuple(times.tolist()))
