# SPDX-License-Identifier: Apache-2.0
"""What the plugin is told, by file and by variables."""

from __future__ import annotations

from pathlib import Path

import pytest

from device_plugin.config import Config, read_config
from device_plugin.plugin import names, sizes
from device_plugin.units import Kind
from flexnpu.errors import InvalidValue


def read(tmp_path: Path, text: str, environ: dict[str, str] | None = None) -> Config:
    file = tmp_path / "plugin.yaml"
    file.write_text(text)
    return read_config(file, environ or {})


def test_nothing_need_be_said():
    config = read_config(None, {})
    assert names(config) == {
        "flexnpu.io/vnpu": Kind.VNPU,
        "flexnpu.io/cores": Kind.CORES,
        "flexnpu.io/memory": Kind.MEMORY,
        "flexnpu.io/device": Kind.DEVICE,
    }
    assert config.kubelet_socket == Path("/var/lib/kubelet/device-plugins/kubelet.sock")


def test_names_and_granularity_are_to_be_had(tmp_path):
    config = read(
        tmp_path,
        """
resources:
  vnpu: {name: example.com/slice, slots: 4, cores: 6, memory: 8GiB}
  cores: {granularity: 2}
  memory: {granularity: 512MiB}
  device: null
unhealthy_after: 5s
""",
    )
    assert [*names(config)] == ["example.com/slice", "flexnpu.io/cores", "flexnpu.io/memory"]
    assert sizes(config).slot_memory == 8 * 2**30
    assert (sizes(config).cores, sizes(config).memory_bytes) == (2, 2**29)
    assert config.unhealthy_after == 5


def test_a_variable_goes_before_the_file(tmp_path):
    environ = {"FLEXNPU_PLUGIN_PLACEMENT": "spread", "FLEXNPU_PLUGIN_RINGS": "[[0, 1], [2, 3]]"}
    config = read(tmp_path, "placement: pack\ncdi: /etc/cdi", environ)
    assert (config.placement, config.rings, config.cdi) == ("spread", ((0, 1), (2, 3)), Path("/etc/cdi"))


def test_off_is_a_word_though_yaml_takes_it_for_false(tmp_path):
    assert read(tmp_path, "cdi: off").cdi == "off"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("placement: sideways", "placement: Input should be 'pack' or 'spread'"),
        ("resources: {cores: {name: kubernetes.io/x}}", "resources.cores.name: write it like example.com/cores"),
        ("resources: {memory: null}", "resources.memory: cores and memory are offered together"),
        ("slots: 8", "slots: Extra inputs are not permitted; keys are resources, kubelet_dir, daemon"),
        ("kubelet_dir: here", "kubelet_dir: give an absolute path"),
        ("resources: {memory: {granularity: 8 bits}}", "has the unknown unit 'bits'"),
        ("resources: {vnpu: {slots: 0}}", "resources.vnpu.slots: Input should be greater than or equal to 1"),
        ("resources: {vnpu: {name: a.b/x}, cores: {name: a.b/x}}", "two resources have the name a.b/x"),
        ("daemon: /run/flexnpu/other.sock", "is no admin socket of a runtime directory; name the file admin.sock"),
        ("metrics: here", "metrics: String should match pattern"),
        ("cdi: sometimes", "cdi: give auto, off or an absolute path"),
        ("[1", "is no YAML"),
        ("- 1", "is no mapping; write it as KEY: VALUE"),
    ],
)
def test_what_cannot_be_read_is_told_in_a_line(tmp_path, text, told):
    with pytest.raises(InvalidValue) as error:
        read(tmp_path, text)
    assert told in str(error.value)
    assert "\n" not in str(error.value)
