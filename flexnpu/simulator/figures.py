# SPDX-License-Identifier: Apache-2.0
"""The plots of a report and the tables that say the same, from the JSON document of a simulation alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from flexnpu.simulator.charts import Axis, Chart, Line, Point, Rule, nice_high, percent, plain
from flexnpu.simulator.slo import show_seconds

Document = dict[str, Any]
_ROWS = 25  # of a table that stands for a plot over time
_LATENCIES: dict[str, tuple[str, str | None]] = {
    "ttft": ("Time to first token", "ttft"),
    "tpot": ("Mean time per output token", "itl"),
    "itl": ("Time between two tokens", "itl"),
    "e2e": ("End-to-end latency", None),
}

# What the ITL target is held against has a plot too.
_BY: dict[str, dict[str, tuple[str, str | None]]] = {
    "p99": {"itl_p99": ("99th percentile of a request's token gaps", "itl")},
    "max": {"itl_max": ("Longest gap between two tokens of a request", "itl")},
}


class Figure(NamedTuple):
    """A plot, what it shows in a sentence, and its table: a head and rows of text."""

    chart: Chart
    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


def latencies(document: Document) -> Iterator[Figure]:
    """Cumulative distributions by policy, the target marked."""
    runs = document["policies"]
    shown = _LATENCIES | _BY.get(document["slo"]["itl_by"], {})
    for key, (title, target) in shown.items():
        lines = [
            Line(run["policy"], [(x, y) for x, y in run["cdf_s"][key]], index, step=True, strong=_ours(run, runs))
            for index, run in enumerate(runs)
        ]
        values = [x for line in lines for x, _ in line.points if x > 0]
        if not values:
            continue
        low, high = _log_range(values)
        bound = document["slo"][target] if target else None
        rules = [Rule(f"target {show_seconds(bound)}", bound)] if bound else []
        quantiles = ("p50", "p90", "p95", "p99", "max")
        chart = Chart(
            key=f"cdf-{key}",
            title=title,
            description=f"Part of the finished requests by {title.lower()}, for each policy.",
            x=Axis(f"{title} (log scale)", low, high, show_seconds, log=True),
            y=Axis("finished requests", 0.0, 1.0, percent),
            lines=lines,
            rules=rules,
            labels=False,
        )
        rows = [[run["policy"], *(show_seconds(run["latency_s"][key][each]) for each in quantiles)] for run in runs]
        yield Figure(
            chart, "Left and up is better. Requests that never finished are not in it.", ("policy", *quantiles), rows
        )


def goodput(document: Document) -> Iterator[Figure]:
    """Goodput and attainment against the offered rate, from a capacity search or a sweep."""
    curves = document.get("curves")
    if not curves:
        return
    caption = curves["note"]
    rows = [
        [curve["policy"], plain(point["rate"]), plain(point["goodput"]), percent(point["attainment"])]
        for curve in curves["policies"]
        for point in curve["points"]
    ]
    head = ("policy", "offered, requests/s", "goodput, requests/s", "attainment")
    highest = nice_high(max(point["rate"] for curve in curves["policies"] for point in curve["points"]))
    best = nice_high(max(point["goodput"] for curve in curves["policies"] for point in curve["points"]))
    x = Axis("offered requests/s", 0.0, highest)
    ideal = Line("all good", [(0.0, 0.0), (min(best, highest), min(best, highest))], "mixed")
    good = Chart(
        key="goodput",
        title="Goodput against rate",
        description="Requests per second that met every target, by the rate at which they came.",
        x=x,
        y=Axis("good requests/s", 0.0, best),
        lines=[*_curves(curves, "goodput"), ideal],
    )
    yield Figure(good, f"{caption} Grey: every request good.", head, rows)
    least = min(point["attainment"] for curve in curves["policies"] for point in curve["points"])
    attained = Chart(
        key="attainment",
        title="Attainment against rate",
        description="Part of all requests that met every target, by the offered rate.",
        x=x,
        y=Axis("requests within targets", 0.5 if least >= 0.5 else 0.0, 1.0, percent),
        lines=_curves(curves, "attainment"),
        rules=[Rule("90 %", 0.9, vertical=False), Rule("99 %", 0.99, vertical=False)],
    )
    yield Figure(attained, caption, head, rows)


def cores(document: Document) -> Iterator[Figure]:
    """Where the cores were at work over time, one plot per policy on the same axes."""
    runs, total = document["policies"], document["device"]["pool_cores"]
    unit, scale, end = _time(runs)
    names = ("decode", "mixed", "prefill")
    for index, run in enumerate(runs):
        series = run["series"]
        areas = [Line(name, _over_time(series, f"{name}_cores", scale), name, step=True) for name in names]
        chart = Chart(
            key=f"cores-{index}",
            title=run["policy"],
            description=f"Cores at work on prefill, on decode and on both, over time, under {run['policy']}.",
            x=Axis(f"time, {unit}", 0.0, end),
            y=Axis("cores at work", 0.0, float(total)),
            areas=areas,
            height=250,
        )
        mean = run["mean"]
        caption = ", ".join(f"{name} {mean[f'{name}_cores']:.1f}" for name in ("prefill", "decode", "mixed"))
        rows = [
            [plain(series["seconds"][row] / scale), *(f"{series[f'{name}_cores'][row]:.1f}" for name in names)]
            for row in _thinned(len(series["seconds"]))
        ]
        yield Figure(chart, f"Mean cores: {caption}, of {total}.", (f"time, {unit}", *names), rows)


def queues(document: Document) -> Iterator[Figure]:
    """Requests that wait and run, and the memory they hold, over time."""
    runs = document["policies"]
    unit, scale, end = _time(runs)
    shown = (
        ("waiting", "Waiting requests", "requests without a first chunk", None, plain),
        ("running", "Running requests", "requests that hold KV", None, plain),
        ("kv_used", "KV cache in use", "part of all KV blocks", 1.0, percent),
    )
    for column, title, y_title, high, show in shown:
        lines = [
            Line(run["policy"], _over_time(run["series"], column, scale), index, step=True, strong=_ours(run, runs))
            for index, run in enumerate(runs)
        ]
        most = high or nice_high(max((y for line in lines for _, y in line.points), default=1.0))
        chart = Chart(
            key=f"queue-{column}",
            title=title,
            description=f"{title} over time, for each policy.",
            x=Axis(f"time, {unit}", 0.0, end),
            y=Axis(y_title, 0.0, most, show),
            lines=lines,
            labels=False,
        )
        head = ("policy", "mean", "highest")
        rows = [
            [run["policy"], show(run["mean"][column]), show(max(run["series"][f"{column}_max"], default=0.0))]
            for run in runs
        ]
        yield Figure(chart, "Means of each moment's interval.", head, rows)


def _over_time(series: Document, column: str, scale: float) -> list[Point]:
    return [(second / scale, value) for second, value in zip(series["seconds"], series[column], strict=True)]


def _ours(run: Document, runs: Sequence[Document]) -> bool:
    """The best one is drawn stronger."""
    return bool(run["goodput_rps"] == max(each["goodput_rps"] for each in runs) > 0)


def _curves(curves: Document, value: str) -> list[Line]:
    return [
        Line(curve["policy"], [(point["rate"], point[value]) for point in curve["points"]], index, dots=True)
        for index, curve in enumerate(curves["policies"])
    ]


def _log_range(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    return (low * 0.9, high * 1.1) if high > low * 1.5 else (low / 2, high * 2)


def _time(runs: Sequence[Document]) -> tuple[str, float, float]:
    """The unit that reads best, its seconds, and where the axis ends."""
    end = max((_end(run) for run in runs), default=1.0) or 1.0
    unit, scale = ("s", 1.0) if end < 600 else ("min", 60.0) if end < 36_000 else ("h", 3600.0)
    return unit, scale, end / scale


def _end(run: Document) -> float:
    seconds = run["series"]["seconds"]
    return float(seconds[-1] + (seconds[-1] - seconds[-2] if len(seconds) > 1 else 1.0)) if seconds else 0.0


def _thinned(count: int) -> Sequence[int]:
    return range(0, count, max(1, -(-count // _ROWS)))


def ranked(runs: Sequence[Document]) -> list[Document]:
    """Best goodput first; equals keep their order."""
    return sorted(runs, key=lambda run: -run["goodput_rps"])


def lead(runs: Sequence[Document]) -> float | None:
    """How much more goodput the best has than the next; None where there is no next, or it has none."""
    best = ranked(runs)[:2]
    for first, second in pairwise(best):
        if second["goodput_rps"] > 0:
            return float(first["goodput_rps"] / second["goodput_rps"] - 1)
    return None
