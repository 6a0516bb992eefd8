# SPDX-License-Identifier: Apache-2.0
"""`flexnpu calibrate`: reads tables, fits, tells how far off that is on rows it has not seen, writes a profile."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import reduce
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table as Grid

from flexnpu.forecast import calibration_file
from flexnpu.forecast.calibration import Score, evaluate, split
from flexnpu.forecast.calibration_profile import calibrate, device_of
from flexnpu.forecast.measured import profile_of
from flexnpu.forecast.profile import Profile
from flexnpu.forecast.tables import Table, TableError, believed, read_table
from flexnpu.hardware import load_soc


def run_calibrate(  # noqa: PLR0913 - one parameter per option of the command
    tables: Sequence[str | Path],
    device: str | None = None,
    *,
    out: str | Path | None = None,
    check: float | None = None,
    seed: int = 0,
    as_json: bool = False,
    console: Console | None = None,
) -> Profile:
    """The profile that the tables give; written to `out` if that is given.

    check: the part of each kind's shapes to fit on; the error on the others is told, and the profile is of that part.
    """
    if check is not None and not 0.0 < check < 1.0:
        raise TableError(f"--check is {check:g}; it must be between 0 and 1, such as 0.5")
    table = reduce(Table.joined, [read_table(each) for each in tables])
    soc = load_soc(device) if device is not None else device_of(table)
    source = ", ".join(map(str, tables))
    if check is None:
        profile = calibrate(table, soc, seed=seed)
        scores = [Score(one.kind, one.labels, one.rows, one.mape, one.deviation) for one in profile.series]
    else:
        good = believed(table, soc, source)
        scores = evaluate(good, soc, seed=seed, part=check)
        if not scores:
            raise TableError(f"--check {check:g} leaves no shape to fit on or none to tell the error on; leave it out")
        known = {kind: split(rows, seed, check)[0] for kind, rows in good.parts.items()}
        profile = calibrate(Table(good.format, known, good.facts, good.rejected), soc, seed=seed)
    if out is not None:
        calibration_file.save(profile, out)
    _tell(profile, scores, out, console or Console(), as_json=as_json)
    return profile


def run_measured(
    answer: Mapping[str, object],
    device: str | None = None,
    *,
    out: str | Path | None = None,
    as_json: bool = False,
    console: Console | None = None,
) -> Profile:
    """The profile of what a device said of itself (`calibration_live`)."""
    profile = profile_of(answer, load_soc(device or str(answer["soc"])))
    if out is not None:
        calibration_file.save(profile, out)
    console = console or Console()
    if as_json:
        console.file.write(json.dumps({**profile.facts, "out": str(out) if out else None}, indent=1) + "\n")
        return profile
    what = "modelled by the software NPU, not measured" if answer.get("modelled") else "measured"
    grid = Grid(title=f"{answer['soc']}: seconds over cores", caption=what)
    grid.add_column("operator")
    curves = profile.facts["curves"]
    assert isinstance(curves, dict)
    for cores in answer["cores"]:  # type: ignore[attr-defined]
        grid.add_column(f"{cores} cores", justify="right")
    for name, times in curves.items():
        grid.add_row(name, *(f"{seconds * 1e6:,.1f} us" for seconds in times))
    console.print(grid)
    console.print(f"compute_bend {profile.compute_bend:.3f}, bandwidth_bend {profile.bandwidth_bend:.3f} ({what})")
    if out is not None:
        console.print(f"written: {out}")
    return profile


def _tell(
    profile: Profile, scores: Sequence[Score], out: str | Path | None, console: Console, *, as_json: bool
) -> None:
    if as_json:
        listed = [
            {"kind": s.kind, **s.labels, "rows": s.rows, "mape": _percent(s.mape), "deviation": _percent(s.deviation)}
            for s in scores
        ]
        answer = {**profile.facts, "uncertainty": dict(profile.uncertainty), "series": listed}
        console.file.write(json.dumps({**answer, "out": str(out) if out else None}, indent=1, default=str) + "\n")
        return
    grid = Grid(
        title=f"{profile.facts['soc']}: {profile.facts['rows']} rows", caption="error on shapes left out of the fit"
    )
    for name in ("kind", "series", "rows", "error", "deviation"):
        grid.add_column(name, justify="left" if name in {"kind", "series"} else "right")
    for each in scores:
        words = " ".join(f"{value:g}" if isinstance(value, float) else value for value in each.labels.values() if value)
        grid.add_row(each.kind, words or "all", str(each.rows), _shown(each.mape), _shown(each.deviation))
    console.print(grid)
    for reason in profile.facts["rejected"]:  # type: ignore[attr-defined]
        console.print(str(reason))
    if out is not None:
        console.print(f"written: {out}")


def _shown(part: float) -> str:
    return f"{part:.1%}" if np.isfinite(part) else "unknown"  # too few shapes to leave some out


def _percent(value: float) -> float | None:
    return round(100.0 * value, 3) if np.isfinite(value) else None
