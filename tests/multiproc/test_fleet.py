# SPDX-License-Identifier: Apache-2.0
"""flexnpu run --file on a daemon: order, output, signals, exit codes, and that nothing is left behind."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from foreground import start
from local_node import FAKE_TENANT, Node, eventually

SERVER = """
import http.server, os, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self): self.send_response(200); self.end_headers()
    def log_message(self, *_): pass
server = http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
print("bound", flush=True)
server.serve_forever()
"""


@pytest.fixture
def node(lasting_node: Node) -> Iterator[Node]:
    yield lasting_node
    with lasting_node.client() as client:
        assert client.vnpus() == []
        assert client.devices()[0].cores_free == 24


def shell(script: str, **more: Any) -> dict[str, Any]:
    return {"command": ["sh", "-c", script], "cores": 2, "memory": "1GiB", **more}


def command(folder: Path, programs: dict[str, Any], *more: str) -> list[str]:
    file = folder / "fleet.yaml"
    file.write_text(yaml.safe_dump({"programs": programs}, sort_keys=False))
    return [sys.executable, "-m", "flexnpu.cli.main", "run", "--file", str(file), *more]


def run(node: Node, folder: Path, programs: dict[str, Any], *more: str) -> subprocess.CompletedProcess[str]:
    asked = command(folder, programs, *more)
    return subprocess.run(asked, env=node.env, capture_output=True, text=True, timeout=60, check=False)


def events(text: str) -> list[tuple[str, str]]:
    told = [json.loads(line) for line in text.splitlines()]
    return [(each["program"], each["event"]) for each in told if "event" in each]


def is_alive(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def test_programs_start_in_order_and_every_line_says_whose_it_is(node: Node, tmp_path: Path):
    (tmp_path / "place").mkdir()
    tenant = [sys.executable, FAKE_TENANT]
    programs = {
        "last": shell('echo $FLEXNPU_VNPU $WORD in $(basename $PWD); printf "no end"; echo to stderr >&2',
                      environment={"WORD": 7}, working_dir="place", depends_on={"tenant": "ready", "first": "done"}),
        "tenant": {"command": ["sh", "-c", f"timeout -s TERM 4 {tenant[0]} {tenant[1]} || true"],
                   "cores": 4, "memory": "1GiB", "ready": {"attached": True}, "depends_on": {"first": "started"}},
        "first": shell("sleep 0.3; echo one; echo two; exit 0"),
    }  # fmt: skip
    done = run(node, tmp_path, programs)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line for line in lines if line.startswith("first")] == ["first  | one", "first  | two"]
    assert lines[-2:] == ["last   | last 7 in place", "last   | no end"]
    assert "last   | to stderr" in done.stderr
    order = [re.match(r"(\w+) *\| flexnpu: (\w+)", line) for line in done.stderr.splitlines()]
    seen = [(found[1], found[2]) for found in order if found]
    assert seen.index(("first", "started")) < seen.index(("tenant", "started")) < seen.index(("tenant", "ready"))
    assert max(seen.index(("tenant", "ready")), seen.index(("first", "ended"))) < seen.index(("last", "started"))
    assert "\x1b" not in done.stdout + done.stderr


def test_the_first_failure_ends_all_dependents_first_and_gives_the_exit_code(node: Node, tmp_path: Path):
    port = free_port()
    polite = "trap 'echo told; exit 0' TERM; echo up; while :; do sleep 0.05; done"
    programs = {
        "server": {"command": [sys.executable, "-u", "-c", SERVER, str(port)], "cores": 2, "memory": "1GiB",
                   "ready": {"http": f"http://127.0.0.1:{port}/health"}},
        "user": shell(polite, depends_on={"server": "ready"}, ready={"output": "^up$"}),
        "failing": shell("sleep 0.2; exit 9", depends_on={"user": "ready"}),
        "never": shell("touch never", depends_on={"failing": "done"}),
    }  # fmt: skip
    done = run(node, tmp_path, programs, "--json")
    assert (done.returncode, done.stderr) == (9, "")
    seen = events(done.stdout)
    assert seen[-3:] == [("failing", "ended"), ("user", "ended"), ("server", "ended")]
    assert {"program": "user", "stream": "stdout", "line": "told"} in map(json.loads, done.stdout.splitlines())
    assert "never" not in {name for name, _ in seen}
    assert not (tmp_path / "never").exists()


def test_a_program_that_is_not_ready_in_time_ends_all(node: Node, tmp_path: Path):
    programs = {
        "slow": shell("sleep 60", ready={"output": "up", "within": "300ms"}),
        "user": shell("touch user", depends_on={"slow": "ready"}),
    }
    done = run(node, tmp_path, programs)
    assert done.returncode == 8
    assert "slow | flexnpu: not ready (within 0.3)" in done.stderr
    assert not (tmp_path / "user").exists()


def test_signals_are_passed_on_and_a_second_one_kills(node: Node, tmp_path: Path):
    deaf = "trap '' INT TERM HUP USR1; (setsid sleep 100 & echo pid $!); echo up; while :; do sleep 0.05; done"
    polite = "trap 'echo heard TERM; exit 0' TERM; trap 'echo used' USR1; echo up; while :; do sleep 0.05; done"
    programs = {"deaf": shell(deaf), "polite": shell(polite)}
    asked = command(tmp_path, programs)
    with start(asked, env=node.env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        lines: list[str] = []

        def until(text: str) -> str:
            while not (found := [line for line in lines if text in line]):
                line = process.stdout.readline()
                assert line, lines
                lines.append(line.strip())
            return found[0]

        until("deaf   | up")
        until("polite | up")
        orphan = int(until("deaf   | pid").rpartition(" ")[2])
        process.send_signal(signal.SIGUSR1)
        until("polite | used")
        process.send_signal(signal.SIGTERM)
        until("polite | heard TERM")
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 128 + signal.SIGTERM
    assert not is_alive(orphan)


def test_last_words_may_be_that_it_is_ready(node: Node, tmp_path: Path):
    programs = {
        "brief": shell("echo up", ready={"output": "up"}),
        "user": shell("echo used", depends_on={"brief": "ready"}),
    }
    done = run(node, tmp_path, programs)
    assert (done.returncode, done.stdout) == (0, "brief | up\nuser  | used\n"), done.stderr


def test_a_reader_who_does_not_read_holds_no_signal_up(node: Node, tmp_path: Path):
    programs = {"endless": shell("trap '' INT; yes")}
    with start(command(tmp_path, programs), env=node.env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout.readline() == b"endless | y\n"
        time.sleep(0.5)  # the pipe is full, whoever is quick
        for _ in range(2):
            process.send_signal(signal.SIGINT)
            time.sleep(0.2)
        assert process.wait(20) == 130


def test_nothing_starts_where_not_all_fit(node: Node, tmp_path: Path):
    programs = {"a": shell("touch a", cores=20), "b": shell("touch b", cores=20)}
    done = run(node, tmp_path, programs)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith("flexnpu: error: ")
    assert "20 cores" in done.stderr
    programs["b"] = {**shell("touch b"), "command": ["no-such-program"]}
    done = run(node, tmp_path, programs)
    assert (done.returncode, done.stderr.count("\n")) == (127, 1)
    assert list(tmp_path.iterdir()) == [tmp_path / "fleet.yaml"]


def test_a_reader_that_goes_ends_all(node: Node, tmp_path: Path):
    programs = {"endless": shell("while :; do echo line; done"), "other": shell("sleep 100")}
    with start(command(tmp_path, programs), env=node.env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout.readline() == b"endless | line\n"
        process.stdout.close()
        assert process.wait(20) == 141


def test_killed_it_takes_its_programs_along(node: Node, tmp_path: Path):
    programs = {"a": shell("echo $$; sleep 100"), "b": shell("sleep 100", depends_on={"a": "done"})}
    with start(command(tmp_path, programs), env=node.env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        pid = int(process.stdout.readline().rpartition(b" ")[2])
        assert os.getpgid(pid) == pid
        process.kill()
        process.wait(20)
        eventually(lambda: not is_alive(pid))
    with node.client() as client:
        eventually(lambda: client.vnpus() == [])


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]
