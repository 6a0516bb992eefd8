# SPDX-License-Identifier: Apache-2.0
"""Events: numbered, the newest kept, followed by several readers."""

from __future__ import annotations

import asyncio

import pytest

from flexnpu.daemon.events import KEPT, REFUSALS_PER_S, Events
from flexnpu.daemon.readers import MOST_READERS, Readers
from flexnpu.errors import Refused


def ids(events: Events, after: int) -> list[int]:
    return [event.id for event in events.since(after)]


def test_the_newest_are_kept_under_rising_ids():
    events = Events()
    for number in range(KEPT + 5):
        events.publish("attached", "a", f"number {number}")
    assert ids(events, 0) == list(range(6, KEPT + 6))
    assert ids(events, KEPT + 3) == [KEPT + 4, KEPT + 5]
    assert ids(events, KEPT + 5) == []


def test_an_id_of_an_earlier_daemon_brings_everything():
    events = Events()
    events.publish("attached", "a", "one")
    assert ids(events, 4711) == [1]


def test_a_process_that_is_refused_again_and_again_does_not_push_the_others_out():
    events = Events()
    events.publish("attached", "a", "one")
    for _ in range(10 * KEPT):
        events.refused("a", "no", 42)
    assert events.since(0)[0].text == "one"
    assert len(events.since(0)) <= 1 + 10 * REFUSALS_PER_S


def test_a_reader_gets_what_comes_and_ends_with_the_daemon():
    async def read() -> list[int | None]:
        events = Events()
        events.publish("attached", "a", "one")
        got: list[int | None] = []

        async def follow() -> None:
            async for event in events.follow(0, 60):
                got.append(event.id if event else None)

        reading = asyncio.create_task(follow())
        while not got:
            await asyncio.sleep(0)
        events.publish("left", "a", "two")
        while len(got) < 2:
            await asyncio.sleep(0)
        events.close()
        await reading
        return got

    assert asyncio.run(read()) == [1, 2]


def test_readers_are_limited():
    async def many() -> None:
        events = Events()
        events.publish("attached", "a", "one")
        readers = [events.follow(0, 60) for _ in range(MOST_READERS)]
        for reader in readers:
            await anext(reader)
        with pytest.raises(Refused, match="32 readers"):
            events.follow(0, 60)
        await readers[0].aclose()
        events.follow(0, 60)

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

    assert asyncio.run(follow()) is None
