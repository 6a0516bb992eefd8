# SPDX-License-Identifier: Apache-2.0
"""Every environment variable that FlexNPU reads, which docs/reference.md shows, and what a program is started with."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Variable:
    """One public variable."""

    name: str
    read_by: str
    values: str
    default: str
    meaning: str


TENANT = "libflexnpu.so"
SOFTNPU = "the software NPU"
COMMANDS = "flexnpu, flexnpud"

VARIABLES = (
    Variable(
        "FLEXNPU_RUNTIME_DIR",
        COMMANDS,
        "a directory",
        "$XDG_RUNTIME_DIR/flexnpu, /run/flexnpu (root), /tmp/flexnpu-UID",
        "the daemon's sockets, registry and software device state; mode 0700",
    ),
    Variable(
        "FLEXNPU_URL",
        "flexnpu",
        "https://HOST:PORT",
        "none: the daemon of the runtime directory",
        "the admin API of a daemon elsewhere; --runtime-dir goes before it",
    ),
    Variable("FLEXNPU_TOKEN_FILE", "flexnpu", "a file", "none", "the bearer token for FLEXNPU_URL"),
    Variable("FLEXNPU_CA_FILE", "flexnpu", "a PEM file", "the system's", "CAs that the daemon at FLEXNPU_URL may have"),
    Variable("FLEXNPU_CERT_FILE", "flexnpu", "a PEM file", "none", "client certificate and key for FLEXNPU_URL"),
    Variable(
        "FLEXNPU_LIB_DIR",
        COMMANDS,
        "a directory",
        "flexnpu/lib of the package",
        "where libflexnpu.so and softnpu/ lie; for tests and build trees",
    ),
    Variable(
        "FLEXNPU_SOC_PATH",
        COMMANDS,
        "directories, colon between",
        "none",
        "more SoC specifications (YAML), before those of the package",
    ),
    Variable(
        "FLEXNPU_TRACES",
        "make bench-policies",
        "a directory",
        "none",
        "where azure_code_2023.csv and mooncake_conversation_trace.jsonl lie",
    ),
    Variable("FLEXNPU_SOCKET", TENANT, "a path", "set by flexnpu run", "the daemon's attach socket"),
    Variable("FLEXNPU_VNPU", TENANT, "a name", "set by flexnpu run", "the vNPU to attach to"),
    Variable(
        "FLEXNPU_DAEMON_WAIT",
        TENANT,
        "0 to 60",
        "0; flexnpu run sets 5",
        "seconds that a program's first device call waits for a daemon that is not there; it may be starting anew",
    ),
    Variable(
        "FLEXNPU_NODE_VISIBLE_DEVICES",
        TENANT,
        "a list of devices",
        "set by flexnpu run",
        "ASCEND_RT_VISIBLE_DEVICES outside of the vNPU, for the runtime; inside it counts the vNPU's devices",
    ),
    Variable(
        "FLEXNPU_VISIBLE_DEVICES",
        TENANT,
        "a list of the vNPU's devices",
        "set by libflexnpu.so",
        "what a program's ASCEND_RT_VISIBLE_DEVICES said, for its children",
    ),
    Variable("FLEXNPU_LOG", TENANT, "error, warn, info, debug", "warn", "what goes to stderr"),
    Variable(
        "FLEXNPU_PHASE_RECORD",
        TENANT,
        "a file",
        "none",
        "what the phase detector is fed with is appended to it, line by line; for a report of steps that it got wrong",
    ),
    Variable("FLEXNPU_SOFTNPU_SOC", SOFTNPU, "a SoC name", "Ascend910B2", "the SoC that is modelled"),
    Variable("FLEXNPU_SOFTNPU_DEVICES", SOFTNPU, "1 to 16", "1", "how many devices there are"),
    Variable(
        "FLEXNPU_SOFTNPU_CLOCK", SOFTNPU, "free, paced", "free", "as fast as the CPU goes, or at the model's pace"
    ),
    Variable(
        "FLEXNPU_SOFTNPU_MATH",
        SOFTNPU,
        "exact, skip",
        "exact",
        "results as ATen gives them, or undefined and memory untouched",
    ),
    Variable(
        "FLEXNPU_SOFTNPU_SCALE",
        SOFTNPU,
        "1e-6 to 1e6",
        "1",
        "wall seconds per device second when the device's state is made",
    ),
    Variable(
        "FLEXNPU_SOFTNPU_STATE",
        SOFTNPU,
        "a directory",
        "none: private to the process",
        "state that all processes on the devices share",
    ),
)

_DAEMON_WAIT = "5"
_LISTS = ("LD_LIBRARY_PATH", "LD_PRELOAD", "PATH")


def merged(base: Mapping[str, str], added: Mapping[str, str]) -> dict[str, str]:
    """`base` with `added` over it; in lists of places, ours come first and the program's own stay."""
    environment = {**base, **added}
    for name in _LISTS:
        if name in added and base.get(name):
            environment[name] = f"{added[name]}{os.pathsep}{base[name]}"
    return environment


def for_tenant(
    base: Mapping[str, str], device: Mapping[str, str], preload: Path, socket: Path, vnpu: str
) -> dict[str, str]:
    """The environment of a program on a vNPU."""
    own = {
        "LD_PRELOAD": str(preload),
        "FLEXNPU_SOCKET": str(socket),
        "FLEXNPU_VNPU": vnpu,
        "FLEXNPU_DAEMON_WAIT": base.get("FLEXNPU_DAEMON_WAIT", _DAEMON_WAIT),
        # What the list says from here on counts the vNPU's devices; the runtime is given this one back.
        "FLEXNPU_NODE_VISIBLE_DEVICES": base.get(
            "FLEXNPU_NODE_VISIBLE_DEVICES", base.get("ASCEND_RT_VISIBLE_DEVICES", "")
        ),
    }
    outside = {name: value for name, value in base.items() if name != "FLEXNPU_VISIBLE_DEVICES"}
    return merged(outside, {**device, **own})
