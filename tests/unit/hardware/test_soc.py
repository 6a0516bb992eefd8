# SPDX-License-Identifier: Apache-2.0
import re
from pathlib import Path

import pytest
import yaml

from flexnpu.hardware import SpecError, available, load_soc
from flexnpu.hardware.catalogue import SHIPPED

PUBLISHED = {  # cube cores, vector cores, dense fp16 TFLOP/s, HBM GB/s, L2 MiB
    "Ascend910B1": (24, 48, 363.7, 1600, 192),
    "Ascend910B2": (24, 48, 353.9, 1600, 192),
    "Ascend910B3": (20, 40, 294.9, 1600, 192),
    "Ascend910B4": (20, 40, 245.8, 800, 96),
    "Ascend910_9391": (24, 48, 363.7, 1600, 192),
    "Ascend910_9362": (20, 40, 245.8, 800, 168),
    "Ascend310P3": (8, 7, 69.5, 204, 16),
    "H100": (132, 132, 989.4, 3350, 50),
    "H200": (132, 132, 989.4, 4800, 50),
    "A100": (108, 108, 311.9, 2039, 40),
    "RTX4090": (128, 128, 165.2, 1008, 72),
}


def test_all_published_socs_ship():
    assert available() == sorted(PUBLISHED)


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_shipped_spec_agrees_with_the_published_figures(name):
    soc = load_soc(name)
    shown = (soc.cube_cores, soc.vector_cores, round(soc.peak_flops / 1e12, 1), soc.hbm_bandwidth / 1e9)
    assert (*shown, soc.l2_bytes / 2**20) == PUBLISHED[name]


def test_the_forecast_and_the_software_npu_know_the_same_devices():
    told = (Path(__file__).parents[3] / "native/softnpu/soc/soc.cc").read_text()
    rows = re.findall(r'make\("(\w+)", (\d+), (\d+), (\d+), ([^,]+), (\d+), (\d+)', told)
    assert {row[0] for row in rows} == {name for name in available() if load_soc(name).kind == "npu"}
    for name, cube, vector, mhz, hbm, l2, rate in rows:
        soc = load_soc(name)
        size = int(hbm.replace("'", "")) if "k" not in hbm else int(hbm.split()[0]) * 2**30
        assert (soc.cube_cores, soc.vector_cores, soc.clock_mhz) == (int(cube), int(vector), int(mhz))
        assert (soc.hbm_bytes, soc.l2_bytes, soc.hbm_bandwidth) == (size, int(l2) * 2**20, int(rate) * 1e9), name


@pytest.mark.parametrize(
    ("name", "dtype", "tflops"),
    [("H100", "fp8", 1979), ("H200", "int8", 1979), ("A100", "int8", 624), ("RTX4090", "fp8", 330.3)],
)
def test_a_gpu_reaches_its_data_sheets_peak_in_eight_bits(name, dtype, tflops):
    soc = load_soc(name)
    assert soc.matrix_rate(dtype) * soc.peak_flops / 1e12 == pytest.approx(tflops, rel=1e-3)


def test_a_device_of_no_known_kind_is_refused(tmp_path):
    with pytest.raises(SpecError, match="kind is 'tpu'; it must be one of npu, gpu"):
        load_soc("Mine", [own_spec(tmp_path, name="Mine", kind="tpu")])


def test_case_of_a_name_does_not_matter():
    assert load_soc("ascend910b2") == load_soc("Ascend910B2")


@pytest.mark.parametrize("file", sorted(SHIPPED.glob("*.yaml")), ids=lambda file: file.stem)
def test_every_shipped_value_names_its_source(file):
    unsourced = ("#", "name:", "kind:")
    values = [line for line in file.read_text().splitlines() if line and not line.startswith(unsourced)]
    assert values
    assert all(line.partition("#")[2].strip() for line in values)


def test_an_unknown_soc_is_refused_with_the_known_names():
    with pytest.raises(SpecError, match=r"'Ascend999' is not known; known are .*Ascend910B2"):
        load_soc("Ascend999")


def own_spec(folder, **changes):
    raw = yaml.safe_load((SHIPPED / "ascend910b2.yaml").read_text()) | changes
    (folder / "own.yaml").write_text(yaml.safe_dump({key: value for key, value in raw.items() if value is not None}))
    return folder


def test_a_spec_in_a_given_folder_is_found(tmp_path):
    assert load_soc("Mine", [own_spec(tmp_path, name="Mine", hbm_gb_s=1000)]).hbm_bandwidth == 1e12


def test_a_spec_in_the_environments_path_is_found(tmp_path, monkeypatch):
    monkeypatch.setenv("FLEXNPU_SOC_PATH", str(own_spec(tmp_path, name="Mine")))
    assert "Mine" in available()


def test_a_given_folder_corrects_a_shipped_value(tmp_path):
    assert load_soc("Ascend910B2", [own_spec(tmp_path, hbm_gb_s=1500)]).hbm_bandwidth == 1.5e12


@pytest.mark.parametrize("value", [None, 0, -1, "fast", True, float("nan"), float("inf")])
def test_a_device_without_bandwidth_is_refused_by_field(tmp_path, value):
    with pytest.raises(SpecError, match=r"own\.yaml: hbm_gb_s is"):
        load_soc("Mine", [own_spec(tmp_path, name="Mine", hbm_gb_s=value)])


def test_a_folder_that_does_not_exist_is_refused(tmp_path):
    with pytest.raises(SpecError, match="does not exist"):
        load_soc("Ascend910B2", [tmp_path / "nowhere"])


def test_a_spec_that_is_not_yaml_is_refused_by_file(tmp_path):
    (tmp_path / "bad.yaml").write_text("name: [")
    with pytest.raises(SpecError, match=r"bad\.yaml: not readable as YAML"):
        load_soc("Ascend910B2", [tmp_path])
