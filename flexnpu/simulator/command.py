# SPDX-License-Identifier: Apache-2.0
"""`flexnpu simulate` and `flexnpu simulate capacity`: read, check, run, show, write."""

from __future__ import annotations

import contextlib
import csv
import signal
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import IO, Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from flexnpu.errors import InvalidValue, Refused
from flexnpu.files import shown
from flexnpu.forecast import Forecaster
from flexnpu.forecast.calibration_file import load as load_profile
from flexnpu.hardware import load_soc
from flexnpu.llm import ModelShape, Parallel
from flexnpu.llm.presets import find_config
from flexnpu.simulator import document as documents
from flexnpu.simulator.arrival import Finished
from flexnpu.simulator.capacity import STEPS, Answer, Search
from flexnpu.simulator.config import machine
from flexnpu.simulator.outputs import Outputs
from flexnpu.simulator.policies import ALL, Named, parse_policies
from flexnpu.simulator.report import page
from flexnpu.simulator.results import Collector
from flexnpu.simulator.run import Setup, config_for, run
from flexnpu.simulator.series import BUCKETS
from flexnpu.simulator.slo import parse_slo, possible
from flexnpu.simulator.tables import capacity_table, result_table
from flexnpu.simulator.traces import Totals, Trace, make_trace, totals

ATTAINMENTS = (0.9, 0.99)
SWEEP = tuple(STEPS * half // 2 for half in (-2, -1, 0, 1, 2))  # half to twice the rate
SWEPT = 2000  # requests at each rate of a sweep
_REQUEST_FIELDS = ("policy", *Finished._fields)


_ONE = Parallel()


@dataclass(frozen=True, slots=True)
class Question:
    """What the command was asked, as it was written."""

    traces: Sequence[str]
    formats: Sequence[str]
    model: str
    device: str
    policy: str
    slo: str
    itl_by: str = "mean"
    limits: Sequence[int] = ()
    rate_scales: Sequence[float] = ()
    profile: Path | None = None
    pool: str = "1"
    token_budget: int | None = None
    max_running: int | None = None
    parallel: Parallel = _ONE
    weight_dtype: str | None = None
    kv_dtype: str | None = None


@dataclass(frozen=True, slots=True)
class Case:
    """The same, read and checked."""

    trace: Trace
    policies: Sequence[Named]
    setup: Setup
    model: str
    forecaster: Forecaster
    forecast: str  # where its constants come from
    left_out: Sequence[str] = ()  # of "all", policies that the pool cannot run

    @classmethod
    def of(cls, question: Question) -> Case:
        """Raises flexnpu.errors for whatever cannot be meant; nothing has been run by then."""
        slo = parse_slo(question.slo, question.itl_by)
        policies = parse_policies(question.policy)
        trace = make_trace(question.traces, question.formats, question.limits, question.rate_scales)
        name, config_file = find_config(question.model)
        profile = load_profile(question.profile) if question.profile else None
        shape = ModelShape.from_config(config_file, weights=question.weight_dtype, kv=question.kv_dtype)
        forecaster = Forecaster(shape, load_soc(question.device), profile, question.parallel)
        given = {"token_budget": question.token_budget, "max_running": question.max_running}
        changes: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
        setup = Setup(forecaster, slo, config_for(slo, devices=parse_pool(question.pool), **changes))
        possible(slo, forecaster)
        setup.config.blocks(*machine(forecaster))  # refuses a model that leaves no room for a cache
        fit, left_out = _fitting(policies, setup, all_of_them=question.policy.strip() == ALL)
        return cls(trace, fit, setup, name, forecaster, forecast_of(question.profile, forecaster), left_out)

    def sampled(self, seconds: float) -> Setup:
        """The setup with samples that fill the buckets of a series of that length, at most 100 a second."""
        config = replace(self.setup.config, sample_seconds=min(max(seconds / (8 * BUCKETS), 0.01), 60.0))
        return replace(self.setup, config=config)

    def entries(self, trace: Trace, counted: Totals) -> dict[str, Any]:
        """The parts of the document that say what was asked."""
        soc, config, parallel = self.forecaster.soc, self.setup.config, self.forecaster.parallel
        blocks = config.blocks(*machine(self.forecaster))
        return {
            "model": {
                "name": shown(self.model),
                "architecture": self.forecaster.model.architecture,
                "weight_dtype": self.forecaster.model.weights,
                "kv_dtype": self.forecaster.model.kv_dtype,
            },
            "device": {
                "name": soc.name,
                "cores": soc.cube_cores,
                "pool": list(config.devices),
                # Each of the pool is as many devices that share the model.
                "tensor_parallel": parallel.tensor,
                "expert_parallel": parallel.expert,
                "pool_cores": soc.cube_cores * sum(config.devices),
            },
            "forecast": self.forecast,
            "slo": documents.slo_entry(self.setup.slo),
            "trace": documents.trace_entry(trace, counted),
            "engine": documents.engine_entry(config, blocks),
            "left_out": list(self.left_out),
        }

    def say_left_out(self, console: Console) -> None:
        """What "all" did not run, and why, in a line."""
        if self.left_out:
            devices = ":".join(str(count) for count in self.setup.config.devices if count)
            names = ", ".join(self.left_out)
            console.print(
                f"left out: {names}, with separate devices for prefill and decode; --pool {devices} has none "
                "(give 1:1 or more)",
                soft_wrap=True, markup=False, highlight=False,
            )  # fmt: skip


def _fitting(policies: Sequence[Named], setup: Setup, *, all_of_them: bool) -> tuple[list[Named], list[str]]:
    """The policies that the pool can run, and the names of the others; one that was asked for by name must."""
    fit, left_out = [], []
    for each in policies:
        try:
            setup.for_policy(each.policy)
            fits = each.on(setup.config.devices)
        except Refused:
            if not all_of_them:
                raise
            left_out.append(each.name)
        else:
            fit.append(fits)
    return fit, left_out


def forecast_of(profile: Path | None, forecaster: Forecaster) -> str:
    """In words, where a forecast's constants come from."""
    if profile is None:
        return "uncalibrated: data sheet and published constants"
    told = "calibrated" if forecaster.profile.series else "uncalibrated"
    return "; ".join([f"{told}: {shown(profile.name)}", *forecaster.notes])


def parse_pool(text: str) -> tuple[int, int]:
    """Devices of "2" (alike) or "1:1" (prefill and decode, where a policy tells them apart)."""
    first, _, second = text.partition(":")
    try:
        pool = int(first), int(second or 0)
    except ValueError:
        pool = (0, 0)
    if not 1 <= pool[0] <= 1024 or not 0 <= pool[1] <= 1024:
        raise InvalidValue(f"--pool {text!r} is no pool", next_step="give N or N:M devices of 1 to 1024, such as 1:1")
    return pool


# --- simulate ---------------------------------------------------------------------------------------------------------


def run_simulate(
    question: Question,
    *,
    json_file: Path | None = None,
    report_file: Path | None = None,
    requests_file: Path | None = None,
    console: Console | None = None,
) -> dict[str, Any]:
    """Simulates every policy, shows the table, writes what was asked for. Returns the JSON document."""
    console = console or _console()
    case = Case.of(question)
    with _interruptible(), Outputs([json_file, report_file, requests_file]) as outputs:
        counted = _counted(case.trace)
        rows = outputs.stream(requests_file) if requests_file else None
        runs = _run_all(case, case.trace, counted, rows)
        entries = [_entry(named, collector) for named, collector in runs]
        found = documents.head(**case.entries(case.trace, counted), policies=entries)
        if report_file is not None:
            found["curves"] = _sweep(case, question)
        console.print(result_table(found))
        case.say_left_out(console)
        _write(outputs, found, json_file, report_file)
    _say(console, [json_file, report_file, requests_file])
    return found


def _entry(named: Named, collector: Collector) -> dict[str, Any]:
    return documents.policy_entry(named.name, named.policy.layout, collector)


def _counted(trace: Trace) -> Totals:
    """Reads the whole trace once, so that a broken line ends the command before hours of simulation, not after."""
    with _progress() as progress:
        progress.add_task("reading the trace", total=None)
        return totals(trace)


def _run_all(case: Case, trace: Trace, counted: Totals, rows: IO[str] | None) -> list[tuple[Named, Collector]]:
    writer = csv.writer(rows, lineterminator="\n") if rows is not None else None
    if writer is not None:
        writer.writerow(_REQUEST_FIELDS)
    found = []
    setup = case.sampled(counted.seconds)
    with _progress() as progress:
        for named in case.policies:
            task = progress.add_task(named.name, total=counted.requests)

            def each(request: Finished, name: str = named.name, task: Any = task) -> None:  # noqa: ANN401 - rich's id
                progress.advance(task)
                if writer is not None:
                    writer.writerow([name, *request])

            found.append((named, run(trace, named.policy, setup, each=each)))
    return found


def _sweep(case: Case, question: Question) -> dict[str, Any]:
    """Goodput at half to twice the rate, on the first requests."""
    count = len(case.trace.parts)
    most = max(1, SWEPT // count)
    limits = [min(part.limit or most, most) for part in case.trace.parts]
    short = make_trace(question.traces, question.formats, limits, question.rate_scales)
    arrivals = list(short)
    rate = totals(short).rate
    if rate == float("inf"):
        return {}
    searches = []
    with _progress() as progress:
        task = progress.add_task("other rates", total=len(SWEEP) * len(case.policies))
        for named in case.policies:
            search = Search(arrivals, rate, named.policy, case.setup)
            for step in SWEEP:
                search.point(step)
                progress.advance(task)
            searches.append((named.name, search))
    note = f"The first {len(arrivals):,} requests of the load at half to twice its rate."
    return documents.curves_entry(note, searches)


# --- capacity ---------------------------------------------------------------------------------------------------------


def run_capacity(
    question: Question,
    *,
    attainments: Sequence[float] = ATTAINMENTS,
    json_file: Path | None = None,
    report_file: Path | None = None,
    console: Console | None = None,
) -> dict[str, Any]:
    """Searches the highest rate for every policy and attainment; then runs all at the best one's, for comparison."""
    console = console or _console()
    case = Case.of(question)
    for each in attainments:
        if not 0 < each <= 1:
            raise InvalidValue(f"--attainment {each:g} is out of range", next_step="give over 0 to 1, such as 0.99")
    with _interruptible(), Outputs([json_file, report_file]) as outputs:
        counted = _counted(case.trace)
        if counted.rate == float("inf"):
            raise InvalidValue(
                "the trace has no rate, since all its requests come at once", next_step="give more of it"
            )
        searches = _search_all(case, list(case.trace), counted.rate, sorted(attainments))
        best = max((answers[0].step or 0 for _, _, answers in searches if answers[0].rate), default=0)
        trace = case.trace.scaled(2 ** (best / STEPS))
        counted = totals(trace)
        runs = _run_all(case, trace, counted, None)
        found = documents.head(
            **case.entries(trace, counted),
            policies=[_entry(named, collector) for named, collector in runs],
            capacity=documents.capacity_entry(searches),
            curves=documents.curves_entry("Every rate that the search has run.", [each[:2] for each in searches]),
        )
        console.print(capacity_table(found))
        case.say_left_out(console)
        _write(outputs, found, json_file, report_file)
    _say(console, [json_file, report_file])
    return found


def _search_all(
    case: Case, arrivals: list[Any], rate: float, attainments: Sequence[float]
) -> list[tuple[str, Search, list[Answer]]]:
    found = []
    with _progress() as progress:
        for named in case.policies:  # each from the trace's own rate: none gets its answer from those before it
            task = progress.add_task(named.name, total=None)

            def told(factor: float, name: str = named.name, task: Any = task) -> None:  # noqa: ANN401 - rich's id
                progress.update(task, description=f"{name} at {rate * factor:.3g} requests/s")

            search = Search(arrivals, rate, named.policy, case.setup, told=told)
            answers = search.answers(attainments)
            progress.update(task, total=1, completed=1, description=named.name)
            found.append((named.name, search, answers))
    return found


# --- what both do -----------------------------------------------------------------------------------------------------


def _write(outputs: Outputs, found: dict[str, Any], json_file: Path | None, report_file: Path | None) -> None:
    if json_file is not None:
        outputs.stream(json_file).write(documents.to_json(found))
    if report_file is not None:
        outputs.stream(report_file).write(page(found))


def _say(console: Console, files: Sequence[Path | None]) -> None:
    for file in files:
        if file is not None:
            console.print(f"wrote {shown(file)}", soft_wrap=True, markup=False, highlight=False)


def _console() -> Console:
    """A log has no width of its own, so there a table gets the one it wants."""
    return Console(width=None if sys.stdout.isatty() else 150)


def _progress() -> Progress:
    """On stderr, and only where somebody looks on: a log gets the result alone."""
    return Progress(
        TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn(),
        console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty(),
    )  # fmt: skip


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """SIGTERM and SIGHUP end it as Ctrl-C does, so that nothing half written stays. What nohup ignores stays so."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    numbers = [each for each in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(each) is not signal.SIG_IGN]
    before = {number: signal.signal(number, interrupt) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
