# SPDX-License-Identifier: Apache-2.0
import socket
import threading
import time
from contextlib import contextmanager

import pytest

from flexnpu.controller import ScrapeError
from flexnpu.controller.scrape import HttpScraper


def until(condition, seconds=20):
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end
        time.sleep(0.005)
    return value


@contextmanager
def scraping(*urls, every=0.02, timeout=10):
    """Gives a function that waits for the next page of a URL."""
    told = []
    with HttpScraper(urls, lambda: every, timeout, lambda: told.append(1)) as scraper:
        kept = {}

        def page(url):
            kept.pop(url, None)
            return until(lambda: kept.update(scraper.fresh()) or kept.get(url)).text

        yield page
    assert told


def nobody():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


def test_each_page_is_read_again_and_again(serve):
    count = iter(range(1000))
    one, two = serve(lambda: str(next(count))), serve(lambda: "two")
    with scraping(one, two) as page:
        first = int(page(one))
        assert page(two) == "two"
        assert int(page(one)) > first


def test_an_engine_that_is_gone_does_not_hide_the_other(serve):
    gone, here = nobody(), serve(lambda: "here")
    with scraping(gone, here) as page:
        trouble = page(gone)
        assert isinstance(trouble, ScrapeError)
        assert "refused" in str(trouble)
        assert page(here) == "here"


def test_an_engine_that_hangs_costs_the_others_nothing(serve):
    hang = threading.Event()
    hung, here = serve(lambda: str(hang.wait(30))), serve(lambda: "here")
    with scraping(hung, here, timeout=0.3) as page:
        for _ in range(3):
            assert page(here) == "here"
        assert "timed out" in str(page(hung))
        hang.set()


def test_a_page_that_drips_is_given_up():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        over = threading.Event()

        def drip():
            while not over.is_set():
                connection, _peer = listener.accept()
                with connection:
                    connection.recv(4096)
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
                    while not over.wait(0.05):
                        try:
                            connection.sendall(b"x")
                        except OSError:
                            break

        threading.Thread(target=drip, daemon=True).start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with scraping(url, timeout=0.3) as page:
            assert "takes over 0.3 s" in str(page(url))
        over.set()


@pytest.mark.parametrize(("status", "why"), [(500, "/metrics answers 500"), (404, "/metrics answers 404")])
def test_an_engine_that_answers_an_error_is_named(serve, status, why):
    url = serve(lambda: "", status=status)
    with scraping(url) as page:
        assert why in str(page(url))


def test_a_host_that_is_none_is_a_trouble_and_no_end():
    with scraping("http://a..b:9") as page:
        assert isinstance(page("http://a..b:9"), ScrapeError)
        assert isinstance(page("http://a..b:9"), ScrapeError)


def test_a_connection_that_the_engine_has_closed_is_made_anew():
    """One connection per answer: the server closes each after it."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()

        def answer():
            while True:
                try:
                    connection, _peer = listener.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(4096)
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

        threading.Thread(target=answer, daemon=True).start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with scraping(url) as page:
            for _ in range(3):
                assert page(url) == "ok"
