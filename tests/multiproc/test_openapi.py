# SPDX-License-Identifier: Apache-2.0
"""A real daemon answers as its description says, whatever is asked: generated requests, right ones and wrong ones,
always the same. Streams, which do not end, have tests of their own."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from local_node import GIB, Node, listening
from schemathesis.checks import CHECKS

from flexnpu.api.describe import describe

# Right requests may be refused still: there are not so many cores, or no vNPU of that name.
NOT_OURS = ("positive_data_acceptance",)
EXAMPLES = 8  # of each operation
API = schemathesis.openapi.from_dict(describe()).exclude(path_regex=r"/(events|steps)$")
API.config.checks.missing_required_header.expected_statuses = [422, 428]


@pytest.fixture(scope="module")
def daemon(libraries: Path) -> Iterator[str]:
    """Its URL. There is a vNPU `a`, so that some requests find one."""
    parent = Path(tempfile.mkdtemp(prefix="fx-"))
    node = Node(parent / "run", libraries)
    yield listening(node, "--listen", "127.0.0.1:0", "--insecure-listen", "--rate-limit", "1000000")
    assert node.daemon is not None
    node.daemon.process.terminate()
    code, errors = node.daemon.end()
    node.clean_up()
    shutil.rmtree(parent)
    assert code == 0
    assert "Traceback" not in errors


@pytest.fixture(scope="module")
def session(daemon: str) -> Iterator[requests.Session]:
    with requests.Session() as opened:
        new = {"name": "a", "cores": 1, "memory_bytes": GIB}
        assert opened.post(f"{daemon}/api/v1/vnpus", json=new, timeout=10).status_code == 201
        yield opened


@API.parametrize()
@settings(
    max_examples=EXAMPLES,
    derandomize=True,
    deadline=None,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_no_answer_is_a_fault_or_is_not_described(case: schemathesis.Case, daemon: str, session: requests.Session):
    excluded = [CHECKS.get_one(name) for name in NOT_OURS]
    case.call_and_validate(base_url=daemon, session=session, timeout=20, excluded_checks=excluded)
