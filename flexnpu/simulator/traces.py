# SPDX-License-Identifier: Apache-2.0
"""Request traces, read in one pass with flat memory: a line is parsed when the simulator asks for it.

A `Trace` is one or more parts played one after another, and can be iterated any number of times; each time the files
are read anew. Whatever is wrong with a line is one error with file, line, value, what is allowed and what to do.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import BinaryIO, NamedTuple, NoReturn, TypeVar

from flexnpu.errors import InvalidValue
from flexnpu.simulator.arrival import Arrival

MOST_TOKENS = 1 << 24  # of a prompt or an output: beyond any context window
MOST_SECONDS = 1e9  # 31 years, from a file's first request to its last
LATEST = 1e12  # seconds from a file's origin, which may be 1970: what a float tells apart is there 0.1 ms
LONGEST_LINE = 1 << 22  # bytes; a file of zeros must not be read into memory as one line
_OTHER_FILE = 48  # bits: hash ids of different files are kept apart from here on; ids count modulo 2 ** 64


_T = TypeVar("_T")


class TraceError(InvalidValue):
    """A trace that cannot be read."""


class Row(NamedTuple):
    """One line as its file has it: seconds since an origin of the file's own."""

    seconds: float
    prompt: int
    output: int
    blocks: Sequence[int] = ()


class _BadField(Exception):  # noqa: N818 - never leaves this file
    """What is wrong with one line, without the file and the line."""

    def __init__(self, what: str, allowed: str) -> None:
        super().__init__(what)
        self.what, self.allowed = what, allowed


@dataclass(frozen=True, slots=True)
class Part:
    """One file, or one synthetic load, of a trace."""

    source: str  # the file, or the text of a synthetic load: shown in errors and results
    format: str
    limit: int | None = None  # the first so many requests
    rate_scale: float = 1.0  # requests come so many times as fast

    def rows(self) -> Iterator[Row]:
        """Rows in order of time, as the file has them; neither scaled nor shifted."""
        if self.format == "synthetic":
            from flexnpu.simulator.synthetic import rows  # noqa: PLC0415 - it uses this module's Row

            return rows(self.source, self.limit)
        return _read(Path(self.source), FORMATS[self.format], self.limit)


@dataclass(frozen=True, slots=True)
class Trace:
    """Parts one after another.

    The first request comes at 0 s. A part's first request comes after the last one of the part before, by the mean gap
    of the part before. Prefix blocks are shared within a file, also when it is named twice, never between two files.
    """

    parts: tuple[Part, ...]

    def __iter__(self) -> Iterator[Arrival]:
        start = 0.0
        for index, part in enumerate(self.parts):
            sources = [other.source for other in self.parts[: index + 1]]
            apart = sources.index(part.source) << _OTHER_FILE
            origin, last, count = math.nan, 0.0, 0
            for row in part.rows():
                if count == 0:
                    origin = row.seconds
                count += 1
                last = (row.seconds - origin) / part.rate_scale
                blocks = row.blocks if not apart else [block + apart for block in row.blocks]
                yield Arrival(start + last, row.prompt, row.output, blocks)
            start += last + (last / (count - 1) if count > 1 else 0.0)

    def scaled(self, factor: float) -> Trace:
        """The same requests, `factor` times as fast."""
        return Trace(tuple(Part(p.source, p.format, p.limit, p.rate_scale * factor) for p in self.parts))


class Totals(NamedTuple):
    """What a trace asks for, counted in one pass."""

    requests: int
    seconds: float  # from the first arrival to the last
    prompt_tokens: int
    output_tokens: int
    longest_prompt: int
    longest_output: int

    @property
    def rate(self) -> float:
        """Requests per second; infinite where all come at once."""
        return (self.requests - 1) / self.seconds if self.seconds > 0 else math.inf


def totals(trace: Trace) -> Totals:
    """Counts a trace; so every line of it has been checked."""
    requests = prompt = output = longest_prompt = longest_output = 0
    last = 0.0
    for arrival in trace:
        requests += 1
        prompt += arrival.prompt
        output += arrival.output
        longest_prompt = max(longest_prompt, arrival.prompt)
        longest_output = max(longest_output, arrival.output)
        last = arrival.seconds
    return Totals(requests, last, prompt, output, longest_prompt, longest_output)


def make_trace(
    sources: Sequence[str],
    formats: Sequence[str],
    limits: Sequence[int | None] = (),
    rate_scales: Sequence[float] = (),
) -> Trace:
    """A trace of `sources` in this order. The other lists have one entry for all sources, or one each.

    Raises TraceError for a format that does not exist, a file that cannot be opened and numbers out of range.
    """
    if not sources:
        raise TraceError("no trace is given", next_step="give --trace FILE")
    count = len(sources)
    parts = tuple(
        Part(*each)
        for each in zip(
            sources,
            _for_each(formats, count, "--format"),
            _for_each(limits or [None], count, "--limit"),
            _for_each(rate_scales or [1.0], count, "--rate-scale"),
            strict=True,
        )
    )
    for part in parts:
        _check(part)
    return Trace(parts)


def _for_each(values: Sequence[_T], count: int, name: str) -> Sequence[_T]:
    if len(values) == 1:
        return list(values) * count
    if len(values) != count:
        raise TraceError(
            f"{name} is given {len(values)} times for {count} traces",
            next_step="give it once for all, or once for each",
        )
    return values


def _check(part: Part) -> None:
    known = (*FORMATS, "synthetic")
    if part.format not in known:
        raise TraceError(f"--format {part.format!r} is not known", next_step=f"give one of {', '.join(known)}")
    if part.limit is not None and part.limit < 1:
        raise TraceError(f"--limit {part.limit} is out of range", next_step="give 1 or more requests, or leave it out")
    if not 1e-6 <= part.rate_scale <= 1e6:
        raise TraceError(
            f"--rate-scale {part.rate_scale:g} is out of range", next_step="give 0.000001 to 1000000, such as 2"
        )
    if part.format == "synthetic":
        next(part.rows())
    else:
        _open(Path(part.source)).close()


# --- files ------------------------------------------------------------------------------------------------------------


class Format(NamedTuple):
    """How a file is read: its header line, where it has one, and a line to a row."""

    columns: tuple[str, ...]  # empty: no header
    row: Callable[[bytes], Row]


def _open(file: Path) -> BinaryIO:
    try:
        if file.is_dir():
            raise TraceError(f"trace {file} is a folder", next_step="give the file itself")
        return file.open("rb")
    except OSError as error:
        raise TraceError(
            f"trace {file} cannot be read ({error.strerror})", next_step="give an existing file"
        ) from error


def _read(file: Path, form: Format, limit: int | None) -> Iterator[Row]:
    with _open(file) as stream:
        lines = enumerate(iter(partial(stream.readline, LONGEST_LINE), b""), start=1)
        if form.columns:
            _header(file, next(lines, (1, b""))[1], form.columns)
        origin, before, count = math.nan, -math.inf, 0
        for number, line in lines:
            if line.isspace():
                continue
            try:
                row = form.row(line)
                if row.seconds < before:
                    raise _backwards(before - row.seconds)
                origin = origin if count else row.seconds
                if row.seconds - origin > MOST_SECONDS:
                    raise _too_long(row.seconds - origin)
            except _BadField as bad:
                _complain(f"trace {file} line {number}", line, bad, count)
            before = row.seconds
            count += 1
            yield row
            if count == limit:
                return
    if count == 0:
        raise TraceError(f"trace {file} has no request", next_step="give a file with at least one")


def _backwards(seconds: float) -> _BadField:
    return _BadField(f"the request comes {seconds:g} s before the one above it", "times that do not fall")


def _too_long(seconds: float) -> _BadField:
    return _BadField(f"the request comes {seconds:.12g} s after the first", f"traces of at most {MOST_SECONDS:g} s")


def _header(file: Path, line: bytes, columns: tuple[str, ...]) -> None:
    found = line.removeprefix(b"\xef\xbb\xbf").strip()
    wanted = ",".join(columns)
    if not found:
        raise TraceError(f"trace {file} is empty", next_step=f"give a file whose first line is {wanted}")
    if found != wanted.encode():
        raise TraceError(
            f"trace {file} line 1: the header is {_shown(found)}",
            next_step=f"it must be {wanted}; give the --format that the file has ({', '.join(FORMATS)})",
        )


def _complain(where: str, line: bytes, bad: _BadField, count: int) -> NoReturn:
    """`count`: good requests before the line."""
    stop = f", or stop before it with --limit {count}" if count else ""
    if len(line) >= LONGEST_LINE:
        bad = _BadField(f"over {LONGEST_LINE} bytes long", "lines of one request each")
    elif not line.endswith(b"\n"):  # so it is the file's last
        raise TraceError(
            f"{where}: the last line seems cut off, {_shown(line)}: {bad.what}; allowed: {bad.allowed}",
            next_step=f"copy the file again, remove the line{stop}",
        )
    raise TraceError(f"{where}: {bad.what}; allowed: {bad.allowed}", next_step=f"correct or remove the line{stop}")


def _shown(value: object) -> str:
    text = value.decode("utf-8", "replace").strip() if isinstance(value, bytes) else str(value)
    return repr(text if len(text) <= 48 else text[:45] + "...")


# --- formats ----------------------------------------------------------------------------------------------------------


def _fields(line: bytes, columns: tuple[str, ...]) -> list[bytes]:
    fields = line.strip().split(b",")
    if len(fields) != len(columns):
        raise _BadField(f"{_shown(line)} has {len(fields)} of {len(columns)} columns", ",".join(columns))
    return fields


def _tokens(field: bytes, name: str) -> int:
    # Digits alone: int() would also take 1_000 and +5.
    if field.isdigit() and len(field) <= 8 and 1 <= (value := int(field)) <= MOST_TOKENS:
        return value
    raise _BadField(f"{name} is {_shown(field)}", f"whole numbers from 1 to {MOST_TOKENS}")


def _azure(line: bytes) -> Row:
    time, prompt, output = _fields(line, _AZURE)
    try:
        stamp = datetime.fromisoformat(time.decode())
    except ValueError:
        raise _BadField(f"TIMESTAMP is {_shown(time)}", "times such as 2023-11-16 18:17:03.979960") from None
    # Without a zone it is taken as UTC: local time would depend on the host and jump in spring.
    seconds = (stamp if stamp.tzinfo else stamp.replace(tzinfo=UTC)) - _EPOCH
    return Row(seconds.total_seconds(), _tokens(prompt, "ContextTokens"), _tokens(output, "GeneratedTokens"))


def _own(line: bytes) -> Row:
    time, prompt, output = _fields(line, _OWN)
    try:
        seconds = float(time)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds <= LATEST:  # NaN fails too
        raise _BadField(f"arrival_s is {_shown(time)}", f"seconds from 0 to {LATEST:g}")
    return Row(seconds, _tokens(prompt, "prompt_tokens"), _tokens(output, "output_tokens"))


def _mooncake(line: bytes) -> Row:
    try:
        raw = json.loads(line)
    except (ValueError, RecursionError):  # a line of a million brackets
        raise _BadField(f"{_shown(line)} is not JSON", "one object on each line") from None
    if not isinstance(raw, dict):
        raise _BadField(f"{_shown(line)} is not an object", '{"timestamp": …, "input_length": …, "output_length": …}')
    time = raw.get("timestamp")
    # A bool is an int, but not a time; NaN is in no range.
    if isinstance(time, bool) or not isinstance(time, int | float) or not 0 <= time <= LATEST * 1e3:
        raise _BadField(f"timestamp is {_shown(time)}", f"milliseconds from 0 to {LATEST * 1e3:g}")
    blocks = raw.get("hash_ids", ())
    if blocks and not (isinstance(blocks, list) and all(type(block) is int for block in blocks)):
        raise _BadField(f"hash_ids is {_shown(blocks)}", "a list of whole numbers")
    return Row(time / 1e3, _length(raw, "input_length"), _length(raw, "output_length"), blocks or ())


def _length(raw: dict[str, object], name: str) -> int:
    value = raw.get(name)
    if type(value) is int and 1 <= value <= MOST_TOKENS:
        return value
    raise _BadField(f"{name} is {_shown(value)}", f"whole numbers from 1 to {MOST_TOKENS}")


_AZURE = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")
_OWN = ("arrival_s", "prompt_tokens", "output_tokens")
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
FORMATS = {"azure": Format(_AZURE, _azure), "mooncake": Format((), _mooncake), "csv": Format(_OWN, _own)}
