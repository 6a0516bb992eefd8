# SPDX-License-Identifier: Apache-2.0
"""A container runtime as small as can be: what the kubelet says of a container, and a program that runs with it.

Root gets it real mounts in a mount namespace of its own, and another user. Who may not do that gets the same files by
the host's paths: then the test is of the environment alone.
"""

from __future__ import annotations

import functools
import os
import shlex
import subprocess
from collections.abc import Mapping
from pathlib import Path

from fake_kubelet import Started

NOBODY = 65534


@functools.cache
def has_mounts() -> bool:
    """Whether this process may make them."""
    script = "mount -t tmpfs tmpfs /run && mount -t tmpfs tmpfs /mnt && mkdir /mnt/u /mnt/w && "
    script += "mount -t overlay overlay -o lowerdir=/etc,upperdir=/mnt/u,workdir=/mnt/w /etc"
    command = ["unshare", "-m", "sh", "-c", script]
    return os.geteuid() == 0 and subprocess.run(command, capture_output=True, check=False).returncode == 0


def run(program: Path, started: Started, changed: Mapping[str, str | None] | None = None) -> str:
    """What it prints. changed: variables that the pod itself sets over the plugin's; None: it takes it away."""
    variables = {**started.envs, **(changed or {})}
    given = {name: value for name, value in variables.items() if value is not None}
    if has_mounts():
        command = ["unshare", "-m", "sh", "-c", _script(program, started.mounts, given)]
        environment = {"PATH": os.environ["PATH"]}
    else:
        command = [str(program)]
        environment = {name: _on_the_host(value, started.mounts) for name, value in given.items()}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _script(program: Path, mounts: Mapping[str, str], variables: Mapping[str, str]) -> str:
    lines = [
        "set -e",
        "mount -t tmpfs tmpfs /mnt; mkdir /mnt/u /mnt/w",
        "mount -t overlay overlay -o lowerdir=/etc,upperdir=/mnt/u,workdir=/mnt/w /etc",
        f"cp {shlex.quote(str(program))} /mnt/program; chmod 755 /mnt /mnt/program",
        "mount -t tmpfs tmpfs /run",
        "mount -t tmpfs tmpfs /opt",
    ]
    for container, host in mounts.items():
        make = f"mkdir -p {container}" if Path(host).is_dir() else f"touch {container}"
        lines.append(f"{make}; mount --bind {shlex.quote(host)} {container}")
    env = " ".join(shlex.quote(f"{name}={value}") for name, value in variables.items())
    lines.append(f"exec setpriv --reuid={NOBODY} --regid={NOBODY} --clear-groups env -i {env} /mnt/program")
    return "\n".join(lines)


def _on_the_host(value: str, mounts: Mapping[str, str]) -> str:
    for container, host in mounts.items():
        value = value.replace(container, host)
    return value
