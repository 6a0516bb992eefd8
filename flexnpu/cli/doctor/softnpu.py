# SPDX-License-Identifier: Apache-2.0
"""The software NPU: that it is there, and is what a process gets that asks for AscendCL."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

from flexnpu import paths
from flexnpu.backend import SoftwareOptions, software_environment
from flexnpu.cli.doctor.finding import ANSWER_WITHIN_S, Finding, Host, Level
from flexnpu.environment import merged
from flexnpu.errors import BackendError

_ASK = """
import ctypes
ask = ctypes.CDLL("libascendcl.so").aclrtGetSocName
ask.restype = ctypes.c_char_p
print(ask().decode())
"""


def check(host: Host) -> Iterator[Finding]:
    try:
        libraries = paths.softnpu_libraries(host.environ)
    except BackendError as error:
        level: Level = "note" if host.has_npu else "error"
        yield Finding("software NPU", level, error.message, "pip install .")
        return
    options = SoftwareOptions()
    environment = merged(host.environ, software_environment(options, None))
    environment.pop("LD_PRELOAD", None)
    try:
        done = subprocess.run(
            [sys.executable, "-c", _ASK],
            env=environment,
            capture_output=True,
            text=True,
            timeout=ANSWER_WITHIN_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        found = f"{libraries} does not answer within {ANSWER_WITHIN_S:g} s"
        yield Finding("software NPU", "error", found, "pip install --force-reinstall .")
        return
    if done.stdout.strip() != options.soc:
        why = (done.stderr.strip().splitlines() or [f"it says {done.stdout.strip()!r}"])[-1]
        found = f"{libraries} cannot be used ({why})"
        yield Finding("software NPU", "error", found, "pip install --force-reinstall .")
        return
    yield Finding("software NPU", "ok", f"{libraries}, answers as {options.soc}")
