# SPDX-License-Identifier: Apache-2.0
"""The study as Markdown: what the bench prints, and the tables of docs/policies.md."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from flexnpu.simulator.charts import plain
from flexnpu.simulator.study.capacities import ATTAINMENTS, OURS, Cell, tally, why
from flexnpu.simulator.study.runs import Finding

_HEAD = """# Policies compared

Made by `make bench-policies` ({command}); everything is **modelled, not measured**: simulated with the forecast's
iteration times. The traces are public: Azure's code trace of 2023 (Azure/AzurePublicDataset, CC-BY 4.0) and Mooncake's
conversations (kvcache-ai/Mooncake, Apache-2.0); give their folder as `FLEXNPU_TRACES`.

- **Capacity** is the highest rate of a load at which 90 % or 99 % of its requests meet both targets (ITL as the mean of
  a request). Rates lie on a grid, 2.2 % apart; what is within a step and a half of the best counts as equal, and is
  bold. Dropped and unfinished requests are misses.
- Rates are **per device**. `disaggregated` runs on a prefill and a decode device and counts half of what both serve.
- Requests that take over nine tenths of a target when they are all but alone are **left out** of a load, since with
  them nobody reaches 90 % at any rate; the tables say what is left.
- A 90 % capacity lets a policy give up one request in ten; those that do so by choice gain by it. The 99 % column shows
  what is left of that.
- {setting}
"""


def page(cells: Sequence[Cell], findings: Sequence[Finding], setting: str, command: str) -> str:
    """The whole page. `setting`: which requests, and how many; `command`: what made it."""
    parts = [
        _HEAD.format(setting=setting, command=command),
        "## Who serves most",
        "",
        *_tally(cells),
        *_capacities(cells),
    ]
    if findings:
        parts += ["## What of published gains is real", "", *(_finding(each) for each in findings)]
    return "\n".join(parts).rstrip() + "\n"


def _tally(cells: Sequence[Cell]) -> Iterator[str]:
    if not cells:
        return
    found = tally(cells)
    yield (
        f"`{OURS}` has the highest capacity, or one that cannot be told from it, in {found['ours_best']} of "
        f"{found['contests']} comparisons (load, model, device, SLO, attainment)"
        + (f"; in {found['nobody']} more no policy meets any rate." if found["nobody"] else ".")
    )
    yield ""
    if found["lost"]:
        yield "Where it has not:"
        yield ""
        for each in found["lost"]:
            place = f"{each['load']}, {each['model']} on {each['device']}, {each['slo']}, {each['attainment']:.0%}"
            yield f"- {place}: {each['why']}."
        yield ""


def _capacities(cells: Sequence[Cell]) -> Iterator[str]:
    for place, group in groupby(cells, key=lambda cell: cell.place):
        shown = list(group)
        yield f"### {place.model} on {place.device}, {place.slo}"
        yield ""
        yield f"Highest rate, requests/s and device, at 90 % / 99 % attainment. Forecast {place.forecast}."
        yield ""
        head = ["policy"]
        for cell in shown:
            head.append(cell.load if not cell.left_out else f"{cell.load} ({cell.part:.0%} of it)")
        yield _row(head)
        yield _row(["---"] * len(head))
        for policy in shown[0].rates:
            yield _row([f"`{policy}`", *(_rates(cell, policy) for cell in shown)])
        yield ""
        for cell in shown:
            for which, part in enumerate(ATTAINMENTS):
                yield f"- {cell.load}, {part:.0%}: {why(cell, which)}."
        yield ""


def _rates(cell: Cell, policy: str) -> str:
    shown = []
    for which in range(len(ATTAINMENTS)):
        rate = cell.rate(policy, which)
        text = plain(rate) if rate else "none"
        shown.append(f"**{text}**" if policy in cell.winners(which) else text)
    return " / ".join(shown)


def _finding(finding: Finding) -> str:
    lines = [f"### {finding.title}", "", f"Published: {finding.published}.", "", f"{finding.setting}.", ""]
    lines += [_row(finding.head), _row(["---"] * len(finding.head)), *(_row(row) for row in finding.rows), ""]
    lines += [*(f"- {line}" for line in finding.verdict), ""]
    return "\n".join(lines)


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
