# SPDX-License-Identifier: Apache-2.0
"""Commands that show and change what a daemon has: their tables, their JSON, and how they end."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_tenant import FakeTenant
from local_node import GIB, Node, eventually
from typer.testing import CliRunner

from flexnpu.api.controller import ControllerState
from flexnpu.cli.doctor import daemon
from flexnpu.cli.doctor.finding import Host
from flexnpu.cli.events import resumed
from flexnpu.cli.main import app, main
from flexnpu.client import Endpoint, Event

DECISION = {
    "number": 4,
    "device": 0,
    "mode": "planned",
    "before": {"a": {"cores": 12}, "b": {"cores": 12}},
    "after": {"a": {"cores": 18}, "b": {"cores": 6, "share_percent": 25.0}},
    "moved": True,
    "reason": "a prompt of 8000 tokens waits",
    "scale": 1.0,
    "services": [
        {
            "service": "chat",
            "mode": "planned",
            "grants": {"a": {"cores": 18}},
            "phases": {"prefill": "busy"},
            "inputs": {"prefill": {"new_tokens": 8000}, "queue": [1, 2]},
            "reason": "decode keeps its target on 6 cores",
            "meets_itl": True,
            "forecast": {"split": {"prefill": 18, "decode": 6}, "decode_seconds": 0.0312345, "verdict": "chosen"},
            "alternatives": [{"split": {"prefill": 12, "decode": 12}, "decode_seconds": 0.02, "verdict": "slower"}],
        }
    ],
}


@pytest.fixture
def node(lasting_node: Node) -> Iterator[Node]:
    yield lasting_node
    with lasting_node.client() as client:
        for vnpu in client.vnpus():
            client.delete_vnpu(vnpu.name)


def flexnpu(node: Node, *arguments: str) -> str:
    """What it prints, in this process: each start of a Python takes most of a second."""
    done = CliRunner().invoke(app, arguments, env={"FLEXNPU_RUNTIME_DIR": str(node.root)})
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    assert "\x1b" not in done.stdout
    return done.stdout


def told(node: Node, *arguments: str) -> Any:
    return json.loads(flexnpu(node, *arguments, "--json"))


def test_describe_shows_a_vnpu_with_its_tenants_and_a_device_with_its_vnpus(node: Node):
    flexnpu(node, "create", "a", "--cores", "4", "--burst-cores", "8", "--memory", "2GiB", "--phase", "decode")
    tenant = FakeTenant.attach(node.attach_socket, "a")
    tenant.acknowledge()
    tenant.use_memory(GIB)
    tenant.capture(0, 0, 4, 8, 17)
    shown = flexnpu(node, "describe", "a")
    for words in ("4 to 8 guaranteed", "decode", "when it is deleted", "1 GiB", "modelled", str(os.getpid()), "17"):
        assert words in shown
    whole = told(node, "describe", "a")
    assert (whole["vnpu"]["cores"], whole["quota"]["desired_revision"]) == (4, 1)
    assert [each["pid"] for each in whole["tenants"]] == [os.getpid()]
    device = told(node, "describe", "--device", "0")
    assert (device["device"]["cores"], [each["name"] for each in device["vnpus"]]) == (24, ["a"])
    assert "Ascend910B2 (software)" in flexnpu(node, "describe", "--device", "0")
    tenant.close()
    eventually(lambda: not told(node, "describe", "a")["tenants"])


def test_moves_are_tried_first_and_then_made_at_once(node: Node):
    for name in ("a", "b"):
        flexnpu(node, "create", name, "--cores", "12", "--memory", "1GiB")
    assert "12 -> 20" in flexnpu(node, "rebalance", "a=20", "b=4", "--dry-run")
    assert [each["cores"] for each in told(node, "ps")["vnpus"]] == [12, 12]
    assert flexnpu(node, "rebalance", "a=20", "b=4,priority:2").startswith("applied after ")
    assert [(each["cores"], each["priority"]) for each in told(node, "ps")["vnpus"]] == [(20, 0), (4, 2)]
    assert told(node, "rebalance", "a=20,share:50%", "b=20,share:25%")["applied"]
    flexnpu(node, "rebalance", "a=12,share:none", "b=12,share:none")
    assert [each["share_percent"] for each in told(node, "ps")["vnpus"]] == [None, None]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("rebalance", "a"), 2, ("move 'a'", "NAME=12")),
        (("rebalance", "a=0"), 2, ("'a=0'", "out of range")),
        (("rebalance", "a=4,5"), 2, ("says its cores twice",)),
        (("rebalance", "a=cores:4"), 2, ("'cores:4'",)),
        (("rebalance", "a=share:200%"), 2, ("'200%'", "0.01% to 100%")),
        (("rebalance", "a=4"), 3, ("'a'",)),
        (("describe",), 2, ("--device",)),
        (("describe", "--device", "7"), 3, ("device 7", "there are: 0")),
        (("decisions", "12345"), 3, ("12345",)),
        (("decisions", "--limit", "0"), 2, ("--limit 0", "1 to")),
        (("events", "--no-follow", "--kind", "made"), 2, ("'made'", "created")),
        (("completion", "tcsh"), 2, ("tcsh",)),
        (("top", "--once", "--interval", "0"), 2, ("--interval 0", "0.05 to 60")),
        (("run", "--file", "/nowhere.yaml"), 2, ("/nowhere.yaml",)),
        (("run", "--file", "x", "--cores", "3"), 2, ("--cores beside --file",)),
        (("run", "--file", "x", "--", "true"), 2, ("a command beside --file",)),
        (("run", "--memory", "1GiB", "--", "true"), 2, ("--cores is missing",)),
    ],
)
def test_one_line_says_what_is_wrong(
    node: Node, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], code: int, words: tuple[str, ...]
):
    monkeypatch.setenv("FLEXNPU_RUNTIME_DIR", str(node.root))
    monkeypatch.setattr(sys, "argv", ["flexnpu", *arguments])
    errors = io.StringIO()
    with contextlib.redirect_stderr(errors), pytest.raises(SystemExit) as ended:
        main()
    told = errors.getvalue()
    assert (ended.value.code, told.count("\n")) == (code, 1), told
    assert told.startswith("flexnpu: error: ")
    for word in words:
        assert word in told


def test_events_are_told_by_kind_and_vnpu_and_resumed_by_id(node: Node):
    for name in ("a", "b"):
        flexnpu(node, "create", name, "--cores", "4", "--memory", "1GiB")
    flexnpu(node, "set", "a", "--cores", "5")
    lines = flexnpu(node, "events", "--no-follow", "--vnpu", "a,b", "--json").splitlines()
    events = [json.loads(line) for line in lines]
    assert [(each["vnpu"], each["kind"]) for each in events[-4:]] == [
        ("a", "created"),
        ("b", "created"),
        ("a", "changed"),
        ("a", "applied"),
    ]
    after = str(events[-3]["id"])
    (line,) = flexnpu(node, "events", "--no-follow", "--after", after, "--kind", "changed").splitlines()
    assert re.fullmatch(r"\d{4}-\d\d-\d\d [\d:]{8}  changed   a  changed a to revision 2: 5 cores", line)
    assert '"kind": "resync"' in flexnpu(node, "events", "--no-follow", "--after", "5", "--vnpu", "a", "--json")


def test_events_go_on_with_the_next_daemon(node: Node, capfd: pytest.CaptureFixture[str]):
    told: Iterator[Event] = resumed(node.client, None, again_after_s=0.05)
    node.client().create_vnpu("lasting", cores=4, memory_bytes=GIB)
    next(each for each in told if (each.kind, each.vnpu) == ("created", "lasting"))
    node.kill()
    node.start()
    assert next(told).kind == "resync"  # what the new daemon's beginning was like, nobody can know by its events
    node.client().set_quota("lasting", cores=5)
    assert [next(told).kind for _ in range(2)] == ["changed", "applied"]
    assert capfd.readouterr().err == "flexnpu: the daemon has ended; waiting for the next one\n"


def test_a_decision_is_shown_with_all_that_it_rests_on(node: Node):
    with node.client() as client:
        service = {"name": "chat", "model": "Qwen2.5-7B", "ttft_s": 1.0, "itl_s": 0.05, "prefill": ["a"]}
        state = {"mode": "split", "moves": True, "devices": [0], "services": [service]}
        client.put_controller("chat", ControllerState.model_validate(state))
        (number,) = client.add_decisions("chat", [DECISION], [{"decision": 4, "service": "chat", "turns": 3}])
    assert "12 -> 18, b 12 -> 6 at 25%" in flexnpu(node, "decisions", "--moved")
    assert flexnpu(node, "decisions", "--kept") == "decisions: none\n"
    shown = flexnpu(node, "decisions", str(number))
    for words in ("8000 tokens", "new_tokens=8000", "prefill=18 decode=6", "0.03123", "slower", "turns", "3"):
        assert words in shown
    assert told(node, "decisions")["decisions"][0]["id"] == number
    assert told(node, "decisions", str(number))["reason"] == DECISION["reason"]
    assert re.search(r"chat +split +yes +0 +chat +1 +alive", flexnpu(node, "ps"))
    node.client().delete_controller("chat")


def test_doctor_reaches_the_daemon_and_sees_a_socket_that_is_open_to_others(node: Node):
    endpoint = Endpoint(node.root)
    assert {each.level for each in daemon.check(Host(), endpoint)} == {"ok"}
    socket = node.root / "admin.sock"
    socket.chmod(0o666)
    try:
        (found,) = (each for each in daemon.check(Host(), endpoint) if each.level != "ok")
    finally:
        socket.chmod(0o600)
    assert (found.level, found.mend) == ("error", f"chmod 660 {socket}")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shells_script_is_printed(node: Node, shell: str):
    assert "_FLEXNPU_COMPLETE=complete_" + shell in flexnpu(node, "completion", shell)


def test_a_shell_completes_commands_and_names_of_vnpus(node: Node, tmp_path: Path):
    node.client().create_vnpu("prefill", cores=4, memory_bytes=GIB)
    command = tmp_path / "flexnpu"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m flexnpu.cli.main "$@"\n')
    command.chmod(0o755)
    ask = (
        'eval "$(flexnpu completion bash)"; ask() { COMP_WORDS=("$@"); COMP_CWORD=$(($#-1)); '
        '_flexnpu_completion flexnpu; echo "${COMPREPLY[@]}"; }; ask flexnpu desc; ask flexnpu delete pre'
    )
    env = {**node.env, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-c", ask], env=env, capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr) == ("describe\nprefill\n", "")


def test_help_shows_defaults_that_stand_in_brackets(node: Node):
    assert "[default: $FLEXNPU_URL]" in " ".join(flexnpu(node, "--help").split())
