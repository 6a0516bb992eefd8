# SPDX-License-Identifier: Apache-2.0
import socket
import threading
import time

import pytest

from flexnpu.controller import ScrapeError
from flexnpu.controller.scrape import HttpScraper


@pytest.fixture
def scraper():
    scraper = HttpScraper(timeout=0.3)
    yield scraper
    scraper.close()


def test_both_pages_are_read_in_order(serve, scraper):
    urls = [serve(lambda: "one"), serve(lambda: "two")]
    for _ in range(3):
        assert scraper.read(urls) == ["one", "two"]


def test_an_engine_that_is_gone_does_not_hide_the_other(serve, scraper):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{free.getsockname()[1]}"
    trouble, page = scraper.read([nobody, serve(lambda: "here")])
    assert isinstance(trouble, ScrapeError)
    assert "refused" in str(trouble)
    assert page == "here"


def test_an_engine_that_hangs_costs_no_more_than_the_timeout(serve, scraper):
    hang = threading.Event()
    began = time.monotonic()
    (trouble,) = scraper.read([serve(lambda: str(hang.wait(10)))])
    assert time.monotonic() - began < 5
    assert "timed out" in str(trouble)
    hang.set()


def test_an_engine_that_answers_an_error_is_named(serve, scraper):
    (trouble,) = scraper.read([serve(lambda: "", status=500)])
    assert "/metrics answers 500" in str(trouble)


def test_a_restarted_engine_is_found_on_the_next_read(scraper):
    """One connection per server: the first server closes after one answer."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()

        def answer_twice():
            for _ in range(2):
                connection, _peer = listener.accept()
                with connection:
                    connection.recv(4096)
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

        thread = threading.Thread(target=answer_twice, daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        assert scraper.read([url]) == ["ok"]
        time.sleep(0.05)  # the server's close arrives
        assert scraper.read([url]) == ["ok"]
        thread.join(5)
