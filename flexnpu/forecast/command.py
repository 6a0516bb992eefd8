# SPDX-License-Identifier: Apache-2.0
"""`flexnpu forecast`: one iteration of a model on some of a device's cores, operator by operator."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from flexnpu.forecast import calibration_file
from flexnpu.forecast.batch import ForecastError, Request
from flexnpu.forecast.breakdown import Forecast
from flexnpu.forecast.forecaster import Forecaster
from flexnpu.hardware import load_soc
from flexnpu.llm import ModelShape, Parallel
from flexnpu.llm.presets import find_config

_MOST_DIGITS = 12


def run_forecast(  # noqa: PLR0913 - one parameter per option of the command
    model: str | Path,
    device: str = "Ascend910B2",
    *,
    cores: int | None = None,
    prefill: Sequence[str] = (),
    decode: Sequence[str] = (),
    beside_cores: int | None = None,
    profile: str | Path | None = None,
    parallel: Parallel | None = None,
    weight_dtype: str | None = None,
    kv_dtype: str | None = None,
    as_json: bool = False,
    console: Console | None = None,
) -> Forecast:
    """Forecast prefill and decode as parse_prefill() and parse_decode() read them; see ask(). weight_dtype, kv_dtype:
    formats in place of those in the model's config.json."""
    known = calibration_file.load(profile) if profile is not None else None
    shape = ModelShape.from_config(find_config(model)[1], weights=weight_dtype, kv=kv_dtype)
    forecaster = Forecaster(shape, load_soc(device), known, parallel)
    prompts, running = [parse_prefill(text) for text in prefill], [parse_decode(text) for text in decode]
    result = ask(forecaster, prompts, running, cores=cores, beside_cores=beside_cores)
    console = console or Console()
    if as_json:
        console.print_json(json.dumps(as_dict(result, forecaster)))
    else:
        _show(result, forecaster, console)
    return result


def ask(
    forecaster: Forecaster,
    prompts: Sequence[Request],
    running: Sequence[Request],
    *,
    cores: int | None = None,
    beside_cores: int | None = None,
) -> Forecast:
    """Prompts and running requests as one iteration on `cores` (default: all), or the running ones beside the prompts,
    which have `beside_cores`."""
    if not prompts and not running:
        raise ForecastError("nothing to forecast; give --prefill TOKENS, --decode COUNTxCONTEXT or both")
    cores = forecaster.cores if cores is None else cores
    if beside_cores is None:
        return forecaster.forecast(cores, [*prompts, *running])
    if not prompts or not running:
        raise ForecastError("--beside-cores is the prefill's cores; give both --prefill and --decode with it")
    return forecaster.forecast(cores, running, beside=forecaster.forecast(beside_cores, prompts))


def parse_prefill(text: str) -> Request:
    """TOKENS, COUNTxTOKENS, TOKENS+CACHED or COUNTxTOKENS+CACHED."""
    found = re.fullmatch(r"(?:(\d+)x)?(\d+)(?:\+(\d+))?", text)
    if not found:
        raise ForecastError(f"--prefill {text!r}; it must be TOKENS, COUNTxTOKENS or TOKENS+CACHED, such as 4x2048")
    return _request(text, new=found[2], cached=found[3] or "0", copies=found[1] or "1")


def parse_decode(text: str) -> Request:
    """CONTEXT or COUNTxCONTEXT: tokens seen before the one that is made."""
    found = re.fullmatch(r"(?:(\d+)x)?(\d+)", text)
    if not found:
        raise ForecastError(f"--decode {text!r}; it must be CONTEXT or COUNTxCONTEXT, such as 64x4096")
    return _request(text, new="1", cached=found[2], copies=found[1] or "1")


def _request(text: str, **amounts: str) -> Request:
    if max(map(len, amounts.values())) > _MOST_DIGITS:
        raise ForecastError(
            f"{text[:20]!r}... has a number of over {_MOST_DIGITS} digits; amounts must be fewer tokens"
        )
    new, cached, copies = (int(amounts[name]) for name in ("new", "cached", "copies"))
    if new < 1 or copies < 1:
        raise ForecastError(f"{text!r} asks for {copies} x {new} tokens; both must be 1 or more")
    return Request(new, cached, copies)


def as_dict(result: Forecast, forecaster: Forecaster) -> dict[str, object]:
    """The forecast as JSON has it."""
    return {
        "soc": forecaster.soc.name,
        "model": forecaster.model.architecture,
        "tensor_parallel": forecaster.parallel.tensor,
        "expert_parallel": forecaster.parallel.expert,
        "weight_dtype": forecaster.model.weights,
        "kv_dtype": forecaster.model.kv_dtype,
        "weight_bytes": forecaster.part.weight_bytes,
        "kv_bytes_per_token": forecaster.part.kv_bytes_per_token,
        "cores": result.cores,
        "tokens": result.tokens,
        "seconds": result.seconds,
        "uncertainty": result.uncertainty,
        "calibrated": bool(forecaster.profile.series),
        "weights_fit": _over_memory(forecaster) is None,
        "notes": _notes(forecaster),
        "tokens_per_second": result.tokens_per_second,
        "operators": {
            name: {"seconds": seconds, "bound_by": result.bound_by[name]}
            for name, seconds in result.by_operator.items()
            if seconds > 0
        },
    }


def _notes(forecaster: Forecaster) -> list[str]:
    over = _over_memory(forecaster)
    return [*forecaster.notes, *([over] if over else [])]


def _over_memory(forecaster: Forecaster) -> str | None:
    """One line where a device cannot hold its part of the weights."""
    needed, held = forecaster.part.weight_bytes, forecaster.soc.hbm_bytes
    if needed <= held:
        return None
    return (
        f"warning: {needed / 1e9:.1f} GB of weights do not fit into the {held / 1e9:.1f} GB of {forecaster.soc.name}; "
        "share the model (--tensor-parallel, --expert-parallel) or quantise it (--weight-dtype)"
    )


def _show(result: Forecast, forecaster: Forecaster, console: Console) -> None:
    devices = forecaster.parallel.devices
    title = f"{forecaster.model.architecture} on {result.cores} of {forecaster.cores} cores of {forecaster.soc.name}"
    if devices > 1:
        title += f", each of {devices}"
    caption = f"modelled, not a measurement; iteration ± {result.uncertainty:.0%} (one standard deviation)"
    table = Table(title=title, caption=caption)
    table.add_column("operator")
    table.add_column("ms", justify="right")
    table.add_column("share", justify="right")
    table.add_column("bound by")
    for name, seconds in result.by_operator.items():
        if seconds > 0:
            table.add_row(name, f"{seconds * 1e3:.3f}", f"{seconds / result.seconds:.1%}", result.bound_by[name])
    table.add_section()
    table.add_row("iteration", f"{result.seconds * 1e3:.3f}", "", f"{result.tokens_per_second:,.0f} tokens/s")
    console.print(table)
    for note in _notes(forecaster):
        console.print(note, highlight=False)
