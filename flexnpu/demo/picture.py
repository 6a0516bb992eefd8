# SPDX-License-Identifier: Apache-2.0
"""The result in one picture: who waited how long, and who held which cores when."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes

from flexnpu.demo.report import Run, Targets

_COLOURS = ("#8a8f98", "#d1495b")  # static, controller
_PREFILL, _DECODE, _QUEUE = "#2e86ab", "#f6ae2d", "#1b1b1e"


def draw(path: Path, runs: Sequence[Run], targets: Targets, scale: float) -> None:
    """Writes a PNG. Raises OSError when it cannot."""
    figure, axes = plt.subplots(2, 2, figsize=(11, 6.4), constrained_layout=True)
    ttft = [[request.ttft for request in run.finished] for run in runs]
    tpot = [[request.tpot * 1e3 for request in run.finished if request.tpot is not None] for run in runs]
    _distribution(axes[0][0], runs, ttft, targets.ttft, "time to first token, s")
    _distribution(axes[0][1], runs, tpot, targets.tpot * 1e3, "time per output token, ms")
    most = max((sample.waiting for run in runs for sample in run.cores), default=1)
    for axis, run in zip(axes[1], runs, strict=False):
        queue = _cores(axis, run, max(most, 1))
    end = max((sample.at for run in runs for sample in run.cores), default=1.0)
    for axis in axes[1]:
        axis.set_xlim(0, end)
    figure.legend(*_entries(axes[1][-1], queue), loc="outside lower center", ncols=3, frameon=False)
    figure.suptitle(
        "Prefill and decode of Qwen2.5-7B's shape on one Ascend910B2, Azure code trace\n"
        f"device time, modelled on the software NPU (clock slowed {scale:g} times)",
        fontsize=11,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="png", dpi=130)
    plt.close(figure)


def _distribution(axis: Axes, runs: Sequence[Run], values: list[list[float]], target: float, label: str) -> None:
    for run, numbers, colour in zip(runs, values, _COLOURS, strict=False):
        if numbers:
            ordered = np.sort(numbers)
            axis.step(
                ordered,
                np.arange(1, len(ordered) + 1) / len(ordered),
                where="post",
                color=colour,
                lw=2,
                label=run.policy,
            )
    axis.axvline(target, color="#444", ls=":", lw=1)
    axis.annotate("target", (target, 0.02), fontsize=8, color="#444", xytext=(3, 0), textcoords="offset points")
    axis.set(xlabel=label, ylabel="part of the requests", ylim=(0, 1.02))
    axis.set_xlim(left=0)
    axis.grid(alpha=0.25)
    axis.legend(frameon=False, loc="lower right")


def _cores(axis: Axes, run: Run, most_waiting: int) -> Axes:
    """Returns the second axis, which has the queue."""
    time = [sample.at for sample in run.cores]
    axis.stackplot(
        time,
        [sample.prefill for sample in run.cores],
        [sample.decode for sample in run.cores],
        colors=(_PREFILL, _DECODE),
        labels=("prefill", "decode"),
        alpha=0.85,
        step="post",
    )
    axis.set(xlabel="device time, s", ylabel="cores", title=run.policy, ylim=(0, 24))
    queue = axis.twinx()
    queue.step(
        time, [sample.waiting for sample in run.cores], where="post", color=_QUEUE, lw=1.2, label="waiting requests"
    )
    queue.set(ylim=(0, most_waiting * 1.1), ylabel="waiting requests")
    return queue


def _entries(cores: Axes, queue: Axes) -> tuple[list[Artist], list[str]]:
    handles, labels = cores.get_legend_handles_labels()
    more, names = queue.get_legend_handles_labels()
    return handles + more, labels + names
