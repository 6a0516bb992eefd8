# SPDX-License-Identifier: Apache-2.0
"""Results in a picture: who waited how long, and who held which cores when. A row, or two, for each load."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes

from flexnpu.experiment.report import Run, Targets

_COLOURS = ("#8a8f98", "#d1495b", "#2e86ab", "#66a182", "#8d6a9f")  # static, then the controller's modes
_PREFILL, _DECODE, _QUEUE = "#2e86ab", "#f6ae2d", "#1b1b1e"


@dataclass(frozen=True, slots=True)
class Panel:
    """A load, and what each policy made of it."""

    name: str
    runs: Sequence[Run]


def draw(file: IO[bytes], panels: Sequence[Panel], targets: Targets, cores: int, title: str) -> None:
    """Writes a PNG; `cores` are the device's."""
    policies = max(len(panel.runs) for panel in panels)
    alone = len(panels) == 1
    rows, columns = (2, max(2, policies)) if alone else (len(panels), 2 + policies)
    height = 6.4 if alone else 1.0 + 2.6 * rows
    figure, axes = plt.subplots(rows, columns, figsize=(5.5 * columns, height), squeeze=False, layout="constrained")
    for index, panel in enumerate(panels):
        mine = [*axes[0][:2], *axes[1]] if alone else list(axes[index])
        for spare in axes[0][2:] if alone else ():
            spare.remove()
        entries = _panel(panel, mine, targets, cores, "" if alone else f"{panel.name}: ")
    figure.legend(*entries, loc="outside lower center", ncols=3, frameon=False)
    figure.suptitle(title, fontsize=11)
    figure.savefig(file, format="png", dpi=130 if alone else 90)
    plt.close(figure)


def _panel(
    panel: Panel, axes: Sequence[Axes], targets: Targets, cores: int, prefix: str
) -> tuple[list[Artist], list[str]]:
    """Both distributions, then each policy's cores. Returns what the legend of the cores says."""
    ttft = [[request.ttft for request in run.finished] for run in panel.runs]
    tpot = [[request.tpot * 1e3 for request in run.finished if request.tpot is not None] for run in panel.runs]
    _distribution(axes[0], panel.runs, ttft, targets.ttft, f"{prefix}time to first token, s")
    _distribution(axes[1], panel.runs, tpot, targets.tpot * 1e3, f"{prefix}time per output token, ms")
    most = max((sample.waiting for run in panel.runs for sample in run.cores), default=1)
    end = max((sample.at for run in panel.runs for sample in run.cores), default=1.0)
    entries: tuple[list[Artist], list[str]] = [], []
    for axis, run in zip(axes[2:], panel.runs, strict=False):
        entries = _cores(axis, run, cores, max(most, 1))
        axis.set_xlim(0, end)
    return entries


def _distribution(axis: Axes, runs: Sequence[Run], values: list[list[float]], target: float, label: str) -> None:
    for run, numbers, colour in zip(runs, values, _COLOURS, strict=False):
        if numbers:
            parts = np.arange(1, len(numbers) + 1) / len(numbers)
            axis.step(np.sort(numbers), parts, where="post", color=colour, lw=2, label=run.policy)
    axis.axvline(target, color="#444", ls=":", lw=1)
    axis.annotate("target", (target, 0.02), fontsize=8, color="#444", xytext=(3, 0), textcoords="offset points")
    axis.set(xlabel=label, ylabel="part of the requests", ylim=(0, 1.02))
    axis.set_xlim(left=0)
    axis.grid(alpha=0.25)
    if any(values):
        axis.legend(frameon=False, loc="lower right")


def _cores(axis: Axes, run: Run, cores: int, most_waiting: int) -> tuple[list[Artist], list[str]]:
    time = [sample.at for sample in run.cores]
    held = [sample.prefill for sample in run.cores], [sample.decode for sample in run.cores]
    axis.stackplot(time, *held, colors=(_PREFILL, _DECODE), labels=("prefill", "decode"), alpha=0.85, step="post")
    axis.set(xlabel="device time, s", ylabel="cores", title=run.policy, ylim=(0, cores))
    queue = axis.twinx()
    waiting = [sample.waiting for sample in run.cores]
    queue.step(time, waiting, where="post", color=_QUEUE, lw=1.2, label="waiting requests")
    queue.set(ylim=(0, most_waiting * 1.1), ylabel="waiting requests")
    handles, labels = axis.get_legend_handles_labels()
    more, names = queue.get_legend_handles_labels()
    return handles + more, labels + names
