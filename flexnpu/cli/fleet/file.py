# SPDX-License-Identifier: Apache-2.0
"""What a file of programs may say. Sizes, shares and durations are written as the options of flexnpu run have them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from flexnpu.cli.fleet.lines import Document, Place, read
from flexnpu.errors import FlexNpuError, InvalidValue
from flexnpu.tenancy import check_name
from flexnpu.units import parse_duration, parse_percent, parse_size

Condition = Literal["started", "ready", "done"]


def _as(parse: Callable[[str], object]) -> BeforeValidator:
    """Of a text, or a number without quotes; pydantic wants ValueErrors."""

    def convert(value: object) -> object:
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise ValueError("is no text")  # noqa: TRY004 - that pydantic takes
        try:
            return parse(str(value))
        except FlexNpuError as error:
            raise ValueError(str(error)) from error

    return BeforeValidator(convert)


def _words(value: object) -> object:
    return shlex.split(value) if isinstance(value, str) else value


def _text(value: object) -> object:
    if isinstance(value, bool) or value is None:
        raise ValueError("is no text; write it in quotes")
    return str(value) if isinstance(value, int | float) else value


def _several(value: object) -> object:
    return value if isinstance(value, list) else [value]


_FORMS = {
    "model_type": "is no mapping",
    "dict_type": "is no mapping",
    "list_type": "is no list",
    "too_short": "is empty",
}
Seconds = Annotated[float, _as(parse_duration)]
Word = Annotated[str, BeforeValidator(_text)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Ready(_Part):
    """One sign that a program can be used: an answer of 2xx, a line of output, or that it has attached to its vNPU.
    within: seconds from its start."""

    http: str | None = Field(default=None, pattern=r"^https?://")
    output: str | None = None
    attached: Literal[True] | None = None
    within: Seconds = 300.0

    @model_validator(mode="after")
    def _one(self) -> Ready:
        if sum(each is not None for each in (self.http, self.output, self.attached)) != 1:
            raise ValueError("needs http, output or attached, one of them")
        if self.output is not None:
            try:
                re.compile(self.output)
            except re.error as error:
                raise ValueError(f"has an output that is no regular expression ({error})") from error
        return self


class Program(_Part):
    """A program and its vNPU, which is named as the program is. working_dir: from the folder of the file. depends_on:
    what has to become of others first. stop_within: seconds from being told to end to being killed."""

    command: Annotated[list[Word], BeforeValidator(_words)] = Field(min_length=1)
    cores: int = Field(ge=1)
    memory: Annotated[int, _as(parse_size)]
    device: Annotated[list[int], BeforeValidator(_several)] = Field(default=[0], min_length=1)
    burst_cores: int | None = None
    vector_cores: int | None = None
    share: Annotated[float, _as(parse_percent)] | None = None
    fixed_share: bool = False
    priority: int = Field(default=0, ge=0, le=7)
    phase: Literal["prefill", "decode"] | None = None
    environment: dict[str, Word] = {}
    working_dir: str = "."
    depends_on: dict[str, Condition] = {}
    ready: Ready | None = None
    stop_within: Seconds = 10.0


class Fleet(_Part):
    """Programs by name."""

    programs: dict[str, Program] = Field(min_length=1)


def load(path: Path) -> Fleet:
    """Raises InvalidValue, which names the key and its line."""
    document = read(path)
    try:
        fleet = Fleet.model_validate(document.value)
    except ValidationError as error:
        raise _complaint(document, error) from error
    for name in fleet.programs:
        _check_name(document, name)
        _check_order(document, fleet, name)
    return fleet


def _complaint(document: Document, error: ValidationError) -> InvalidValue:
    # Of a name that is misspelt, not what is missing therefore.
    first = min(error.errors(), key=lambda each: each["type"] != "extra_forbidden")
    place: Place = first["loc"]
    if first["type"] == "extra_forbidden":
        return document.error(place, "is not known here", f"the keys are {', '.join(_keys(place[:-1]))}")
    if first["type"] == "missing":
        return document.error(place, "is missing", "write it there")
    if first["type"] == "value_error":
        return document.error(place, str(first["ctx"]["error"]), "see docs/cli.md")
    if first["type"] in _FORMS:
        return document.error(place, _FORMS[first["type"]], "see docs/cli.md")
    given = repr(first["input"])[:60]
    return document.error(place, f"is {given}: {first['msg'].removeprefix('Input ')}", "see docs/cli.md")


def _keys(place: Place) -> list[str]:
    models: dict[int, type[BaseModel]] = {0: Fleet, 2: Program, 3: Ready}
    return list(models[len(place)].model_fields)


def _check_name(document: Document, name: str) -> None:
    try:
        check_name(name)
    except FlexNpuError as error:
        raise document.error(
            ("programs", name), f"cannot be a vNPU's name ({error.message})", error.next_step
        ) from error


def _check_order(document: Document, fleet: Fleet, name: str) -> None:
    """Depth first from that program: whom it waits for is there, and does not wait for it."""
    way: list[str] = []

    def visit(at: str) -> None:
        way.append(at)
        for other, condition in fleet.programs[at].depends_on.items():
            place = ("programs", at, "depends_on", other)
            if other not in fleet.programs:
                raise document.error(place, "is no program of this file", f"name one of {', '.join(fleet.programs)}")
            if other in way:
                circle = " -> ".join((*way[way.index(other) :], other))
                raise document.error(place, f"waits for itself: {circle}", "take one of them out")
            if condition == "ready" and fleet.programs[other].ready is None:
                raise document.error(place, f"is ready, but {other} does not say when it is", f"give {other} a ready")
            visit(other)
        way.pop()

    visit(name)
