# SPDX-License-Identifier: Apache-2.0
"""Which part of a profile holds for a model on a device: refused for another device, left out for another model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

from flexnpu.errors import InvalidValue
from flexnpu.forecast.profile import Profile
from flexnpu.hardware import Soc
from flexnpu.llm import ModelShape

OPERATORS = frozenset({"gemm", "context", "generation", "mixed", "layer"})  # kinds of series that a forecast reads
_OF_A_MODEL = frozenset({"mixed", "layer"})
# What tables of a model's layers call its sizes, and what ModelShape does.
_SIZES: Mapping[str, str] = {
    "hidden_size": "hidden",
    "intermediate_size": "intermediate",
    "num_attention_heads": "heads",
    "num_key_value_heads": "kv_heads",
    "head_dim": "head_dim",
    "vocab_size": "vocab",
}


class Fitting(NamedTuple):
    """The part of a profile that holds, and one line for each part that does not."""

    profile: Profile
    notes: tuple[str, ...]

    @property
    def calibrated(self) -> bool:
        """Whether anything measured is left."""
        return bool(self.profile.series)


def fitting(profile: Profile, model: ModelShape, soc: Soc, *, parted: bool = False) -> Fitting:
    """The series that hold for a model on a device; parted: several devices share it.

    InvalidValue: the profile is of another device, whose times say nothing of this one.
    """
    of = profile.facts.get("soc")
    if of is not None and str(of).casefold() != soc.name.casefold():
        raise InvalidValue(f"the profile is of {of}, the device is {soc.name}; give --device {of}, or calibrate anew")
    notes = []
    # What was measured of a whole model's layers says nothing of a part of them.
    other = "whole, not shared by devices" if parted else _difference(profile, model)
    kept = tuple(one for one in profile.series if one.kind in OPERATORS and not (other and one.kind in _OF_A_MODEL))
    if other and any(one.kind in _OF_A_MODEL for one in profile.series):
        notes.append(f"the profile's layers are of another model ({other}); they are not used")
    if profile.series and not kept:
        kinds = ", ".join(sorted({one.kind for one in profile.series}))
        notes.append(f"no series of the profile was used (it has {kinds}); what is told is not calibrated")
    return Fitting(profile if len(kept) == len(profile.series) else replace(profile, series=kept), tuple(notes))


def _difference(profile: Profile, model: ModelShape) -> str:
    """The first size that the measured model has and this one has not, in words; empty where none is known."""
    sizes = profile.facts.get("sizes")
    for name, value in sizes.items() if isinstance(sizes, Mapping) else ():
        mine = getattr(model, _SIZES[name]) if name in _SIZES else value
        if mine != value:
            return f"{profile.facts.get('model') or 'measured'}: {name} {value}, not {mine}"
    return ""
