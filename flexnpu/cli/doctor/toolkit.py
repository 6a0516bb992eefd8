# SPDX-License-Identifier: Apache-2.0
"""CANN, torch and torch_npu: that they are there, and go together."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Iterator

from flexnpu.cli.doctor.finding import Finding, Host, Level, architecture, numbers, value_of

_PLACES = ("/usr/local/Ascend/ascend-toolkit/latest", "/usr/local/Ascend/cann", "/usr/local/Ascend/latest")
_OLDEST = (8, 5)  # whose names libflexnpu.so intercepts; older ones launch by others
_INSTALL = "sudo ./Ascend-cann-toolkit_8.5*.run --install  # or newer; then source its set_env.sh"
_HOMES = ("ASCEND_TOOLKIT_HOME", "ASCEND_HOME_PATH")
Versions = Callable[[str], str | None]


def check(host: Host, version_of: Versions | None = None) -> Iterator[Finding]:
    """version_of: of a Python package that is installed for this interpreter, None where it is not."""
    yield _cann(host)
    yield _torch(version_of or _installed)


def cann_version(host: Host, place: str) -> str | None:
    return value_of(host.text(f"{place}/{architecture()}-linux/ascend_toolkit_install.info"), "version")


def _cann(host: Host) -> Finding:
    home = next((host.environ[name] for name in _HOMES if host.environ.get(name)), None)
    if home is None:
        there = next((place for place in _PLACES if host.path(place).is_dir()), None)
        if there is None:
            level: Level = "error" if host.has_npu else "note"
            mend = _INSTALL if host.has_npu else ""
            return Finding("CANN", level, "not installed", mend)
        script = f"{there.removesuffix('/latest')}/set_env.sh"
        return Finding("CANN", "error", f"installed in {there}, but its variables are not set", f"source {script}")
    version = cann_version(host, home)
    if not host.path(home).is_dir():
        return Finding("CANN", "error", f"{home} does not exist", "source /usr/local/Ascend/ascend-toolkit/set_env.sh")
    if version is None:
        return Finding("CANN", "warning", f"in {home}, of a version that it does not say")
    if numbers(version) < _OLDEST:
        found = f"version {version} in {home}; FlexNPU is written for 8.5 and newer"
        return Finding("CANN", "warning", found, _INSTALL)
    return Finding("CANN", "ok", f"version {version} in {home}")


def _torch(version_of: Versions) -> Finding:
    torch, torch_npu = version_of("torch"), version_of("torch_npu")
    if torch_npu is None:
        return Finding("torch_npu", "note", "not installed for this Python", "pip install 'flexnpu[torch]'")
    if torch is None:
        wanted = ".".join(map(str, numbers(torch_npu)))
        return Finding("torch_npu", "error", f"{torch_npu}, but torch is not installed", f"pip install torch=={wanted}")
    if numbers(torch)[:3] != numbers(torch_npu)[:3]:
        wanted = ".".join(map(str, numbers(torch)[:3]))
        found = f"{torch_npu} is not of torch {torch}, and will not load"
        return Finding("torch_npu", "error", found, f"pip install torch_npu=={wanted}")
    return Finding("torch_npu", "ok", f"{torch_npu}, with torch {torch}")


def _installed(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
