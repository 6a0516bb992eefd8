# SPDX-License-Identifier: Apache-2.0
"""Whether the hooks of libflexnpu.so are what a program gets that is started with it, by whatever door it comes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from flexnpu import paths
from flexnpu.backend import SoftwareOptions, software_environment
from flexnpu.cli.doctor import elf
from flexnpu.cli.doctor.finding import ANSWER_WITHIN_S, Finding, Host, Level
from flexnpu.environment import merged
from flexnpu.errors import BackendError

_SHOWN = 3  # names of many


def check(host: Host) -> Iterator[Finding]:
    """Nothing where the library itself is not fit, which is said elsewhere."""
    try:
        library = paths.interposer(host.environ)
        elf.read(library)
    except (BackendError, OSError, elf.NotElfError):
        return
    environment = dict(host.environ)
    if not host.has_npu:
        environment = merged(environment, software_environment(SoftwareOptions(), None))
    told = probe(library, {**environment, "LD_PRELOAD": str(library)})
    if isinstance(told, str):
        yield Finding("hooks", "error", f"a preloaded program failed: {told}", f"LD_PRELOAD={library} python3 -c pass")
        return
    for name, why in told["missing"].items():
        mend = "source /usr/local/Ascend/ascend-toolkit/set_env.sh" if host.has_npu else "pip install ."
        level: Level = "warning" if name == "libhccl.so" else "error"
        yield Finding("hooks", level, f"{name} cannot be opened ({why})", mend)
    for door, how in (
        ("lookups", "looked up by dlsym"),
        ("deepbind", "called from a library opened with RTLD_DEEPBIND"),
    ):
        yield _door(how, told[door], library)
    yield Finding("hooks", "note", f"{told['absent']} functions that the libraries of this host do not have")


def _door(how: str, told: Mapping[str, Any], library: Path) -> Finding:
    past: dict[str, str] = told["past"]
    if past:
        some = ", ".join(f"{name} in {file}" for name, file in sorted(past.items())[:_SHOWN])
        found = f"{len(past)} functions {how} lead past libflexnpu.so, such as {some}"
        return Finding("hooks", "error", found, f"LD_DEBUG=bindings LD_PRELOAD={library} python3 -c 'import torch_npu'")
    return Finding("hooks", "ok", f"{told['hooked']} functions {how} lead to libflexnpu.so")


def probe(library: Path, environment: Mapping[str, str]) -> dict[str, Any] | str:
    """What flexnpu/cli/doctor/probe.py answers in that environment, or what went wrong."""
    command = [sys.executable, "-m", "flexnpu.cli.doctor.probe", str(library)]
    try:
        done = subprocess.run(
            command, env=dict(environment), capture_output=True, text=True, timeout=ANSWER_WITHIN_S, check=False
        )
        answer: dict[str, Any] = json.loads(done.stdout)
    except subprocess.TimeoutExpired:
        return f"no answer within {ANSWER_WITHIN_S:g} s"
    except ValueError:
        return (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
    return answer
