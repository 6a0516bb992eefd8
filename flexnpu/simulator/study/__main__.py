# SPDX-License-Identifier: Apache-2.0
"""make bench-policies: python -m flexnpu.simulator.study [--quick] [--traces DIR] [--json FILE] [--markdown FILE]

Everything is simulated, so the figures are the same on any machine; only how long it takes is not.
Ended half-way, it goes on where it was with the same --keep FILE.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from flexnpu.errors import FlexNpuError, InvalidValue
from flexnpu.forecast import Forecaster
from flexnpu.forecast.calibration_file import load as load_profile
from flexnpu.hardware import load_soc
from flexnpu.llm import ModelShape, Parallel
from flexnpu.llm.presets import find_config
from flexnpu.planner import POLICIES
from flexnpu.simulator.command import forecast_of
from flexnpu.simulator.document import head, to_json
from flexnpu.simulator.outputs import Outputs
from flexnpu.simulator.slo import Slo
from flexnpu.simulator.study import duetserve, flexnpu
from flexnpu.simulator.study.capacities import Cell, Load, Place, as_json, place_cells, tally
from flexnpu.simulator.study.kept import Kept, digest_of
from flexnpu.simulator.study.pages import page
from flexnpu.simulator.study.runs import Finding
from flexnpu.simulator.traces import Trace, make_trace

AZURE, MOONCAKE = "azure_code_2023.csv", "mooncake_conversation_trace.jsonl"
MODELS, DEVICES = ("Qwen3-8B", "Qwen3-14B"), ("Ascend910B2", "H100")
SLOS = (Slo(0.5, 0.05), Slo(2.0, 0.1))
FLEXNPU_SLO = Slo(1.0, 0.05)  # the paper's targets
_DIE, _EXPERT_DEVICES = "Ascend910_9391", 32  # half of a 910C; how many the paper spread experts over, it does not say


@dataclass(frozen=True, slots=True)
class Size:
    """How much is run: requests of each trace, of the DuetServe backlog, of each FlexNPU load, and per device."""

    requests: int
    duetserve: int
    flexnpu: int
    disaggregation: int


FULL, QUICK = Size(1000, 1000, 190, 1000), Size(150, 150, 190, 200)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. 0, or the exit code of what went wrong, in one line on stderr."""
    options = _parser().parse_args(arguments)
    try:
        return _run(options)
    except FlexNpuError as error:
        print(f"flexnpu: error: {' '.join(str(error).split())}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130


def _run(options: argparse.Namespace) -> int:
    size = QUICK if options.quick else FULL
    if options.requests is not None:
        size = replace(size, requests=options.requests, duetserve=options.requests)
    traces = _folder(options.traces)
    profiles = dict(_profile(text) for text in options.profile)
    started = time.monotonic()
    inputs = [traces / AZURE, traces / MOONCAKE, *profiles.values()]
    kept = Kept(options.keep, digest_of(inputs)) if options.keep else Kept()
    with Outputs([options.json, options.markdown]) as outputs:
        study = _Study(size, traces, profiles, kept, started)
        cells: list[Cell] = []
        for group in _all_cells(study, options.workers):
            cells += group
        findings: list[Finding] = []
        for finding in _findings(study):
            findings.append(finding)
            _tell(f"{finding.title}: done", started)
        text = page(cells, findings, _setting(size), _command(options))
        if options.json is not None:
            outputs.stream(options.json).write(to_json(_document(cells, findings, size)))
        if options.markdown is not None:
            outputs.stream(options.markdown).write(text)
        print(text)
    return 0


def _setting(size: Size) -> str:
    return (
        f"Loads are the first {size.requests:,} requests of each trace. The phase change plays Azure's code, then "
        "Mooncake's\n  conversations, each at the rate that chunked prefill can serve of it alone."
    )


def _command(options: argparse.Namespace) -> str:
    """What was asked, without places of this machine."""
    words = ["python -m flexnpu.simulator.study"]
    words += ["--quick"] if options.quick else []
    words += [f"--requests {options.requests}"] if options.requests is not None else []
    words += [f"--profile {text.partition('=')[0]}={Path(text).name}" for text in options.profile]
    return f"`{' '.join(words)}`"


def _document(cells: Sequence[Cell], findings: Sequence[Finding], size: Size) -> dict[str, Any]:
    return head(
        requests=size.requests,
        tally=tally(cells),
        cells=[as_json(cell) for cell in cells],
        findings=[
            {"title": f.title, "published": f.published, "verdict": list(f.verdict), **f.figures} for f in findings
        ],
    )


# --- what is run ------------------------------------------------------------------------------------------------------


def loads(traces: Path, requests: int) -> list[Load]:
    """Azure's code, Mooncake's conversations, and the change from one to the other."""
    azure, mooncake = str(traces / AZURE), str(traces / MOONCAKE)
    both = make_trace([azure, mooncake], ["azure", "mooncake"], [requests])
    return [
        Load("azure code", _single(azure, "azure", requests)),
        Load("mooncake", _single(mooncake, "mooncake", requests)),
        Load("azure, then mooncake", both, ("azure code", "mooncake")),
    ]


def _single(file: str, form: str, requests: int) -> Trace:
    return make_trace([file], [form], [requests])


def _place(model: str, device: str, slo: Slo, profiles: Mapping[str, Path]) -> Place:
    file = profiles.get(device.casefold())
    profile = load_profile(file) if file else None
    forecaster = Forecaster(ModelShape.from_config(find_config(model)[1]), load_soc(device), profile)
    return Place(model, device, slo, forecaster, forecast_of(file, forecaster))


def _experts_place() -> Place:
    """DeepSeek-R1 in 8 bits, as the paper ran it: a device is one of those that share the experts."""
    model = ModelShape.from_config(find_config("DeepSeek-R1")[1], weights="int8")
    forecaster = Forecaster(model, load_soc(_DIE), parallel=Parallel(expert=_EXPERT_DEVICES))
    name = f"DeepSeek-R1, int8, experts over {_EXPERT_DEVICES} dies"
    return Place(name, _DIE, FLEXNPU_SLO, forecaster, forecast_of(None, forecaster))


@dataclass(frozen=True, slots=True)
class _Study:
    """What is run, and what is known of it."""

    size: Size
    traces: Path
    profiles: Mapping[str, Path]
    kept: Kept
    started: float


def _all_cells(study: _Study, workers: int) -> Iterator[list[Cell]]:
    asked = [(study, model, device, slo) for device in DEVICES for model in MODELS for slo in SLOS]
    if workers == 1:
        yield from map(_cells_of, asked)
        return
    with ProcessPoolExecutor(workers) as pool:
        yield from pool.map(_cells_of, asked)


def _cells_of(asked: tuple[_Study, str, str, Slo]) -> list[Cell]:
    study, model, device, slo = asked
    place = _place(model, device, slo, study.profiles)
    cells = []
    for cell in place_cells(place, loads(study.traces, study.size.requests), list(POLICIES), study.kept):
        cells.append(cell)
        _tell(f"{model} on {device}, {slo}, {cell.load}: done", study.started)
    return cells


def _findings(study: _Study) -> Iterator[Finding]:
    size = study.size
    mooncake = list(_single(str(study.traces / MOONCAKE), "mooncake", size.duetserve))

    def found(name: str, size: int, make: Callable[[], Finding]) -> Finding:
        return Finding(*study.kept.get(f"{name} {size}", make))

    for model in MODELS:
        place = _place(model, "H100", SLOS[1], study.profiles)
        yield found(f"duetserve {model}", size.duetserve, lambda: duetserve.finding(place, mooncake))  # noqa: B023 - called at once
    small = _place("Qwen2.5-7B", "Ascend910B2", FLEXNPU_SLO, study.profiles)
    yield found("co-location", size.flexnpu, lambda: flexnpu.co_location(small, size.flexnpu))
    large = _experts_place()
    yield found("disaggregation", size.disaggregation, lambda: flexnpu.disaggregation(large, size.disaggregation))


# --- the command line -------------------------------------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m flexnpu.simulator.study", description=(__doc__ or "").splitlines()[2]
    )
    parser.add_argument("--quick", action="store_true", help="one model and few requests: minutes")
    parser.add_argument("--requests", type=_count, help="requests of each trace, instead")
    parser.add_argument("--traces", type=Path, help=f"folder of {AZURE} and {MOONCAKE} [$FLEXNPU_TRACES]")
    parser.add_argument("--profile", action="append", default=[], metavar="DEVICE=FILE", help="calibrated forecast")
    parser.add_argument("--workers", type=int, choices=(1, 2), default=1, help="processes")
    parser.add_argument("--keep", type=Path, metavar="FILE", help="go on with what is there; add what is worked out")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the tables there")
    return parser


def _count(text: str) -> int:
    value = int(text)
    if not 50 <= value <= 10**6:
        raise argparse.ArgumentTypeError(f"{value} is out of range; give 50 to 1000000")
    return value


def _folder(given: Path | None) -> Path:
    folder = given or (Path(named) if (named := os.environ.get("FLEXNPU_TRACES")) else None)
    if folder is None:
        raise InvalidValue("no folder of traces is given", next_step="give --traces DIR or set FLEXNPU_TRACES")
    for name in (AZURE, MOONCAKE):
        if not (folder / name).is_file():
            raise InvalidValue(f"{folder} has no {name}", next_step="docs/policies.md says where the traces are from")
    return folder


def _profile(text: str) -> tuple[str, Path]:
    device, equals, file = text.partition("=")
    if not equals:
        raise InvalidValue(f"--profile {text!r} names no device", next_step="write it like H100=h100.yaml")
    return load_soc(device).name.casefold(), Path(file)


def _tell(what: str, started: float) -> None:
    print(f"{time.monotonic() - started:6.0f} s  {what}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
