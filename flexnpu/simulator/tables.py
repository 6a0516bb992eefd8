# SPDX-License-Identifier: Apache-2.0
"""Results as tables of a terminal."""

from __future__ import annotations

from typing import Any

from rich.table import Table

from flexnpu.simulator.charts import percent, plain
from flexnpu.simulator.slo import show_seconds

_MODELLED = "modelled, not measured"


def result_table(document: dict[str, Any]) -> Table:
    """A row per policy."""
    caption = f"{document['slo']['text']}; {_MODELLED}"
    table = Table(title=_title(document), caption=caption, title_justify="left", caption_justify="left", box=None)
    table.add_column("policy", no_wrap=True)
    for column in ("within", "goodput/s", "tokens/s", "TTFT p50, p99", "TPOT p50, p99", "end to end p50, p99"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("missed", overflow="fold")
    for run in document["policies"]:
        latency = run["latency_s"]
        missed = [f"{count} {why}" for why, count in run["requests"]["missed"].items() if count]
        table.add_row(
            run["policy"],
            percent(run["attainment"]),
            plain(run["goodput_rps"]),
            plain(run["throughput"]["tokens_per_s"]),
            *(f"{show_seconds(latency[n]['p50'])}, {show_seconds(latency[n]['p99'])}" for n in ("ttft", "tpot", "e2e")),
            ", ".join(missed) or "none",
        )
    return table


def capacity_table(document: dict[str, Any]) -> Table:
    """The highest rates, and what all policies come to at the best one's."""
    capacity = document["capacity"]
    caption = f"{document['slo']['text']}; {_MODELLED}; requests/s, met and (in brackets) next missed"
    table = Table(title=_title(document), caption=caption, title_justify="left", caption_justify="left", box=None)
    table.add_column("policy", no_wrap=True)
    for part in capacity["attainments"]:
        table.add_column(f"at {percent(part)}", justify="right")
    table.add_column("", overflow="fold")
    for each in capacity["policies"]:
        cells = [_answer(each["at"][f"{part:g}"]) for part in capacity["attainments"]]
        ceiling = each["ceiling"]
        note = "" if ceiling is None else f"at the lowest rate {percent(ceiling)} are within"
        table.add_row(each["policy"], *cells, note)
    return table


def _answer(at: dict[str, Any]) -> str:
    if at["rate"] is None:
        return "none"
    if at.get("no_limit_up_to") is not None:
        return no_limit(at)
    return f"{plain(at['rate'])} ({plain(at['missed_at'])})"


def no_limit(at: dict[str, Any]) -> str:
    """In words, that a search came to the end of its grid."""
    return f"no limit found up to {at['no_limit_up_to']:g} times"


def _title(document: dict[str, Any]) -> str:
    load = document["trace"]["totals"]
    rate = load["requests_per_s"]
    shown = f" at {plain(rate)} requests/s" if rate else ""
    return f"{document['model']['name']} on {document['device']['name']}: {load['requests']:,} requests{shown}"
