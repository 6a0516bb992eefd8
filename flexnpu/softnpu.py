# SPDX-License-Identifier: Apache-2.0
"""The state that all programs on a software device share, seen from Python.

The layout of a state file is native/softnpu/device/state.h; tests/contract holds the two together.
"""

from __future__ import annotations

import mmap
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from flexnpu.errors import BackendError

STATE_MAGIC = 0x55504E53
STATE_VERSION = 2

# magic, version, size, soc, clock sequence, scale, wall origin, device origin, paced, skip math, memory total and used,
# cube and vector cores, offsets of the process and lane tables
_HEADER = struct.Struct("<IIQ32sQdqqIIQQIIII")
_SEQUENCE_OFFSET = 48
_SCALE_OFFSET = 56
_WALL_OFFSET = 64
_DEVICE_OFFSET = 72
_PROCESS = struct.Struct("<IIQQ")
_PROCESSES = 63
_LANE = struct.Struct("<IIqqdd")
_LANES = 512


class StateError(BackendError):
    """A state file that is not there, or not one of this version."""


@dataclass(frozen=True, slots=True)
class DeviceProcess:
    """A program on the device."""

    pid: int
    memory_used: int  # bytes
    cores_held: int  # cube cores that its running tasks hold now


@dataclass(frozen=True, slots=True)
class DeviceState:
    """One software device at one moment."""

    soc: str
    scale: float  # wall seconds per device second
    paced: bool
    skip_math: bool
    device_seconds: float  # since the state was made
    memory_total: int  # bytes
    memory_used: int
    cube_cores: int
    vector_cores: int
    processes: tuple[DeviceProcess, ...]


@contextmanager
def _mapped(path: Path, access: int) -> Iterator[mmap.mmap]:
    try:
        with path.open("r+b") as file, mmap.mmap(file.fileno(), 0, access=access) as view:
            yield view
    except (OSError, ValueError) as error:
        raise StateError(f"state file {path}: {error}; is a program running on the software device?") from error


def _device_ns(wall_ns: int, scale: float, wall_origin: int, device_origin: int) -> int:
    return device_origin + int((wall_ns - wall_origin) / scale)


def read_state(path: Path | str) -> DeviceState:
    """What is on the device now. Raises StateError."""
    path = Path(path)
    with _mapped(path, mmap.ACCESS_READ) as view:
        if len(view) < _HEADER.size:
            raise StateError(f"state file {path} has {len(view)} bytes, at least {_HEADER.size} are needed")
        fields = _HEADER.unpack_from(view)
        magic, version, size, soc, _, scale, wall, device, paced, skip, total, used, cube, vector = fields[:14]
        processes_at, lanes_at = fields[14:]
        if magic != STATE_MAGIC or version != STATE_VERSION or size != len(view):
            raise StateError(
                f"state file {path} is of version {version}, this flexnpu has version {STATE_VERSION}: "
                "stop the programs on the device and remove the file"
            )
        now = _device_ns(time.monotonic_ns(), scale, wall, device)
        held = [0] * _PROCESSES
        for process, cores, start, end, _, _ in _LANE.iter_unpack(view[lanes_at : lanes_at + _LANES * _LANE.size]):
            if process < _PROCESSES and start <= now < end:
                held[process] += cores
        slots = (_PROCESS.unpack_from(view, processes_at + index * _PROCESS.size) for index in range(_PROCESSES))
        alive = tuple(
            DeviceProcess(pid, memory, held[index])
            for index, (pid, _, _, memory) in enumerate(slots)
            if pid != 0 and Path(f"/proc/{pid}").exists()
        )
    return DeviceState(
        soc=soc.rstrip(b"\0").decode(),
        scale=scale,
        paced=paced != 0,
        skip_math=skip != 0,
        device_seconds=now * 1e-9,
        memory_total=total,
        memory_used=used,
        cube_cores=cube,
        vector_cores=vector,
        processes=alive,
    )


def set_scale(path: Path | str, scale: float) -> None:
    """Changes how many wall seconds make one device second; device time goes on from where it is. Raises StateError."""
    if not scale > 0:
        raise ValueError(f"scale {scale}: must be above 0")
    read_state(path)  # refuses what is no state of this version
    with _mapped(Path(path), mmap.ACCESS_WRITE) as view:
        # Single aligned stores, the sequence odd between them: readers in other processes wait for an even one.
        words = memoryview(view).cast("Q")
        signed = memoryview(view).cast("q")
        real = memoryview(view).cast("d")
        try:
            words[_SEQUENCE_OFFSET // 8] += 1
            now = time.monotonic_ns()
            device = _device_ns(now, real[_SCALE_OFFSET // 8], signed[_WALL_OFFSET // 8], signed[_DEVICE_OFFSET // 8])
            signed[_WALL_OFFSET // 8] = now
            signed[_DEVICE_OFFSET // 8] = device
            real[_SCALE_OFFSET // 8] = scale
            words[_SEQUENCE_OFFSET // 8] += 1
        finally:
            words.release()
            signed.release()
            real.release()
