# SPDX-License-Identifier: Apache-2.0
"""What holds for every trace, way to run and size of the cache."""

import itertools

import numpy as np
import pytest
from fixed_plans import Alternating, Fixed, Restless
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from plain_forecast import PlainForecast

from flexnpu.planner import POLICIES
from flexnpu.simulator import Arrival, EngineConfig, Simulation

FORECAST = PlainForecast(cores=8, base=2e-3, token=5e-5, pair=1e-8, sequence=1e-4, key=1e-6, slower=1.2)
POOL = {"link_bandwidth": 1e8, "kv_bytes_per_token": 1000.0}
MOST_RUNNING = 8
WAYS = {
    "chunked": (POLICIES["chunked"](), (1, 0)),
    "rounds": (Fixed("split", (4, 4), steps=3), (1, 0)),
    "lanes": (Fixed("split", (5, 3)), (1, 0)),
    "shared": (Fixed("shared", (8, 8), weight=0.4), (1, 0)),
    "parting": (Alternating(Fixed("shared", (8, 8), weight=0.4), Fixed("split", (5, 3))), (1, 0)),
    "joining": (Alternating(Fixed("split", (5, 3)), Fixed("shared", (8, 8), weight=0.4)), (1, 0)),
    "co-located": (POLICIES["co-located"](), (1, 0)),
    "restless": (Restless(), (1, 0)),
    "restless pool": (Restless(), (2, 1)),
    "duetserve": (POLICIES["duetserve"](), (1, 0)),
    "semi-pd": (POLICIES["semi-pd"](), (1, 0)),
    "pdmux": (POLICIES["pdmux"](), (1, 0)),
    "weights": (POLICIES["weights"](), (1, 0)),
    "disaggregated": (POLICIES["disaggregated"](), (1, 1)),
    "disaggregated 2:2": (POLICIES["disaggregated"](), (2, 2)),
}

requests = st.tuples(
    st.floats(0, 0.05),  # seconds after the one before
    st.integers(1, 90),
    st.integers(1, 40),
    st.integers(0, 3),  # which conversation: equal prefixes
)


@st.composite
def traces(draw):
    found, now = [], 0.0
    for gap, prompt, output, conversation in draw(st.lists(requests, min_size=1, max_size=25)):
        now += gap
        blocks = tuple(1000 * conversation + place for place in range(-(-prompt // 16)))
        found.append(Arrival(now, prompt, output, blocks))
    return found


def config(devices, **changes):
    base = {"token_budget": 32, "max_running": MOST_RUNNING, "kv_tokens": 160, "block_tokens": 4, "hash_tokens": 16}
    return EngineConfig(**{**base, "devices": devices, **POOL, **changes})


def check_device(device, now):
    kv = device.kv
    assert 0 <= kv.free <= kv.capacity, now
    assert device.decoding.sequences == len(device.decoding.members)
    assert device.admitted <= device.running <= MOST_RUNNING
    assert device.prompts.tokens == sum(
        one.target - one.computed for one in [*device.prompts.half_run, *device.prompts.waiting]
    )
    seen = sum(one.length + device.decoding.step - one.join_step + 1 for one in device.decoding.members)
    assert device.decoding.seen == seen


def watched(simulation):
    """All records, every device looked at after each of its turns."""
    last = [0.0]
    for device in simulation.devices:

        def turn(now, device=device, turn=device.turn):
            assert now >= last[0]
            last[0] = now
            turn(now)
            assert device.next_seconds > now or device.next_seconds == now  # not nan
            check_device(device, now)
            busy = len(device.prompts) or device.decoding.sequences or device.joining
            assert device.next_seconds < float("inf") or not busy or simulation.pool.backs

        device.turn = turn
    return list(simulation)


@pytest.mark.parametrize("way", WAYS)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    trace=traces(),
    kv_tokens=st.sampled_from([132, 160, 400, 4000]),
    look=st.sampled_from([0.0, 1e-3, 0.05]),
    part=st.sampled_from([0.0, 0.1, 1.0]),
)
def test_no_request_is_lost_and_every_token_is_counted(way, trace, kv_tokens, look, part):
    policy, devices = WAYS[way]
    settings = config(devices, kv_tokens=kv_tokens, look_seconds=look, launched_part=part)
    simulation = Simulation(trace, FORECAST, policy, settings)
    found = watched(simulation)
    assert sorted(one.number for one in found) == list(range(len(trace)))
    for one in found:
        asked = trace[one.number]
        assert (one.arrival, one.prompt, one.output) == asked[:3]
        assert one.dropped == (one.prompt + one.output - 1 > kv_tokens // 4 * 4)
        if one.dropped:
            continue
        assert one.completed
        assert one.arrival < one.first_token <= one.finish
        assert 0 <= one.cached < one.prompt
        if one.output > 1:
            assert one.mean_tpot == pytest.approx((one.finish - one.first_token) / (one.output - 1))
            assert one.mean_tpot <= one.itl_max * (1 + 1e-9)
            assert one.itl_p99 <= one.itl_max
    for device in simulation.devices:
        assert device.kv.used == 0
        assert device.running == 0


@settings(max_examples=60, deadline=None)
@given(trace=traces())
def test_first_tokens_come_in_the_order_of_arrival_when_nobody_is_preempted(trace):
    for way in ("chunked", "lanes", "rounds", "shared"):
        policy, devices = WAYS[way]
        simulation = Simulation(trace, FORECAST, policy, config(devices, kv_tokens=8000))
        found = sorted(simulation, key=lambda one: one.number)
        assert all(one.preemptions == 0 for one in found)
        assert all(one.first_token <= two.first_token for one, two in itertools.pairwise(found))


def one_by_one(trace, forecast, settings):
    """The chunked engine again, without anything that makes it quick: an iteration at a time, blocks counted anew."""
    waiting, running, now, done = [], [], 0.0, {}
    pending = [
        {"n": n, "at": one.seconds, "prompt": one.prompt, "out": one.output, "have": 0, "tokens": []}
        for n, one in enumerate(trace)
    ]
    block = settings.block_tokens
    capacity = settings.kv_tokens // block
    while pending or waiting or running:
        if not waiting and not running:
            now = max(now, pending[0]["at"])
        while pending and pending[0]["at"] <= now:
            waiting.append(pending.pop(0))
        for one in waiting:
            one.setdefault("goal", one["prompt"])

        def held(one):
            return -(-max(one["have"], one["goal"]) // block)

        free = capacity - sum(map(held, running))
        decoding = [one for one in running if one["have"] >= one["goal"]]
        short = False
        while sum(one["have"] % block == 0 for one in decoding) > free:
            victim = running.pop()
            free += held(victim)
            decoding = [one for one in decoding if one is not victim]
            victim.update(goal=victim["prompt"] + len(victim["tokens"]), have=0)
            waiting.insert(0, victim)
            short = True
        free -= sum(one["have"] % block == 0 for one in decoding)
        budget, chunks = settings.token_budget - len(decoding), []
        queue = [one for one in running if one["have"] < one["goal"]]
        while budget > 0:
            if not queue:
                room = len(running) < settings.max_running and not short
                if not (waiting and room and -(-waiting[0]["goal"] // block) <= free):
                    break
                queue.append(waiting.pop(0))
                free -= held(queue[0])
                running.append(queue[0])
            one = queue.pop(0)
            new = min(budget, one["goal"] - one["have"])
            chunks.append((one, new))
            budget -= new
        prompt = [(new, one["have"]) for one, new in chunks]
        load = (
            sum(new for new, _ in prompt), len(prompt), sum(n * c + n * (n + 1) / 2 for n, c in prompt), 0,
            len(decoding), sum(one["have"] + 1 for one in decoding),
        )  # fmt: skip
        now += forecast.seconds(forecast.cores, load)
        for one in decoding:
            one["have"] += 1
            one["goal"] = one["have"]
            one["tokens"].append(now)
        for one, new in chunks:
            one["have"] += new
            if one["have"] == one["goal"]:
                one["tokens"].append(now)
        for one in [one for one in running if len(one["tokens"]) == one["out"]]:
            running.remove(one)
            done[one["n"]] = one["tokens"]
    return done


@settings(max_examples=150, deadline=None)
@given(trace=traces(), kv_tokens=st.sampled_from([132, 160, 400, 4000]))
def test_many_steps_at_once_come_to_what_one_at_a_time_does(trace, kv_tokens):
    free = {"launch_seconds": 0.0, "dispatch_seconds": 0.0, "graph_seconds": 0.0, "prefix_caching": False}
    chosen = config((1, 0), kv_tokens=kv_tokens, **free)
    expected = one_by_one(trace, FORECAST, chosen)
    for one in Simulation(trace, FORECAST, POLICIES["chunked"](), chosen):
        tokens = expected[one.number]
        assert one.first_token == pytest.approx(tokens[0], rel=1e-12)
        assert one.finish == pytest.approx(tokens[-1], rel=1e-12)
        assert one.itl_max == pytest.approx(np.diff(tokens).max() if len(tokens) > 1 else 0.0, rel=1e-9)


def test_a_burst_keeps_the_device_busy_until_it_is_done():
    trace = [Arrival(0.0, 50, 20) for _ in range(30)]
    for way in ("chunked", "shared", "lanes", "rounds"):
        policy, devices = WAYS[way]
        simulation = Simulation(trace, FORECAST, policy, config(devices, kv_tokens=400))
        gaps = []
        for device in simulation.devices:

            def turn(now, device=device, turn=device.turn, gaps=gaps):
                turn(now)
                gaps.append(device.next_seconds == float("inf"))

            device.turn = turn
        assert len(list(simulation)) == 30
        assert not any(gaps[:-1])
