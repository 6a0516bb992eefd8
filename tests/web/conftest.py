# SPDX-License-Identifier: Apache-2.0
"""A real browser on the page of a real daemon."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from fresh_node import libraries, quiet_node
from local_node import Node
from serving_node import ServingNode

__all__ = ["libraries", "quiet_node"]

CHROMIUM = shutil.which("chromium")
# A browser that asks nobody but whom it is sent to.
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("chromium is not installed: apt-get install chromium")
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install playwright")
    with api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=[*FLAGS])
        yield Browser(opened)
        opened.close()


class Browser:
    """Opens pages, and fails whoever opened one that complained or asked somebody else."""

    def __init__(self, opened) -> None:
        self._opened = opened

    @contextmanager
    def page(self, url: str, *, quiet: bool = True, **options):
        """quiet: what it says on the console is an error; failed requests are said there too."""
        complaints: list[str] = []
        context = self._opened.new_context(viewport={"width": 1360, "height": 900}, **options)
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda asked: asked.url.startswith(url) or complaints.append(f"asks {asked.url}"))
        if quiet:
            page.on("console", lambda message: complaints.append(message.text))
        try:
            page.goto(url)
            yield page
        finally:
            context.close()
        assert complaints == []


@pytest.fixture(scope="session")
def serving(libraries: Path) -> Iterator[ServingNode]:
    parent = Path(tempfile.mkdtemp(prefix="fx-"))
    node = Node(parent / "run", libraries)
    try:
        with ServingNode(node, parent / "decisions.jsonl") as running:
            yield running
    finally:
        node.clean_up()
        shutil.rmtree(parent)
