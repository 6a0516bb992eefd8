# SPDX-License-Identifier: Apache-2.0
"""What the kubelet was given, container by container, kept in a file beside the containers' folders.

The kubelet asks for each resource of a container by itself and says nothing of whose it is; it admits one container
after the other. So what follows one another and is of different resources is taken to be one container's: to put all of
it on one device, and to know the size of an init container, which podresources does not tell. Whose it is, is never
taken from here (identity.py).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from device_plugin.claims import of_kind
from device_plugin.units import Inventory, Kind, Unit
from flexnpu.errors import InvalidValue
from flexnpu.files import write_whole

TOGETHER_S = 5.0  # the kubelet goes through a container's resources without a pause


@dataclass(slots=True)
class Group:
    """What seems to be one container's. seen: when the kubelet last said, or we last heard, that somebody has it."""

    units: set[Unit]
    seen: float
    at: float = field(default=0.0)

    def kinds(self) -> set[Kind]:
        return {unit.kind for unit in self.units}


class Allocations:
    """clock: seconds, of any beginning."""

    def __init__(self, file: Path, inventory: Inventory, clock: Callable[[], float] = time.monotonic) -> None:
        self._file = file
        self._inventory = inventory
        self._clock = clock
        self._groups: list[Group] = [*self._read()]

    def add(self, units: Collection[Unit]) -> Group:
        """One resource's, of the container that is being admitted. The same again is the same."""
        found = self.group_of(units)
        if found is not None:
            found.seen = self._clock()
            return found
        kind = next(iter(units)).kind
        group = self.open_for(kind)
        if group is None:
            group = Group(set(), self._clock())
            self._groups.append(group)
        group.units |= set(units)
        group.seen = group.at = self._clock()
        self._write()
        return group

    def open_for(self, kind: Kind) -> Group | None:
        """The container that is being admitted, where it may still get something of that kind."""
        newest = self._groups[-1] if self._groups else None
        if newest is None or kind in newest.kinds() or self._clock() - newest.at > TOGETHER_S or not newest.at:
            return None
        return newest

    def drop(self, group: Group) -> None:
        """Its container was refused."""
        self._groups.remove(group)
        self._write()

    def group_of(self, units: Collection[Unit]) -> Group | None:
        """The newest whose units of that kind are these."""
        kind = next(iter(units)).kind
        return next((group for group in reversed(self._groups) if set(of_kind(group.units, kind)) == set(units)), None)

    def groups(self) -> list[Group]:
        return [*self._groups]

    def keep(self, held: Collection[Unit], forget_after: float) -> None:
        """Those of `held`, and those that were seen lately."""
        now, held = self._clock(), set(held)
        for group in self._groups:
            if group.units & held:
                group.seen = now
        stay = [group for group in self._groups if now - group.seen <= forget_after]
        if stay != self._groups:
            self._groups = stay
            self._write()

    def _write(self) -> None:
        ids = [sorted(map(self._inventory.id, group.units)) for group in self._groups]
        write_whole(self._file, json.dumps({"version": 1, "groups": ids}))

    def _read(self) -> Iterator[Group]:
        """Of the plugin before this one. A file that cannot be read is as none: podresources tells most of it."""
        try:
            groups = json.loads(self._file.read_text())["groups"]
        except (OSError, ValueError, KeyError, TypeError):
            return
        for ids in groups:
            try:
                units = set(map(self._inventory.parse, ids))
            except (InvalidValue, TypeError):
                continue  # of devices that are not there any more
            if units:
                yield Group(units, self._clock())
