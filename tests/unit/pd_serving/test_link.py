# SPDX-License-Identifier: Apache-2.0
"""The connection between two instances, when the other end does not do what it should."""

import socket
import threading

import pytest
from pd_serving.link import Link, LinkError, Listener, SilenceError, connect
from pd_serving.pool import Layout

LAYOUT = Layout(layers=2, width=8, dtype="float32", slots=3, slot_tokens=128)


@pytest.fixture
def ends():
    left, right = socket.socketpair()
    made = Link(left), right
    yield made
    made[0].close()
    right.close()


def test_messages_come_whole_however_they_are_cut_and_end_with_the_connection(ends):
    link, other = ends
    other.sendall(b'{"a": 1}\n{"b"')
    other.sendall(b': 2}\n{"cut')
    other.close()
    assert list(link.messages(1.0)) == [{"a": 1}, {"b": 2}]


def test_nonsense_ends_the_messages(ends):
    link, other = ends
    other.sendall(b'{"a": 1}\nwhat\n{"b": 2}\n')
    assert list(link.messages(1.0)) == [{"a": 1}]


def test_silence_is_told_after_the_seconds_given(ends):
    link, other = ends
    other.sendall(b'{"a": 1}\n')
    messages = link.messages(0.05)
    assert next(messages) == {"a": 1}
    with pytest.raises(SilenceError, match=r"silent for 0\.05 s"):
        next(messages)


def test_an_end_that_does_not_read_holds_nobody_up(ends):
    link, _ = ends
    with pytest.raises(LinkError, match="does not read"):
        for _ in range(100_000):
            link.send({"tokens": [[1, 2, None]] * 10})


def test_closing_wakes_who_listens(ends):
    link, _ = ends
    heard = []
    listening = threading.Thread(target=lambda: heard.append(list(link.messages())))
    listening.start()
    link.close()
    listening.join(10)
    assert heard == [[]]


def test_each_connection_has_memory_of_its_own_and_another_shape_is_refused(tmp_path):
    listener = Listener(tmp_path / "link", LAYOUT)
    accepted = []
    listening = threading.Thread(target=lambda: accepted.extend(iter(listener.accept, None)))
    listening.start()
    made = [connect(tmp_path / "link", LAYOUT, 10.0) for _ in range(2)]
    with pytest.raises(LinkError, match="same model, dtype and --max-len"):
        connect(tmp_path / "link", Layout(4, 8, "float32", 3, 128), 10.0)
    listener.close()
    listening.join(10)
    pools = [pool for _, pool in [*made, *accepted[:2]]]
    for number, pool in enumerate(pools[:2]):
        pool.slot(1, 100).fill_(number + 1)
    assert [pool.slot(1, 100).unique().tolist() for pool in pools] == [[1.0], [2.0]] * 2
    assert pools[0].slot(0, 100).unique().tolist() == [0.0]
    for link, _ in [*made, *accepted]:
        link.close()
    with pytest.raises(LinkError, match="none listens"):
        connect(tmp_path / "link", LAYOUT, 10.0)
