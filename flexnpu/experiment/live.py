# SPDX-License-Identifier: Apache-2.0
"""What a person sees meanwhile: a live table on a terminal, a line every few seconds elsewhere."""

from __future__ import annotations

import time
from collections.abc import Sequence

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from flexnpu.experiment.replay import Replay
from flexnpu.experiment.report import LATENCIES, Cores, Run, Spread, Summary, Targets, moves, ms, summarise

_LINE_EVERY = 5.0  # wall seconds


class Progress:
    """Follows one replay. Use as a context manager; call it with each sample."""

    def __init__(self, console: Console, policy: str, total: int) -> None:
        self._console = console
        self._policy = policy
        self._total = total
        self._live = Live(console=console, refresh_per_second=4, transient=True) if console.is_terminal else None
        self._next_line = 0.0

    def __enter__(self) -> Progress:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def __call__(self, replay: Replay, sample: Cores) -> None:
        if self._live is not None:
            self._live.update(self._picture(replay, sample))
        elif time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + _LINE_EVERY
            done = len(replay.served)
            self._console.print(
                f"{self._policy}: {sample.at:6.1f} s  answered {done}/{self._total}  waiting {sample.waiting}  "
                f"running {sample.running}  cores {sample.prefill:g}/{sample.decode:g}"
            )

    def _picture(self, replay: Replay, sample: Cores) -> Group:
        served = replay.served
        run = Run(self._policy, served, ())
        table = Table(title=f"{self._policy}: {sample.at:.1f} s of device time (modelled)", title_justify="left")
        for name in ("sent", "answered", "waiting", "running", "prefill cores", "decode cores", "TTFT p50", "TPOT p50"):
            table.add_column(name, justify="right")
        summary = summarise(run, Targets()) if served else None
        table.add_row(
            f"{replay.sent}/{self._total}",
            str(len(served)),
            str(sample.waiting),
            str(sample.running),
            _bar(sample.prefill, sample.prefill + sample.decode),
            _bar(sample.decode, sample.prefill + sample.decode),
            ms(summary.ttft.p50 if summary else None),
            ms(summary.tpot.p50 if summary else None),
        )
        return Group(table, ProgressBar(total=self._total, completed=len(served), width=60), Text())


def result_table(summaries: Sequence[Summary], targets: Targets, scale: float) -> Table:
    """The closing table, a column per policy."""
    table = Table(
        title="Device time, modelled on the software NPU", caption=f"{scale:g} wall seconds made one device second"
    )
    table.add_column("")
    for summary in summaries:
        table.add_column(summary.policy, justify="right")
    for name, label in LATENCIES.items():
        for number in ("mean", "p50", "p99"):
            spreads: list[Spread] = [getattr(summary, name) for summary in summaries]
            table.add_row(f"{label} {number}", *(ms(getattr(spread, number)) for spread in spreads))
        table.add_section()
    table.add_row("finished", *(f"{summary.finished}/{summary.requests}" for summary in summaries))
    table.add_row("throughput, tokens/s", *(f"{summary.tokens_per_second:,.0f}" for summary in summaries))
    table.add_row("throughput, requests/s", *(f"{summary.requests_per_second:.2f}" for summary in summaries))
    wanted = f"TTFT ≤ {targets.ttft:g} s, TPOT ≤ {targets.tpot * 1e3:g} ms"
    table.add_row(f"goodput, requests/s ({wanted})", *(f"{summary.goodput:.2f}" for summary in summaries))
    table.add_row("attainment", *(f"{summary.attainment:.0%}" for summary in summaries))
    mean = (f"{summary.cores['prefill']:.1f} / {summary.cores['decode']:.1f}" for summary in summaries)
    table.add_row("cores prefill / decode, mean", *mean)
    table.add_row("moves of cores (applied in, p50 of wall time)", *(moves(summary) for summary in summaries))
    return table


def _bar(cores: float, of: float) -> str:
    return f"{cores:2g} " + ("█" * round(cores)).ljust(round(of), "·")
