# SPDX-License-Identifier: Apache-2.0
"""What a controller is asked for: by options, by a file, or by both, where an option goes before the file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args
from urllib.parse import urlsplit

import yaml

from flexnpu.controller.loop import Mode, Settings
from flexnpu.controller.seam import Endpoint
from flexnpu.errors import FlexNpuError, InvalidValue
from flexnpu.llm import ModelShape
from flexnpu.planner import Split, Targets
from flexnpu.tenancy import check_name

_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0}
_ENGINE_KEYS = {"vnpu", "url"}
_DEFAULTS = {"ttft": "1s", "itl": "50ms", "period": "50ms", "mode": "split"}


class OptionError(InvalidValue):
    """An option of the command, or a key of its file, that cannot be read."""


@dataclass(frozen=True, slots=True)
class Options:
    """What `flexnpu controller` was asked for. Times are device seconds."""

    prefill: Endpoint
    decode: Endpoint
    model: ModelShape
    settings: Settings
    decisions: Path | None = None
    runtime_dir: Path | None = None


# Of the file, by what an option of the same name takes.
KEYS = ("prefill", "decode", "model", "ttft", "itl", "mode", "pin", "period", "safe", "minima", "decisions")


def read_options(given: Mapping[str, object], config: Path | None = None, runtime_dir: Path | None = None) -> Options:
    """given: by the names of KEYS, None where the option was not given."""
    known = _read_file(config) if config is not None else {}
    known |= {key: value for key, value in given.items() if value is not None}
    texts = {**_DEFAULTS, **{key: str(value) for key, value in known.items()}}
    for needed in ("prefill", "decode", "model"):
        if needed not in texts:
            raise OptionError(f"--{needed} is missing; give it, or {needed} in the file of --config")
    prefill, decode = (parse_endpoint(texts[role], f"--{role}") for role in ("prefill", "decode"))
    if prefill.vnpu == decode.vnpu:
        raise OptionError(f"--prefill and --decode are both vNPU {prefill.vnpu!r}; each engine needs its own")
    mode, pin = _mode(texts["mode"]), texts.get("pin")
    if (mode == "pinned") != (pin is not None):
        raise OptionError(f"--mode {mode} with --pin {pin or 'not given'}; mode pinned needs a split, others take none")
    safe = pin if pin is not None else texts.get("safe")
    return Options(
        prefill,
        decode,
        model=ModelShape.from_config(texts["model"]),
        settings=Settings(
            targets=Targets(ttft=parse_duration(texts["ttft"], "--ttft"), itl=parse_duration(texts["itl"], "--itl")),
            mode=mode,
            period=parse_duration(texts["period"], "--period"),
            safe=parse_split(safe, "--pin" if pin is not None else "--safe") if safe is not None else None,
            minima=parse_split(texts["minima"], "--minima") if "minima" in texts else None,
        ),
        decisions=Path(texts["decisions"]) if "decisions" in texts else None,
        runtime_dir=runtime_dir,
    )


def _read_file(path: Path) -> dict[str, object]:
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise OptionError(f"--config {str(path)!r} cannot be read ({error.strerror}); name another file") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise OptionError(f"--config {str(path)!r} is no YAML ({' '.join(str(error).split())})") from error
    if not isinstance(found, dict):
        raise OptionError(f"--config {str(path)!r} holds no mapping; its keys may be {', '.join(KEYS)}")
    for key in found:
        if key not in KEYS:
            raise OptionError(f"--config {str(path)!r} has a key {key!r}; its keys may be {', '.join(KEYS)}")
    for role in ("prefill", "decode"):
        if isinstance(found.get(role), dict):
            found[role] = _engine(found[role], role, path)
    for key, value in found.items():
        _check_text(f"--config {str(path)!r}: {key}", value)
    return found


def _check_text(what: str, value: object) -> None:
    if not isinstance(value, str) or not value:
        raise OptionError(
            f"{what} is {value!r}; it must be a text, in quotes where YAML would take it for something else"
        )


def _engine(told: Mapping[str, Any], role: str, path: Path) -> str:
    """vnpu and, where its metrics are read, url; as the option has it."""
    if not set(told) <= _ENGINE_KEYS or "vnpu" not in told:
        keys = ", ".join(map(str, told)) or "none"
        raise OptionError(f"--config {str(path)!r}: {role} has the keys {keys}; it must have vnpu, and may have url")
    for key, value in told.items():
        _check_text(f"--config {str(path)!r}: {role}.{key}", value)
    return f"{told['vnpu']}={told['url']}" if "url" in told else str(told["vnpu"])


def _mode(text: str) -> Mode:
    for mode in get_args(Mode):
        if text == mode:
            return mode  # type: ignore[no-any-return] # one of Mode's own
    raise OptionError(f"--mode {text!r}; it must be {', '.join(get_args(Mode))}")


def parse_endpoint(text: str, option: str) -> Endpoint:
    """NAME=http://HOST:PORT, whose metrics are read, or NAME, whose steps are followed."""
    name, given, url = text.partition("=")
    try:
        check_name(name)
        where = urlsplit(url)
        valid = not given or (where.scheme == "http" and bool(where.hostname) and where.port != 0)
    except (ValueError, FlexNpuError):
        valid = False
    if not valid:
        raise OptionError(
            f"{option} {text!r}; it must be NAME=URL, such as prefill=http://127.0.0.1:8100, or a vNPU's NAME alone"
        )
    return Endpoint(name, url if given else None)


def parse_duration(text: str, option: str) -> float:
    """A number with us, ms or s."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(us|ms|s)", text)
    if not found or float(found[1]) == 0:
        raise OptionError(f"{option} {text!r}; it must be a time over 0 with its unit, such as 1s or 50ms")
    return float(found[1]) * _UNITS[found[2]]


def parse_split(text: str, option: str) -> Split:
    """PREFILL/DECODE cores."""
    found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text, re.ASCII)
    if not found:
        raise OptionError(f"{option} {text!r}; it must be PREFILL/DECODE cores, such as 12/12")
    return Split(int(found[1]), int(found[2]))
