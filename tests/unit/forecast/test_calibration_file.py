# SPDX-License-Identifier: Apache-2.0
"""A profile file is read as it was written, checked, and never half there."""

from __future__ import annotations

import os
import threading

import numpy as np
import pytest
import yaml

from flexnpu.forecast import Profile
from flexnpu.forecast.calibration_file import ProfileError, dump, load, save


def test_a_profile_is_read_as_it_was_written(tmp_path, a100):
    profile = a100[1]
    save(profile, tmp_path / "p.yaml")
    again = load(tmp_path / "p.yaml")
    assert dump(again) == dump(profile)
    assert again.compute_efficiency == profile.compute_efficiency
    for one, other in zip(profile.series, again.series, strict=True):
        assert one.labels == other.labels
        assert np.abs(one.surface.log_values - other.surface.log_values).max() < 1e-5
    assert [file.name for file in tmp_path.iterdir()] == ["p.yaml"]


def test_the_plain_constants_make_a_file_too(tmp_path):
    save(Profile(), tmp_path / "p.yaml")
    assert load(tmp_path / "p.yaml") == Profile()


def test_what_cannot_be_written_leaves_nothing_and_says_so(tmp_path, a100):
    with pytest.raises(ProfileError, match="cannot be written"):
        save(a100[1], tmp_path / "nowhere" / "p.yaml")
    (tmp_path / "folder").mkdir()
    with pytest.raises(ProfileError, match="is a folder"):
        save(a100[1], tmp_path / "folder")
    assert [file.name for file in tmp_path.iterdir()] == ["folder"]


def test_a_fifo_or_a_link_stays_what_it_is(tmp_path):
    fifo, link, got = tmp_path / "fifo", tmp_path / "link", []
    os.mkfifo(fifo)
    link.symlink_to("target")
    reader = threading.Thread(target=lambda: got.append(fifo.read_text()), daemon=True)
    reader.start()
    for place in (fifo, link):
        save(Profile(), place)
    reader.join(10)
    assert got == [dump(Profile())] == [(tmp_path / "target").read_text()]
    assert (fifo.is_fifo(), link.is_symlink()) == (True, True)


def changed(profile, change):
    raw = yaml.safe_load(dump(profile))
    change(raw)
    return yaml.safe_dump(raw, sort_keys=False)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda raw: raw.pop("flexnpu_profile"), "no profile"),
        (lambda raw: raw.update(flexnpu_profile=99), "version 99"),
        (lambda raw: raw["constants"].update(compute_efficiency=1.7), "compute_efficiency is 1.7"),
        (lambda raw: raw["constants"].update(bandwidth_efficiency=0), "bandwidth_efficiency is 0"),
        (lambda raw: raw["constants"].update(matmul_seconds=-1e-6), "matmul_seconds is"),
        (lambda raw: raw["constants"].update(matmul_seconds="soon"), "matmul_seconds is 'soon'"),
        (lambda raw: raw["constants"].update(mystery=1), "constant mystery is not known"),
        (lambda raw: raw.update(series=3), "series is int"),
        (lambda raw: raw["series"][0].update(deviation="abc"), "deviation is 'abc'"),
        (lambda raw: raw["series"][0].update(error=-1), "error is -1"),
        (lambda raw: raw["series"][0].update(rows="many"), "rows is 'many'"),
        (lambda raw: raw["series"][0].update(kind="magic"), "kind is not one of"),
        (lambda raw: raw["series"][0].update(microseconds="1 2 3"), "3 times; the axes ask for"),
        (lambda raw: raw["series"][0].update(microseconds="1 two 3"), "could not convert"),
        (lambda raw: raw["series"][0]["axes"].update(batch="4 2 1"), "numbers from 0 that rise"),
        (lambda raw: raw["series"][0].update(roofline=[-1.0]), "roofline is"),
    ],
)
def test_a_file_that_was_changed_for_the_worse_is_refused(tmp_path, a100, change, said):
    file = tmp_path / "p.yaml"
    file.write_text(changed(a100[1], change))
    with pytest.raises(ProfileError, match=said) as caught:
        load(file)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "[1, 2", "just words", "\x00\x01"])
def test_a_file_that_is_no_profile_is_refused(tmp_path, text):
    file = tmp_path / "p.yaml"
    file.write_text(text)
    with pytest.raises(ProfileError):
        load(file)
    with pytest.raises(ProfileError, match="cannot be read"):
        load(tmp_path / "none.yaml")
