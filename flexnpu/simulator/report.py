# SPDX-License-Identifier: Apache-2.0
"""A simulation's report as one HTML page that needs nothing else: no network, no library, no file beside it.

A pure function of the JSON document (docs/simulate.md), so equal documents give equal bytes and a report can be made
again from kept JSON. The page's policy forbids it to load anything.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from pathlib import Path

from flexnpu.simulator import figures
from flexnpu.simulator.charts import percent, plain, sample
from flexnpu.simulator.figures import Document, Figure
from flexnpu.simulator.slo import show_seconds
from flexnpu.simulator.tables import no_limit

_PAGE = Path(__file__).with_name("page")
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
_MISSED = {
    "ttft": "TTFT",
    "itl": "ITL",
    "both": "both",
    "dropped": "dropped",
    "unfinished": "unfinished",
}


def page(document: Document) -> str:
    """The whole page."""
    sections = [
        *([("capacity", "Capacity", _capacity(document))] if document.get("capacity") else []),
        ("summary", "Summary", _summary(document)),
        ("latency", "Latency", _key(document) + _figures(figures.latencies(document))),
        ("rate", "Goodput against rate", _figures(figures.goodput(document))),
        ("cores", "Core split over time", _cores(document)),
        ("queues", "Queues over time", _key(document) + _figures(figures.queues(document))),
        ("plans", "Why: plans of each policy", _plans(document)),
        ("configuration", "Configuration", _configuration(document)),
        ("reading", "How to read this", _reading(document)),
    ]
    shown = [(key, title, body) for key, title, body in sections if body]
    links = "\n".join(f'<a href="#{key}">{escape(title)}</a>' for key, title, _ in shown)
    bodies = "\n".join(
        f'<section id="{key}" aria-labelledby="{key}-h">\n<h2 id="{key}-h">{escape(title)}</h2>\n{body}\n</section>'
        for key, title, body in shown
    )
    title = f"{document['model']['name']} on {document['device']['name']}"
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="generator" content="FlexNPU {escape(document["version"])}">
<title>{escape(title)} · FlexNPU simulation</title>
<style>
{_asset("report.css")}</style>
</head>
<body>
<header>
<span class="badge">modelled, not measured</span>
<h1>{escape(title)}</h1>
<p class="lead">{_headline(document)}</p>
<nav aria-label="Sections">
{links}
</nav>
</header>
<main>
{bodies}
</main>
<footer>
<p>Made by FlexNPU {escape(document["version"])}, <code>flexnpu simulate</code>. Every figure is modelled, not measured:
it is what a discrete-event simulation gives with the forecast's iteration times. Equal inputs give this page byte for
byte.</p>
</footer>
<script type="application/json" id="frames">{_frames(document)}</script>
<script>
{_asset("report.js")}</script>
</body>
</html>
"""


def _asset(name: str) -> str:
    return (_PAGE / name).read_text(encoding="utf-8")


def _every_figure(document: Document) -> Iterator[Figure]:
    for make in (figures.latencies, figures.goodput, figures.cores, figures.queues):
        yield from make(document)


def _frames(document: Document) -> str:
    frames = {figure.chart.key: figure.chart.frame() for figure in _every_figure(document)}
    # A script ends at the first "</"; a policy's name may contain it.
    return json.dumps(frames, separators=(",", ":")).replace("<", "\\u003c")


def _headline(document: Document) -> str:
    runs = figures.ranked(document["policies"])
    best = runs[0]
    load = _rate(best["offered_rps"])
    text = (
        f"{escape(_trace(document))}, {best['requests']['total']:,} requests{load}. "
        f"<strong>{escape(best['policy'])}</strong> keeps {percent(best['attainment'])} of them within "
        f"{escape(document['slo']['text'])}"
    )
    if len(runs) > 1:
        text += f"; next is {escape(runs[1]['policy'])} with {percent(runs[1]['attainment'])}"
    return f"{text}.{_capacities(document)}"


def _capacities(document: Document) -> str:
    """Who serves the highest rate, where that has been searched for."""
    capacity = document.get("capacity")
    if not capacity:
        return ""
    part = capacity["attainments"][0]
    at = {each["policy"]: each["at"][f"{part:g}"] for each in capacity["policies"]}
    free = [name for name, each in at.items() if each.get("no_limit_up_to") is not None]
    if free:
        return f" At {percent(part)}, {no_limit(at[free[0]])} the trace's rate for {escape(', '.join(free))}."
    rate = max(each["rate"] or 0.0 for each in at.values())
    best = ", ".join(name for name, each in at.items() if each["rate"] == rate)
    found = f" The highest rate at {percent(part)} is {plain(rate)} requests/s, by {escape(best)}."
    return found if rate else f" No policy keeps {percent(part)} at any rate."


def _rate(rate: float | None) -> str:
    return f" at {plain(rate)} requests/s" if rate else " that all come at once"


def _trace(document: Document) -> str:
    return ", then ".join(Path(part["source"]).name for part in document["trace"]["parts"])


# --- sections ---------------------------------------------------------------------------------------------------------


def _summary(document: Document) -> str:
    runs = document["policies"]
    best, lead = figures.ranked(runs)[0], figures.lead(runs)
    cards = [
        (f"{plain(best['goodput_rps'])} requests/s", f"highest goodput: {best['policy']}"),
        (percent(best["attainment"]), f"of all requests within {document['slo']['text']}"),
        (show_seconds(best["latency_s"]["e2e"]["p50"]), f"median end-to-end latency of {best['policy']}"),
    ]
    if lead is not None:
        second = figures.ranked(runs)[1]["policy"]
        cards.insert(1, (f"+{lead * 100:.1f} %", f"goodput over {second}, which comes next"))
    shown = "\n".join(
        f'<div class="card"><b>{escape(big)}</b><span>{escape(small)}</span></div>' for big, small in cards
    )
    head = [
        "policy", "verdict", "within targets", "goodput<br>requests/s", "tokens/s", "TTFT<br>p50, p99",
        "TPOT<br>p50, p99", "end to end<br>p50, p99", "missed",
    ]  # fmt: skip
    rows = [_row(index, run, run is best) for index, run in enumerate(runs)]
    return f'<div class="cards">\n{shown}\n</div>\n{_table(head, rows, "Every policy under the same load")}'


def _row(index: int, run: Document, best: bool) -> list[str]:
    latency = run["latency_s"]
    missed = [f"{count:,} {_MISSED[why]}" for why, count in run["requests"]["missed"].items() if count]
    part, goodput = run["attainment"], plain(run["goodput_rps"])
    return [
        f'<i class="swatch" style="background:var(--c{index % 8})"></i>{escape(run["policy"])}',
        verdict(part),
        f'{percent(part)}<span class="bar"><i style="width:{part * 100:.1f}%"></i></span>',
        f"<strong>{goodput}</strong> best" if best else goodput,
        plain(run["throughput"]["tokens_per_s"]),
        *(
            f'{show_seconds(latency[name]["p50"])}<br><span class="soft">{show_seconds(latency[name]["p99"])}</span>'
            for name in ("ttft", "tpot", "e2e")
        ),
        "<br>".join(missed) or "none",
    ]


def verdict(attainment: float) -> str:
    """In words as well as in colour."""
    if attainment >= 0.99:
        return '<span class="good">meets 99 %</span>'
    if attainment >= 0.9:
        return '<span class="fair">meets 90 %</span>'
    return '<span class="bad">under 90 %</span>'


def _capacity(document: Document) -> str:
    capacity = document["capacity"]
    wanted = [f"{part:g}" for part in capacity["attainments"]]
    head = ("policy", *(f"requests/s at {percent(float(each))}" for each in wanted), "found between")
    rows = []
    for index, each in enumerate(capacity["policies"]):
        cells = [_found(each["at"][part]) for part in wanted]
        brackets = "; ".join(_bracket(each["at"][part]) for part in wanted)
        swatch = f'<i class="swatch" style="background:var(--c{index % 8})"></i>'
        rows.append([swatch + escape(each["policy"]), *cells, brackets])
    return f"<p>{escape(capacity['note'])}</p>\n{_table(head, rows, 'Highest rate at each attainment')}"


def _found(at: Document) -> str:
    if at.get("no_limit_up_to") is not None:
        return no_limit(at)
    return plain(at["rate"]) if at["rate"] is not None else "none"


def _bracket(at: Document) -> str:
    if at.get("no_limit_up_to") is not None:
        return f"{plain(at['rate'])} met, nothing missed"
    low, high = (plain(each) if each is not None else "?" for each in (at["rate"], at["missed_at"]))
    return f"{low} met, {high} missed"


def _figures(all_figures: Iterable[Figure]) -> str:
    found = "\n".join(_figure(figure) for figure in all_figures)
    return f'<div class="grid">\n{found}\n</div>' if found else ""


def _figure(figure: Figure) -> str:
    rows = [[escape(cell) for cell in row] for row in figure.rows]
    head = [escape(cell) for cell in figure.head]
    return (
        f"<figure>\n<h3>{escape(figure.chart.title)}</h3>\n{figure.chart.svg()}\n"
        f'<div class="tip" hidden></div>\n<figcaption>{escape(figure.caption)}</figcaption>\n'
        f"<details><summary>Figures as a table</summary>\n{_table(head, rows, figure.chart.title)}\n</details>\n"
        "</figure>"
    )


def _key(document: Document) -> str:
    entries = "".join(
        f'<span class="key">{sample(index)}{escape(run["policy"])}</span>'
        for index, run in enumerate(document["policies"])
    )
    return f"<p>{entries}</p>\n"


def _cores(document: Document) -> str:
    key = "".join(
        f'<span class="key"><i style="background:var(--{name})"></i>{text}</span>'
        for name, text in (("prefill", "prefill"), ("mixed", "both phases in one iteration"), ("decode", "decode"))
    )
    return f"<p>{key}</p>\n{_figures(figures.cores(document))}"


def _plans(document: Document) -> str:
    parts = []
    for run in document["policies"]:
        rows = [
            [
                show_seconds(plan["at_s"]),
                escape(plan["mode"]),
                f"{plan['split'][0]} / {plan['split'][1]}",
                escape(plan["reason"]) + _weighed(plan),
            ]
            for plan in run["plans"]
        ]
        if rows:
            head = ("time", "mode", "prefill / decode cores", "reason")
            table = _table(head, rows, f"Plans of {run['policy']}", text=3)
            count = f"{len(rows)} of {run['plans_made']:,} plans, spread over the run"
            parts.append(f"<details><summary>{escape(run['policy'])}: {count}</summary>\n{table}\n</details>")
    return "\n".join(parts)


def _weighed(plan: Document) -> str:
    """Of what a plan beat, the candidate with the most tokens per second."""
    if not plan.get("alternatives"):
        return ""
    first, count = plan["alternatives"][0], plan["alternatives_weighed"]
    others = "the other one" if count == 1 else f"of {count} others the first"
    text = (
        f"beat {others}: {first['mode']} on {first['split'][0]} / {first['split'][1]} cores, "
        f"{plain(first['tokens_per_second'])} tokens/s, {first['verdict']}"
    )
    return f'<br><span class="soft">{escape(text)}</span>'


def _configuration(document: Document) -> str:
    trace = document["trace"]
    rows = [
        ("Model", _pairs(document["model"])),
        ("Device", _pairs(document["device"])),
        ("Forecast", document["forecast"]),
        ("Targets", document["slo"]["text"]),
        *((f"Trace {number}", _pairs(part)) for number, part in enumerate(trace["parts"], start=1)),
        ("Load", _pairs(trace["totals"])),
        ("Engine", _pairs(document["engine"])),
        ("Policies", ", ".join(f"{run['policy']} ({run['layout']})" for run in document["policies"])),
    ]
    return "<dl>\n" + "\n".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in rows) + "\n</dl>"


def _pairs(values: Document) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {_value(value)}" for name, value in values.items() if value is not None)


def _value(value: object) -> str:
    if isinstance(value, float):
        return plain(value)
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _reading(document: Document) -> str:
    return f"""<p>Goodput counts the requests that met every target ({escape(document["slo"]["text"])}), per second from
the first arrival to the last token. Dropped and unfinished requests are misses. Latencies are of finished requests;
their percentiles have a relative error of at most 0.5 %. ITL is the time between two tokens of a request, TPOT its
mean.</p>
<p>A shorter time to first token is no gain by itself: compare end-to-end latency and goodput, which show whether the
wait is gone or has only moved behind the first token.</p>"""


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], caption: str, text: int | None = None) -> str:
    """Cells are HTML. `text`: the column that is prose."""
    heads = "".join(f'<th scope="col">{cell}</th>' for cell in head)
    lines = []
    for row in rows:
        first, *rest = row
        cells = "".join(
            f'<td class="text">{c}</td>' if i == text else f"<td>{c}</td>" for i, c in enumerate(rest, start=1)
        )
        lines.append(f'<tr><th scope="row">{first}</th>{cells}</tr>')
    body = "\n".join(lines)
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(caption)}"><table>\n'
        f"<thead><tr>{heads}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table></div>"
    )
