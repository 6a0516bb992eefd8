# SPDX-License-Identifier: Apache-2.0
"""One SoC as its data sheet gives it.

Only published peaks are kept here. How much of a peak an operator reaches is the forecast's business.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from flexnpu.errors import InvalidValue


class SpecError(InvalidValue):
    """A SoC that is not known, or a specification that cannot be used."""


@dataclass(frozen=True, slots=True)
class Soc:
    """A device die. Bandwidths are bytes per second, peak_flops is dense fp16 over all cores."""

    name: str
    cube_cores: int
    vector_cores: int
    clock_mhz: float
    peak_flops: float
    hbm_bytes: int
    hbm_bandwidth: float
    l2_bytes: int
    link_bandwidth: float

    @classmethod
    def from_mapping(cls, raw: Mapping[str, object], source: str) -> Soc:
        """A Soc from the keys of a YAML spec; `source` is named in every complaint."""
        read = _Reader(raw, source)
        cube_cores = int(read.positive("cube_cores"))
        clock_mhz = read.positive("clock_mhz")
        return cls(
            name=read.name(),
            cube_cores=cube_cores,
            vector_cores=int(read.positive("vector_cores")),
            clock_mhz=clock_mhz,
            peak_flops=cube_cores * read.positive("flops_per_core_cycle") * clock_mhz * 1e6,
            hbm_bytes=int(read.positive("hbm_bytes")),
            hbm_bandwidth=read.positive("hbm_gb_s") * 1e9,
            l2_bytes=int(read.positive("l2_mib") * 2**20),
            link_bandwidth=read.not_negative("link_gb_s") * 1e9,
        )


@dataclass(frozen=True, slots=True)
class _Reader:
    raw: Mapping[str, object]
    source: str

    def name(self) -> str:
        value = self.raw.get("name")
        if not isinstance(value, str) or not value:
            raise SpecError(f"{self.source}: name is {value!r}; it must be the SoC's name, such as Ascend910B2")
        return value

    def positive(self, field: str) -> float:
        return self._number(field, zero_allowed=False)

    def not_negative(self, field: str) -> float:
        return self._number(field, zero_allowed=True)

    def _number(self, field: str, *, zero_allowed: bool) -> float:
        if field not in self.raw:
            raise SpecError(f"{self.source}: {field} is missing; add it (a number) to the specification")
        value = self.raw[field]
        number = isinstance(value, int | float) and not isinstance(value, bool)
        low_enough = number and float(value) < 1e30  # type: ignore[arg-type]  # also refuses .nan and .inf
        if not low_enough or float(value) < 0 or (float(value) == 0 and not zero_allowed):  # type: ignore[arg-type]
            allowed = "0 or more" if zero_allowed else "over 0"
            raise SpecError(f"{self.source}: {field} is {value!r}; it must be a number {allowed}")
        return float(value)  # type: ignore[arg-type]
