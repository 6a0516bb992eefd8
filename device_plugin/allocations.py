# SPDX-License-Identifier: Apache-2.0
"""What the kubelet was given, container by container, kept in a file beside the containers' folders.

The kubelet asks for each resource of a container by itself and says nothing of whose it is; it admits one container
after the other. So what comes at one go and is of different resources is taken to be one container's, to put all of it
on one device. podresources tells soon after how it is; an init container's, which it does not tell, stays as it was
taken. Whose it is, is never taken from here (identity.py).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel

from device_plugin.claims import of_kind
from device_plugin.units import Inventory, Kind, Unit
from flexnpu.files import write_whole

TOGETHER_S = 5.0  # the kubelet goes through a container's resources without a pause


@dataclass(slots=True)
class Group:
    """What is one container's. seen: when somebody was last known to have it; given: when the last of it was given,
    None where that was not by this plugin."""

    units: set[Unit]
    seen: float
    given: float | None = None

    def kinds(self) -> set[Kind]:
        return {unit.kind for unit in self.units}


class _Kept(BaseModel):
    """The file: ids."""

    version: Literal[1] = 1
    groups: list[list[str]]


class Allocations:
    """clock: seconds, of any beginning."""

    def __init__(self, file: Path, inventory: Inventory, clock: Callable[[], float] = time.monotonic) -> None:
        self._file = file
        self._inventory = inventory
        self._clock = clock
        self._groups: list[Group] = [*self._read()]
        self._new: set[Unit] = set()

    def add(self, units: Collection[Unit]) -> Group:
        """One resource's, of the container that is being admitted. The same again is the same, but for a later one."""
        self._new |= set(units)
        found = self.group_of(units)
        if found is not None and self._is_lately(found):
            return found
        group = self.open_for(next(iter(units)).kind)
        if group is None:
            group = Group(set(), self._clock())
            self._groups.append(group)
        group.units |= set(units)
        group.seen = group.given = self._clock()
        self._write()
        return group

    def open_for(self, kind: Kind) -> Group | None:
        """The container that is being admitted, where it may still get something of that kind."""
        newest = self._groups[-1] if self._groups else None
        if newest is None or not self._is_lately(newest):
            return None
        kinds = newest.kinds()
        return None if kind in kinds or Kind.DEVICE in kinds | {kind} else newest

    def close(self, units: Collection[Unit]) -> None:
        """The container that has these starts: it has all that it asked for."""
        group = self.group_of(units)
        if group is not None:
            group.given = None

    def is_new(self, units: Collection[Unit]) -> bool:
        """Whether the container that has these has not started yet: what is there under its name is another's."""
        return not self._new.isdisjoint(units)

    def started(self, units: Collection[Unit]) -> None:
        """What was made for it is its own from now on."""
        self._new -= set(units)

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

    def settle(self, held: Sequence[Collection[Unit]], since: float, forget_after: float) -> None:
        """As the kubelet said it at `since` of the clock, or later: `held` is each container's. What nobody has is kept
        for so many seconds."""
        now, before = self._clock(), [set(group.units) for group in self._groups]
        later = {unit for group in self._groups if (group.given or since) > since for unit in group.units}
        for units in (set(each) for each in held if not later & set(each)):
            for group in self._groups:
                rest = group.units - units
                if units < group.units and not {each.kind for each in rest} & {each.kind for each in units}:
                    group.units = rest  # two containers' that were taken for one's
            if all(group.units != units for group in self._groups):
                self._groups.insert(0, Group(units, now))
        everything = {unit for units in held for unit in units}
        for group in self._groups:
            if group.units & everything:
                group.seen = now
        self._groups = [group for group in self._groups if now - group.seen <= forget_after]
        if before != [group.units for group in self._groups]:
            self._write()

    def _is_lately(self, group: Group) -> bool:
        return group.given is not None and self._clock() - group.given <= TOGETHER_S

    def _write(self) -> None:
        ids = [sorted(map(self._inventory.id, group.units)) for group in self._groups]
        write_whole(self._file, _Kept(groups=ids).model_dump_json())

    def _read(self) -> Iterator[Group]:
        """Of the plugin before this one. A file that cannot be read is as none: podresources tells most of it."""
        try:
            groups = _Kept.model_validate_json(self._file.read_text()).groups
        except (OSError, ValueError):
            return
        for ids in groups:
            if units := set(self._inventory.known(ids)):
                yield Group(units, self._clock())
