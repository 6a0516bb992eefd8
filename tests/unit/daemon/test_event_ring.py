# SPDX-License-Identifier: Apache-2.0
"""Events: numbered, the newest kept, followed by several readers."""

from __future__ import annotations

import asyncio
import time

import pytest

from flexnpu.daemon.events import KEPT, REFUSALS_PER_S, Events
from flexnpu.daemon.readers import MOST_READERS, Readers
from flexnpu.errors import Unavailable


def published(events: Events, count: int) -> list[int]:
    for number in range(count):
        events.publish("attached", "a", f"number {number}")
    return [event.id for event in events.since(None)]


def ids(events: Events, after: int | None) -> list[int]:
    return [event.id for event in events.since(after)]


def test_the_newest_are_kept_under_ids_that_rise_by_one():
    events = Events()
    known = published(events, KEPT + 5)
    assert known == list(range(known[0], known[0] + KEPT))
    assert ids(events, known[-3]) == known[-2:]
    assert ids(events, known[0] - 1) == known
    assert ids(events, known[-1]) == []


def test_a_reader_who_has_missed_what_is_forgotten_is_told_so_and_goes_on_from_now():
    events = Events()
    known = published(events, KEPT + 5)
    (resync,) = events.since(known[0] - 2)
    assert (resync.kind, resync.id) == ("resync", known[-1])
    assert ids(events, resync.id) == []


def test_an_id_of_another_daemon_is_none_of_this():
    earlier = published(Events(), 3)
    time.sleep(0.005)
    events = Events()
    assert events.since(earlier[-1])[0].kind == "resync"
    known = published(events, 2)
    assert not set(known) & set(earlier)
    assert events.since(known[-1] + 1)[0].kind == "resync"
    assert events.since(earlier[-1])[0].kind == "resync"


def test_a_process_that_is_refused_again_and_again_does_not_push_the_others_out():
    events = Events()
    events.publish("attached", "a", "one")
    for _ in range(10 * KEPT):
        events.refused("a", "no", 42)
    assert events.since(None)[0].text == "one"
    assert len(events.since(None)) <= 1 + 10 * REFUSALS_PER_S


def test_a_reader_gets_what_comes_and_ends_with_the_daemon():
    async def read() -> list[list[str]]:
        events = Events()
        events.publish("attached", "a", "one")
        got: list[list[str]] = []

        async def follow() -> None:
            async for told in events.follow(None, 60):
                got.append([event.text for event in told])

        reading = asyncio.create_task(follow())
        while not got:
            await asyncio.sleep(0)
        events.publish("left", "a", "two")
        events.publish("attached", "a", "three")
        while len(got) < 2:
            await asyncio.sleep(0)
        events.close()
        await reading
        return got

    assert asyncio.run(read()) == [["one"], ["two", "three"]]


def test_readers_are_limited():
    async def many() -> None:
        events = Events()
        events.publish("attached", "a", "one")
        readers = [events.follow(None, 60) for _ in range(MOST_READERS)]
        for reader in readers:
            await anext(reader)
        with pytest.raises(Unavailable, match=f"{MOST_READERS} readers"):
            events.follow(None, 60)
        await readers[0].aclose()
        events.follow(None, 60)

    asyncio.run(many())


def test_a_reader_that_is_woken_for_others_still_hears_that_nothing_came():
    async def follow() -> object:
        readers = Readers("x")

        async def wake() -> None:
            while True:
                readers.wake()
                await asyncio.sleep(0.001)

        waking = asyncio.create_task(wake())
        try:
            return await asyncio.wait_for(anext(readers.follow(list, idle_s=0.05)), 10)
        finally:
            waking.cancel()

    assert asyncio.run(follow()) == []
