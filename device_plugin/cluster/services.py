# SPDX-License-Identifier: Apache-2.0
"""What the node's controller is to serve: its file of services, made of the annotations of the pods that are engines.

Engines with a phase are a service's prefill and decode engines; those without run both. Of different targets the
shortest holds, so that they can be changed pod by pod. A service that cannot be served as it stands is left out, with
the reason: the others go on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from device_plugin.cluster.annotations import Asked
from flexnpu.files import write_whole
from flexnpu.llm import ModelError
from flexnpu.llm.presets import find_config
from flexnpu.units import parse_duration

TIMES = ("ttft", "itl")


@dataclass(frozen=True, slots=True)
class Engine:
    """A container with a vNPU that is an engine of a service. phase: of the vNPU."""

    vnpu: str
    devices: tuple[int, ...]
    phase: str | None
    asked: Asked


@dataclass(slots=True)
class Serving:
    """The controller's file. mode: as `flexnpu controller --mode`. models: a folder of shapes, NAME.json, beside those
    that ship."""

    file: Path
    mode: str = "split"
    models: Path | None = None
    _written: str | None = None

    def write(self, engines: Iterable[Engine]) -> dict[str, str]:
        """Whole, where it has changed. By name the services that are not in it, and why. InvalidValue: no room."""
        served, left_out = services_of(engines, self._find)
        text = yaml.safe_dump({"mode": self.mode, "services": served})
        if text != self._written:
            write_whole(self.file, text)
            self._written = text
        return left_out

    def _find(self, model: str) -> Path | None:
        own = self.models / f"{model}.json" if self.models else None
        if own is not None and own.is_file():
            return own
        try:
            return find_config(model)[1]
        except ModelError:
            return None


def services_of(
    engines: Iterable[Engine], find: Callable[[str], Path | None]
) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """The services of the controller's file, and by name why others are not in it. find: a model's shape."""
    by_name: dict[str, list[Engine]] = {}
    for engine in sorted(engines, key=lambda each: each.vnpu):
        if engine.asked.service is not None:
            by_name.setdefault(engine.asked.service, []).append(engine)
    served, left_out = {}, {}
    for name, own in sorted(by_name.items()):
        try:
            served[name] = _service(own, find)
        except _LackingError as reason:
            left_out[name] = str(reason)
    return served, left_out


class _LackingError(Exception):
    pass


def _service(engines: Sequence[Engine], find: Callable[[str], Path | None]) -> dict[str, Any]:
    roles = {role: [each for each in engines if each.phase == phase] for role, phase in _ROLES}
    roles = {role: own for role, own in roles.items() if own}
    if set(roles) not in ({"engine"}, {"prefill", "decode"}):
        has = " and ".join(f"{len(own)} {_ENGINES[role]}" for role, own in roles.items())
        raise _LackingError(f"it has {has}; it needs both prefill and decode engines, or engines without a phase")
    for role, own in roles.items():
        device, count = Counter(device for each in own for device in each.devices).most_common(1)[0]
        if count > 1:
            raise _LackingError(f"it has {count} {_ENGINES[role]} on device {device}; one can be served")
    places = {role: sorted(each.devices for each in own) for role, own in roles.items()}
    if places.get("prefill") != places.get("decode"):
        where = {role: "; ".join(",".join(map(str, each)) for each in place) for role, place in places.items()}
        raise _LackingError(
            f"its prefill engines are on devices {where['prefill']}, its decode engines on {where['decode']}; "
            "it needs one of each on the same devices, between which cores move"
        )
    made: dict[str, Any] = {"model": str(_model(engines, find))}
    for key in TIMES:
        texts = {text for each in engines if (text := getattr(each.asked, key)) is not None}
        if texts:
            made[key] = min(texts, key=parse_duration)
    return made | {role: [{"vnpu": each.vnpu} for each in own] for role, own in roles.items()}


_ROLES = (("prefill", "prefill"), ("decode", "decode"), ("engine", None))
_ENGINES = {"prefill": "prefill engines", "decode": "decode engines", "engine": "engines without a phase"}


def _model(engines: Sequence[Engine], find: Callable[[str], Path | None]) -> Path:
    names = {each.asked.model for each in engines if each.asked.model is not None}
    if len(names) != 1:
        raise _LackingError("its engines name no model" if not names else f"its engines name {len(names)} models")
    [name] = names
    found = find(name)
    if found is None:
        raise _LackingError(f"there is no {name}.json among the controller's models")
    return found
