# SPDX-License-Identifier: Apache-2.0
"""A recorded engine run beside a forecast: iterations of the seconds in which nothing but decoding happened.

From an LLMServingSim bench folder: timeseries.csv has, per second, prompt and generated tokens per second, running
requests and the part of the cache that is full; meta.json how many tokens the cache holds.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np

from flexnpu.forecast.batch import Floats
from flexnpu.forecast.forecaster import Forecaster
from flexnpu.forecast.load import Load
from flexnpu.forecast.tables.columns import read_columns
from flexnpu.forecast.tables.rows import TableError


class Quiet(NamedTuple):
    """Seconds without a prompt: requests that ran, keys in the cache, and what an iteration took."""

    sequences: Floats
    seen: Floats
    seconds: Floats
    waiting: Floats  # requests that waited: where some do, a preempted one may have been computed anew unseen

    def forecast(self, forecaster: Forecaster) -> Floats:
        """The same by a forecaster."""
        loads = (Load.decode(*each) for each in zip(self.sequences.tolist(), self.seen.tolist(), strict=True))
        return np.array([forecaster.seconds(forecaster.cores, load) for load in loads])


def quiet_seconds(folder: str | Path) -> Quiet:
    """TableError: the folder has no recording, or one without a second of decoding alone."""
    folder = Path(folder)
    series = read_columns(folder / "timeseries.csv")
    try:
        held = float(json.loads((folder / "meta.json").read_text(encoding="utf-8"))["kv_cache"]["num_kv_tokens"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TableError(f"{folder}/meta.json: kv_cache.num_kv_tokens cannot be read ({error!r})") from error
    running, made = series.numbers("running"), series.numbers("gen_throughput")
    full, prompts, waiting = (
        series.numbers("kv_cache_pct"),
        series.numbers("prompt_throughput"),
        series.numbers("waiting"),
    )
    # A sample is an instant, a rate the second before it: ends of a second that differ little make it steady.
    steady = (prompts[1:] == 0) & (made[1:] > 0) & (running[1:] > 0) & (np.abs(np.diff(running)) <= 1)
    if not steady.any():
        raise TableError(f"{folder}: no second in which requests were only decoded; record a longer run")
    sequences = (running[1:] + running[:-1])[steady] / 2.0
    seen = (full[1:] + full[:-1])[steady] / 200.0 * held
    return Quiet(sequences, np.maximum(seen, sequences), sequences / made[1:][steady], waiting[1:][steady])


def host_seconds(quiet: Quiet, forecaster: Forecaster) -> float:
    """What the engine's host adds to an iteration: the median of what is over, of seconds in which nobody waited."""
    calm = quiet.waiting == 0
    over = (quiet.seconds - quiet.forecast(forecaster))[calm if calm.any() else slice(None)]
    return max(0.0, float(np.median(over)))
