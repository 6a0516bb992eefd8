# SPDX-License-Identifier: Apache-2.0
"""What the files of the catalogue say, and what is refused."""

import pytest
import yaml

from flexnpu.errors import InvalidValue
from flexnpu.experiment.description import DATA, find, names, parse_static, read
from flexnpu.experiment.stack import Quota

LEAST = {
    "title": "a title",
    "published": "nothing",
    "scaling": "none",
    "loads": [{"name": "one", "requests": [{"prompt": 8, "output": 2, "work": 0.5}]}],
}


@pytest.fixture
def described(tmp_path):
    def write(**changes):
        file = tmp_path / "mine.yaml"
        file.write_text(yaml.safe_dump({**LEAST, **changes}))
        return file

    return write


def of(**changes):
    return [{"name": "one", "requests": [{"prompt": 8, "output": 2, "work": 0.5, **changes}]}]


@pytest.mark.parametrize("name", names())
def test_every_experiment_that_ships_can_be_read_and_has_its_traces(name):
    experiment = find(name)
    assert experiment.name == name
    for load in experiment.loads:
        for source in load.requests:
            assert source.trace is None or (DATA / source.trace).is_file()


def test_the_published_experiments_and_two_changes_of_load_ship():
    assert {"flexnpu-table", "duetserve-mooncake", "duetserve-azure", "phase-change", "burst"} <= set(names())


def test_a_description_needs_no_more_than_its_words_and_a_load(described):
    experiment = read(described())
    assert (experiment.baseline.name, experiment.modes) == ("static 12/12", ("split",))
    assert (experiment.targets.ttft, experiment.targets.tpot) == (1.0, 0.05)


def test_a_split_is_cores_of_their_own_and_shares_are_parts_of_the_time_of_all():
    assert parse_static("split 18/6").quotas(24) == {"prefill": Quota(18), "decode": Quota(6)}
    assert parse_static("share 70/30").quotas(24) == {"prefill": Quota(24, 70.0), "decode": Quota(24, 30.0)}
    assert Quota(24, 70.0).options() == ["--cores", "24", "--share", "70%"]
    assert Quota(6).options() == ["--cores", "6"]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"static": "half"}, "split 12/12"),
        ({"static": "share 60/50"}, "per cent"),
        ({"colour": "red"}, "colour"),
        ({"loads": []}, "loads"),
        ({"decode_batch": 0}, "decode_batch"),
        ({"loads": of(output=None)}, "prompt with output"),
        ({"loads": of(trace="x.csv", format="azure")}, "not both"),
        ({"loads": of(prompt=None, output=None, trace="x.csv", format="pdf")}, "azure"),
        ({"loads": of(start=0.6, time=0.6)}, "beyond"),
        ({"loads": of(work=0)}, "work"),
    ],
)
def test_what_is_wrong_is_named_with_its_file(described, changes, says):
    file = described(**changes)
    with pytest.raises(InvalidValue, match=says) as caught:
        read(file)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["a: [", "just words", "- a list"])
def test_a_file_that_is_no_description_is_refused(tmp_path, text):
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    with pytest.raises(InvalidValue, match=r"mine\.yaml"):
        read(file)


def test_an_experiment_that_is_not_there_is_refused_with_those_that_are():
    with pytest.raises(InvalidValue, match=r"'nothing' does not exist.*burst"):
        find("nothing")
