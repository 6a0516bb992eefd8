# SPDX-License-Identifier: Apache-2.0
"""One case per way to run, followed by hand. Times are milliseconds; costs: 1 per iteration, 0.1 per prompt token or
decoding request, divided by the part of four cores."""

import dataclasses

import pytest
from fixed_plans import Alternating, Fixed
from plain_forecast import PlainForecast

from flexnpu.planner import POLICIES, Looks, Targets
from flexnpu.simulator import Arrival, EngineConfig, Phases, Simulation, SimulationError, Watch

MS = 1e-3
FREE = {"launch_seconds": 0.0, "dispatch_seconds": 0.0, "graph_seconds": 0.0, "switch_seconds": 0.0}
TWO = [Arrival(0.0, 10, 5), Arrival(1 * MS, 10, 1)]


def run(trace, policy, *, forecast=None, **changes):
    forecast = forecast or PlainForecast(cores=4, base=1 * MS, token=0.1 * MS, sequence=0.1 * MS, key=0.0)
    settings = {"token_budget": 16, "max_running": 8, "kv_tokens": 4096, **FREE, **changes}
    simulation = Simulation(trace, forecast, policy, EngineConfig(**settings))
    return sorted(simulation, key=lambda request: request.number), simulation


def times(requests):
    return [(pytest.approx(one.first_token / MS), pytest.approx(one.finish / MS)) for one in requests]


def test_chunked_decode_goes_first_and_prompts_fill_the_budget():
    found, _ = run([Arrival(0.0, 10, 3), Arrival(0.0, 10, 3)], POLICIES["chunked"]())
    # 10 + 6 tokens: 2.6; a decode and the other 4: 1.5; two decodes: 1.2; one: 1.1.
    assert times(found) == [(2.6, 5.3), (4.1, 6.4)]
    assert found[0].itl_max / MS == pytest.approx(1.5)
    assert found[0].mean_tpot / MS == pytest.approx(1.35)


def test_a_prompt_that_arrives_during_decode_is_in_the_next_iteration():
    found, _ = run([Arrival(0.0, 10, 5), Arrival(2.5 * MS, 10, 1)], POLICIES["chunked"]())
    # Prompt 2.0; a decode 3.1 (the other arrives in it); mixed 1 + 0.1 + 1.0: 5.2; two more decodes.
    assert times(found) == [(2.0, 7.4), (5.2, 5.2)]


def test_rounds_join_after_k_steps_and_tell_the_end_then():
    found, simulation = run(TWO, Fixed("split", (2, 2), steps=2))
    # Prompt on half the cores 3.0; two steps of 1.2 beside the second prompt's 3.0; then two steps alone.
    assert times(found) == [(3.0, 8.4), (6.0, 6.0)]
    assert simulation.devices[0].counters.steps == 4


def test_rounds_run_steps_for_nothing_once_a_request_has_ended():
    found, simulation = run([Arrival(0.0, 10, 2)], Fixed("split", (2, 2), steps=3))
    assert times(found) == [(3.0, 4.2)]
    assert simulation.devices[0].counters.steps == 3


def test_rounds_contend_only_while_both_run():
    slow = PlainForecast(cores=4, base=1 * MS, token=0.1 * MS, sequence=0.1 * MS, key=0.0, slower=1.5)
    found, _ = run(TWO, Fixed("split", (2, 2), steps=4), forecast=slow)
    # Beside each other 1.8 per step and 4.5: at 7.5 the prompt has ended, in the middle of the third step.
    assert times(found) == [(3.0, 9.3), (7.5, 7.5)]


def test_free_lanes_do_not_wait_for_each_other():
    found, _ = run(TWO, Fixed("split", (2, 2)))
    assert times(found) == [(3.0, 7.8), (6.0, 6.0)]


@pytest.mark.parametrize(
    ("policy", "alone"),
    [(POLICIES["chunked"](), 2.0), (Fixed("split", (2, 2)), 3.0), (Fixed("split", (2, 2), steps=2), 3.0)],
    ids=["mixed", "lanes", "rounds"],
)
def test_who_comes_while_an_iteration_is_launched_holds_it_up_for_twice_its_launch_at_most(policy, alone):
    def first(others, launch):
        trace = [Arrival(0.0, 10, 1)] * (1 + others)
        found, _ = run(trace, policy, intake_seconds=0.5 * MS, dispatch_seconds=launch * MS)
        return found[0].first_token / MS

    # It begins at 0.5; until 1.5, and longer as it is held up, each of the others costs it 0.5.
    assert first(0, 1.0) == pytest.approx(0.5 + alone)
    assert first(3, 1.0) == pytest.approx(0.5 + alone + 1.5)
    assert first(7, 1.0) == pytest.approx(0.5 + alone + 2.0)
    assert first(3, 0.4) == pytest.approx(0.5 + alone), "the next one comes in when it is launched"


@pytest.mark.parametrize("reuse_plans", [True, False])
def test_each_iteration_of_a_long_prompt_is_held_up_by_who_comes_while_it_is_launched(reuse_plans):
    host = {"intake_seconds": 0.5 * MS, "dispatch_seconds": 1.0 * MS, "reuse_plans": reuse_plans}
    for at in (0.6, 1.5, 2.7, 3.0, 4.0, 5.5, 5.9, 8.2):
        found, _ = run([Arrival(0.0, 64, 1), Arrival(at * MS, 10, 1)], POLICIES["chunked"](), **host)
        # Four chunks of 2.6 after 0.5, and as long after it comes the other one is taken in.
        held = 0.5 if at % 2.6 < 1.0 else 0.0
        assert found[0].first_token / MS == pytest.approx(0.5 + 4 * 2.6 + held), at


def test_a_round_is_held_up_while_its_prompt_is_launched_after_its_graphs():
    def prompt_end(at):
        trace = [Arrival(0.0, 10, 9), Arrival(3.0 * MS, 10, 1), Arrival(at * MS, 10, 1)]
        host = {"intake_seconds": 0.1 * MS, "dispatch_seconds": 0.8 * MS, "graph_seconds": 1.0 * MS}
        found, _ = run(trace, Fixed("split", (2, 2), steps=2), **host)
        return found[1].first_token / MS

    alone = prompt_end(20.0)
    assert prompt_end(5.3) == pytest.approx(alone + 0.1)
    assert prompt_end(6.4) == pytest.approx(alone)


def test_decode_in_a_lane_of_its_own_is_not_held_up_by_who_comes():
    burst = [Arrival(0.0, 10, 5), *[Arrival(3.2 * MS, 10, 1)] * 6]
    found, _ = run(burst, Fixed("split", (2, 2)), intake_seconds=0.1 * MS, dispatch_seconds=1.0 * MS)
    assert times(found[:1]) == [(3.1, 7.9)]
    assert found[1].first_token / MS == pytest.approx(3.3 + 3.0 + 0.5)


def test_decode_goes_on_beside_a_prompt_that_was_begun_on_all_cores_when_they_are_parted():
    parting = Alternating(Fixed("shared", (4, 4)), Fixed("split", (2, 2)))
    found, _ = run([Arrival(0.0, 5, 5), Arrival(0.0, 5, 2), Arrival(1 * MS, 10, 1)], parting)
    # Half the time for each: a step of two 2.4, at 4.4, beside the prompt's 4.0. One is done, and cores are parted:
    # a step takes 1.2, and twice that while the prompt has all cores in its half; at 6.0 a third is left. Two more.
    assert times(found) == [(2.0, 8.8), (2.0, 4.4), (6.0, 6.0)]


def test_decode_keeps_its_part_beside_a_prompt_that_was_begun_on_the_other_when_time_is_shared():
    joining = Alternating(Fixed("split", (2, 2)), Fixed("shared", (4, 4)))
    found, simulation = run(TWO, joining)
    # Steps of 1.2 at 4.2, 5.4 and 6.6, the last of which was begun beside the prompt; then one on all cores.
    assert times(found) == [(3.0, 7.7), (6.0, 6.0)]
    assert simulation.devices[0].counters.steps == 4


@pytest.mark.parametrize(("part", "second"), [(0.0, 4.2 + 0.76 * 11 / 3), (0.25, 5.45 + 0.51 * 11 / 3), (1.0, 8.0)])
def test_a_prompt_takes_cores_up_while_it_runs_but_for_what_is_launched_ahead(part, second):
    growing = Alternating(Fixed("split", (2, 2)), Fixed("split", (3, 1)))
    found, _ = run([Arrival(0.0, 10, 2), Arrival(1 * MS, 20, 1)], growing, launched_part=part)
    # The second prompt takes 5.0 on two cores, from 3.0 on. The first request is over at 4.2, after a step of 1.2. All
    # of the rest, 0.76, would take 11/3 on three cores; a quarter that is launched ahead goes on, 1.25 more; or all.
    assert times(found) == [(3.0, 4.2), (second, second)]


@pytest.mark.parametrize(
    ("part", "finish", "second"),
    [(0.0, 82 / 15 + 3 * 17 / 15, 82 / 15 + 9 * 28 / 55), (1.0, 82 / 15 + 2 * 1.4 + 17 / 15, 22 / 3)],
)
def test_a_prompt_gives_cores_up_while_it_runs(part, finish, second):
    shrinking = Alternating(Fixed("split", (3, 1)), Fixed("split", (1, 3)))
    trace = [Arrival(0.0, 10, 5), Arrival(0.0, 10, 2), Arrival(1 * MS, 20, 1)]
    found, _ = run(trace, shrinking, launched_part=part)
    # Both prompts 11/3; then the third for as long, beside a step of 1.8 on one core. At 82/15 one is over, and 28/55
    # of the prompt are left, of 9.0 on one core; decode's other steps take 17/15 on three. Or the prompt keeps its
    # three, and decode has one until it is over: two steps of 1.4.
    assert times(found) == [(11 / 3, finish), (11 / 3, 82 / 15), (second, second)]


def test_on_parted_cores_each_takes_longer_beside_the_other_by_what_was_measured():
    found, _ = run(TWO, Fixed("split", (2, 2)), beside=Phases(1.5, 2.0))
    # The first prompt alone 3.0, the second beside decode 4.5. Steps of 2.4 meanwhile: one at 5.4, and at 7.5 an eighth
    # of the next is left, of 1.2 from there on; two more.
    assert times(found) == [(3.0, 7.5 + 1.2 / 8 + 2.4), (7.5, 7.5)]


def test_turns_cost_what_was_measured_alone_and_beside_the_other():
    costs = {"turns": Phases(1.5, 2.0), "turn_seconds": Phases(0.5 * MS, 0.25 * MS)}
    found, _ = run(TWO, Fixed("shared", (4, 4)), beside=Phases(9.0, 9.0), **costs)
    # The first prompt alone 2.5. The second in half of the time 1.5 x 4.0 + 0.5; steps of 2 x 2.2 + 0.25 meanwhile: one
    # at 7.15, and the rest of the second at 9.0, of 1.35 from there on; two more.
    left = 1 - 1.85 / 4.65
    assert times(found) == [(2.5, 9.0 + (left + 2) * 1.35), (9.0, 9.0)]


def test_who_looks_now_and_then_sees_prompts_in_full_while_they_run():
    shown = []

    class Watching(Alternating):
        def plan(self, snapshot, forecaster):
            shown.append((snapshot.waiting_tokens, snapshot.running))
            return super().plan(snapshot, forecaster)

    policy = Watching(Fixed("split", (3, 1)), Fixed("split", (1, 3)))
    trace = [Arrival(0.0, 5, 6), Arrival(2.5 * MS, 10, 1)]
    found, _ = run(trace, policy, look_seconds=2 * MS, launched_part=0.0)
    # The first prompt 5/3 on three cores. Decode begins on the one of that plan, 1.4; at 2.0 no prompt is seen, so the
    # second begins on one core, 5.0, and decode's next step has three, 17/15, up to 4.2. At 4.0 the prompt is seen:
    # it has three for the 0.66 that are left at 4.2, 7/3 for all of it. Decode has steps of 1.4 to 7.0, then of 17/15.
    assert times(found) == [(5 / 3, 7.0 + 17 / 15), (4.2 + 0.66 * 7 / 3, 4.2 + 0.66 * 7 / 3)]
    assert shown == [(5, 0), (0, 1), (10, 1), (0, 1)]


def test_free_lanes_contend_and_a_step_under_way_goes_on_at_the_new_rate():
    slow = PlainForecast(cores=4, base=1 * MS, token=0.1 * MS, sequence=0.1 * MS, key=0.0, slower=1.5)
    found, _ = run(TWO, Fixed("split", (2, 2)), forecast=slow)
    # Steps end at 4.8 and 6.6; half of the third is done at 7.5, the rest takes 0.6 alone, and the fourth 1.2.
    assert times(found) == [(3.0, 9.3), (7.5, 7.5)]


def test_shared_time_goes_by_weight_while_both_are_busy():
    found, _ = run(TWO, Fixed("shared", (4, 4), weight=0.5))
    # Alone 2.0; then 4.0 for the prompt and 2.2 per step; at 6.0 a fifth of a millisecond is left of the second.
    assert times(found) == [(2.0, 8.4), (6.0, 6.0)]


def test_lanes_on_changed_cores_wait_for_the_switch_once():
    found, _ = run(TWO, Fixed("split", (2, 2)), switch_seconds=10 * MS)
    assert times(found) == [(3.0, 7.8), (6.0, 6.0)]  # the first split is not a change


def test_disaggregated_caches_travel_while_both_devices_work():
    found, simulation = run(
        TWO, POLICIES["disaggregated"](), devices=(1, 1), link_bandwidth=1e7, kv_bytes_per_token=1000
    )
    # Prompts 2.0 and 4.0; the cache takes 0.1 per token, so decode starts at 3.0.
    assert times(found) == [(2.0, 7.4), (4.0, 4.0)]
    assert simulation.pool.transfers == 1
    assert [device.kv.used for device in simulation.devices] == [0, 0]


def test_disaggregated_waits_for_room_on_the_decode_device():
    trace = [Arrival(0.0, 10, 5), Arrival(0.0, 10, 5)]
    found, _ = run(
        trace,
        POLICIES["disaggregated"](),
        devices=(1, 1),
        link_bandwidth=1e7,
        kv_bytes_per_token=1000,
        kv_tokens=16,
        token_budget=10,
        max_running=8,
    )
    # A block on each device: the second prompt begins when the first cache has left, and its own waits for 7.4.
    assert times(found) == [(2.0, 7.4), (5.0, 12.8)]


def test_two_alike_devices_share_arrivals_by_the_shortest_queue():
    trace = [Arrival(0.0, 10, 1), Arrival(0.0, 10, 1), Arrival(0.0, 10, 1)]
    found, _ = run(trace, POLICIES["chunked"](), devices=(2, 0), token_budget=10)
    assert times(found) == [(2.0, 2.0), (2.0, 2.0), (4.0, 4.0)]


def test_the_newest_is_preempted_and_computes_all_again():
    trace = [Arrival(0.0, 7, 6), Arrival(0.0, 7, 6)]
    found, simulation = run(trace, POLICIES["chunked"](), kv_tokens=16, block_tokens=4, hash_tokens=4)
    # Both prompts 2.4, a step of both 3.6; then blocks are short: the first runs alone to 8.0, the second computes its
    # 7 + 2 tokens to 9.9 and has three steps left.
    assert times(found) == [(2.4, 8.0), (2.4, 13.2)]
    assert [one.preemptions for one in found] == [0, 1]
    assert found[1].itl_max / MS == pytest.approx(6.3)
    assert simulation.devices[0].kv.used == 0


def test_a_cached_prefix_is_not_computed_again_but_the_last_token_is():
    trace = [Arrival(0.0, 10, 1, (1, 2, 3)), Arrival(0.1, 10, 1, (1, 2, 4)), Arrival(0.2, 8, 1, (1, 2))]
    found, _ = run(trace, POLICIES["chunked"](), block_tokens=4, hash_tokens=4)
    assert [one.cached for one in found] == [0, 8, 4]
    assert [pytest.approx(one.ttft / MS) for one in found] == [2.0, 1.2, 1.4]


def test_without_caching_nothing_is_reused():
    trace = [Arrival(0.0, 10, 1, (1, 2, 3)), Arrival(0.1, 10, 1, (1, 2, 4))]
    found, _ = run(trace, POLICIES["chunked"](), block_tokens=4, hash_tokens=4, prefix_caching=False)
    assert [one.cached for one in found] == [0, 0]


def test_host_time_is_added_and_dispatch_is_overlapped():
    trace = [Arrival(0.0, 10, 2)]
    found, _ = run(trace, POLICIES["chunked"](), launch_seconds=0.5 * MS, dispatch_seconds=5 * MS)
    # The prompt takes as long as its launch, 5.0 + 0.5; a decode graph 1.1 + 0.5.
    assert times(found) == [(5.5, 7.1)]


def test_decode_without_a_graph_for_its_cores_is_launched_kernel_by_kernel():
    trace = [Arrival(0.0, 10, 2)]
    with_graph, _ = run(trace, Fixed("split", (2, 2)), graphs=(2,), dispatch_seconds=5 * MS)
    without, _ = run(trace, Fixed("split", (2, 2)), graphs=(1,), dispatch_seconds=5 * MS)
    assert times(with_graph) == [(5.0, 6.2)]
    assert times(without) == [(5.0, 10.0)]


def test_what_no_device_can_hold_is_dropped_at_once():
    found, _ = run([Arrival(0.0, 60, 6), Arrival(0.0, 60, 5)], POLICIES["chunked"](), kv_tokens=64)
    assert [one.dropped for one in found] == [True, False]
    assert not found[0].completed and found[1].completed


def test_who_has_not_finished_at_the_end_is_told():
    trace = [Arrival(0.0, 10, 5), Arrival(1.0, 10, 5), Arrival(2.0, 10, 5)]
    found, _ = run(trace, POLICIES["chunked"](), end_seconds=1.001)
    assert [one.completed for one in found] == [True, False, False]
    assert found[1].first_token != found[1].first_token


def test_a_policy_for_two_kinds_of_devices_needs_both():
    with pytest.raises(SimulationError, match=r"devices is \(2, 0\); it must be \(n, m\) with one or more of each"):
        run(TWO, POLICIES["disaggregated"](), devices=(2, 0))


def test_a_link_is_needed_where_caches_travel():
    with pytest.raises(SimulationError, match="set link_bandwidth"):
        run(TWO, POLICIES["disaggregated"](), devices=(1, 1))


@pytest.mark.parametrize(
    ("trace", "words"),
    [
        ([Arrival(1.0, 10, 1), Arrival(0.5, 10, 1)], "request 1 arrives at 0.5 s, after one at 1.0 s"),
        ([Arrival(0.0, 0, 1)], "request 0 has 0 prompt and 1 output tokens"),
        ([Arrival(0.0, 5, -1)], "request 0 has 5 prompt and -1 output tokens"),
        ([Arrival(float("nan"), 5, 1)], "request 0 arrives at nan s"),
    ],
)
def test_a_trace_that_makes_no_sense_is_refused(trace, words):
    with pytest.raises(SimulationError, match=words):
        run(trace, POLICIES["chunked"]())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"token_budget": 4}, "token_budget is 4; every one of max_running"),
        ({"hash_tokens": 24}, "hash_tokens is 24; it must be a multiple of block_tokens"),
        ({"devices": (0, 0)}, "at least one device"),
        ({"kv_tokens": 3}, "kv_tokens is 3; it must be 16 or more"),
        ({"memory_fraction": 1.5}, "memory_fraction is 1.5"),
        ({"launch_seconds": -1.0}, "launch_seconds is -1.0"),
        ({"look_seconds": -1.0}, "look_seconds is -1.0"),
        ({"launched_part": 1.5}, r"launched_part is 1.5; it must be in \[0, 1\]"),
        ({"beside": Phases(0.0, 1.0)}, "beside of prefill is 0.0; it must be 0.01 or more"),
        ({"turns": Phases(1.0, float("nan"))}, "turns of decode is nan"),
        ({"intake_seconds": -1.0}, "intake_seconds is -1.0; it must be 0 or more"),
        ({"turn_seconds": Phases(0.0, -1.0)}, "turn_seconds of decode is -1.0; it must be 0.0 or more"),
        ({"link_bandwidth": 0.0}, "link_bandwidth is 0.0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(changes, words):
    with pytest.raises(SimulationError, match=words):
        EngineConfig(**{"token_budget": 16, "max_running": 8, "kv_tokens": 64, **changes})


def test_a_forecast_of_no_device_needs_a_capacity():
    with pytest.raises(SimulationError, match="set kv_tokens"):
        run(TWO, POLICIES["chunked"](), kv_tokens=None)


@pytest.mark.parametrize("change", [{"split": (2.5, 1)}, {"budget": "many"}, {"order": (-1,)}])
def test_a_plan_that_makes_no_sense_is_shown(change):
    class Wrong(Fixed):
        def plan(self, snapshot, forecaster):
            return dataclasses.replace(super().plan(snapshot, forecaster), **change)

    with pytest.raises(TypeError, match=r"the policy answered Plan\(mode=.*; a plan's cores, budget, steps and order"):
        run(TWO, Wrong())


def test_feedback_reaches_the_policy_once_per_window():
    shown = []

    class Watching(Fixed):
        def plan(self, snapshot, forecaster):
            if snapshot.feedback:
                shown.append(snapshot.feedback)
            return super().plan(snapshot, forecaster)

    trace = [Arrival(float(second), 10, 3) for second in range(4)]
    run(trace, Watching(), feedback_seconds=1.0, targets=Targets(1.0, 0.1))
    assert [round(one.ttft / MS, 3) for one in shown] == [2.0, 2.0, 2.0]
    assert [round(one.itl / MS, 3) for one in shown] == [1.1, 1.1, 1.1]


@pytest.mark.parametrize(
    ("changes", "reuse", "asked"),
    [
        ({"looks": Looks.NOTHING}, True, 1),
        ({"looks": Looks.BATCH}, True, 2),  # decode alone, and prompts alone
        ({"looks": Looks.SPLIT}, True, 3),  # the first prompt found no split in force
        ({"looks": Looks.QUEUE}, True, 3),  # decode alone is no question twice
        ({}, True, 4),  # who says nothing is asked whenever the state is another
        ({"looks": Looks.NOTHING}, False, 4),
    ],
)
def test_a_policy_is_asked_as_often_as_what_it_looks_at_changes(changes, reuse, asked):
    policy = type("Says", (Fixed,), changes)
    trace = [Arrival(0.0, 10, 2), Arrival(1.0, 10, 2)]
    _, simulation = run(trace, policy(), reuse_plans=reuse)
    assert simulation.devices[0].counters.plans == asked


def test_a_policy_is_not_asked_again_what_it_has_answered_however_much_that_is():
    asked = []

    class Asked(Fixed):
        looks = Looks.BATCH

        def plan(self, snapshot, forecaster):
            asked.append((snapshot.running, bool(snapshot.prompts)))
            return super().plan(snapshot, forecaster)

    # Twice: as many as may run begin together and end one by one.
    trace = [Arrival(1e3 * wave, 2, 2 + place) for wave in range(2) for place in range(1500)]
    run(trace, Asked(budget=4096), token_budget=4096, max_running=1500, kv_tokens=1 << 22)
    assert len(asked) == len(set(asked)) > 1400


def test_whole_prompts_wait_for_an_iteration_that_they_fit_into():
    both = [Arrival(0.0, 10, 1), Arrival(0.0, 10, 1)]
    cut, _ = run(both, Fixed("split", (2, 2), budget=16))
    assert times(cut) == [(4.2, 4.2), (6.0, 6.0)]  # 16 tokens, then the other 4
    whole, _ = run(both, Fixed("split", (2, 2), budget=16), whole_prompts=True)
    assert times(whole) == [(3.0, 3.0), (6.0, 6.0)]
    alone, _ = run([Arrival(0.0, 20, 1)], Fixed("split", (2, 2), budget=16), whole_prompts=True)
    assert times(alone) == [(6.0, 6.0)]  # what fits into no iteration is cut: 16, then 4


@pytest.mark.parametrize(
    ("mode", "found"), [("split", [(5.0, 7.4), (5.0, 9.8)]), ("aggregated", [(3.0, 5.2), (3.0, 7.4)])]
)
def test_no_more_decode_at_once_than_there_is_room_for(mode, found):
    both = [Arrival(0.0, 10, 3), Arrival(0.0, 10, 3)]
    split = (2, 2) if mode == "split" else (4, 4)
    requests, _ = run(both, Fixed(mode, split), max_decoding=1)
    assert times(requests) == found


def test_so_many_join_decode_between_two_steps_and_the_others_after_the_next():
    trace = [Arrival(0.0, 10, 10), Arrival(0.1 * MS, 10, 2), Arrival(0.1 * MS, 10, 2)]
    # Steps of 1.2 end at 9.0, when the two whose prompts were complete at 8.0 may join: both, or one and one.
    free, _ = run(trace, Fixed("split", (2, 2)))
    assert times(free)[1:] == [(8.0, 10.6), (8.0, 10.6)]
    bound, _ = run(trace, Fixed("split", (2, 2)), joins_per_step=1)
    assert times(bound)[1:] == [(8.0, 10.4), (8.0, 11.8)]


@pytest.mark.parametrize("name", ["max_decoding", "joins_per_step"])
def test_room_for_nobody_is_refused(name):
    with pytest.raises(SimulationError, match=f"{name} is 0"):
        EngineConfig(**{name: 0})


def test_an_idle_prefill_keeps_its_reserve():
    found = []
    trace = [Arrival(0.0, 10, 5)]
    settings = EngineConfig(targets=Targets(1.0, 1.0), idle_reserve=2, kv_tokens=4096, **FREE)
    forecast = PlainForecast(cores=8)
    watch = Watch(plan=lambda _, plan: found.append(plan.split.decode))
    list(Simulation(trace, forecast, POLICIES["instances"](), settings, watch))
    assert max(found) == 6
