# SPDX-License-Identifier: Apache-2.0
"""The results of an experiment as JSON and as Markdown; docs/experiments.md names the fields. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from flexnpu.experiment.arrivals import Arrivals
from flexnpu.experiment.calibrate import Calibration
from flexnpu.experiment.costs import Costs, Ways
from flexnpu.experiment.description import Experiment
from flexnpu.experiment.report import (
    LATENCIES,
    MODELLED,
    Run,
    Spread,
    Summary,
    Targets,
    moves,
    ms,
    run_entry,
    summarise,
)

SCHEMA = "flexnpu.experiment/1"
RAN = (
    "two unmodified engines of examples/pd_serving with torch and torch_npu under flexnpu run, flexnpud, flexnpu "
    "controller, an open-loop client over HTTP, on this machine's operating system"
)
SKIPPED = (
    "the model's mathematics: weights and caches are allocated and never touched, outputs are as long as the load says"
)
AIM = 10.0  # per cent
_COMPARED = ("ttft", "tpot", "tokens_per_second")
_NOT_SIMULATED = ("cores", "moves", "moves_unapplied", "applied_wall")


@dataclass(frozen=True, slots=True)
class Pair:
    """A run, and the same in the simulator, where it has the policy."""

    live: Run
    simulated: Run | None


@dataclass(frozen=True, slots=True)
class Result:
    """A load, and what each policy made of it."""

    load: Arrivals
    costs: Ways  # as measured with requests of this load
    pairs: Sequence[Pair]


@dataclass(frozen=True, slots=True)
class Setting:
    """What all runs have in common. machine: see machine.py."""

    soc: str
    model: str
    cores: int
    quick: bool
    calibration: Calibration
    forecast: Mapping[str, float]  # device seconds of what `calibration.device` measured, by the forecast
    machine: Mapping[str, str | int | float]


def document(experiment: Experiment, setting: Setting, results: Sequence[Result]) -> dict[str, Any]:
    """The JSON."""
    targets = experiment.targets
    return {
        "schema": SCHEMA,
        "experiment": experiment.name,
        "title": experiment.title,
        "published": experiment.published,
        "scaling": experiment.scaling,
        "modelled": MODELLED,
        "ran": RAN,
        "skipped": SKIPPED,
        "setting": asdict(setting),
        "targets": asdict(targets),
        "loads": [_load_entry(result, targets) for result in results],
    }


def _load_entry(result: Result, targets: Targets) -> dict[str, Any]:
    load = result.load
    return {
        "name": load.name,
        "requests": len(load.requests),
        "left_out": load.left_out,
        "seconds": load.seconds,
        "work": load.work,
        "mean_prompt": sum(each.prompt for each in load.requests) / len(load.requests),
        "mean_output": sum(each.output for each in load.requests) / len(load.requests),
        "costs": asdict(result.costs),
        "runs": [_pair_entry(pair, targets) for pair in result.pairs],
    }


def _pair_entry(pair: Pair, targets: Targets) -> dict[str, Any]:
    entry = run_entry(pair.live, targets)
    entry["simulated"] = entry["difference"] = None
    if pair.simulated is not None:
        simulated = summarise(pair.simulated, targets)
        figures = asdict(simulated)
        entry["simulated"] = {name: figures[name] for name in figures if name not in _NOT_SIMULATED}
        entry["difference"] = differences(summarise(pair.live, targets), simulated)
    return entry


def differences(live: Summary, simulated: Summary) -> dict[str, float | None]:
    """By how many per cent the simulator's figure is over the live one: mean TTFT, mean TPOT, tokens per second."""
    found: dict[str, float | None] = {}
    for name in _COMPARED:
        is_, was = (_mean(getattr(summary, name)) for summary in (simulated, live))
        found[name] = 100 * (is_ / was - 1) if is_ is not None and was else None
    return found


def _mean(figure: Spread | float) -> float | None:
    return figure.mean if isinstance(figure, Spread) else figure


# --- Markdown ---------------------------------------------------------------------------------------------------------


def markdown(experiment: Experiment, setting: Setting, results: Sequence[Result], picture: str | None = None) -> str:
    """The same for people. picture: a file's name beside it."""
    return "\n".join(_lines(experiment, setting, results, picture)) + "\n"


def _lines(experiment: Experiment, setting: Setting, results: Sequence[Result], picture: str | None) -> Iterator[str]:
    machine, calibration, targets = setting.machine, setting.calibration, experiment.targets
    host, device = calibration.host, calibration.device
    yield f"# {experiment.title}"
    yield ""
    quick = " --quick" if setting.quick else ""
    yield f"`flexnpu experiment run {experiment.name}{quick}`, {machine['date']}."
    yield ""
    yield f"**Published.** {experiment.published}"
    yield ""
    yield f"**Scaled down.** {experiment.scaling}"
    yield ""
    yield (
        f"**Modelled**: device time, of {setting.model}'s shape on one {setting.soc}, {setting.cores} cores; all "
        f"latencies below are of that model, not of an NPU. **Ran**: {RAN}. **Skipped**: {SKIPPED}."
    )
    yield ""
    yield (
        f"{calibration.scale:g} wall seconds made one device second: a decode step takes {ms(host.decode)} of Python "
        f"and {ms(device.decode)} of the device (forecast {ms(setting.forecast['decode'])}), a prompt of 256 tokens "
        f"{ms(host.prefill)} and {ms(device.prefill)} ({ms(setting.forecast['prefill'])}); of many requests at once "
        f"Python takes {ms(calibration.intake)} to take each in. {machine['processor']}, "
        f"{machine['cores']} cores, load {machine['load']} when it began, {machine['system']}, Python "
        f"{machine['python']}, torch {machine['torch']}."
    )
    if picture is not None:
        yield ""
        yield f"![Time to first token, time per output token, and who held which cores]({picture})"
    for result in results:
        yield ""
        yield from _load_lines(result, targets)
    yield ""
    yield from _compared_lines(results, targets)


def _costs_line(costs: Ways) -> str:
    said = [f"{_times(costs.parted)} on parted cores"]
    for name, turns in (("in turns", costs.turns), ("in turns in which decode goes first", costs.turns_with_priority)):
        if turns is not None:
            alone = f"{ms(turns.alone.prefill)} and {ms(turns.alone.decode)}"
            said.append(f"{_times(turns)} {name}, which cost {alone} where the other is idle")
    return (
        "Measured before the runs, and given to the simulator: a prompt and a decode step beside each other take "
        f"{'; '.join(said)}."
    )


def _times(costs: Costs) -> str:
    return f"{costs.beside.prefill:.2f} and {costs.beside.decode:.2f} times what the simulator makes of them"


def _load_lines(result: Result, targets: Targets) -> Iterator[str]:
    load = result.load
    summaries = [summarise(pair.live, targets) for pair in result.pairs]
    left_out = f" ({load.left_out} that do not fit the engine left out)" if load.left_out else ""
    yield f"## {load.name}: {len(load.requests)} requests{left_out}"
    yield ""
    yield f"| | {' | '.join(summary.policy for summary in summaries)} |"
    yield f"|---|{'---|' * len(summaries)}"
    for name, label in LATENCIES.items():
        spreads = [getattr(summary, name) for summary in summaries]
        yield _row(f"{label}, mean / p50 / p99", [_three(spread) for spread in spreads])
    yield _row("output tokens/s", [f"{summary.output_tokens_per_second:,.0f}" for summary in summaries])
    yield _row("requests/s", [f"{summary.requests_per_second:.2f}" for summary in summaries])
    wanted = f"TTFT ≤ {targets.ttft:g} s, TPOT ≤ {targets.tpot * 1e3:g} ms"
    yield _row(f"goodput, requests/s ({wanted})", [f"{summary.goodput:.2f}" for summary in summaries])
    yield _row("attainment", [f"{summary.attainment:.0%}" for summary in summaries])
    yield _row("finished", [f"{summary.finished} of {summary.requests}" for summary in summaries])
    cores = [f"{summary.cores['prefill']:.1f} / {summary.cores['decode']:.1f}" for summary in summaries]
    yield _row("cores prefill / decode, mean", cores)
    yield _row("moves (p50 until applied, wall)", [moves(summary) for summary in summaries])
    yield ""
    yield _costs_line(result.costs)


def _compared_lines(results: Sequence[Result], targets: Targets) -> Iterator[str]:
    yield "## Beside the simulator"
    yield ""
    yield (
        "The same requests in `flexnpu.simulator`, with the engines' settings and the measured cost of the host; the "
        f"aim is {AIM:g} %. Live, simulated, and by how much the simulator is over it:"
    )
    yield ""
    yield "| load, policy | TTFT mean | | TPOT mean | | tokens/s | |"
    yield "|---|---|---|---|---|---|---|"
    for result in results:
        for pair in result.pairs:
            yield _row(f"{result.load.name}, {pair.live.policy}", _compared(pair, targets))


def _compared(pair: Pair, targets: Targets) -> list[str]:
    if pair.simulated is None:
        return ["the simulator has no such policy", *[""] * 5]
    live, simulated = (summarise(run, targets) for run in (pair.live, pair.simulated))
    off = differences(live, simulated)
    cells = []
    for name in _COMPARED:
        both = [getattr(summary, name) for summary in (live, simulated)]
        shown = (ms(one.mean) if isinstance(one, Spread) else f"{one:,.0f}" for one in both)
        difference = off[name]
        cells += [", ".join(shown), "-" if difference is None else f"{difference:+.1f} %"]
    return cells


def _row(label: str, cells: Sequence[str]) -> str:
    return f"| {label} | {' | '.join(cells)} |"


def _three(spread: Spread) -> str:
    return " / ".join(ms(value) for value in (spread.mean, spread.p50, spread.p99))
