# SPDX-License-Identifier: Apache-2.0
"""What users get wrong: one clear line, a non-zero exit, nothing left behind."""

from __future__ import annotations

import re
import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from fake_tenant import VERSION
from local_node import GIB, Node, eventually

from flexnpu.errors import InvalidValue
from flexnpu.experiment import stack as serving_stack

LIMITS = ("--cores", "4", "--memory", "1GiB")
PYTHON = ("--", sys.executable, "-c", "pass")
MODEL = str(serving_stack.MODEL)
PREFILL, DECODE = "p=http://127.0.0.1:1", "d=http://127.0.0.1:2"


@contextmanager
def http_on(socket: Path, body: bytes) -> Iterator[None]:
    """A server on a unix socket that answers every request with `body`."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def address_string(self) -> str:
            return "local"

        def log_message(self, format: str, *args: object) -> None:
            pass

    socket.parent.mkdir(parents=True, exist_ok=True)
    with socketserver.UnixStreamServer(str(socket), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()


def check(result: tuple[int, str, str], code: int, *words: str) -> None:
    assert result[0] == code, result
    assert result[1] == ""
    assert result[2].startswith("flexnpu: error: ")
    assert result[2].count("\n") == 1
    for word in words:
        assert word in result[2]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("run", *LIMITS, "--", "no-such-program"), 127, ("no-such-program", "PATH")),
        (("run", *LIMITS, "--", "/etc/passwd"), 127, ("/etc/passwd",)),
        (("run", *LIMITS), 2, ("command",)),
        (("run", "--cores", "25", "--memory", "1GiB", *PYTHON), 3, ("25 cores", "of 24", "at most 24 cores")),
        (("run", "--cores", "4", "--memory", "65GiB", *PYTHON), 3, ("65 GiB", "64 GiB")),
        (("run", "--cores", "0", "--memory", "1GiB", *PYTHON), 2, ("cores", "0")),
        (("run", "--cores", "-1", "--memory", "1GiB", *PYTHON), 2, ("cores", "-1")),
        (("run", "--cores", "4", "--memory", "0", *PYTHON), 2, ("'0'", "1 byte")),
        (("run", "--cores", "4", "--memory", "-1GiB", *PYTHON), 2, ("-1GiB",)),
        (("run", "--cores", "4", "--memory", "8GiBi", *PYTHON), 2, ("8GiBi", "8GiB")),
        (("run", *LIMITS, "--device", "3", *PYTHON), 3, ("device 3", "there are: 0")),
        (("run", *LIMITS, "--device", "0,0", *PYTHON), 2, ("devices 0, 0", "each once")),
        (("run", *LIMITS, "--device", "0,x", *PYTHON), 2, ("'0,x'", "0,1")),
        (("run", *LIMITS, "--burst-cores", "3", *PYTHON), 2, ("burst_cores 3", "cores 4")),
        (("run", *LIMITS, "--burst-cores", "25", *PYTHON), 3, ("25 burst cores", "at most 24")),
        (("run", *LIMITS, "--vector-cores", "49", *PYTHON), 3, ("49 vector cores", "at most 48")),
        (("run", *LIMITS, "--vector-cores", "some", *PYTHON), 2, ("'some'", "none")),
        (("run", *LIMITS, "--share", "0%", *PYTHON), 2, ("'0%'", "0.01% to 100%")),
        (("run", *LIMITS, "--share", "half", *PYTHON), 2, ("'half'", "25%")),
        (("run", *LIMITS, "--fixed-share", *PYTHON), 2, ("fixed share", "give a share")),
        (("run", *LIMITS, "--priority", "8", *PYTHON), 2, ("priority", "8")),
        (("run", *LIMITS, "--name", "a b", *PYTHON), 2, ("'a b'",)),
        (("run", *LIMITS, "--name", "a/b", *PYTHON), 2, ("'a/b'",)),
        (("run", *LIMITS, "--phase", "sleep", *PYTHON), 2, ("sleep",)),
        (("set", "nobody", "--cores", "3"), 3, ("'nobody'", "flexnpu ps")),
        (("set", "nobody"), 2, ("--cores",)),
        (("set", "nobody", "--cores", "3", "--timeout", "soon"), 2, ("soon", "50ms")),
        (("delete", "nobody"), 3, ("'nobody'",)),
        (("set", "../x", "--cores", "3"), 2, ("'../x'",)),
        (("bogus",), 2, ("bogus", "flexnpu --help")),
        (("softnpu", "run", "--soc", "Ascend1", "--", "true"), 2, ("Ascend1", "Ascend910B2")),
        (("softnpu", "run", "--clock", "fast", "--", "true"), 2, ("fast", "paced")),
        (("softnpu", "run", "--devices", "17", "--", "true"), 2, ("17", "16")),
        (("softnpu", "run", "--scale", "nan", "--", "true"), 2, ("nan",)),
        (("softnpu", "run", "--", "no-such-program"), 127, ("no-such-program",)),
        (("demo", "--minutes", "0"), 2, ("--minutes", "0.01")),
        (("demo", "--static", "20/12"), 2, ("20/12", "24")),
        (("demo", "--json", "/proc/none/demo.json"), 2, ("/proc/none/demo.json",)),
        (("forecast", "--model", "/nowhere", "--decode", "64x4096"), 2, ("/nowhere", "config.json")),
        (("forecast", "--model", MODEL, "--decode", "64x4096", "--cores", "25"), 2, ("25", "1 to 24")),
        (("forecast", "--model", MODEL, "--prefill", "many"), 2, ("many", "4x2048")),
        (("controller", "--prefill", "p=", "--decode", DECODE, "--model", MODEL), 2, ("'p='", "NAME=URL")),
        (("controller", "--prefill", PREFILL, "--decode", DECODE, "--model", MODEL), 3, ("'p'",)),
    ],
)
def test_one_line_says_what_is_wrong(node: Node, arguments: tuple[str, ...], code: int, words: tuple[str, ...]):
    check(node.flexnpu(*arguments), code, *words)
    assert node.client().vnpus() == []
    assert node.client().devices()[0].cores_free == 24


@pytest.mark.parametrize("arguments", [("ps",), ("set", "a", "--cores", "1"), ("run", *LIMITS, *PYTHON)])
def test_without_a_daemon_every_command_says_how_to_get_one(quiet_node: Node, arguments: tuple[str, ...]):
    check(quiet_node.flexnpu(*arguments), 4, str(quiet_node.root), "flexnpud")
    assert not quiet_node.root.exists()


def test_a_dead_daemons_socket_counts_as_no_daemon(node: Node):
    assert node.daemon is not None
    node.daemon.kill()
    check(node.flexnpu("ps"), 4, "flexnpud")


def test_a_name_is_given_once(node: Node):
    node.tenant("p", 4).line()
    check(node.flexnpu("run", "--name", "p", *LIMITS, *PYTHON), 3, "'p'", "--name")
    assert len(node.client().vnpus()) == 1


def test_a_full_device_says_how_much_is_left(node: Node):
    node.tenant("p", 23).line()
    check(node.flexnpu("run", *LIMITS, *PYTHON), 3, "4 cores", "23 of 24", "at most 1 cores")
    node.client().set_quota("p", cores=24, wait=5)
    check(node.flexnpu("run", *LIMITS, *PYTHON), 3, "free some first")


def test_a_file_that_is_no_program_leaves_no_vnpu(node: Node, tmp_path: Path):
    broken = tmp_path / "broken"
    broken.write_bytes(b"\x7fELF nonsense")
    broken.chmod(0o755)
    check(node.flexnpu("run", *LIMITS, "--", str(broken)), 126, str(broken))
    assert node.client().vnpus() == []


def test_a_tenant_of_another_page_version_names_both(node: Node):
    program = node.tenant("p", 4, "version", "9")
    code, errors = program.end()
    assert code == 1
    assert "page version 9" in errors
    assert f"page version {VERSION}" in errors
    eventually(lambda: node.client().vnpus() == [])


def test_libraries_that_are_not_built_are_named(node: Node, tmp_path: Path):
    node.env["FLEXNPU_LIB_DIR"] = str(tmp_path)
    check(node.flexnpu("run", *LIMITS, *PYTHON), 6, "libflexnpu.so", "pip install")
    check(node.flexnpu("softnpu", "run", *PYTHON), 6, "libascendcl.so", "pip install")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--soc", "Ascend1"), ("Ascend1", "Ascend910B2")),
        (("--devices", "0"), ("0", "1 to 16")),
        (("--clock", "fast"), ("fast", "paced")),
        (("--scale", "-1"), ("-1",)),
        (("--bogus",), ("--bogus",)),
        (("--runtime-dir", "/tmp/" + "x" * 120), ("too long",)),
    ],
)
def test_the_daemon_refuses_a_bad_option_before_it_touches_anything(quiet_node: Node, options, words):
    code, errors = quiet_node.launch(*options).end()
    assert code == 2
    assert errors.count("\n") == 1
    assert all(word in errors for word in words), errors
    assert not quiet_node.root.exists()


@pytest.mark.parametrize("missing", ["torch_npu", "transformers"])
def test_a_demo_without_its_packages_says_what_to_install(quiet_node: Node, missing: str):
    script = f"import sys; sys.modules[{missing!r}] = None; from flexnpu.cli.main import main; main()"
    command = [sys.executable, "-c", script, "demo"]
    ended = subprocess.run(command, env=quiet_node.env, capture_output=True, text=True, check=False, timeout=60)
    check((ended.returncode, ended.stdout, ended.stderr), 6, missing, "pip install")


@pytest.mark.parametrize("answer", [b"[{}]", b"{}", b"no JSON"])
def test_a_daemon_of_another_version_is_not_understood_and_said_so(quiet_node: Node, answer: bytes):
    with http_on(quiet_node.client().paths.admin_socket, answer):
        check(quiet_node.flexnpu("ps"), 4, "the daemon's answer")


def test_an_owner_that_does_not_exist_is_refused(node: Node):
    pid = int(Path("/proc/sys/kernel/pid_max").read_text()) - 1
    with pytest.raises(InvalidValue, match=str(pid)):
        node.client().create_vnpu("a", cores=1, memory_bytes=GIB, owner_pid=pid)
    assert node.client().vnpus() == []


def test_a_benchmark_whose_programs_were_not_built_says_how_to_get_them(quiet_node: Node):
    code, out, errors = quiet_node.flexnpu("bench", "attach", "--json")
    assert (code, out) == (6, "")
    assert re.fullmatch(r"flexnpu: error: .*/bench/null does not exist; .*make bench.*\n", errors)


def test_a_benchmark_takes_a_time_that_can_be_waited_for(quiet_node: Node):
    code, _, errors = quiet_node.flexnpu("bench", "latency", "--seconds", "0")
    assert code == 2
    assert "--seconds 0 is out of range" in errors
