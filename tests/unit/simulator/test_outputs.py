# SPDX-License-Identifier: Apache-2.0
import contextlib
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from flexnpu import files
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
    with pytest.raises(InvalidValue, match="same file"), Outputs([tmp_path / "a", tmp_path / "a"]):
        pytest.fail("the work has begun")


def test_results_can_be_read_by_others_as_any_new_file(tmp_path):
    with Outputs([tmp_path / "a"]):
        pass
    (tmp_path / "b").touch()
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "b").stat().st_mode


def test_a_signal_at_any_line_while_places_are_asked_for_leaves_nothing(tmp_path):
    def interrupted(after):
        """Enters, and is interrupted at the `after`-th line of flexnpu/files.py; whether it came to that."""
        lines = 0

        def trace(frame, event, _):
            nonlocal lines
            if event == "line" and frame.f_code.co_filename == files.__file__ and frame.f_code.co_name != "drop":
                lines += 1
                if lines == after:
                    sys.settrace(None)
                    raise KeyboardInterrupt
            return trace

        outputs, before = Outputs([tmp_path / "a", tmp_path / "b"]), sys.gettrace()
        sys.settrace(trace)
        try:
            outputs.__enter__()
        except KeyboardInterrupt:
            return True
        finally:
            sys.settrace(before)
        outputs.__exit__(ValueError, None, None)
        return False

    after = 1
    while interrupted(after):
        assert list(tmp_path.iterdir()) == [], f"line {after}"
        after += 1
    assert after > 40


def test_a_link_stays_a_link_and_what_it_leads_to_is_written(tmp_path):
    (tmp_path / "real").mkdir()
    target, link, dangling = tmp_path / "real/a", tmp_path / "link", tmp_path / "dangling"
    target.write_text("old")
    target.chmod(0o600)
    link.symlink_to("real/a")
    dangling.symlink_to(tmp_path / "real/new")
    with Outputs([link, dangling]) as outputs:
        outputs.stream(link).write("1")
        outputs.stream(dangling).write("2")
    assert (link.is_symlink(), dangling.is_symlink()) == (True, True)
    assert (target.read_text(), (tmp_path / "real/new").read_text()) == ("1", "2")
    assert target.stat().st_mode & 0o777 == 0o600


def test_a_fifo_gets_the_text_and_stays_a_fifo(tmp_path):
    fifo, link, got = tmp_path / "fifo", tmp_path / "link", []
    os.mkfifo(fifo)
    link.symlink_to(fifo)
    reader = threading.Thread(target=lambda: got.append(fifo.read_text()), daemon=True)
    reader.start()
    with Outputs([link]) as outputs:
        outputs.stream(link).write("text")
    reader.join(10)
    assert got == ["text"]
    assert stat.S_ISFIFO(fifo.stat().st_mode)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fifo", "link"]


@pytest.mark.parametrize("device", ["null", "full"])
def test_a_device_is_written_into_and_never_replaced(tmp_path, device):
    place = tmp_path / device
    try:
        os.mknod(place, stat.S_IFCHR | 0o666, Path(f"/dev/{device}").stat().st_rdev)
        place.write_text("")
    except OSError:
        place.unlink(missing_ok=True)
        place.symlink_to(f"/dev/{device}")  # where nobody may make devices
    room = (
        contextlib.nullcontext() if device == "null" else pytest.raises(InvalidValue, match=r"No space left.*make room")
    )
    beside = tmp_path / "beside"
    with room, Outputs([beside, place]) as outputs:
        outputs.stream(place).write("text")
    assert place.is_char_device()
    assert beside.exists() == (device == "null")  # all or none


def test_a_stream_of_this_process_gets_the_text_after_what_was_printed(tmp_path):
    shown = tmp_path / "shown"
    code = (
        "from pathlib import Path; from flexnpu.simulator.outputs import Outputs; file = Path('/dev/stdout')\n"
        "with Outputs([file]) as outputs: print('table', flush=True); outputs.stream(file).write('json')"
    )
    with shown.open("wb") as stream:
        subprocess.run([sys.executable, "-c", code], stdout=stream, check=True)
    assert shown.read_text() == "table\njson"


def test_one_file_by_two_spellings_cannot_be_two_outputs(tmp_path, monkeypatch):
    (tmp_path / "rv").mkdir()
    monkeypatch.chdir(tmp_path / "rv")
    Path("link").symlink_to("x")
    for one, two in (("x", "../rv/x"), ("link", "x"), ("x", str(tmp_path / "rv/./x"))):
        with pytest.raises(InvalidValue, match=f"same file, {one} and {two}"), Outputs([Path(one), Path(two)]):
            pytest.fail("the work has begun")
    assert [path.name for path in Path().iterdir()] == ["link"]


def test_more_than_there_is_room_for_is_one_error_and_leaves_nothing(tmp_path):
    code = (
        "import resource, sys; from pathlib import Path; from flexnpu.errors import InvalidValue\n"
        "from flexnpu.simulator.outputs import Outputs\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, 1 << 16)); files = [Path(each) for each in sys.argv[2:]]\n"
        "try:\n"
        "    with Outputs(files) as outputs:\n"
        "        for file in files: outputs.stream(file).write('x' * int(sys.argv[1]))\n"
        "except InvalidValue as error: print(error, end='')"
    )
    (tmp_path / "a").write_text("old")
    for size in (1 << 20, (1 << 16) + 1):  # noticed while it is written, and when it is closed
        program = [sys.executable, "-c", code, str(size), str(tmp_path / "new"), str(tmp_path / "a")]
        ended = subprocess.run(program, capture_output=True, text=True, check=True)
        assert ended.stdout == (
            f"{tmp_path}/new cannot be written (File too large); raise the limit of file sizes (ulimit -f), "
            "or name another file"
        )
        assert ended.stderr == ""
        assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("a", "old")]


def test_a_name_may_be_as_long_as_the_file_system_allows(tmp_path):
    file = tmp_path / ("n" * 255)
    with Outputs([file]):
        pass
    assert file.exists()
