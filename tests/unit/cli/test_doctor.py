# SPDX-License-Identifier: Apache-2.0
"""flexnpu doctor on hosts that are not this one, and its look at hooks on this one."""

from __future__ import annotations

import os
import platform
import stat
import subprocess
from pathlib import Path

import pytest

from flexnpu import paths
from flexnpu.backend import SoftwareOptions, software_environment
from flexnpu.cli.doctor import daemon, driver, elf, hooks, loader, softnpu, toolkit
from flexnpu.cli.doctor.finding import Finding, Host
from flexnpu.client import Endpoint
from flexnpu.environment import merged

HOME = "/usr/local/Ascend/ascend-toolkit/latest"
INFO = f"{HOME}/{platform.machine()}-linux/ascend_toolkit_install.info"
SHARING = """
        NPU ID                         : 4
        Chip Count                     : 2

        Device-share Status            : True
        Chip ID                        : 0
        Device-share Status            : {}
        Chip ID                        : 1

        NPU ID                         : 5
        Chip Count                     : 1

        Device-share Status            : True
        Chip ID                        : 0
"""


class AscendHost:
    """Files of a host with two devices, as the driver's and CANN's installers leave them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.environ = {"PATH": str(root / "usr/local/bin"), "ASCEND_TOOLKIT_HOME": HOME}
        for name in ("davinci_manager", "devmm_svm", "hisi_hdc", "davinci0", "davinci1"):
            self.write(f"/dev/{name}", "")
        self.write("/etc/ascend_install.info", "UserName=HwHiAiUser\nDriver_Install_Path_Param=/opt/Ascend\n")
        self.write("/opt/Ascend/driver/version.info", "Version=25.5.0\nascendhal_version=7.35.19\n")
        self.write(INFO, "package_name=Ascend-cann-toolkit\nversion=8.5.0\n")
        self.smi(SHARING.format("True"))

    def write(self, path: str, text: str) -> Path:
        file = self.root / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    def smi(self, says: str) -> None:
        program = self.write("/usr/local/bin/npu-smi", f"#!/bin/sh\n/bin/cat <<'END'\n{says}\nEND\n")
        program.chmod(program.stat().st_mode | stat.S_IXUSR)

    def found(self) -> list[Finding]:
        host = Host(self.root, self.environ)
        versions = {"torch": "2.13.0", "torch_npu": "2.13.0"}
        return [*driver.check(host), *toolkit.check(host, versions.get)]

    def trouble(self) -> list[Finding]:
        return [each for each in self.found() if each.level in ("warning", "error")]


@pytest.fixture
def ascend(tmp_path: Path) -> AscendHost:
    return AscendHost(tmp_path)


def test_a_host_that_has_all_is_well(ascend: AscendHost):
    assert {each.level for each in ascend.found()} == {"ok"}
    assert "25.5.0" in ascend.found()[0].found
    assert [each.check for each in ascend.found()].count("device-share") == 3


def test_a_chip_that_is_not_shared_is_named_with_the_command_that_shares_it(ascend: AscendHost):
    ascend.smi(SHARING.format("False"))
    (found,) = ascend.trouble()
    assert found.found.startswith("NPU 4 chip 1:")
    assert found.mend == "echo Y | sudo npu-smi set -t device-share -i 4 -d 1"


def test_an_old_driver_cannot_share(ascend: AscendHost):
    ascend.write("/opt/Ascend/driver/version.info", "Version=24.1.rc3\n")
    ascend.smi(SHARING.format("False"))
    old, share = ascend.trouble()
    assert "24.1.rc3" in old.found
    assert "25.5" in share.mend


def break_version(host: AscendHost) -> None:
    (host.root / "opt/Ascend/driver/version.info").unlink()


def break_nodes(host: AscendHost) -> None:
    (host.root / "dev/devmm_svm").unlink()


def break_environment(host: AscendHost) -> None:
    del host.environ["ASCEND_TOOLKIT_HOME"]


def break_toolkit(host: AscendHost) -> None:
    host.write(INFO, "version=8.1.RC1\n")


@pytest.mark.parametrize(
    ("breaks", "check", "mend"),
    [
        (break_version, "driver", "-v /etc/ascend_install.info:"),
        (break_nodes, "device nodes", "--device /dev/devmm_svm"),
        (break_environment, "CANN", "source /usr/local/Ascend/ascend-toolkit/set_env.sh"),
        (break_toolkit, "CANN", "Ascend-cann-toolkit_8.5"),
    ],
)
def test_what_is_missing_comes_with_what_mends_it(ascend: AscendHost, breaks, check: str, mend: str):
    breaks(ascend)
    (found,) = ascend.trouble()
    assert found.check == check
    assert mend in found.mend


@pytest.mark.parametrize(
    ("versions", "level", "mend"),
    [
        ({"torch": "2.13.0+cpu", "torch_npu": "2.13.0.post1"}, "ok", ""),
        ({"torch": "2.12.1", "torch_npu": "2.13.0"}, "error", "pip install torch_npu==2.12.1"),
        ({"torch_npu": "2.13.0"}, "error", "pip install torch==2.13.0"),
        ({}, "note", "pip install"),
    ],
)
def test_torch_npu_is_of_one_torch_alone(tmp_path: Path, versions: dict[str, str], level: str, mend: str):
    (found,) = (each for each in toolkit.check(Host(tmp_path, {}), versions.get) if each.check == "torch_npu")
    assert found.level == level
    assert found.mend.startswith(mend)


def library(folder: Path, code: str) -> Path:
    file = folder / "libother.so"
    subprocess.run(["cc", "-shared", "-x", "c", "-", "-o", str(file)], input=code, text=True, check=True)
    return file


def preloaded(value: str, root: Path = Path("/")) -> list[Finding]:
    environ = {**os.environ, "LD_PRELOAD": value}
    return [*loader.check(Host(root, environ))]


def test_another_interposer_is_told_from_a_harmless_preload(tmp_path: Path):
    other = library(tmp_path, "int aclrtMalloc(void) { return 0; }\nint aclrtFree(void) { return 0; }")
    (_, found) = preloaded(str(other))
    assert (found.level, found.mend) == ("error", "unset LD_PRELOAD")
    assert "2 functions, such as aclrtFree, aclrtMalloc" in found.found
    harmless = library(tmp_path, "int something_else(void) { return 0; }")
    assert [each.level for each in preloaded(f"{harmless}:/nowhere/lib.so")] == ["ok", "ok", "warning"]
    assert [each.level for each in preloaded(str(paths.interposer()))] == ["ok", "warning"]
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/ld.so.preload").write_text("/usr/lib/libflexnpu.so\n")
    assert "/etc/ld.so.preload" in preloaded("", tmp_path)[1].found


def test_a_library_of_another_machine_is_said_to_be_one(tmp_path: Path):
    data = bytearray(paths.interposer().read_bytes())
    data[18] = {"x86_64": 183, "aarch64": 62}[platform.machine()]
    (tmp_path / "libflexnpu.so").write_bytes(data)
    (found,) = loader.check(Host(environ={"FLEXNPU_LIB_DIR": str(tmp_path)}))
    assert found.level == "error"
    assert f"this host is {platform.machine()}" in found.found
    (tmp_path / "libflexnpu.so").write_text("#!/bin/sh\n")
    (found,) = loader.check(Host(environ={"FLEXNPU_LIB_DIR": str(tmp_path)}))
    assert "no 64-bit ELF library" in found.found


def test_hooks_are_what_a_preloaded_program_gets_and_not_what_another_does():
    ours = paths.interposer()
    environment = merged(os.environ, software_environment(SoftwareOptions(), None))
    told = hooks.probe(ours, {**environment, "LD_PRELOAD": str(ours)})
    without = hooks.probe(ours, environment)
    assert isinstance(told, dict)
    assert isinstance(without, dict)
    assert told["missing"] == {}
    for door in ("lookups", "deepbind"):
        assert told[door]["past"] == {}
        assert told[door]["hooked"] > 1
        assert without[door]["hooked"] == 0
        assert len(without[door]["past"]) == told[door]["hooked"]
    assert told["lookups"]["hooked"] + told["absent"] == len(elf.read(ours).defined) - 4


def test_the_software_npu_answers_or_says_why_not(tmp_path: Path):
    (found,) = softnpu.check(Host())
    assert (found.level, found.found.rpartition(" ")[2]) == ("ok", "Ascend910B2")
    (found,) = softnpu.check(Host(environ={**os.environ, "FLEXNPU_LIB_DIR": str(tmp_path)}))
    assert (found.level, found.mend) == ("error", "pip install .")


def test_a_daemon_that_is_not_there_is_looked_for_where_services_are(tmp_path: Path):
    elsewhere = Endpoint(tmp_path / "mine")
    (found,) = daemon.check(Host(tmp_path), elsewhere)
    assert found.level == "error"
    assert "flexnpud" in found.mend
    (tmp_path / "run/flexnpu").mkdir(parents=True)
    (tmp_path / "run/flexnpu/admin.sock").touch()
    (found,) = daemon.check(Host(tmp_path), elsewhere)
    assert found.mend == f"export FLEXNPU_RUNTIME_DIR={tmp_path}/run/flexnpu"
