# SPDX-License-Identifier: Apache-2.0
"""flexnpu._native is what its stub says, and the handshake what page.h says."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import flexnpu
from flexnpu import _native

REPOSITORY = Path(__file__).parents[2]
STUB = Path(flexnpu.__file__).with_name("_native.pyi")
HEADER = (REPOSITORY / "native/page/include/flexnpu/page.h").read_text(encoding="utf-8")


def names(body: list[ast.stmt]) -> set[str]:
    found = {node.name for node in body if isinstance(node, ast.ClassDef | ast.FunctionDef)}
    return found | {n.target.id for n in body if isinstance(n, ast.AnnAssign) and isinstance(n.target, ast.Name)}


def public(thing: object) -> set[str]:
    return {name for name in dir(thing) if not name.startswith("_")}


def test_the_stub_names_what_there_is():
    tree = ast.parse(STUB.read_text(encoding="utf-8"))
    assert names(tree.body) == public(_native)
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            named = {name for name in names(node.body) if not name.startswith("_")}
            assert named == public(getattr(_native, node.name)), node.name


def test_statuses_are_those_of_the_header():
    statuses = dict(re.findall(r"FLEXNPU_(OK|BAD_HELLO|BAD_VERSION|UNKNOWN_VNPU|DENIED|DAEMON_FAULT) = (\d)", HEADER))
    assert len(statuses) == 6
    for name, value in statuses.items():
        assert getattr(_native, name) == int(value)


def test_versions_and_sizes_are_those_of_the_header():
    (version,) = re.findall(r"#define FLEXNPU_PAGE_VERSION (\d+)u", HEADER)
    assert int(version) == _native.PAGE_VERSION
    assert (
        f"sizeof(flexnpu_hello) == {_native.HELLO_SIZE} && sizeof(flexnpu_welcome) == {_native.WELCOME_SIZE}" in HEADER
    )


def test_launch_kinds_are_those_of_the_header():
    from flexnpu.daemon.counts import LAUNCH_KINDS  # noqa: PLC0415

    assert tuple(name.lower() for name in re.findall(r"FLEXNPU_LAUNCH_(\w+) = \d", HEADER)) == LAUNCH_KINDS


def test_phases_are_those_of_the_header():
    from flexnpu.daemon.host import PHASES  # noqa: PLC0415

    assert tuple(name.lower() for name in re.findall(r"FLEXNPU_PHASE_(\w+) = \d", HEADER)) == PHASES


def test_a_hello_is_read_as_it_is_packed():
    hello = _native.parse_hello(_native.pack_hello("prefill"))
    assert (hello.status, hello.version, hello.vnpu) == (_native.OK, _native.PAGE_VERSION, b"prefill")


def test_a_hello_of_any_bytes_is_survived():
    good = _native.pack_hello("prefill")
    for length in range(len(good)):
        assert _native.parse_hello(good[:length]).status == _native.BAD_HELLO
    assert _native.parse_hello(good + b"x").status == _native.BAD_HELLO
    assert _native.parse_hello(b"\xff" * _native.HELLO_SIZE).status == _native.BAD_HELLO


def test_a_welcome_cuts_a_long_message_and_ends_it():
    data = _native.pack_welcome(_native.DENIED, "x" * 1000)
    assert len(data) == _native.WELCOME_SIZE
    assert data[16 : 16 + 256].endswith(b"x\0")
