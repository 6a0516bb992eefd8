# SPDX-License-Identifier: Apache-2.0
"""From services and what the daemon tells to the units of a device."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence

from flexnpu.controller.learning import Corrected
from flexnpu.controller.seam import DeviceView
from flexnpu.controller.services import Service, ServiceError, Settings
from flexnpu.controller.units import Lone, Pair, Unit
from flexnpu.forecast import Forecaster
from flexnpu.hardware import load_soc
from flexnpu.llm.parallel import Parallel


def make_units(
    services: Sequence[Service], settings: Settings, view: DeviceView, places: Mapping[str, tuple[int, ...]]
) -> list[Unit]:
    """Of the services that have engines there. places: by vNPU, the devices that it is on, or is to be on again.
    ServiceError where a service's engines are not where they can be served."""
    here = {name for name, place in places.items() if place == view.devices}
    return [unit for service in services for unit in _units(service, view, here, settings)]


def forecaster_of(service: Service, view: DeviceView) -> Forecaster:
    """Of its model, cut over the devices that each of its vNPUs spans."""
    parallel = Parallel(tensor=len(view.devices))
    return Forecaster(service.model, load_soc(view.soc), service.profile, parallel)


def _units(service: Service, view: DeviceView, names: Container[str], settings: Settings) -> list[Unit]:
    here = [
        [endpoint for endpoint in endpoints if endpoint.vnpu in names]
        for endpoints in (service.prefill, service.decode, service.engines)
    ]
    prefill, decode, engines = here
    for role, found in zip(("prefill", "decode", "engine"), here, strict=True):
        if len(found) > 1:
            names = " and ".join(each.vnpu for each in found)
            raise ServiceError(
                f"service {service.name!r} has {len(found)} of its {role} engines, {names}, on device "
                f"{view.devices[0]}; it may have one per device"
            )
    if len(prefill) != len(decode):
        (lone,) = prefill or decode
        raise ServiceError(
            f"vNPU {lone.vnpu!r} is alone of its service on device {view.devices[0]}: cores move between a prefill and "
            "a decode engine on the same device, start both there"
        )
    if not any(here):
        return []
    corrected = Corrected(forecaster_of(service, view))
    if engines:
        return [Lone(service, engines, corrected, settings)]
    return [Pair(service, (*prefill, *decode), corrected, settings)]
