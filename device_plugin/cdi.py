# SPDX-License-Identifier: Apache-2.0
"""The same, as files of the Container Device Interface: a runtime reads them, and a container names its device.

The kubelet hands such names on from 1.28, and not every runtime knows them; the plugin cannot see either. So it answers
with names only where it was told a directory, and with plain edits otherwise. Under `auto` the files are written too
where the runtime has a place for them: for `podman run --device flexnpu.io/vnpu=NAME`.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from device_plugin.container import Edits
from flexnpu.errors import InvalidValue
from flexnpu.files import write_whole

log = logging.getLogger("flexnpu-device-plugin")

KIND: Final = "flexnpu.io/vnpu"
PLACES: Final = (Path("/var/run/cdi"), Path("/etc/cdi"))
_VERSION: Final = "0.5.0"


class Cdi:
    """folder: where the files go; None: there are none. names: whether containers name their device."""

    def __init__(self, folder: Path | None, *, names: bool) -> None:
        self._folder = folder
        self._names = names

    @classmethod
    def find(cls, wanted: str | Path) -> Cdi:
        """wanted: auto, off or a directory."""
        if isinstance(wanted, Path):
            return cls(wanted, names=True)
        there = next((place for place in PLACES if place.is_dir()), None) if wanted == "auto" else None
        return cls(there, names=False)

    def write(self, key: str, edits: Edits) -> str | None:
        """The device's name where containers are to name it; None where they get plain edits. They do, with a line of
        the log, where the file cannot be written."""
        if self._folder is None:
            return None
        try:
            write_whole(self._file(key), json.dumps(specification(key, edits), indent=1))
        except InvalidValue as error:
            log.warning("%s; containers get plain edits", error)
            return None
        return f"{KIND}={key}" if self._names else None

    def drop(self, key: str) -> None:
        if self._folder is not None:
            self._file(key).unlink(missing_ok=True)

    def _file(self, key: str) -> Path:
        assert self._folder is not None
        return self._folder / f"flexnpu.io-vnpu-{key}.json"


def specification(key: str, edits: Edits) -> Mapping[str, Any]:
    """A file for one device."""
    mounts = [
        {
            "hostPath": str(mount.host),
            "containerPath": mount.container,
            "options": ["rbind", "nosuid", "nodev", "ro" if mount.read_only else "rw"],
        }
        for mount in edits.mounts
    ]
    container = {
        "env": [f"{name}={value}" for name, value in edits.variables.items()],
        "mounts": mounts,
        "deviceNodes": [{"path": path, "permissions": "rw"} for path in edits.device_files],
    }
    return {"cdiVersion": _VERSION, "kind": KIND, "devices": [{"name": key, "containerEdits": container}]}
