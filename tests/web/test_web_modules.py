# SPDX-License-Identifier: Apache-2.0
"""The page's pure parts, in the browser that runs them: what is drawn for what is told."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from serving_node import ServingNode

DEVICE = {"index": 0, "cores": 8}


def vnpu(name: str, cores: int, *, lent: int = 0, share: float | None = None) -> dict[str, object]:
    use = {"device": 0, "granted_cores": cores + lent, "lent_cores": lent, "held_cores": cores}
    return {"name": name, "cores": cores, "share_percent": share, "effective_share_percent": None, "use": [use]}


@pytest.fixture(scope="module")
def page(browser, serving: ServingNode) -> Iterator[object]:
    with browser.page(serving.url) as opened:
        yield opened


def call(page, module: str, body: str, *arguments: object):
    """What `body`, the expression of a function of the module `m` and the arguments `a`, gives."""
    return page.evaluate(f"async a => {{ const m = await import('/web/js/{module}.js'); return {body}; }}", arguments)


def drawn(page, *vnpus: dict[str, object], active: str = "") -> list[list[object]]:
    body = (
        "m.runs(m.cells(a[0], a[1], name => name === a[2]))"
        ".map(({from, count, cell}) => [from, count, cell.owner, cell.lentTo, cell.shared?.length ?? 0])"
    )
    return call(page, "layout", body, DEVICE, vnpus, active)


def test_cores_are_drawn_in_the_order_of_the_vnpus_and_the_rest_is_nobodys(page):
    assert drawn(page, vnpu("a", 3), vnpu("b", 2)) == [
        [0, 3, "a", None, 0],
        [3, 2, "b", None, 0],
        [5, 3, None, None, 0],
    ]


def test_lent_cores_are_free_ones_first_and_then_of_who_idles(page):
    borrower, idle, busy = vnpu("a", 2, lent=4), vnpu("b", 3), vnpu("c", 1)
    assert drawn(page, borrower, idle, busy, active="c") == [
        [0, 2, "a", None, 0],
        [2, 1, "b", None, 0],
        [3, 2, "b", "a", 0],
        [5, 1, "c", None, 0],
        [6, 2, None, "a", 0],
    ]


def test_who_takes_turns_is_drawn_on_the_same_cores(page):
    assert drawn(page, vnpu("a", 8, share=25.0), vnpu("b", 8, share=75.0)) == [[0, 8, None, None, 2]]


def test_a_sum_that_is_too_much_for_a_moment_is_cut_to_the_device(page):
    assert sum(run[1] for run in drawn(page, vnpu("a", 6), vnpu("b", 6))) == 8


def test_gaps_between_decode_steps_are_times_per_output_token(page):
    steps = [
        {"pid": 1, "vnpu": "d", "number": at, "phase": "decode", "requests": 4, "at_s": 10 + 0.08 * at}
        for at in range(5)
    ] + [{"pid": 1, "vnpu": "d", "number": 5, "phase": "decode", "requests": 4, "at_s": 15.0}]
    body = (
        "(() => { const seen = new m.Gaps(); a[0].forEach(step => seen.step(step, 2, 0.05, 1000)); "
        "return [[['d'], 0.05], [['d'], 0.03], [['x'], 1]]"
        ".map(([names, target]) => seen.summary(names, 2, target, 1010)); })()"
    )
    kept, missed, nothing = call(page, "gaps", body, steps)
    assert kept == {"mean": pytest.approx(0.04), "kept": 1, "good": pytest.approx(16 / 5)}  # the last one is a pause
    assert (missed["kept"], missed["good"], nothing) == (0, 0, None)


def test_rates_begin_anew_with_another_process_of_a_controller(page):
    def told(since: int, first: int, in_time: int) -> list[object]:
        totals = {"service": "chat", "first_tokens": first, "first_tokens_in_time": in_time}
        both = {**totals, "output_tokens": 0, "output_tokens_in_time": 0}
        return [{"name": "one", "since": since, "totals": {"services": [both]}}]

    body = (
        "(() => { const seen = new m.Rates(); a[0].forEach((each, at) => seen.see(each, at * 10)); "
        "return seen.of('one', 'chat'); })()"
    )
    before = call(page, "rates", body, [told(1, 10, 9), told(1, 30, 19)])
    assert before["first"] == {"kept": 0.5, "good": 1}
    assert call(page, "rates", body, [told(1, 10, 9), told(2, 4, 4)])["first"] == {"kept": None, "good": None}
    assert call(page, "rates", body, [[{"name": "one", "since": 1}]]) is None


def test_a_message_of_a_stream_is_read_as_the_standard_has_it(page):
    text = 'id: 7\nevent: decided\ndata: {"a":\ndata: 1}'
    assert call(page, "stream", "m.parse(a[0])", text) == {"id": "7", "event": "decided", "data": {"a": 1}}
    assert call(page, "stream", "m.parse(a[0])", ": nothing new\nretry: 1000") is None


def test_forecasts_are_asked_for_a_few_core_counts_and_those_that_matter(page):
    points = call(page, "what_if", "m.points(a[0], a[1])", 24, [7, 11])
    assert points == sorted(set(points))
    assert {1, 7, 11, 24} <= set(points)
    assert len(points) < 13


def test_the_split_is_that_of_the_decisions_and_between_them_what_was_seen(page):
    decisions = [
        {"device": 0, "told_at": at, "before": {"a": {"cores": before}}, "after": {"a": {"cores": after}}}
        for at, before, after in ((45, 8, 6), (20, 6, 8), (10, 4, 6))
    ]
    body = (
        "(() => { const past = new m.History(); past.tell(a[0]); "
        "for (const at of [30, 40]) past.see([a[1]], a[2], at); "
        "for (const at of [50, 60, 70]) past.see([a[1]], a[3], at); "
        "return past.of(0).map(each => [each.at, each.cores.a, each.cores.b]); })()"
    )
    before, after = [vnpu("a", 8), vnpu("b", 1)], [vnpu("a", 6), vnpu("b", 1)]
    assert call(page, "history", body, decisions, DEVICE, before, after) == [
        [pytest.approx(9.999), 4, None],
        [10, 6, None],
        [20, 8, None],
        [30, 8, 1],
        [40, 8, 1],
        [45, 6, 1],
        [50, 6, 1],
        [70, 6, 1],
    ]


def test_a_clock_that_is_another_hosts_is_set_by_the_daemons(page):
    body = (
        "(() => { const off = () => Math.round(m.now() - Date.now() / 1000); const told = [off()]; "
        "for (const ahead of [0.9, -3600, -3601]) "
        "{ m.hear(new Date(Date.now() + ahead * 1000).toUTCString()); told.push(off()); } "
        "m.hear(null); told.push(off()); m.hear(new Date().toUTCString()); return told; })()"
    )
    told = call(page, "clock", body)
    assert told[:2] == [0, 0]
    assert all(abs(each + 3600) <= 1 for each in told[2:])
