# SPDX-License-Identifier: Apache-2.0
"""The units of deploy/systemd: systemd can read them, they are hardened, and the daemon is what they take it for."""

from __future__ import annotations

import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from local_node import Node

UNITS = Path(__file__).parents[2] / "deploy" / "systemd"
MOST_EXPOSURE = 2.5  # of 10, by systemd's own count
ANALYZE = shutil.which("systemd-analyze")
needs_systemd = pytest.mark.skipif(ANALYZE is None, reason="systemd-analyze is not installed")


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """As they are, but for the place of the programs, which have to exist."""
    programs = Path(sys.executable).parent
    for unit in UNITS.glob("*.service"):
        text = unit.read_text()
        assert "ExecStart=/opt/flexnpu/bin/" in text
        (tmp_path / unit.name).write_text(text.replace("/opt/flexnpu/bin/", f"{programs}/"))
    return tmp_path


def analyze(folder: Path, *arguments: str) -> str:
    assert ANALYZE is not None
    done = subprocess.run([ANALYZE, *arguments], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@needs_systemd
def test_systemd_reads_the_units_without_a_complaint(units: Path):
    names = sorted(unit.name for unit in units.iterdir())
    assert names == ["flexnpu-controller@.service", "flexnpud.service"]
    for name in (*names, "flexnpu-controller@chat.service"):
        told = analyze(units, "verify", f"./{name}")
        # Units of the machine itself are read too, and may be wrong.
        assert "flexnpu" not in told, told


@needs_systemd
def test_the_units_are_hardened(units: Path):
    for unit in units.iterdir():
        told = analyze(units, "security", "--offline=true", f"./{unit.name}")
        found = re.search(r"Overall exposure level for \S+: ([\d.]+)", told)
        assert found, told
        assert float(found[1]) <= MOST_EXPOSURE, told


def test_the_service_manager_is_told_that_it_is_ready_and_that_it_stops(quiet_node: Node, tmp_path: Path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(quiet_node.root.parent / "notify"))
        manager.settimeout(60)
        quiet_node.env["NOTIFY_SOCKET"] = manager.getsockname()
        daemon = quiet_node.launch()
        assert manager.recv(100) == b"READY=1"
        with quiet_node.client() as client:
            assert client.version()
        daemon.process.send_signal(signal.SIGTERM)
        assert manager.recv(100) == b"STOPPING=1"
        assert daemon.end()[0] == 0


def test_the_steps_of_the_readme_name_files_that_are_there():
    readme = (UNITS.parents[1] / "README.md").read_text()
    section = readme.partition("## Run it as a service")[2].partition("\n## ")[0]
    named = set(re.findall(r"deploy/systemd/[\w@.*-]+", section))
    assert named >= {"deploy/systemd/*.service", "deploy/systemd/flexnpu.sysusers", "deploy/systemd/flexnpud.env"}
    for pattern in named:
        assert list(UNITS.parents[1].glob(pattern)), pattern
    for unit in re.findall(r"systemctl [\w -]*?(flexnpu[\w-]*@?)", section):
        assert list(UNITS.glob(f"{unit}.service")), unit
