# SPDX-License-Identifier: Apache-2.0
"""What an operator asks for: services with their models and targets, and the engines that run them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

from flexnpu.controller.seam import Endpoint
from flexnpu.errors import InvalidValue
from flexnpu.forecast.profile import Profile
from flexnpu.llm import ModelShape
from flexnpu.planner import Targets

Mode = Literal["split", "co-located", "disaggregated", "pinned"]
MODES: tuple[Mode, ...] = get_args(Mode)


class ServiceError(InvalidValue):
    """Services that cannot be served as they are asked to be."""


@dataclass(frozen=True, slots=True)
class Service:
    """A model with targets of its own, on one or several devices.

    prefill, decode: engines of one phase each, one of either per device. engines: those that run both phases (or, as an
    embedding service does, prompts alone), one per device.
    weight: of its requests beside those of other services. profile: a calibrated forecast; None: the data sheet's.
    minima, safe, pin: cores per device of each engine, prefill's first: what is never undercut, what it has while it
    cannot be planned for, and what it is held at; None: chosen for device, model and targets.
    idle_reserve: cores that an idle prefill engine keeps; None: half of the service's.
    """

    name: str
    model: ModelShape
    targets: Targets
    prefill: tuple[Endpoint, ...] = ()
    decode: tuple[Endpoint, ...] = ()
    engines: tuple[Endpoint, ...] = ()
    weight: float = 1.0
    profile: Profile | None = None
    minima: tuple[int, ...] | None = None
    safe: tuple[int, ...] | None = None
    pin: tuple[int, ...] | None = None
    idle_reserve: int | None = None

    def __post_init__(self) -> None:
        if bool(self.engines) == bool(self.prefill or self.decode) or bool(self.prefill) != bool(self.decode):
            raise ServiceError(f"service {self.name!r} must have engines, or prefill and decode engines")
        if not 0 < self.weight < float("inf"):
            raise ServiceError(f"service {self.name!r} has weight {self.weight:g}; it must be over 0")
        parts = 1 if self.engines else 2
        for what, cores in (("minima", self.minima), ("safe", self.safe), ("pin", self.pin)):
            if cores is not None and (len(cores) != parts or min(cores) < 1):
                wanted = "CORES" if parts == 1 else "PREFILL/DECODE cores"
                raise ServiceError(
                    f"service {self.name!r}: {what} is {'/'.join(map(str, cores))}; it must be {wanted}, each 1 or more"
                )

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        return (*self.prefill, *self.decode, *self.engines)


@dataclass(frozen=True, slots=True)
class Settings:
    """What the operator sets for all services.

    mode: split: each phase has cores of its own. co-located: both have all cores and take turns, until parted ones are
        forecast to be better. disaggregated: each device runs one phase, as many of each as the load wants. pinned:
        services are held at their `pin`.
    moves: False: the same is decided, and nothing carried out.
    period, stale_after, dwell, switch_seconds: device seconds. period: the longest time between two decisions; dwell:
    for how long a device's other phase has to be better before it is changed. margin, band: see planner.Snapshot.
    """

    mode: Mode = "split"
    moves: bool = True
    period: float = 0.05
    stale_after: float = 0.5
    dwell: float = 2.0
    margin: float = 0.9
    band: float = 0.1
    switch_seconds: float = 0.005


def endpoints(services: tuple[Service, ...]) -> Iterator[Endpoint]:
    for service in services:
        yield from service.endpoints


def check(services: tuple[Service, ...], settings: Settings) -> None:
    """Raises ServiceError where they cannot be served together, as far as can be known without the daemon."""
    if not services:
        raise ServiceError("no service is named; name one at least")
    seen: dict[str, str] = {}
    for service in services:
        for engine in service.endpoints:
            if engine.vnpu in seen:
                whose = " and ".join(dict.fromkeys((repr(seen[engine.vnpu]), repr(service.name))))
                raise ServiceError(f"vNPU {engine.vnpu!r} is named for two engines, of {whose}; each needs its own")
            seen[engine.vnpu] = service.name
        if settings.mode == "pinned" and service.pin is None:
            raise ServiceError(f"mode pinned needs the cores that service {service.name!r} is held at (--pin, or pin)")
        if settings.mode != "pinned" and service.pin is not None:
            raise ServiceError(f"mode {settings.mode} takes no pin; use mode pinned")
        if settings.mode == "disaggregated":
            _check_disaggregated(service, len(services))


def _check_disaggregated(service: Service, services: int) -> None:
    if services > 1 or service.engines or len(service.prefill) < 2 or len(service.prefill) != len(service.decode):
        raise ServiceError(
            "mode disaggregated needs one service with a prefill and a decode engine on each of two or more devices"
        )
    for engine in service.endpoints:
        if engine.url is None:
            raise ServiceError(
                f"mode disaggregated needs the url of {engine.vnpu!r}, where it is told whether it is to take new work"
            )
