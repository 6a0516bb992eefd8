# SPDX-License-Identifier: Apache-2.0
"""Which rows of a table are believed: numbers that are numbers, sizes that exist, times that the device can reach."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from flexnpu.forecast.batch import Floats
from flexnpu.forecast.tables.rows import Mask, Rejection, Rows, Table, TableError
from flexnpu.forecast.tables.work import work_of
from flexnpu.hardware import Soc

MOST_CORRUPT = 0.1  # of a table; more is not a table with bad rows but a bad table
# Clocks above the rated one and peaks that are rounded: a few percent have been seen.
_TOLERANCE = 0.93
_MAY_BE_ZERO = frozenset({"window", "causal", "cached"})
_MIXED_MAY_BE_ZERO = frozenset({"new", "cached", "sequences", "length"})


def believed(table: Table, soc: Soc | None, source: str = "the table") -> Table:
    """The rows that can be true, with the count and the rule of the others.

    TableError: more than MOST_CORRUPT of the rows cannot, or none is left.
    """
    parts: dict[str, Rows] = {}
    rejected = list(table.rejected)
    orders = table.facts.get("order")
    for kind, rows in table.parts.items():
        order = orders.get(kind, ()) if isinstance(orders, dict) else ()
        good = np.ones(len(rows), dtype=np.bool_)
        for rule, bad in _rules(rows, soc):
            wrong = bad & good
            if wrong.any():
                rejected.append(_rejection(f"{kind}: {rule}", rows, wrong, order))
                good &= ~wrong
        if good.any():
            parts[kind] = rows.take(good)
    refused = sum(each.count for each in rejected)
    total = table.rows + sum(each.count for each in table.rejected)
    if refused > MOST_CORRUPT * total or not parts:
        reasons = "; ".join(map(str, rejected[:3])) or "it has none"
        raise TableError(
            f"{source}: {refused} of {total} rows cannot be true, at most {MOST_CORRUPT:.0%} may be; {reasons}; "
            "check the units (aiconfigurator has milliseconds, OPS.csv microseconds) and the device"
        )
    return Table(table.format, parts, table.facts, tuple(rejected))


def _rejection(rule: str, rows: Rows, wrong: Mask, order: Sequence[int]) -> Rejection:
    """order: where in the file each row is, from 0; empty where that is not known."""
    places = np.flatnonzero(wrong).tolist()
    where = tuple(order[place] + 1 for place in places) if len(order) == len(rows) else ()
    return Rejection(rule, len(places), describe(rows, places[0]), where)


def describe(rows: Rows, place: int) -> str:
    """One row in words."""
    sizes = " ".join(f"{name}={column[place]:g}" for name, column in rows.sizes.items())
    labels = " ".join(str(column[place]) for column in rows.labels.values() if column[place])
    return f"{labels} {sizes} {rows.seconds[place] * 1e6:g} us".strip()


def _rules(rows: Rows, soc: Soc | None) -> Iterator[tuple[str, Mask]]:
    yield "the time is not a positive number", ~(np.isfinite(rows.seconds) & (rows.seconds > 0))
    for name, column in rows.sizes.items():
        zero = name in (_MIXED_MAY_BE_ZERO if rows.kind == "mixed" else _MAY_BE_ZERO)
        if name == "cached":
            # Queries without a mask need not be part of the keys, so that there may be fewer keys than queries.
            column = np.where((rows.sizes.get("causal", 1.0) == 0) & (rows.sizes["new"] + column >= 1), 0.0, column)  # noqa: PLW2901
        with np.errstate(invalid="ignore"):
            yield (
                f"{name} is not a {'number from 0' if zero else 'positive number'}",
                ~(np.isfinite(column) & (column >= 0 if zero else column > 0)),
            )
        if rows.kind in {"gemm", "context", "generation"}:
            with np.errstate(invalid="ignore"):
                yield f"{name} is no whole number", column != np.rint(column)
    if soc is not None:
        with np.errstate(invalid="ignore"):
            limit = least_seconds(rows, soc)
        rule = f"faster than {soc.name} can be (peak operations per second, or bytes beyond its L2 over its bandwidth)"
        yield rule, rows.seconds < _TOLERANCE * limit


def least_seconds(rows: Rows, soc: Soc) -> Floats:
    """No kernel is faster: its operations at peak rate, or the bytes that L2 cannot have kept at peak bandwidth."""
    work = work_of(rows, soc)
    if work is None:
        return np.zeros(len(rows))
    return np.maximum(work.flops / soc.peak_flops, (work.bytes - soc.l2_bytes) / soc.hbm_bandwidth)
