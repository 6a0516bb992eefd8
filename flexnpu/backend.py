# SPDX-License-Identifier: Apache-2.0
"""The devices of this machine: real Ascend where the driver and CANN are, the software NPU elsewhere.

A device says what a process needs in its environment to reach it; who starts processes adds that to theirs.
"""

from __future__ import annotations

import ctypes
import math
import os
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from flexnpu import paths
from flexnpu.errors import BackendError, InvalidValue
from flexnpu.hardware import Soc, load_soc
from flexnpu.softnpu import StateError, read_state

DRIVER = Path("/dev/davinci_manager")
_UUIDS = uuid.UUID("0a5b1c1e-6f0d-4b7e-9d53-3f1f3f0e8f4d")  # of this project's devices
MOST_DEVICES = 16


@dataclass(frozen=True, slots=True)
class SoftwareOptions:
    """The software NPU as the daemon's options have it; scale is the initial value, the live one is in its state."""

    soc: str = "Ascend910B2"
    devices: int = 1
    clock: str = "free"
    math: str = "exact"
    scale: float = 1.0

    def __post_init__(self) -> None:
        _one_of("clock", self.clock, ("free", "paced"))
        _one_of("math", self.math, ("exact", "skip"))
        if not 1 <= self.devices <= MOST_DEVICES:
            raise InvalidValue(f"devices {self.devices} is out of range", next_step=f"give 1 to {MOST_DEVICES}")
        if not (math.isfinite(self.scale) and self.scale > 0):
            raise InvalidValue(f"scale {self.scale} is out of range", next_step="give a number over 0, such as 20")


@dataclass(frozen=True, slots=True)
class Device:
    """A physical device, or a software one. uuid: the same after every restart, and another for another device of this
    host. node: its file under /dev."""

    index: int
    kind: str
    soc: str
    cores: int
    vector_cores: int
    memory_bytes: int
    clock: str | None = None
    math: str | None = None
    scale: float | None = None
    state_file: Path | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    uuid: str = ""
    numa_node: int | None = None
    node: Path | None = None


def discover(options: SoftwareOptions, state_dir: Path) -> list[Device]:
    """Real devices when there are any, else software ones that share `state_dir`."""
    return ascend_devices() if DRIVER.exists() and _ascendcl() else software_devices(options, state_dir)


def software_devices(options: SoftwareOptions, state_dir: Path) -> list[Device]:
    """The configured number of software NPUs."""
    soc = _modelled(options.soc)
    environment = software_environment(options, state_dir)
    return [
        Device(
            index=index,
            kind="software",
            soc=soc.name,
            cores=soc.cube_cores,
            vector_cores=soc.vector_cores,
            memory_bytes=soc.hbm_bytes,
            clock=options.clock,
            math=options.math,
            scale=options.scale,
            state_file=state_dir / f"device{index}",
            environment=environment,
            uuid=_uuid("software", soc.name, index),
        )
        for index in range(options.devices)
    ]


def _modelled(name: str) -> Soc:
    """GPUs have specifications too, for forecasts; the software NPU is none of them."""
    soc = load_soc(name)
    if soc.kind != "npu":
        raise InvalidValue(f"SoC {name} is a {soc.kind}; the software NPU models Ascend devices, such as Ascend910B2")
    return soc


def software_environment(options: SoftwareOptions, state_dir: Path | None) -> dict[str, str]:
    """What puts a process on the software NPU; LD_LIBRARY_PATH and PATH are to be prepended to what it has."""
    libraries = paths.library_dir() / "softnpu"
    environment = {
        "FLEXNPU_SOFTNPU_SOC": _modelled(options.soc).name,
        "FLEXNPU_SOFTNPU_DEVICES": str(options.devices),
        "FLEXNPU_SOFTNPU_CLOCK": options.clock,
        "FLEXNPU_SOFTNPU_MATH": options.math,
        "FLEXNPU_SOFTNPU_SCALE": f"{options.scale:g}",
        "LD_LIBRARY_PATH": str(libraries),
        "PATH": str(libraries / "tools" / "profiler" / "bin"),  # msprof
    }
    if state_dir is not None:
        environment["FLEXNPU_SOFTNPU_STATE"] = str(state_dir)
    return environment


def ascend_devices() -> list[Device]:
    """One per /dev/davinciN; all of one SoC, as on every Ascend host."""
    library = _ascendcl()
    if library is None:
        raise BackendError("libascendcl.so is not found", next_step="source CANN's set_env.sh before flexnpud")
    soc = load_soc(_soc_name(library))
    indices = sorted(
        int(found[1]) for node in Path("/dev").iterdir() if (found := re.fullmatch(r"davinci(\d+)", node.name))
    )
    if not indices:
        raise BackendError(
            f"{DRIVER} exists but there is no /dev/davinciN", next_step="mount the device nodes into this container"
        )
    environment = {"LD_LIBRARY_PATH": str(library.parent)}
    return [_ascend(index, soc, environment) for index in indices]


def _ascend(index: int, soc: Soc, environment: Mapping[str, str]) -> Device:
    node = Path(f"/dev/davinci{index}")
    behind = _behind(node)
    return Device(
        index,
        "ascend",
        soc.name,
        soc.cube_cores,
        soc.vector_cores,
        soc.hbm_bytes,
        environment=environment,
        uuid=_uuid("ascend", behind.name if behind else node.name, soc.name),
        numa_node=_numa_node(behind),
        node=node,
    )


def _uuid(*parts: str | int) -> str:
    return str(uuid.uuid5(_UUIDS, "/".join(map(str, parts))))


def _behind(node: Path) -> Path | None:
    """What is behind a device file, as the kernel shows it: its name is an address on PCI. None where it does not."""
    try:
        number = node.stat().st_rdev
        return Path(f"/sys/dev/char/{os.major(number)}:{os.minor(number)}/device").resolve(strict=True)
    except OSError:
        return None


def _numa_node(behind: Path | None) -> int | None:
    try:
        found = int((behind / "numa_node").read_text()) if behind else -1
    except (OSError, ValueError):
        return None
    return found if found >= 0 else None


def _ascendcl() -> Path | None:
    homes = [os.environ.get("ASCEND_TOOLKIT_HOME"), os.environ.get("ASCEND_HOME_PATH")]
    folders = [Path(home) / "lib64" for home in homes if home]
    folders += [Path(folder) for folder in os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep) if folder]
    return next((folder / "libascendcl.so" for folder in folders if (folder / "libascendcl.so").is_file()), None)


def _soc_name(library: Path) -> str:
    try:
        ask = ctypes.CDLL(str(library)).aclrtGetSocName
    except (OSError, AttributeError) as error:
        raise BackendError(f"{library} cannot be used ({error})", next_step="check the CANN installation") from error
    ask.restype = ctypes.c_char_p
    name = ask()
    if not name:
        raise BackendError(f"{library} does not know this SoC", next_step="check the driver with npu-smi info")
    return str(name.decode())


def _one_of(what: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise InvalidValue(f"{what} {value!r} is not known", next_step=f"use {' or '.join(allowed)}")


@dataclass(frozen=True, slots=True)
class LiveState:
    """What changes while a software device runs; None where the device does not say. cores_by_pid: cube cores that the
    running tasks of each process hold."""

    scale: float | None
    memory_used: int | None
    cores_by_pid: Mapping[int, int] | None


def live_state(device: Device) -> LiveState:
    """From the state file of a software device; as configured while no process has made that file."""
    if device.state_file is None:
        return LiveState(device.scale, None, None)
    try:
        state = read_state(device.state_file)
    except StateError:
        return LiveState(device.scale, 0, {})
    return LiveState(state.scale, state.memory_used, {each.pid: each.cores_held for each in state.processes})


def lost(device: Device) -> str | None:
    """That its file under /dev is gone, in a line; None where it is there, or where it has none."""
    if device.node is None or device.node.exists():
        return None
    return f"device {device.index} is lost: {device.node} is gone"


def trouble(device: Device) -> str | None:
    """Why no program can begin on the device, in a line; None where nothing is known against it."""
    if gone := lost(device):
        return gone
    if device.state_file is not None and device.state_file.exists() and device.state_file.stat().st_size:
        try:
            read_state(device.state_file)
        except StateError as error:
            return f"device {device.index} is lost: {error}"
    return None
