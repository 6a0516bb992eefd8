# SPDX-License-Identifier: Apache-2.0
"""The daemon: that it can be reached, by whom, and that it is of this version."""

from __future__ import annotations

import os
import stat
from collections.abc import Generator, Iterator

from flexnpu import __version__, _native
from flexnpu.api.models import API_VERSION
from flexnpu.cli.doctor.finding import Finding, Host
from flexnpu.client import Client, Device, Endpoint, Version
from flexnpu.errors import FlexNpuError
from flexnpu.paths import RuntimeDir

_SERVICE = "/run/flexnpu"
_START = "flexnpud &  # or, where it is installed: sudo systemctl start flexnpud"
_RESTART = "sudo systemctl restart flexnpud  # tenants go on meanwhile"


def check(host: Host, endpoint: Endpoint) -> Iterator[Finding]:
    if endpoint.url is None:
        reachable = yield from _sockets(host, endpoint.paths)
        if not reachable:
            return
    try:
        with Client(endpoint=endpoint) as client:
            yield _versions(client.version())
            devices = client.devices()
    except FlexNpuError as error:
        yield Finding("daemon", "error", error.message, error.next_step or _START)
        return
    for device in devices:
        yield _device(device, beside_npu=host.has_npu and endpoint.url is None)


def _device(device: Device, *, beside_npu: bool) -> Finding:
    """beside_npu: this host, which the daemon is on, has an NPU."""
    found = f"device {device.index}: {device.soc} ({device.kind}), {device.cores_free} of {device.cores} cores free"
    if device.trouble:
        return Finding("daemon", "error", f"device {device.index}: {device.trouble}", "npu-smi info")
    if beside_npu and device.kind == "software":
        mend = "source /usr/local/Ascend/ascend-toolkit/set_env.sh && flexnpud &  # in place of the one that runs"
        return Finding("daemon", "warning", f"{found}; but this host has an NPU", mend)
    return Finding("daemon", "ok", found)


def _sockets(host: Host, paths: RuntimeDir) -> Generator[Finding, None, bool]:
    """Returns whether there is something to connect to."""
    root = paths.root
    if root.is_dir() and not os.access(root, os.X_OK):
        yield Finding("sockets", "error", f"{root} is closed to uid {os.geteuid()}", _join(root.stat().st_gid))
        return False
    if not paths.admin_socket.exists():
        service = RuntimeDir(host.path(_SERVICE))
        if service.root != root and service.admin_socket.exists():
            found = f"no daemon in {root}, but there is one in {service.root}"
            yield Finding("daemon", "error", found, f"export FLEXNPU_RUNTIME_DIR={service.root}")
        else:
            yield Finding("daemon", "error", f"no daemon in {root}", _START)
        return False
    yield from _modes(paths)
    return True


def _modes(paths: RuntimeDir) -> Iterator[Finding]:
    root, admin, attach = (path.stat() for path in (paths.root, paths.admin_socket, paths.attach_socket))
    for path, seen, most in (
        (paths.root, root, 0o710),
        (paths.admin_socket, admin, 0o660),
        (paths.attach_socket, attach, 0o660),
    ):
        mode = stat.S_IMODE(seen.st_mode)
        if mode & ~most:
            yield Finding("sockets", "error", f"{path} is open to others (mode {mode:04o})", f"chmod {most:o} {path}")
    if not os.access(paths.admin_socket, os.W_OK):
        yield Finding("sockets", "error", f"uid {os.geteuid()} may not use {paths.admin_socket}", _join(admin.st_gid))
    elif not os.access(paths.attach_socket, os.W_OK):
        found = f"programs of uid {os.geteuid()} may not attach: {paths.attach_socket} is of uid {attach.st_uid}"
        yield Finding("sockets", "warning", found, f"sudo -u '#{attach.st_uid}' flexnpu run …")
    else:
        mode = stat.S_IMODE(admin.st_mode)
        yield Finding("sockets", "ok", f"{paths.root}, of uid {root.st_uid}; admin.sock has mode {mode:04o}")


def _join(group: int) -> str:
    return f'sudo usermod -aG $(getent group {group} | cut -d: -f1) "$USER"  # then log in anew'


def _versions(daemon: Version) -> Finding:
    own = (__version__, _native.PAGE_VERSION, API_VERSION)
    there = (daemon.version, daemon.page_version, daemon.api_version)
    told = "version {} (page {}, API {})"
    if own[1:] != there[1:]:
        found = f"{told.format(*there)} does not understand this flexnpu, {told.format(*own)}"
        return Finding("daemon", "error", found, _RESTART)
    if own != there:
        return Finding("daemon", "warning", f"{told.format(*there)}, and this flexnpu is {own[0]}", _RESTART)
    return Finding("daemon", "ok", told.format(*there))
