# SPDX-License-Identifier: Apache-2.0
"""The page's files as the daemon serves them: to whom, with which headers, and what is in them."""

from __future__ import annotations

import hashlib
import re

import pytest
from fastapi.testclient import TestClient

from flexnpu import web
from flexnpu.api.app import create_app
from flexnpu.api.callers import TcpPeer
from flexnpu.web.files import ROOT

LOCAL = "http://localhost:8377"


def client(peer: TcpPeer, url: str = LOCAL) -> TestClient:
    app = create_app(None, 1)  # type: ignore[arg-type] # no route that is asked here has to do with the node

    async def known(scope, receive, send) -> None:
        await app({**scope, "state": {"peer": peer}}, receive, send)

    return TestClient(known, base_url=url)


@pytest.fixture
def stranger() -> TestClient:
    return client(TcpPeer("127.0.0.1"))


def test_who_has_no_token_yet_gets_the_page_and_nothing_else(stranger: TestClient):
    assert stranger.get("/").headers["content-type"] == "text/html; charset=utf-8"
    assert stranger.get("/web/js/main.js").headers["content-type"] == "text/javascript; charset=utf-8"
    for path in ("/version", "/api/v1/devices", "/openapi.json", "/metrics", "/web", "/webs/js/main.js"):
        assert stranger.get(path).status_code == 401, path
    for path in (
        "/web/",
        "/web/js/none.js",
        "/web/../api/v1/devices",
        "/web/%2e%2e/files.py",
        "/web/vendor/uplot/LICENSE",
    ):
        assert stranger.get(path).status_code in {401, 404}, path
    assert stranger.post("/").status_code == 405


def test_the_page_runs_and_asks_nothing_that_is_not_its_own(stranger: TestClient):
    headers = stranger.get("/").headers
    policy = dict(each.split(" ", 1) for each in headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert {policy[f"{kind}-src"] for kind in ("script", "style", "img", "connect")} == {"'self'"}
    assert policy["frame-ancestors"] == policy["base-uri"] == policy["form-action"] == "'none'"
    assert headers["x-content-type-options"] == "nosniff"
    assert "access-control-allow-origin" not in headers


def test_no_file_names_an_address_elsewhere_to_be_fetched():
    for address, file in web.load().items():
        named = re.findall(r"""(?:src|href|url|import|fetch)\W{1,4}(?:https?:)?//[^\s"')]+""", file.body.decode())
        assert not named, address


def test_a_file_that_is_the_same_is_not_sent_again(stranger: TestClient):
    etag = stranger.get("/").headers["etag"]
    again = stranger.get("/", headers={"If-None-Match": etag})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)


@pytest.mark.parametrize("peer", [TcpPeer("127.0.0.1"), TcpPeer("127.0.0.1", trusted=True)])
def test_a_name_that_was_made_to_mean_this_host_gets_no_page(peer: TcpPeer):
    assert client(peer).get("/", headers={"Host": "rebound.example:8377"}).status_code == 403
    assert client(TcpPeer("127.0.0.1", encrypted=True)).get("/", headers={"Host": "node7:8377"}).status_code == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "http://localhost:9999", "null"])
def test_a_page_of_another_site_may_not_ask(origin: str):
    trusted = client(TcpPeer("127.0.0.1", trusted=True))
    told = trusted.get("/version", headers={"Origin": origin})
    assert told.status_code == 403
    assert "may not ask here" in told.json()["detail"]
    assert trusted.get("/version", headers={"Origin": LOCAL}).status_code == 200


def test_the_chart_library_is_the_release_that_its_note_names():
    vendored = ROOT / "vendor" / "uplot"
    note = (vendored / "VERSION").read_text(encoding="utf-8")
    sums = dict(re.findall(r"^(\S+)\s+sha256:([0-9a-f]{64})$", note, re.MULTILINE))
    assert set(sums) == {"uPlot.esm.js", "uPlot.min.css", "LICENSE"}
    for name, sum_ in sums.items():
        assert hashlib.sha256((vendored / name).read_bytes()).hexdigest() == sum_, name
    assert "MIT License" in (vendored / "LICENSE").read_text(encoding="utf-8")


def test_every_file_of_ours_says_its_licence_and_has_one_job():
    for path in ROOT.rglob("*"):
        if path.is_file() and "vendor" not in path.parts:
            text = path.read_text(encoding="utf-8")
            assert "SPDX-License-Identifier: Apache-2.0" in "".join(text.splitlines()[:2]), path
            assert len(text.splitlines()) < 300, path
