# SPDX-License-Identifier: Apache-2.0
"""Software devices, what a process needs to reach them, and where things are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from flexnpu.backend import SoftwareOptions, live_state, software_devices, trouble
from flexnpu.environment import for_tenant, merged
from flexnpu.errors import InvalidValue
from flexnpu.paths import RuntimeDir


def test_a_software_device_is_its_soc(tmp_path: Path):
    devices = software_devices(SoftwareOptions(soc="ascend310p3", devices=2, clock="paced", scale=20), tmp_path)
    assert [(d.index, d.soc, d.cores, d.vector_cores) for d in devices] == [
        (0, "Ascend310P3", 8, 7),
        (1, "Ascend310P3", 8, 7),
    ]
    environment = devices[0].environment
    assert environment["FLEXNPU_SOFTNPU_SOC"] == "Ascend310P3"
    assert environment["FLEXNPU_SOFTNPU_DEVICES"] == "2"
    assert environment["FLEXNPU_SOFTNPU_CLOCK"] == "paced"
    assert environment["FLEXNPU_SOFTNPU_SCALE"] == "20"
    assert environment["FLEXNPU_SOFTNPU_STATE"] == str(tmp_path)


def test_a_device_that_nobody_uses_yet_is_as_configured(tmp_path: Path):
    (device,) = software_devices(SoftwareOptions(scale=3), tmp_path)
    assert (live_state(device).scale, live_state(device).memory_used) == (3, 0)
    assert device.state_file is not None
    device.state_file.write_bytes(b"half")
    assert live_state(device).scale == 3


@pytest.mark.parametrize(
    "options", [{"soc": "x"}, {"devices": 0}, {"devices": 17}, {"clock": "x"}, {"math": "x"}, {"scale": float("inf")}]
)
def test_bad_options_are_refused(tmp_path: Path, options):
    with pytest.raises(InvalidValue):
        software_devices(SoftwareOptions(**options), tmp_path)


def test_a_programs_own_libraries_stay_behind_ours():
    base = {"LD_LIBRARY_PATH": "/own", "LD_PRELOAD": "/own.so", "HOME": "/h"}
    device = {"LD_LIBRARY_PATH": "/npu", "FLEXNPU_SOFTNPU_SOC": "s"}
    found = for_tenant(base, device, Path("/libflexnpu.so"), Path("/run/attach.sock"), "a")
    assert found == {
        "LD_LIBRARY_PATH": "/npu:/own",
        "LD_PRELOAD": "/libflexnpu.so:/own.so",
        "HOME": "/h",
        "FLEXNPU_SOFTNPU_SOC": "s",
        "FLEXNPU_SOCKET": "/run/attach.sock",
        "FLEXNPU_VNPU": "a",
        "FLEXNPU_DAEMON_WAIT": "5",
        "FLEXNPU_NODE_VISIBLE_DEVICES": "",
    }
    assert merged({}, device)["LD_LIBRARY_PATH"] == "/npu"


def test_how_long_a_daemon_is_waited_for_may_be_said_outside():
    found = for_tenant({"FLEXNPU_DAEMON_WAIT": "0"}, {}, Path("/libflexnpu.so"), Path("/run/attach.sock"), "a")
    assert found["FLEXNPU_DAEMON_WAIT"] == "0"


def test_a_list_of_devices_is_told_apart_outside_and_inside():
    def start(base: dict[str, str]) -> dict[str, str]:
        return for_tenant(base, {}, Path("/libflexnpu.so"), Path("/run/attach.sock"), "a")

    inside = start({"ASCEND_RT_VISIBLE_DEVICES": "2,3"})
    assert inside["ASCEND_RT_VISIBLE_DEVICES"] == inside["FLEXNPU_NODE_VISIBLE_DEVICES"] == "2,3"
    nested = start({**inside, "ASCEND_RT_VISIBLE_DEVICES": "0", "FLEXNPU_VISIBLE_DEVICES": "1"})
    assert nested["FLEXNPU_NODE_VISIBLE_DEVICES"] == "2,3"
    assert "FLEXNPU_VISIBLE_DEVICES" not in nested


def test_the_runtime_directory_is_found_in_this_order(tmp_path: Path):
    environ = {"FLEXNPU_RUNTIME_DIR": "/a", "XDG_RUNTIME_DIR": "/b"}
    assert RuntimeDir.find("/c", environ).root == Path("/c")
    assert RuntimeDir.find(None, environ).root == Path("/a")
    assert RuntimeDir.find(None, {"XDG_RUNTIME_DIR": "/b"}).root == Path("/b/flexnpu")
    with pytest.raises(InvalidValue, match="too long"):
        RuntimeDir.find("/" + "x" * 100, {})


def test_a_gpu_is_no_software_npu(tmp_path):
    with pytest.raises(InvalidValue, match="H100 is a gpu; the software NPU models Ascend devices"):
        software_devices(SoftwareOptions(soc="H100"), tmp_path)


def test_a_device_whose_state_is_damaged_or_whose_file_is_gone_is_in_trouble_and_out_of_it_again(tmp_path: Path):
    (device,) = software_devices(SoftwareOptions(), tmp_path)
    assert trouble(device) is None
    device.state_file.write_bytes(b"no state")
    assert "device 0 is lost: state file" in trouble(device)
    device.state_file.unlink()
    assert trouble(device) is None
    node = tmp_path / "davinci0"
    ascend = replace(device, node=node)
    assert trouble(ascend) == f"device 0 is lost: {node} is gone"
    node.touch()
    assert trouble(ascend) is None


def test_devices_have_uuids_that_stay_and_differ(tmp_path: Path):
    def uuids(soc: str) -> list[str]:
        return [device.uuid for device in software_devices(SoftwareOptions(soc=soc, devices=3), tmp_path)]

    assert uuids("Ascend910B2") == uuids("Ascend910B2")
    assert len({*uuids("Ascend910B2"), *uuids("Ascend910B3")}) == 6
