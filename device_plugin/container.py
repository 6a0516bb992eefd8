# SPDX-License-Identifier: Apache-2.0
"""What makes an unmodified image run on its vNPU: variables, mounts and device files. Pure.

The same for every container of a device but for the folder that is mounted at /run/flexnpu: its attach socket is of one
vNPU alone, so the name in FLEXNPU_VNPU decides nothing, and the two answers that a container gets for two resources do
not contradict each other.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from device_plugin.folders import CONTAINER_LIBRARIES, PRELOADED, STATE
from device_plugin.units import Device
from flexnpu.environment import for_tenant

RUN = "/run/flexnpu"
VNPU = "pod"
DAEMON_WAIT_S = 30  # a daemon that is being upgraded
# Of an Ascend host, beside /dev/davinciN. The manager, memory and the link to the device.
DEVICE_FILES = ("/dev/davinci_manager", "/dev/devmm_svm", "/dev/hisi_hdc")
DRIVER = (
    Path("/usr/local/Ascend/driver/lib64"),
    Path("/usr/local/Ascend/driver/version.info"),
    Path("/usr/local/dcmi"),
    Path("/usr/local/bin/npu-smi"),
    Path("/etc/ascend_install.info"),
)


@dataclass(frozen=True, slots=True)
class Mount:
    """host: in the host's file system."""

    host: Path
    container: str
    read_only: bool = True


@dataclass(frozen=True, slots=True)
class Edits:
    """device_files: the same path in the container as on the host."""

    variables: Mapping[str, str]
    mounts: tuple[Mount, ...]
    device_files: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Host:
    """What the containers of a host have in common. has: whether the host has that file."""

    libraries: Path
    preload_file: Path
    preload: Literal["both", "variable", "file"]
    driver: Sequence[Path]
    has: Callable[[Path], bool]

    def edits(self, devices: Collection[Device], run: Path) -> Edits:
        """run: the folder of the container."""
        mounts = [Mount(run, RUN, read_only=False), Mount(self.libraries, CONTAINER_LIBRARIES)]
        variables = for_tenant(
            {"FLEXNPU_DAEMON_WAIT": str(DAEMON_WAIT_S)},
            _to_the_device(next(iter(devices))),
            Path(PRELOADED),
            Path(RUN, "attach.sock"),
            VNPU,
        )
        if self.preload == "file":
            del variables["LD_PRELOAD"]
        if self.preload != "variable":
            mounts.append(Mount(self.preload_file, "/etc/ld.so.preload"))
        files: tuple[str, ...] = ()
        if any(device.kind == "ascend" for device in devices):
            mounts += [Mount(path, str(path)) for path in self.driver if self.has(path)]
            files = (*(f"/dev/davinci{device.index}" for device in devices), *DEVICE_FILES)
        return Edits(variables, tuple(mounts), files)


def _to_the_device(device: Device) -> dict[str, str]:
    """The variables of a program on the host, as they are in a container. PATH is the image's. So is LD_LIBRARY_PATH
    where the image has CANN; the software NPU takes CANN's place there. Its state is the container's own: it knows
    processes by their pids, which say nothing to another container."""
    variables = {name: value for name, value in device.environment.items() if name.startswith("FLEXNPU_SOFTNPU_")}
    if device.kind == "software":
        variables["LD_LIBRARY_PATH"] = f"{CONTAINER_LIBRARIES}/softnpu"
        variables["FLEXNPU_SOFTNPU_STATE"] = f"{RUN}/{STATE}"
    return variables
