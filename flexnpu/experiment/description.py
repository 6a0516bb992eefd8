# SPDX-License-Identifier: Apache-2.0
"""What an experiment is: a file of catalogue/, in YAML. Nothing here runs anything."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from flexnpu.controller.config import parse_split
from flexnpu.errors import FlexNpuError, InvalidValue
from flexnpu.experiment.report import Targets
from flexnpu.experiment.stack import ROLES, Quota, Quotas
from flexnpu.planner import Split
from flexnpu.simulator.traces import FORMATS

CATALOGUE = Path(__file__).with_name("catalogue")
DATA = Path(__file__).with_name("data")
_Part = Annotated[float, Field(ge=0, le=1)]


class _Described(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Source(_Described):
    """Some requests of a load.

    trace, format: a file of data/, read as `flexnpu simulate` does; or prompt and output, tokens, the same for all.
    lengths: factor of a trace's token counts. pace: "poisson", from a seed, or "at once".
    start, time: when they come, as parts of the load's time. work: what they ask for, as a part of what the whole
    device can do in that time, by the forecast; so many of them are taken.
    """

    trace: str | None = None
    format: str | None = None
    prompt: int | None = Field(default=None, ge=1)
    output: int | None = Field(default=None, ge=1)
    lengths: float = Field(default=1.0, gt=0, le=16)
    pace: Literal["poisson", "at once"] = "poisson"
    start: _Part = 0.0
    time: float = Field(default=1.0, gt=0, le=1)
    work: float = Field(gt=0, le=4)

    @model_validator(mode="after")
    def _one_kind(self) -> Source:
        if (self.trace is None) != (self.format is None) or (self.prompt is None) != (self.output is None):
            raise ValueError("trace goes with format, and prompt with output")
        if (self.trace is None) == (self.prompt is None):
            raise ValueError("it has a trace, or a prompt and an output, and not both")
        if self.format is not None and self.format not in FORMATS:
            raise ValueError(f"format {self.format!r}; it must be one of {', '.join(FORMATS)}")
        if self.start + self.time > 1:
            raise ValueError(f"start {self.start:g} and time {self.time:g} go beyond the load's end, 1")
        return self


class Load(_Described):
    """What comes during one run."""

    name: str
    requests: Annotated[tuple[Source, ...], Field(min_length=1)]


class Static(NamedTuple):
    """The baseline's quotas, in words, and what they are: a split in cores, or shares of the device's time."""

    name: str
    split: Split | None
    decode_share: float | None  # part of the time

    def quotas(self, cores: int) -> Quotas:
        """On a device of so many cores."""
        if self.split is not None:
            return {role: Quota(getattr(self.split, role)) for role in ROLES}
        assert self.decode_share is not None
        shares = dict(zip(ROLES, (1 - self.decode_share, self.decode_share), strict=True))
        return {role: Quota(cores, 100 * share) for role, share in shares.items()}


class Experiment(_Described):
    """One file of the catalogue.

    published: what others report, and where. scaling: how it was brought down to this device and these minutes.
    static: "split P/D", cores, or "share P/D", per cent of the device's time. modes: of `flexnpu controller`.
    decode_batch: requests that decode at once, at most. batch: how many decode together, for the estimate of `work`.
    """

    name: str
    title: str
    published: str
    scaling: str
    loads: Annotated[tuple[Load, ...], Field(min_length=1)]
    static: str = "split 12/12"
    modes: tuple[str, ...] = ("split",)
    ttft: float = Field(default=1.0, gt=0)
    tpot: float = Field(default=0.05, gt=0)
    decode_batch: int = Field(default=64, ge=1, le=64)
    batch: int = Field(default=16, ge=1, le=64)

    @field_validator("static")
    @classmethod
    def _readable(cls, text: str) -> str:
        parse_static(text)
        return text

    @property
    def baseline(self) -> Static:
        return parse_static(self.static)

    @property
    def targets(self) -> Targets:
        return Targets(self.ttft, self.tpot)


def parse_static(text: str) -> Static:
    """ "split 12/12" or "share 50/50". Raises ValueError."""
    kind, _, numbers = text.partition(" ")
    try:
        split = parse_split(numbers, "static")
    except FlexNpuError:
        split = Split(0, 0)
    if min(split) < 1 or kind not in {"split", "share"} or (kind == "share" and sum(split) != 100):
        raise ValueError(f"static {text!r}; it must be such as 'split 12/12' (cores) or 'share 50/50' (per cent)")
    if kind == "split":
        return Static(f"static {numbers}", split, None)
    return Static(f"static shares {numbers}", None, split.decode / 100)


def names() -> list[str]:
    """Of all experiments that ship."""
    return sorted(file.stem for file in CATALOGUE.glob("*.yaml"))


def find(name: str) -> Experiment:
    """Raises InvalidValue for a name that is not there."""
    if name not in names():
        raise InvalidValue(f"experiment {name!r} does not exist", next_step=f"give one of {', '.join(names())}")
    return read(CATALOGUE / f"{name}.yaml")


def read(file: Path) -> Experiment:
    """Raises InvalidValue with the file and every field that is wrong."""
    try:
        return Experiment.model_validate({"name": file.stem, **yaml.safe_load(file.read_text(encoding="utf-8"))})
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
        raise InvalidValue(f"experiment {file}: {wrong}", next_step="correct the file") from error
    except (OSError, TypeError, ValueError, yaml.YAMLError) as error:
        raise InvalidValue(
            f"experiment {file}: {' '.join(str(error).split())}", next_step="correct the file"
        ) from error
