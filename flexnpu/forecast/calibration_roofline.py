# SPDX-License-Identifier: Apache-2.0
"""The constants of a roofline that a table's rows support: least squares of the relative error, within bounds.

Where the sizes of rows are known, a term that the rows say little of (a table of small shapes never waits for compute)
stays near the constant that holds without a table: it counts as a few rows of its own, and never leaves what the device
can do. Where they are not (whole iterations, single layers), terms are only kept from being negative.
"""

from __future__ import annotations

import numpy as np

from flexnpu.forecast.batch import Floats
from flexnpu.forecast.calibration_series import terms_of
from flexnpu.forecast.profile import Profile
from flexnpu.forecast.tables import Rows
from flexnpu.hardware import Soc

_TRUST = 5e-2  # what the constants weigh beside the rows: as a term that makes this part of their squared times
_QUICKEST, _SLOWEST = 0.7, 3.0  # times the constants' own slowness, and never quicker than the peaks
_LAUNCHES = 10.0  # times the constants' own launch
_SWEEPS = 500


def roofline_of(rows: Rows, soc: Soc) -> Floats:
    """Seconds per term of `terms_of`, none of them negative: what goes on outside the rows."""
    terms = terms_of(rows, soc) / rows.seconds
    usual = usual_of(rows.kind, Profile.of(soc))
    if usual is None:
        return _free(terms, rows)
    least = np.array([0.0, *np.maximum(_QUICKEST, 1.0 / usual[1:])])
    most = np.array([_LAUNCHES, *[_SLOWEST] * (len(usual) - 1)])
    return _bounded(terms, usual, _TRUST, least, most)


def nearest_roofline(rows: Rows, soc: Soc) -> Floats:
    """The same, nearest to the rows: what lies between them. The constants count as one row more."""
    terms = terms_of(rows, soc) / rows.seconds
    usual = usual_of(rows.kind, Profile.of(soc))
    if usual is None:
        return _free(terms, rows)
    return _bounded(terms, usual, 1.0 / len(rows), np.zeros(len(usual)), np.full(len(usual), np.inf))


def usual_of(kind: str, profile: Profile) -> Floats | None:
    """The terms by a profile's constants: a launch, and over which part of the peaks; None for kinds without."""
    attention = profile.attention_seconds + profile.block_seconds
    known = {
        "gemm": (profile.matmul_seconds, profile.compute_efficiency, profile.bandwidth_efficiency),
        "context": (attention, profile.attention_efficiency, profile.bandwidth_efficiency),
        "generation": (attention, profile.attention_efficiency, profile.attention_bandwidth),
    }.get(kind)
    return None if known is None else np.array([known[0], 1.0 / known[1], 1.0 / known[2]])


def _bounded(terms: Floats, usual: Floats, trust: float, least: Floats, most: Floats) -> Floats:
    """min mean (sum_j x_j terms_j - 1)^2 + trust sum_j (x_j / usual_j - 1)^2 within the bounds, by coordinate."""
    scaled = terms * usual[:, None]
    count = terms.shape[1]
    square = scaled @ scaled.T / count + trust * np.eye(len(usual))
    target = scaled.mean(axis=1) + trust
    found = np.ones(len(usual))
    for _ in range(_SWEEPS):
        before = found.copy()
        for place in range(len(found)):
            rest = target[place] - square[place] @ found + square[place, place] * found[place]
            found[place] = np.clip(rest / square[place, place], least[place], most[place])
        if np.abs(found - before).max() < 1e-9:
            break
    result: Floats = found * usual
    return result


def _free(terms: Floats, rows: Rows) -> Floats:
    """None negative (Lawson and Hanson's active set)."""
    scale = np.maximum(np.abs(terms).max(axis=1), 1e-300)
    matrix = (terms / scale[:, None]).T
    square, target = matrix.T @ matrix, matrix.sum(axis=0)
    square += np.eye(len(square)) * 1e-9 * max(float(np.trace(square)), 1e-300)
    active: list[int] = []
    found = np.zeros(len(square))
    for _ in range(4 * len(square)):
        slope = target - square @ found
        slope[active] = -np.inf
        best = int(np.argmax(slope))
        if slope[best] <= 1e-9 * float(np.abs(target).max()):
            break
        active.append(best)
        found = _least(square, target, active, found)
        active = [number for number in active if found[number] > 0]
    result: Floats = found / scale
    if result[0] <= 0 and not np.any(result > 0):
        result[0] = float(np.exp(np.log(rows.seconds).mean()))
    return result


def _least(square: Floats, target: Floats, active: list[int], before: Floats) -> Floats:
    """The best with these terms alone; on the way there from `before` terms that would turn negative are dropped."""
    kept, start = list(active), before
    while kept:
        whole = np.zeros(len(square))
        whole[kept] = np.linalg.solve(square[np.ix_(kept, kept)], target[kept])
        negative = [number for number in kept if whole[number] <= 0]
        if not negative:
            return whole
        step = min(start[number] / (start[number] - whole[number]) if start[number] > 0 else 0.0 for number in negative)
        start = start + step * (whole - start)
        kept = [number for number in kept if number not in negative]
    return np.maximum(start, 0.0)
