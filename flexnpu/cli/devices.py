# SPDX-License-Identifier: Apache-2.0
"""Devices by their indexes."""

from __future__ import annotations

from collections.abc import Sequence

from flexnpu.client import Client, Device
from flexnpu.errors import UnknownDevice


def find_devices(client: Client, indexes: Sequence[int]) -> list[Device]:
    """In that order; UnknownDevice for one that is not there."""
    there = {device.index: device for device in client.devices()}
    for index in indexes:
        if index not in there:
            raise UnknownDevice.among(index, there)
    return [there[index] for index in indexes]
