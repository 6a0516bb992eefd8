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


KINDS = ("npu", "gpu")


@dataclass(frozen=True, slots=True)
class Soc:
    """A device die. Bandwidths are bytes per second, peak_flops is dense fp16 (and bf16) over all cores.

    A core is what can be given to one phase or another: a cube core of an NPU, whose vector cores follow it, or a
    streaming multiprocessor of a GPU, which holds matrix and vector units both; there the two counts are equal.
    Rates are of dense matrix peaks relative to 16 bits; 1 where the device has no units for the format and engines
    widen it to 16 bits first.
    """

    name: str
    cube_cores: int
    vector_cores: int
    clock_mhz: float
    peak_flops: float
    hbm_bytes: int
    hbm_bandwidth: float
    l2_bytes: int
    link_bandwidth: float  # to the other devices of the node, per direction
    kind: str = "npu"
    int8_rate: float = 2.0
    fp8_rate: float = 1.0
    fp32_rate: float = 0.25
    node_devices: int = 8  # that the links join
    network_bandwidth: float = 0.0  # to other nodes, per device and direction; 0 is none
    collective_seconds: float = 10e-6  # before the first byte of a collective arrives

    @classmethod
    def from_mapping(cls, raw: Mapping[str, object], source: str) -> Soc:
        """A Soc from the keys of a YAML spec; `source` is named in every complaint."""
        read = _Reader(raw, source)
        kind = read.one_of("kind", KINDS, "npu")
        cores = int(read.positive("cores" if kind == "gpu" else "cube_cores"))
        clock_mhz = read.positive("clock_mhz")
        return cls(
            name=read.name(),
            cube_cores=cores,
            vector_cores=cores if kind == "gpu" else int(read.positive("vector_cores")),
            clock_mhz=clock_mhz,
            peak_flops=cores * read.positive("flops_per_core_cycle") * clock_mhz * 1e6,
            hbm_bytes=int(read.positive("hbm_bytes")),
            hbm_bandwidth=read.positive("hbm_gb_s") * 1e9,
            l2_bytes=int(read.positive("l2_mib") * 2**20),
            link_bandwidth=read.not_negative("link_gb_s") * 1e9,
            kind=kind,
            int8_rate=read.positive("int8_rate", 2.0),
            fp8_rate=read.positive("fp8_rate", 1.0),
            fp32_rate=read.positive("fp32_rate", 0.25),
            node_devices=int(read.positive("node_devices", 8)),
            network_bandwidth=read.not_negative("network_gb_s", 0.0) * 1e9,
            collective_seconds=read.not_negative("collective_us", 10.0) * 1e-6,
        )

    @property
    def cores(self) -> int:
        """What can be shared out: cube cores, or a GPU's multiprocessors."""
        return self.cube_cores

    def matrix_rate(self, dtype: str) -> float:
        """Dense matrix peak of fp32, bf16, fp16, fp8 or int8, relative to 16 bits."""
        return {"fp32": self.fp32_rate, "fp8": self.fp8_rate, "int8": self.int8_rate}.get(dtype, 1.0)


@dataclass(frozen=True, slots=True)
class _Reader:
    raw: Mapping[str, object]
    source: str

    def name(self) -> str:
        value = self.raw.get("name")
        if not isinstance(value, str) or not value:
            raise SpecError(f"{self.source}: name is {value!r}; it must be the SoC's name, such as Ascend910B2")
        return value

    def one_of(self, field: str, allowed: tuple[str, ...], default: str) -> str:
        value = self.raw.get(field, default)
        if value not in allowed:
            raise SpecError(f"{self.source}: {field} is {value!r}; it must be one of {', '.join(allowed)}")
        return str(value)

    def positive(self, field: str, default: float | None = None) -> float:
        return self._number(field, default, zero_allowed=False)

    def not_negative(self, field: str, default: float | None = None) -> float:
        return self._number(field, default, zero_allowed=True)

    def _number(self, field: str, default: float | None, *, zero_allowed: bool) -> float:
        if field not in self.raw:
            if default is not None:
                return default
            raise SpecError(f"{self.source}: {field} is missing; add it (a number) to the specification")
        value = self.raw[field]
        number = isinstance(value, int | float) and not isinstance(value, bool)
        low_enough = number and float(value) < 1e30  # type: ignore[arg-type]  # also refuses .nan and .inf
        if not low_enough or float(value) < 0 or (float(value) == 0 and not zero_allowed):  # type: ignore[arg-type]
            allowed = "0 or more" if zero_allowed else "over 0"
            raise SpecError(f"{self.source}: {field} is {value!r}; it must be a number {allowed}")
        return float(value)  # type: ignore[arg-type]
