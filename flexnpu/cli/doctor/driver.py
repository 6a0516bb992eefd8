# SPDX-License-Identifier: Apache-2.0
"""The Ascend driver: its version, the device nodes, and whether containers may share a device."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

from flexnpu.backend import DRIVER
from flexnpu.cli.doctor.finding import Finding, Host, numbers, value_of

_INSTALLED = "/etc/ascend_install.info"
_PLACE = "/usr/local/Ascend"
_SHARED_SINCE = (25, 5)
_UPGRADE = "sudo ./Ascend-hdk-*-npu-driver_25.5*.run --upgrade  # where several containers are to share a device"
_MOUNT = f"docker run -v {_INSTALLED}:{_INSTALLED}:ro -v {_PLACE}/driver:{_PLACE}/driver:ro …"
_NODES = ("davinci_manager", "devmm_svm", "hisi_hdc")


def check(host: Host) -> Iterator[Finding]:
    if not host.has_npu:
        yield Finding(
            "driver", "note", f"no Ascend NPU here ({DRIVER} does not exist): the software NPU takes its place"
        )
        return
    version = driver_version(host)
    yield _version(version)
    yield from _nodes(host)
    yield from _sharing(host, version)


def driver_version(host: Host) -> str | None:
    """Such as 25.5.0, from the file that the driver's installer leaves."""
    place = value_of(host.text(_INSTALLED), "Driver_Install_Path_Param") or _PLACE
    return value_of(host.text(f"{place}/driver/version.info"), "Version")


def _version(version: str | None) -> Finding:
    if version is None:
        found = f"its version is not known: neither {_INSTALLED} nor {_PLACE}/driver/version.info says it"
        return Finding("driver", "warning", found, _MOUNT)
    if numbers(version) < _SHARED_SINCE:
        found = f"version {version}; before 25.5, a device belongs to one container at a time"
        return Finding("driver", "warning", found, _UPGRADE)
    return Finding("driver", "ok", f"version {version}")


def _nodes(host: Host) -> Iterator[Finding]:
    folder = host.path("/dev")
    devices = sorted(node.name for node in folder.iterdir() if re.fullmatch(r"davinci\d+", node.name))
    if not devices:
        yield Finding(
            "device nodes", "error", f"{DRIVER} exists, but no /dev/davinciN", "docker run --device /dev/davinci0 …"
        )
    usable = []
    for name in (*_NODES, *devices):
        node = folder / name
        if not node.exists():
            yield Finding("device nodes", "error", f"/dev/{name} does not exist", f"docker run --device /dev/{name} …")
        elif not os.access(node, os.R_OK | os.W_OK):
            found = f"/dev/{name} may not be opened by uid {os.geteuid()}"
            yield Finding("device nodes", "error", found, 'sudo usermod -aG HwHiAiUser "$USER"')
        else:
            usable.append(f"/dev/{name}")
    if usable:
        yield Finding("device nodes", "ok", ", ".join(usable))


def _sharing(host: Host, version: str | None) -> Iterator[Finding]:
    told = host.ask("npu-smi", "info", "-t", "device-share")
    if told is None:
        found = "npu-smi is not there or does not answer, so that nothing is known of device-share"
        yield Finding("device-share", "note", found, "npu-smi info -t device-share  # on the host")
        return
    for npu, chip, shared in sharing(told):
        what = f"NPU {npu} chip {chip}"
        if shared:
            yield Finding("device-share", "ok", f"{what}: several containers may open it")
            continue
        old = version is not None and numbers(version) < _SHARED_SINCE
        mend = _UPGRADE if old else f"echo Y | sudo npu-smi set -t device-share -i {npu} -d 1"
        found = f"{what}: one container at a time; a second one gets error 87, and aclInit 507000"
        yield Finding("device-share", "warning", found, mend)


def sharing(told: str) -> list[tuple[int, int, bool]]:
    """NPU, chip and whether it is shared, of `npu-smi info -t device-share`: lines of NAME : VALUE, in which a chip's
    number comes after its state."""
    found, npu, shared = [], 0, None
    for name, value in re.findall(r"^\s*([^:\n]+?)\s*:\s*(\S+)\s*$", told, re.MULTILINE):
        if name == "NPU ID":
            npu = int(value)
        elif name == "Device-share Status":
            shared = value == "True"
        elif name == "Chip ID" and shared is not None:
            found.append((npu, int(value), shared))
            shared = None
    return found
