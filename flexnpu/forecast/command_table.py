# SPDX-License-Identifier: Apache-2.0
"""`flexnpu forecast table`: measured operators beside their forecast, and how far off it is per set."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table as Grid

from flexnpu.forecast import calibration_file
from flexnpu.forecast.batch import Floats
from flexnpu.forecast.calibration_rows import seconds_of, vendor_seconds
from flexnpu.forecast.tables import Rows, Table, TableError, believed, read_table
from flexnpu.hardware import load_soc


def run_table(
    file: str | Path,
    device: str = "Ascend910B2",
    *,
    profile: str | Path | None = None,
    as_json: bool = False,
    console: Console | None = None,
) -> dict[str, object]:
    """The answer as JSON has it: rows with predicted_us in the order of the file, rejected rows, and mape per set."""
    soc = load_soc(device)
    table = believed(_numbered(read_table(file)), soc, str(file))
    known = calibration_file.load(profile) if profile is not None else None
    if known is not None and str(known.facts.get("soc", soc.name)).casefold() != soc.name.casefold():
        of = known.facts["soc"]
        raise TableError(f"the profile is of {of}, the device is {soc.name}; give --device {of}, or calibrate anew")
    answers: list[tuple[int, dict[str, object]]] = []
    errors: dict[str, list[Floats]] = {}
    vendor: dict[str, list[Floats]] = {}
    for rows in table:
        predicted = seconds_of(rows, soc, known)
        if np.isnan(predicted).all():
            raise TableError(f"{file}: rows of kind {rows.kind} are not operators; give --profile that measured them")
        answers.extend(_answers(rows, predicted))
        for name, chosen in _sets(rows):
            errors.setdefault(name, []).append(_errors(predicted, rows, chosen))
            vendor.setdefault(name, []).append(_errors(vendor_seconds(rows, soc), rows, chosen))
    result: dict[str, object] = {
        "soc": soc.name,
        "profile": str(profile) if profile is not None else None,
        "rows": [answer for _, answer in sorted(answers, key=lambda each: each[0])],
        "rejected": [str(each) for each in table.rejected],
        "vendor_mape": _means(vendor),
        "mape": _means(errors),
    }
    console = console or Console()
    if as_json:
        console.file.write(json.dumps(result, indent=1, allow_nan=False) + "\n")
    else:
        _show(result, errors, console)
    return result


def _numbered(table: Table) -> Table:
    """Rows with their place in the file as a last word of their group, which they keep whatever is rejected."""
    order = table.facts.get("order")
    parts, start = {}, 0
    for kind, rows in table.parts.items():
        places = order[kind] if isinstance(order, dict) else range(start, start + len(rows))
        start += len(rows)
        groups = [f"{group or kind}\n{place}" for group, place in zip(rows.group.tolist(), places, strict=True)]
        parts[kind] = Rows(kind, rows.sizes, rows.labels, rows.seconds, np.array(groups, dtype=np.str_))
    return Table(table.format, parts, table.facts, table.rejected)


def _answers(rows: Rows, predicted: Floats) -> Iterator[tuple[int, dict[str, object]]]:
    for place, (group, seconds) in enumerate(zip(rows.group.tolist(), predicted.tolist(), strict=True)):
        name, _, number = str(group).rpartition("\n")
        sizes = {key: float(column[place]) for key, column in rows.sizes.items()}
        labels = {key: str(column[place]) for key, column in rows.labels.items() if column[place]}
        measured = float(rows.seconds[place]) * 1e6
        answer = {"row": int(number) + 1, "set": name, "op": rows.kind, **sizes, **labels, "measured_us": measured}
        yield int(number), {**answer, "predicted_us": round(seconds * 1e6, 4) if np.isfinite(seconds) else None}


def _sets(rows: Rows) -> Iterator[tuple[str, Floats]]:
    names = np.array([str(group).rpartition("\n")[0] for group in rows.group.tolist()], dtype=np.str_)
    for name in dict.fromkeys(names.tolist()):
        yield name, names == name


def _errors(predicted: Floats, rows: Rows, chosen: Floats) -> Floats:
    errors: Floats = (predicted / rows.seconds - 1.0)[chosen]
    return errors


def _means(errors: Mapping[str, list[Floats]]) -> dict[str, float | None]:
    """Percent; None where nothing was forecast."""
    return {name: _mean(np.abs(np.concatenate(parts))) for name, parts in errors.items()}


def _mean(errors: Floats) -> float | None:
    known = errors[np.isfinite(errors)]
    return round(float(100.0 * known.mean()), 3) if known.size else None


def _percent(value: float | None, form: str = ".1f") -> str:
    return "–" if value is None else f"{value:{form}}%"  # noqa: RUF001


def _show(result: Mapping[str, object], errors: Mapping[str, list[Floats]], console: Console) -> None:
    whose = "calibrated" if result["profile"] else "from the data sheet"
    grid = Grid(title=f"Operators on {result['soc']}, forecast {whose}", caption="mean absolute percentage error")
    for name in ("set", "rows", "forecast", "vendor's constants", "bias"):
        grid.add_column(name, justify="left" if name == "set" else "right")
    mape, vendor = result["mape"], result["vendor_mape"]
    assert isinstance(mape, dict) and isinstance(vendor, dict)
    for name, parts in errors.items():
        every = np.concatenate(parts)
        grid.add_row(
            name, str(len(every)), _percent(mape[name]), _percent(vendor[name]), _percent(_mean(every), "+.1f")
        )
    console.print(grid)
    rejected = result["rejected"]
    assert isinstance(rejected, list)
    for reason in rejected:
        console.print(reason)
