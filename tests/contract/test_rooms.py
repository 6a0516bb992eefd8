# SPDX-License-Identifier: Apache-2.0
"""Which room of flexnpu imports which. A room that needs more than its row has to change this table first."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import flexnpu

ROOT = Path(flexnpu.__file__).parent

# What every room may use: no decisions, no daemon.
COMMON = {"__version__", "errors", "units", "paths", "files"}
ROOMS: dict[str, set[str]] = {
    "environment": set(),
    "operators": {"paths"},
    "hooks": set(),
    "reference": {"environment", "cli.main", "daemon.main"},
    "errors": set(),
    "units": set(),
    "paths": {"_native"},
    "files": set(),
    "softnpu": set(),
    "hardware": set(),
    "llm": set(),
    "backend": {"hardware", "softnpu"},
    "forecast": {"_native", "hardware", "llm"},
    "planner": {"_native", "forecast", "hardware"},
    "simulator": {"_native", "forecast", "planner", "hardware", "llm"},
    "tenancy": {"hardware"},
    "connection": set(),
    "endpoint": {"connection"},
    "client": {"api.models", "api.controller", "api.what_if", "tenancy", "endpoint", "connection"},
    "controller": {"planner", "forecast", "hardware", "llm", "tenancy", "client", "api.controller"},
    "web": set(),
    "api": {"tenancy", "forecast", "hardware", "llm", "web"},
    # The daemon's server is where everything is put together, so it alone knows the API's application.
    "daemon": {"tenancy", "_native", "backend", "api.app", "api.access", "api.callers", "api.metrics", "api.tokens"},
    "cli": {
        "tenancy",
        "controller",
        "forecast",
        "simulator",
        "llm",
        "demo",
        "experiment",
        "client",
        "backend",
        "environment",
        "api.models",
        "api.controller",
        "api.tokens",
        "softnpu",
        "_native",
        "bench",
    },
    "bench": {"client", "backend", "environment", "softnpu", "llm"},
    "experiment": {"client", "controller", "forecast", "hardware", "llm", "planner", "simulator", "softnpu"},
    "demo": {"experiment", "controller", "hardware", "planner", "simulator"},
}


def imports(file: Path) -> Iterator[str]:
    """Names within flexnpu that a file imports anywhere, as written: flexnpu.api.models is "api.models"."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[2] for alias in node.names if alias.name.startswith("flexnpu."))
        elif isinstance(node, ast.ImportFrom) and node.module == "flexnpu":
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("flexnpu."):
            yield str(node.module).partition(".")[2]
        assert not (isinstance(node, ast.ImportFrom) and node.level), f"{file}: imports are absolute"


def room(file: Path) -> str:
    return file.relative_to(ROOT).with_suffix("").parts[0]


FILES = [file for file in sorted(ROOT.rglob("*.py")) if file != ROOT / "__init__.py"]


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_a_room_uses_only_what_its_row_names(file: Path):
    allowed = ROOMS[room(file)] | COMMON | {room(file)}
    for name in imports(file):
        assert any(name == one or name.startswith(f"{one}.") for one in allowed), f"{room(file)} may not use {name}"


def test_no_room_is_without_a_row():
    assert {room(file) for file in FILES} <= set(ROOMS)


def test_only_the_server_knows_the_application():
    users = [file for file in FILES if room(file) != "api" and "api.app" in imports(file)]
    assert [str(file.relative_to(ROOT)) for file in users] == ["daemon/server.py"]


def test_the_device_plugin_asks_the_daemon_as_everybody_does():
    """Through its REST API: it has no part of the daemon, and nobody has a part of it."""
    plugin = ROOT.parent / "device_plugin"
    for file in plugin.rglob("*.py"):
        # The node's agent writes a controller's file of services, and knows the models that ship.
        allowed = COMMON | {"client", "environment"} | ({"tenancy", "llm"} if "cluster" in file.parts else set())
        for name in imports(file):
            assert any(name == one or name.startswith(f"{one}.") for one in allowed), f"{file} may not use {name}"
    for file in FILES:
        assert "device_plugin" not in file.read_text(encoding="utf-8"), f"{file} may not use device_plugin"
