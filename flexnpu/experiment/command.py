# SPDX-License-Identifier: Apache-2.0
"""`flexnpu experiment run`: set up, calibrate, replay under each policy, simulate the same, report."""

from __future__ import annotations

import io
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from flexnpu.controller.config import read_options
from flexnpu.errors import InvalidValue
from flexnpu.experiment.arrivals import Arrivals, Estimate, arrivals_of
from flexnpu.experiment.calibrate import PROBE, Calibration, calibrate
from flexnpu.experiment.costs import Ways, with_costs
from flexnpu.experiment.description import Experiment, find, names
from flexnpu.experiment.device import software_forecaster
from flexnpu.experiment.document import Pair, Result, Setting, document, markdown
from flexnpu.experiment.live import result_table
from flexnpu.experiment.machine import machine
from flexnpu.experiment.picture import Panel, draw
from flexnpu.experiment.report import Run, summarise, to_json
from flexnpu.experiment.session import Session, ends_on_sigterm
from flexnpu.experiment.simulated import engine_config, policy_of, policy_of_static, simulate, under_controller
from flexnpu.experiment.stack import MAX_LEN, MODEL, SOC, Quota, Quotas, Stack
from flexnpu.experiment.ways import Measured
from flexnpu.files import shown
from flexnpu.forecast import Forecaster
from flexnpu.forecast import Load as Work
from flexnpu.llm import ModelShape
from flexnpu.planner import Policy
from flexnpu.simulator import EngineConfig
from flexnpu.simulator.outputs import Outputs

# Wall seconds of a whole run, and of one whose figures are too few to be worth much.
_FULL, _QUICK = 330.0, 40.0
_MEASURED_FOR = 25.0  # about, for each load: what engines cost each other
_BETWEEN = 4.0  # wall seconds that each replay needs beside its own: quotas, and a controller that starts and ends
_LEAST = 3.0  # wall seconds of one replay, where the time has run out
_TAIL = 0.8  # of a replay's time, in which its requests come; they are answered in the rest
# Of the clock, which is set under halves: on all cores a short prompt takes 1.7 times less, and is to be half again as
# long as the host needs for it.
_ROOM = 2.5


@dataclass(frozen=True, slots=True)
class Asked:
    """What the command was asked for. modes: of the controller, in place of the description's; trace: in place of the
    excerpt that ships."""

    name: str
    modes: Sequence[str] = ()
    trace: Path | None = None
    quick: bool = False
    json_file: Path | None = None
    markdown_file: Path | None = None
    png_file: Path | None = None


def list_experiments() -> None:
    """A line for each."""
    console, width = Console(), max(map(len, names()))
    for name in names():
        console.print(f"{name:<{width}}  {find(name).title}", soft_wrap=True, markup=False, highlight=False)


def run_experiment(asked: Asked) -> None:
    """Prints tables, and writes the files that are asked for. Raises flexnpu.errors; then no file is written."""
    began = time.monotonic()
    experiment = find(asked.name)
    if asked.trace is not None and not any(source.trace for load in experiment.loads for source in load.requests):
        raise InvalidValue(f"--trace {shown(asked.trace)}: {asked.name} has no trace", next_step="leave it out")
    # What cannot be run is found before anything starts.
    for mode in asked.modes:
        read_options({"prefill": "prefill", "decode": "decode", "model": MODEL, "mode": mode})
    console = Console(soft_wrap=not sys.stdout.isatty())
    forecaster = software_forecaster(ModelShape.from_config(MODEL), SOC)
    estimate = Estimate(forecaster, experiment.batch)
    for load in experiment.loads:
        arrivals_of(load, 1.0, estimate, MAX_LEN - 1, asked.trace)
    host = machine()
    with ends_on_sigterm(), Outputs([asked.json_file, asked.markdown_file, asked.png_file]) as outputs:
        runs = _Runs(experiment, asked, console, forecaster)
        calibration, results = runs.all(began + (_QUICK if asked.quick else _FULL))
        setting = Setting(
            soc=SOC,
            model=MODEL.stem,
            cores=forecaster.cores,
            quick=asked.quick,
            calibration=calibration,
            forecast=_forecast(forecaster),
            machine=host,
        )
        if asked.json_file is not None:
            outputs.stream(asked.json_file).write(to_json(document(experiment, setting, results)) + "\n")
        if asked.markdown_file is not None:
            picture = None
            if asked.png_file is not None:
                picture = os.path.relpath(asked.png_file, asked.markdown_file.parent)
            outputs.stream(asked.markdown_file).write(markdown(experiment, setting, results, picture))
        if asked.png_file is not None:
            _draw(outputs, asked.png_file, experiment, setting, results)
    for file in (asked.json_file, asked.markdown_file, asked.png_file):
        if file is not None:
            console.print(f"wrote {shown(file)}")


@dataclass(slots=True)
class _Runs:
    """Every policy under every load, on one stack."""

    experiment: Experiment
    asked: Asked
    console: Console
    forecaster: Forecaster

    @property
    def _modes(self) -> Sequence[str]:
        return self.asked.modes or self.experiment.modes

    def all(self, end: float) -> tuple[Calibration, list[Result]]:
        """end: when the last of them should be over, on time.monotonic()."""
        experiment, console = self.experiment, self.console
        console.print(f"{experiment.title}: a daemon on a software {SOC}, and two engines of {MODEL.stem} on it …")
        with Stack(_halves(self.forecaster.cores), experiment.decode_batch) as stack:
            console.print("measuring how fast this host's Python is beside the modelled device …")
            calibration = calibrate(stack.ports["prefill"], stack.state_file, _ROOM)
            session = Session(stack, calibration, console)
            session.tell()
            config = engine_config(experiment, calibration, self.forecaster)
            console.print("measuring what the engines cost each other …")
            measured = Measured(session, self.forecaster, config, experiment, self._modes)
            loads = self._loads(self._seconds(end - _MEASURED_FOR * len(experiment.loads), calibration.scale))
            costs = [measured.costs(load.requests) for load in loads]
            results = [self._under(load, session, config, each) for load, each in zip(loads, costs, strict=True)]
        return calibration, results

    def _seconds(self, end: float, scale: float) -> float:
        """Device seconds in which the requests of one replay come."""
        replays = len(self.experiment.loads) * (1 + len(self._modes))
        wall = max(_LEAST, (end - time.monotonic()) / replays - _BETWEEN)
        return _TAIL * wall / scale

    def _loads(self, seconds: float) -> list[Arrivals]:
        estimate = Estimate(self.forecaster, self.experiment.batch)
        loads = self.experiment.loads
        return [arrivals_of(load, seconds, estimate, MAX_LEN - 1, self.asked.trace) for load in loads]

    def _under(self, load: Arrivals, session: Session, config: EngineConfig, costs: Ways) -> Result:
        """Each policy under one load."""
        static, cores, targets = self.experiment.baseline, self.forecaster.cores, self.experiment.targets
        self.console.print(f"{load.name}: {len(load.requests)} requests in {load.seconds:.1f} s of device time")
        run = session.static(static.name, static.quotas(cores), load.requests)
        usual, moved = (with_costs(config, costs.parted, way) for way in (costs.turns, costs.turns_with_priority))
        pairs = [Pair(run, self._simulated(run, policy_of_static(static), load, usual))]
        moved = under_controller(moved, self.forecaster)
        for mode in self._modes:
            run = session.controlled(f"controller, {mode}", mode, _halves(cores), load.requests, targets)
            pairs.append(Pair(run, self._simulated(run, policy_of(mode), load, moved)))
        summaries = [summarise(pair.live, targets) for pair in pairs]
        self.console.print(result_table(summaries, targets, session.scale))
        return Result(load, costs, pairs)

    def _simulated(self, live: Run, policy: Policy | None, load: Arrivals, config: EngineConfig) -> Run | None:
        if policy is None:
            return None
        return simulate(live.policy, load.requests, policy, self.forecaster, config)


def _halves(cores: int) -> Quotas:
    """What the clock is set under, and what the controller begins with."""
    return {"prefill": Quota(cores - cores // 2), "decode": Quota(cores // 2)}


def _forecast(forecaster: Forecaster) -> dict[str, float]:
    """Of what the calibration asks for: a prompt, and a decode step in the middle of its answer."""
    quotas, context = _halves(forecaster.cores), PROBE.prompt + PROBE.output // 2
    return {
        "prefill": forecaster.seconds(quotas["prefill"].cores, Work.prefill(PROBE.prompt)),
        "decode": forecaster.seconds(quotas["decode"].cores, Work.decode(1, context)),
    }


def _draw(outputs: Outputs, file: Path, experiment: Experiment, setting: Setting, results: Sequence[Result]) -> None:
    panels = [Panel(result.load.name, [pair.live for pair in result.pairs]) for result in results]
    title = (
        f"{experiment.title}\n{setting.model}'s shape on one {setting.soc}: device time, modelled on the software NPU "
        f"(clock slowed {setting.calibration.scale:g} times)"
    )
    stream = outputs.stream(file)
    assert isinstance(stream, io.TextIOWrapper)
    draw(stream.buffer, panels, experiment.targets, setting.cores, title)
