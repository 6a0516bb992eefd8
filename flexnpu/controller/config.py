# SPDX-License-Identifier: Apache-2.0
"""What a controller is asked for: by options, by a file, or by both, where an option goes before the file."""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from flexnpu.controller.seam import Endpoint
from flexnpu.controller.services import MODES, Mode, Service, Settings, check
from flexnpu.errors import FlexNpuError, InvalidValue
from flexnpu.forecast import calibration_file
from flexnpu.llm import ModelShape
from flexnpu.planner import Split, Targets
from flexnpu.tenancy import check_name

_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0}
_ENGINE_KEYS = {"vnpu", "url"}
# Of a service: in the file under its name, or where there is one alone, at the top of the file and as options.
SERVICE_KEYS = ("prefill", "decode", "model", "profile", "ttft", "itl", "weight", "pin", "safe", "minima", "engine")
LOOP_KEYS = ("mode", "period", "dwell", "decisions")
KEYS = (*SERVICE_KEYS, *LOOP_KEYS, "services")
_NUMBERS = ("weight", "minima", "safe", "pin")  # may be written without quotes
_LEAST_PERIOD, _MOST_PERIOD = 1e-3, 10.0
_DEFAULTS = {"ttft": "1s", "itl": "50ms"}
_ROLES = ("prefill", "decode", "engine")
OBSERVE = "observe"


class OptionError(InvalidValue):
    """An option of the command, or a key of its file, that cannot be read."""


@dataclass(frozen=True, slots=True)
class Options:
    """What `flexnpu controller` was asked for. Times are device seconds."""

    services: tuple[Service, ...]
    settings: Settings
    decisions: Path | None = None
    runtime_dir: Path | None = None

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        return tuple(each for service in self.services for each in service.endpoints)


def read_options(given: Mapping[str, object], config: Path | None = None, runtime_dir: Path | None = None) -> Options:
    """given: by the names of KEYS but for services, None where the option was not given."""
    known = _read_file(config) if config is not None else {}
    known |= {key: value for key, value in given.items() if value is not None}
    named = known.pop("services", None)
    services: tuple[Service, ...]
    if named is None:
        services = (_service("default", known, "--", ""),)
    else:
        for key in SERVICE_KEYS:
            if key in known:
                raise OptionError(f"--{key} beside services: it is of one service; write it under the service's name")
        services = _services(named, config)
    texts = {key: str(value) for key, value in known.items()}
    options = Options(
        services,
        _settings(texts),
        decisions=Path(texts["decisions"]) if "decisions" in texts else None,
        runtime_dir=runtime_dir,
    )
    check(options.services, options.settings)
    return options


def _settings(texts: Mapping[str, str]) -> Settings:
    mode, moves = _mode(texts.get("mode", "split"))
    times = {key: parse_duration(texts[key], f"--{key}") for key in ("period", "dwell") if key in texts}
    if not _LEAST_PERIOD <= times.get("period", _LEAST_PERIOD) <= _MOST_PERIOD:
        raise OptionError(f"--period {texts['period']!r}; it must be 1ms to 10s")
    return Settings(mode=mode, moves=moves, **times)


def _mode(text: str) -> tuple[Mode, bool]:
    """The mode, and whether anything is to be moved: `observe` is a dry run of split, `observe:MODE` of that one."""
    observed, _, of = text.partition(":")
    wanted = (of or "split") if observed == OBSERVE else text
    for mode in MODES:
        if wanted == mode:
            return mode, observed != OBSERVE
    raise OptionError(f"--mode {text!r}; it must be {', '.join(MODES)}, {OBSERVE}, or {OBSERVE}: and one of those")


def _services(named: object, path: Path | None) -> tuple[Service, ...]:
    if not isinstance(named, dict) or not named:
        raise OptionError(f"--config {str(path)!r}: services is no mapping of names; write services: {{NAME: {{…}}}}")
    found = []
    for name, told in named.items():
        where = f"--config {str(path)!r}: services.{name}"
        if not isinstance(name, str) or not isinstance(told, dict):
            raise OptionError(f"{where} holds no mapping; its keys may be {', '.join(SERVICE_KEYS)}")
        _check_keys(where, told, SERVICE_KEYS)
        found.append(_service(name, told, f"{where}.", where))
    return tuple(found)


def _service(name: str, told: Mapping[str, object], prefix: str, where: str) -> Service:
    """prefix: of a key in messages; where: the service's place in the file, empty where it is given by options."""

    def text(key: str) -> str | None:
        return str(told[key]) if key in told else _DEFAULTS.get(key)

    def cores(key: str) -> tuple[int, ...] | None:
        return None if key not in told else parse_cores(str(told[key]), f"{prefix}{key}", parts)

    engines = {role: _endpoints(told[role], f"{prefix}{role}") for role in _ROLES if role in told}
    needed = ("engine",) if "engine" in engines else ("prefill", "decode")
    for key in (*needed, "model"):
        if key not in told:
            instead = f"give it, or {key} in the file of --config" if not where else "write it there"
            raise OptionError(f"{prefix}{key} is missing; {instead}")
    parts = len(needed)
    ttft, itl = (parse_duration(text(key) or "", f"{prefix}{key}") for key in ("ttft", "itl"))
    profile = text("profile")
    return Service(
        name=name,
        model=ModelShape.from_config(str(told["model"])),
        targets=Targets(ttft=ttft, itl=itl),
        prefill=engines.get("prefill", ()),
        decode=engines.get("decode", ()),
        engines=engines.get("engine", ()),
        weight=parse_weight(text("weight") or "1", f"{prefix}weight"),
        profile=calibration_file.load(profile) if profile else None,
        minima=cores("minima"),
        safe=cores("safe"),
        pin=cores("pin"),
    )


def _endpoints(told: object, what: str) -> tuple[Endpoint, ...]:
    """One engine, or a list of them: as NAME or NAME=URL, or in the file as {vnpu: NAME, url: URL}."""
    each = told if isinstance(told, list) else [told]
    if not each:
        raise OptionError(f"{what} is an empty list; name one engine at least")
    return tuple(parse_endpoint(_engine(one, what), what) for one in each)


class _Loader(yaml.SafeLoader):
    """Refuses a key that is there twice, of which YAML's own takes the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[object] = set()
        for key, _ in node.value:
            name = self.construct_object(key)
            if name in seen:
                raise yaml.YAMLError(f"has the key {name!r} twice")
            seen.add(name)
        return super().construct_mapping(node, deep)


def _read_file(path: Path) -> dict[str, object]:
    try:
        found = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except OSError as error:
        raise OptionError(f"--config {str(path)!r} cannot be read ({error.strerror}); name another file") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise OptionError(f"--config {str(path)!r} is no YAML ({' '.join(str(error).split())})") from error
    if not isinstance(found, dict):
        raise OptionError(f"--config {str(path)!r} holds no mapping; its keys may be {', '.join(KEYS)}")
    _check_keys(f"--config {str(path)!r}", found, KEYS)
    return found


def _check_keys(where: str, found: Mapping[str, object], keys: Sequence[str]) -> None:
    for key, value in found.items():
        if key not in keys:
            raise OptionError(f"{where} has a key {key!r}; its keys may be {', '.join(keys)}")
        number = key in _NUMBERS and isinstance(value, int | float) and not isinstance(value, bool)
        if key not in (*_ROLES, "services") and not number:
            _check_text(f"{where}: {key}", value)


def _check_text(what: str, value: object) -> None:
    if not isinstance(value, str) or not value:
        raise OptionError(
            f"{what} is {value!r}; it must be a text, in quotes where YAML would take it for something else"
        )


def _engine(told: object, what: str) -> str:
    """vnpu and, where its metrics are read, url; as the option has it."""
    if not isinstance(told, dict):
        _check_text(what, told)
        return str(told)
    if not set(told) <= _ENGINE_KEYS or "vnpu" not in told:
        keys = ", ".join(map(str, told)) or "none"
        raise OptionError(f"{what} has the keys {keys}; it must have vnpu, and may have url")
    for key, value in told.items():
        _check_text(f"{what}.{key}", value)
    return f"{told['vnpu']}={told['url']}" if "url" in told else str(told["vnpu"])


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
    found = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)(us|ms|s)", text, re.ASCII)
    if not found or float(found[1]) == 0:
        raise OptionError(f"{option} {text!r}; it must be a time over 0 with its unit, such as 1s or 50ms")
    return float(found[1]) * _UNITS[found[2]]


def parse_weight(text: str, option: str) -> float:
    """A number over 0."""
    try:
        weight = float(text)
    except ValueError:
        weight = 0.0
    if not 0 < weight < float("inf"):
        raise OptionError(f"{option} {text!r}; it must be a number over 0, such as 1 or 2.5")
    return weight


def parse_cores(text: str, option: str, parts: int) -> tuple[int, ...]:
    """Cores of each of `parts` engines: PREFILL/DECODE, or CORES of the one."""
    if not re.fullmatch(r"\d{1,6}" + r"/\d{1,6}" * (parts - 1), text, re.ASCII):
        wanted = "PREFILL/DECODE cores, such as 12/12" if parts > 1 else "cores, such as 6"
        raise OptionError(f"{option} {text!r}; it must be {wanted}")
    return tuple(map(int, text.split("/")))


def parse_split(text: str, option: str) -> Split:
    """PREFILL/DECODE cores."""
    return Split(*parse_cores(text, option, 2))
