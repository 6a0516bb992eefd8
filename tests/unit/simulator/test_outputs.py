# SPDX-License-Identifier: Apache-2.0
import pytest

from flexnpu.errors import InvalidValue
from flexnpu.simulator.outputs import Outputs


def test_files_appear_together_when_everything_is_done(tmp_path):
    one, two = tmp_path / "a.json", tmp_path / "deep/b.html"
    with Outputs([one, None, two]) as outputs:
        outputs.stream(one).write("1")
        outputs.stream(two).write("2")
        assert not one.exists()
    assert (one.read_text(), two.read_text()) == ("1", "2")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a.json", "b.html", "deep"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, SystemExit])
def test_an_error_or_ctrl_c_leaves_what_was_there(tmp_path, error):
    file = tmp_path / "a.json"
    file.write_text("old")
    with pytest.raises(error), Outputs([file]) as outputs:
        outputs.stream(file).write("half of it")
        raise error
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_places_that_cannot_be_written_are_found_before_the_work(tmp_path):
    (tmp_path / "file").touch()
    for bad, named in ((tmp_path, "is a folder"), (tmp_path / "file/a.json", "cannot be written")):
        with pytest.raises(InvalidValue, match=named), Outputs([tmp_path / "good.json", bad]):
            pytest.fail("the work has begun")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_one_file_cannot_be_two_outputs(tmp_path):
    with pytest.raises(InvalidValue, match="same file name"), Outputs([tmp_path / "a", tmp_path / "a"]):
        pytest.fail("the work has begun")


def test_results_can_be_read_by_others_as_any_new_file(tmp_path):
    with Outputs([tmp_path / "a"]):
        pass
    (tmp_path / "b").touch()
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "b").stat().st_mode
