# SPDX-License-Identifier: Apache-2.0
import os
import signal

import pytest
from controller_fakes import FakeCores

from flexnpu.controller import CoresError, Endpoint
from flexnpu.controller.config import OptionError, read_options
from flexnpu.controller.hold import HeldCores, Hold
from flexnpu.errors import InvalidValue
from flexnpu.llm.presets import find_config

FILE = """
prefill: {vnpu: p, url: "http://127.0.0.1:8100"}
decode: {vnpu: d}
model: MODEL
ttft: 500ms
itl: 20ms
mode: pinned
pin: 10/14
decisions: out.jsonl
"""


@pytest.fixture
def file(tmp_path):
    def write(text):
        path = tmp_path / "controller.yaml"
        path.write_text(text.replace("MODEL", str(find_config("Qwen3-8B")[1])))
        return path

    return write


def test_a_file_says_what_the_options_say(file):
    options = read_options({}, file(FILE))
    (service,) = options.services
    assert service.prefill == (Endpoint("p", "http://127.0.0.1:8100"),)
    assert service.decode == (Endpoint("d"),)
    assert (service.targets.ttft, service.targets.itl) == (0.5, 0.02)
    assert (options.settings.mode, service.pin) == ("pinned", (10, 14))
    assert options.decisions.name == "out.jsonl"


def test_an_option_goes_before_the_file(file):
    options = read_options({"decode": "other", "itl": "30ms", "ttft": None}, file(FILE))
    (service,) = options.services
    assert service.decode == (Endpoint("other"),)
    assert (service.targets.ttft, service.targets.itl) == (0.5, 0.03)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("- a\n", "holds no mapping; its keys may be prefill, decode"),
        ("a: [", "is no YAML"),
        (FILE + "speed: 3\n", "has a key 'speed'; its keys may be"),
        (FILE.replace("{vnpu: d}", "{name: d}"), "decode has the keys name; it must have vnpu, and may have url"),
        (FILE.replace("vnpu: d", "vnpu: p"), "vNPU 'p' is named for two engines, of 'default'; each needs its own"),
        (FILE.replace("itl: 20ms", "itl: 20x"), "--itl '20x'; it must be a time"),
        (
            FILE.replace("mode: pinned", "mode: fast"),
            "--mode 'fast'; it must be split, co-located, disaggregated, pinned, observe, or observe: and one",
        ),
        (FILE.replace("pin: 10/14", ""), "mode pinned needs the cores that service 'default' is held at"),
        (FILE.replace("mode: pinned", "mode: split"), "mode split takes no pin"),
        (FILE.replace("model: MODEL", ""), "--model is missing"),
        (FILE.replace("pin: 10/14", "pin: ''"), "pin is ''; it must be a text"),
        (FILE.replace("decisions: out.jsonl", "decisions: null"), "decisions is None; it must be a text"),
        (FILE.replace("{vnpu: d}", "{vnpu: null}"), "decode.vnpu is None; it must be a text"),
        (FILE + "safe: 12:12\n", "--safe '732'; it must be PREFILL/DECODE cores, such as 12/12"),
        (FILE + "safe: 2024-13-45\n", "is no YAML (month must be in 1..12"),
        ("[" * 5000, "is no YAML"),
        (FILE.replace("pin: 10/14", "pin: " + "9" * 5000 + "/1"), "it must be PREFILL/DECODE cores"),
    ],
)
def test_what_cannot_be_read_is_one_clear_error(file, text, why):
    with pytest.raises(InvalidValue) as error:
        read_options({}, file(text))
    assert why in str(error.value)


SERVICES = """
services:
  chat:
    model: MODEL
    prefill: [{vnpu: p0, url: "http://h:1"}, p1]
    decode: [{vnpu: d0}, d1]
    weight: 2
    minima: 2/4
  embed: {model: MODEL, engine: {vnpu: e}, ttft: 200ms, minima: 3, safe: 6}
mode: observe:split
dwell: 4s
"""


def test_several_services_are_read_each_with_its_engines_targets_and_cores(file):
    options = read_options({"ttft": None}, file(SERVICES))
    chat, embed = options.services
    assert chat.prefill == (Endpoint("p0", "http://h:1"), Endpoint("p1"))
    assert chat.decode == (Endpoint("d0"), Endpoint("d1"))
    assert (chat.weight, chat.minima, chat.safe, chat.targets.ttft) == (2.0, (2, 4), None, 1.0)
    assert (embed.engines, embed.minima, embed.safe, embed.targets.ttft) == ((Endpoint("e"),), (3,), (6,), 0.2)
    assert (options.settings.mode, options.settings.moves, options.settings.dwell) == ("split", False, 4.0)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (SERVICES + "ttft: 1s\n", "--ttft beside services: it is of one service; write it under the service's name"),
        (SERVICES.replace("minima: 3", "minima: 3/4"), "services.embed.minima '3/4'; it must be cores, such as 6"),
        (SERVICES.replace("weight: 2", "weight: 0"), "services.chat.weight '0'; it must be a number over 0"),
        (SERVICES.replace("{vnpu: e}", "{vnpu: p1}"), "vNPU 'p1' is named for two engines, of 'chat' and 'embed'"),
        (SERVICES.replace("engine: {vnpu: e}, ", ""), "services.embed.prefill is missing; write it there"),
        (SERVICES.replace("decode: [{vnpu: d0}, d1]", "decode: []"), "services.chat.decode is an empty list"),
        (
            SERVICES.replace("engine:", "prefill: p5, engine:"),
            "service 'embed' must have engines, or prefill and decode",
        ),
        (SERVICES.replace("observe:split", "observe:disaggregated"), "mode disaggregated needs one service"),
        ("services: {chat: 3}\n", "services.chat holds no mapping"),
        ("services: []\n", "services is no mapping of names"),
        (SERVICES.replace("embed:", "chat:"), "has the key 'chat' twice"),
        (SERVICES + "mode: split\n", "has the key 'mode' twice"),
        (SERVICES + "period: 1us\n", "--period '1us'; it must be 1ms to 10s"),
    ],
)
def test_services_that_cannot_be_read_are_one_clear_error(file, text, why):
    with pytest.raises(InvalidValue) as error:
        read_options({}, file(text))
    assert why in str(error.value)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(OptionError, match=r"--config .*no.yaml' cannot be read \(No such file"):
        read_options({}, tmp_path / "no.yaml")


def test_a_right_that_was_lost_is_taken_anew_and_one_that_is_anothers_by_now_is_not_taken_from_it(tmp_path):
    cores = FakeCores()
    held = HeldCores(cores, tmp_path, moves=True)
    held.look()
    (tmp_path / "controller-0.lock").unlink()  # as a daemon that ends removes its directory
    held.look()
    with pytest.raises(CoresError, match="device 0 has a controller already"):
        Hold(tmp_path, 0)
    (tmp_path / "controller-0.lock").unlink()
    other = Hold(tmp_path, 0)
    with pytest.raises(CoresError, match="device 0 has a controller already"):
        held.look()
    held.release()
    assert other.held
    other.release()
    assert list(tmp_path.iterdir()) == []


def test_who_moves_nothing_takes_no_right_until_it_moves(tmp_path):
    held = HeldCores(FakeCores(), tmp_path, moves=False)
    held.look()
    other = Hold(tmp_path, 0)
    with pytest.raises(CoresError, match="has a controller already"):
        held.let_move(True)
    other.release()
    held.let_move(True)
    with pytest.raises(CoresError, match="has a controller already"):
        Hold(tmp_path, 0)
    held.let_move(False)
    Hold(tmp_path, 0).release()


def test_a_second_controller_of_a_device_is_refused_with_the_first_ones_pid(tmp_path):
    first = Hold(tmp_path, 0)
    with pytest.raises(CoresError, match=rf"device 0 has a controller already \(pid {os.getpid()}\)"):
        Hold(tmp_path, 0)
    Hold(tmp_path, 1).release()
    child = os.fork()
    if child == 0:
        signal.pause()
    first.release()
    Hold(tmp_path, 0).release()  # though the child has the file open
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert list(tmp_path.iterdir()) == []
