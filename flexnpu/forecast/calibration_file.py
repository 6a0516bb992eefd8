# SPDX-License-Identifier: Apache-2.0
"""Profiles as files: YAML that can be read, with the measured surfaces as lines of numbers.

A file has a version, and is checked when it is read: every constant a number in its range, every surface as many
numbers as its axes ask for. It is written beside its place and moved there, so that no half of one is ever found.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from math import isfinite, isnan
from pathlib import Path

import numpy as np
import yaml

from flexnpu.errors import InvalidValue
from flexnpu.files import write_whole
from flexnpu.forecast.batch import Floats
from flexnpu.forecast.calibration_series import AXES, Series
from flexnpu.forecast.profile import Profile
from flexnpu.forecast.surface import Axis, Surface

VERSION = 1
_OTHERS = {"uncertainty", "series", "facts"}
_CONSTANTS = tuple(each.name for each in fields(Profile) if each.name not in _OTHERS)
_PER_LINE = 12


class ProfileError(InvalidValue):
    """A profile that cannot be read, or whose values cannot be."""


def save(profile: Profile, file: str | Path) -> None:
    """Writes the profile, or nothing. ProfileError: the place cannot be written."""
    try:
        write_whole(file, dump(profile))
    except InvalidValue as error:
        raise ProfileError(error.message, next_step=f"{error.next_step} with --out") from error


def dump(profile: Profile) -> str:
    """The profile as text."""
    head = {
        "flexnpu_profile": VERSION,
        "facts": dict(profile.facts),
        "constants": {name: getattr(profile, name) for name in _CONSTANTS},
        "uncertainty": {name: _rounded(value) for name, value in profile.uncertainty.items()},
    }
    text = yaml.safe_dump(head, sort_keys=False, width=120)
    return text + yaml.dump(
        {"series": [_series_out(one) for one in profile.series]}, Dumper=_Dumper, sort_keys=False, width=4096
    )


def load(file: str | Path) -> Profile:
    """The profile in a file. ProfileError: it is none, of another version, or has values that cannot be."""
    file = Path(file)
    try:
        raw = yaml.load(file.read_text(encoding="utf-8"), Loader=_LOADER)
    except OSError as error:
        raise ProfileError(f"{file}: cannot be read ({error.strerror}); give a profile of flexnpu calibrate") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ProfileError(f"{file}: not readable as YAML ({str(error).splitlines()[0]}); calibrate anew") from error
    return parse(raw, str(file))


def parse(raw: object, source: str) -> Profile:
    """A profile from what YAML gave; `source` is named in every complaint."""
    if not isinstance(raw, dict) or "flexnpu_profile" not in raw:
        raise ProfileError(f"{source}: no profile; give a file that flexnpu calibrate --out wrote")
    if raw["flexnpu_profile"] != VERSION:
        raise ProfileError(
            f"{source}: profile version {raw['flexnpu_profile']!r}; this FlexNPU reads {VERSION}; calibrate anew"
        )
    constants = _mapping(raw, "constants", source)
    unknown = set(constants) - set(_CONSTANTS)
    if unknown:
        raise ProfileError(f"{source}: constant {sorted(unknown)[0]} is not known; known are {', '.join(_CONSTANTS)}")
    values = {name: _constant(name, value, source) for name, value in constants.items()}
    uncertainty = {
        str(name): _number(value, f"uncertainty of {name}", source, most=10.0)
        for name, value in _mapping(raw, "uncertainty", source).items()
    }
    listed = raw.get("series") or []
    if not isinstance(listed, list):
        raise ProfileError(f"{source}: series is {type(listed).__name__}; it must be a list")
    series = tuple(_series_in(one, f"{source}: series {place}") for place, one in enumerate(listed, 1))
    return Profile(
        **{**values, "tile": int(values.get("tile", 1))},  # type: ignore[arg-type]
        uncertainty=uncertainty,
        series=series,
        facts=_mapping(raw, "facts", source),
    )


class _Dumper(yaml.SafeDumper):
    """Numbers of a surface as a block of lines."""


class _Lines(str):
    __slots__ = ()


def _as_block(dumper: yaml.SafeDumper, text: _Lines) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", str(text), style="|")


_Dumper.add_representer(_Lines, _as_block)
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def _series_out(one: Series) -> dict[str, object]:
    return {
        "kind": one.kind,
        "labels": dict(one.labels),
        "rows": one.rows,
        "error": _rounded(one.mape),
        "deviation": _rounded(one.deviation),
        "roofline": [float(f"{value:.6g}") for value in one.roofline],
        "axes": {axis.name: _Lines(_numbers_out(axis.knots, ".10g")) for axis in one.surface.axes},
        # Natural logarithms would say nothing to a reader.
        "microseconds": _Lines(_numbers_out(np.exp(one.surface.log_values).reshape(-1) * 1e6, ".6g")),
    }


def _numbers_out(values: Floats, form: str) -> str:
    words = [format(value, form) for value in values.tolist()]
    return "\n".join(" ".join(words[place : place + _PER_LINE]) for place in range(0, len(words), _PER_LINE)) + "\n"


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")


def _series_in(raw: object, source: str) -> Series:
    if not isinstance(raw, dict) or raw.get("kind") not in AXES:
        raise ProfileError(f"{source}: kind is not one of {', '.join(AXES)}; calibrate anew")
    kind = str(raw["kind"])
    axes = _mapping(raw, "axes", source)
    if tuple(axes) != AXES[kind]:
        raise ProfileError(f"{source}: axes are {', '.join(map(str, axes))}; a {kind} has {', '.join(AXES[kind])}")
    knots = tuple(Axis(name, _knots(text, f"{source}: axis {name}")) for name, text in axes.items())
    shape = tuple(len(axis.knots) for axis in knots)
    times = _numbers_in(raw.get("microseconds"), f"{source}: microseconds")
    if times.size != np.prod(shape) or not np.all(times > 0):
        raise ProfileError(f"{source}: {times.size} times; the axes ask for {int(np.prod(shape))}, all over 0")
    roofline = raw.get("roofline")
    if not isinstance(roofline, list) or not all(isinstance(each, int | float) and each >= 0 for each in roofline):
        raise ProfileError(f"{source}: roofline is {roofline!r}; it must be numbers from 0")
    return Series(
        kind,
        {str(name): value for name, value in _mapping(raw, "labels", source).items()},  # type: ignore[misc]
        Surface(knots, np.log(times * 1e-6).reshape(shape)),
        tuple(float(each) for each in roofline),
        _or_unknown(raw, "deviation", source),
        _or_unknown(raw, "error", source),
        int(_number(raw.get("rows", 0), "rows", source, most=1e12)),
    )


def _or_unknown(raw: Mapping[str, object], name: str, source: str) -> float:
    value = raw.get(name, float("nan"))
    unknown = isinstance(value, float) and isnan(value)
    return float("nan") if unknown else _number(value, name, source, most=1e12)


def _knots(text: object, source: str) -> Floats:
    knots = _numbers_in(text, source)
    if not knots.size or knots[0] < 0 or np.any(np.diff(knots) <= 0):
        raise ProfileError(f"{source}: its knots must be numbers from 0 that rise")
    return knots


def _numbers_in(text: object, source: str) -> Floats:
    try:
        numbers = np.array(str(text).split(), dtype=np.float64)
    except ValueError as error:
        raise ProfileError(f"{source}: {error}; it must be numbers") from error
    if not np.all(np.isfinite(numbers)):
        raise ProfileError(f"{source}: a number is not finite; calibrate anew")
    return numbers


def _mapping(raw: Mapping[str, object], name: str, source: str) -> dict[str, object]:
    value = raw.get(name) or {}
    if not isinstance(value, dict):
        raise ProfileError(f"{source}: {name} is {type(value).__name__}; it must be a mapping")
    return value


_MOST = {
    "compute_efficiency": 1.0,
    "bandwidth_efficiency": 1.0,
    "attention_efficiency": 1.0,
    "attention_bandwidth": 1.0,
    "link_efficiency": 1.0,
    "overlap": 1.0,
}
_MAY_BE_ZERO = {"iteration_seconds", "compute_bend", "bandwidth_bend", "attention_bend", "softmax_part", "overlap"}


def _constant(name: str, value: object, source: str) -> float:
    bend = name.endswith("_bend") or name == "softmax_part"
    most = _MOST.get(name, 1.0 if bend else 1.0 if name.endswith("_seconds") else 1024.0)
    return _number(value, name, source, least=0.0, most=most, zero=name in _MAY_BE_ZERO or name.endswith("_seconds"))


def _number(  # noqa: PLR0913 - a number and its range
    value: object, name: str, source: str, *, least: float = 0.0, most: float, zero: bool = True
) -> float:
    number = float(value) if isinstance(value, int | float) and not isinstance(value, bool) else float("nan")
    if not isfinite(number) or not least <= number <= most or (number == 0 and not zero):
        raise ProfileError(
            f"{source}: {name} is {value!r}; it must be from {'' if zero else 'above '}{least:g} to {most:g}"
        )
    return number
