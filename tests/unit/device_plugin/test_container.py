# SPDX-License-Identifier: Apache-2.0
"""What a container is given: on the software NPU, on an Ascend host, and as CDI."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
from fake_kubelet import pod
from fake_node_daemon import FakeNodeDaemon

from device_plugin.cdi import Cdi
from device_plugin.container import DRIVER, Host
from device_plugin.folders import Folders, install
from flexnpu.errors import BackendError

RUN = Path("/var/lib/flexnpu/pods/k8s-3-c0/run")


def edits(kind: str, preload: str = "both", index: int = 3, missing: tuple[str, ...] = ()):
    from device_plugin.daemon import _look  # noqa: PLC0415

    node = FakeNodeDaemon(devices=4, kind=kind)
    devices = _look(node.connect()).devices  # type: ignore[arg-type]
    host = Host(
        libraries=Path("/var/lib/flexnpu/lib/1"),
        preload_file=Path("/var/lib/flexnpu/pods/ld.so.preload"),
        preload=preload,  # type: ignore[arg-type]
        driver=DRIVER,
        has=lambda path: str(path) not in missing,
    )
    return host.edits([devices[index]], RUN)


def test_on_the_software_npu_its_libraries_take_canns_place_and_its_state_is_the_containers():
    given = edits("software")
    assert given.variables == {
        "FLEXNPU_DAEMON_WAIT": "30",
        "FLEXNPU_NODE_VISIBLE_DEVICES": "",
        "FLEXNPU_SOCKET": "/run/flexnpu/attach.sock",
        "FLEXNPU_SOFTNPU_SOC": "Ascend910B2",
        "FLEXNPU_SOFTNPU_STATE": "/run/flexnpu/softnpu",
        "FLEXNPU_VNPU": "pod",
        "LD_LIBRARY_PATH": "/opt/flexnpu/softnpu",
        "LD_PRELOAD": "/opt/flexnpu/libflexnpu.so",
    }
    assert {mount.container: (str(mount.host), mount.read_only) for mount in given.mounts} == {
        "/run/flexnpu": (str(RUN), False),
        "/opt/flexnpu": ("/var/lib/flexnpu/lib/1", True),
        "/etc/ld.so.preload": ("/var/lib/flexnpu/pods/ld.so.preload", True),
    }
    assert given.device_files == ()


def test_on_an_ascend_host_there_are_device_files_and_what_the_host_has_of_the_driver():
    given = edits("ascend", missing=("/usr/local/dcmi",))
    assert given.device_files == ("/dev/davinci3", "/dev/davinci_manager", "/dev/devmm_svm", "/dev/hisi_hdc")
    driver = [mount for mount in given.mounts if mount.container == str(mount.host)]
    assert [mount.container for mount in driver] == [
        "/usr/local/Ascend/driver/lib64",
        "/usr/local/Ascend/driver/version.info",
        "/usr/local/bin/npu-smi",
        "/etc/ascend_install.info",
    ]
    assert all(mount.read_only for mount in driver)
    assert not {"LD_LIBRARY_PATH", "PATH"} & {*given.variables}  # the image's


@pytest.mark.parametrize(("preload", "variable", "file"), [("variable", True, False), ("file", False, True)])
def test_one_way_to_preload_is_enough_where_it_is_asked_for(preload, variable, file):
    given = edits("software", preload)
    assert ("LD_PRELOAD" in given.variables) is variable
    assert ("/etc/ld.so.preload" in {mount.container for mount in given.mounts}) is file


def test_a_folder_is_roots_alone_on_the_host_and_anybodys_in_the_container(tmp_path):
    folders = Folders(tmp_path / "pods")
    mounted = folders.make("k8s-0-c0")
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (mounted.parent.parent, mounted.parent, mounted)]
    assert modes == [0o700, 0o700, 0o755]
    assert stat.S_IMODE((mounted / "softnpu").stat().st_mode) == 0o777
    assert folders.preload.read_text() == "/opt/flexnpu/libflexnpu.so\n"
    assert stat.S_IMODE(folders.preload.stat().st_mode) == 0o644


def test_libraries_are_put_on_the_host_once_for_each_version_and_stay(tmp_path, libraries):
    first = install(tmp_path / "host")
    assert (first / "softnpu" / "libascendcl.so").is_file()
    assert install(tmp_path / "host") == first
    (libraries / "libflexnpu.so").write_bytes(b"\x7fELF, newer")
    second = install(tmp_path / "host")
    assert second != first
    assert sorted(path.name for path in (tmp_path / "host").iterdir()) == sorted([first.name, second.name])
    assert install(None) == libraries


def test_a_place_that_cannot_be_used_is_told(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(BackendError, match="name another folder of the host"):
        Folders(tmp_path / "file" / "pods")


def test_a_cdi_file_says_the_same(tmp_path):
    given = edits("ascend")
    assert Cdi.find(tmp_path).write("k8s-3-c0", given) == "flexnpu.io/vnpu=k8s-3-c0"
    told = json.loads((tmp_path / "flexnpu.io-vnpu-k8s-3-c0.json").read_text())
    (device,) = told["devices"]
    assert (told["kind"], device["name"]) == ("flexnpu.io/vnpu", "k8s-3-c0")
    assert set(device["containerEdits"]["env"]) == {f"{name}={value}" for name, value in given.variables.items()}
    assert [mount["containerPath"] for mount in device["containerEdits"]["mounts"]] == [
        mount.container for mount in given.mounts
    ]
    assert device["containerEdits"]["deviceNodes"][0] == {"path": "/dev/davinci3", "permissions": "rw"}


def test_containers_name_their_cdi_device_and_get_plain_edits_where_the_directory_is_gone(world, during, short):
    (short / "cdi").mkdir()
    there = world(cdi=short / "cdi", forget_after=0.1)

    async def test():
        async with there.up():
            llm = await there.kubelet.admit(pod("llm", cores=6, memory=16))
            started = await there.kubelet.start_container(llm, "main")
            assert (started.cdi, started.envs, started.mounts) == ({"flexnpu.io/vnpu=k8s-0-c0"}, {}, {})
            (short / "cdi" / "flexnpu.io-vnpu-k8s-0-c0.json").unlink()
            (short / "cdi").rmdir()
            other = await there.kubelet.admit(pod("other", cores=6, memory=16))
            started = await there.kubelet.start_container(other, "main")
            assert started.cdi == set()
            assert started.envs["LD_PRELOAD"] == "/opt/flexnpu/libflexnpu.so"

    during(test())
