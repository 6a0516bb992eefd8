# SPDX-License-Identifier: Apache-2.0
"""The software NPU on a torch_npu that it does not know."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from flexnpu.backend import SoftwareOptions, software_environment
from flexnpu.environment import merged


def other_torch_npu(directory: Path, version: str) -> Path:
    """The installed torch_npu, linked file by file, that says it is of another version."""
    installed = Path(sysconfig.get_path("platlib")) / "torch_npu"
    shutil.copytree(installed, directory / "torch_npu", copy_function=os.symlink)
    libraries = installed.with_name("torch_npu.libs")
    if libraries.exists():
        (directory / "torch_npu.libs").symlink_to(libraries)
    text = directory / "torch_npu" / "version.py"
    text.unlink()
    text.write_text(f"__version__ = '{version}'\ngit_version = 'none'\n")
    return directory


def test_an_unknown_torch_npu_is_refused_with_what_to_install(state_dir: Path, tmp_path: Path) -> None:
    environment = merged(os.environ, software_environment(SoftwareOptions(), state_dir))
    environment["PYTHONPATH"] = str(other_torch_npu(tmp_path, "9.1.0"))
    program = "import torch, torch_npu; torch.ones(2).npu()"
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode == 1
    assert (
        f"torch_npu 9.1.0 in {tmp_path}/torch_npu: this software NPU is built for torch and torch_npu 2.13"
        in done.stderr
    )
