# SPDX-License-Identifier: Apache-2.0
import json

import pytest
from controller_fakes import FakeCores, FakeEngine, World, pair, split, view

from flexnpu.controller import Endpoint, Loop, ScrapeError, Settings
from flexnpu.planner import SnapshotError


@pytest.fixture
def world():
    return World()


@pytest.fixture
def loop(world, qwen):
    return Loop([pair(qwen)], Settings(), world.seams())


def unit(loop):
    return loop.devices[0].units[0]


def turn(loop, world, times=1):
    for _ in range(times):
        (decision,) = loop.step()
        world.sleep(0.05)
    return decision


def busy(world):
    world.prefill.waiting, world.decode.running = 4, 8


def test_a_burst_moves_cores_to_prefill_in_the_turn_that_sees_it(loop, world):
    world.decode.running = 8
    before = turn(loop, world)
    world.prefill.waiting = 4
    after = turn(loop, world)
    assert split(before.after).prefill < split(after.after).prefill >= 18
    assert world.cores.split == split(after.after)
    assert after.services[0].phases == {"prefill": "busy", "decode": "busy"}


def test_a_phase_that_goes_idle_gives_its_cores_in_the_turn_that_sees_it(loop, world):
    busy(world)
    turn(loop, world)
    world.decode.running = 0
    least = unit(loop).minima[1]
    assert split(turn(loop, world).after) == (24 - least, least)
    world.decode.running, world.prefill.waiting = 8, 0
    assert split(turn(loop, world).after) == (12, 12)


def test_guaranteed_minima_hold_for_a_lone_request(loop):
    assert unit(loop).minima[0] == 3
    assert 1 <= unit(loop).minima[1] <= 6
    assert unit(loop).safe == (12, 12)


def test_a_decision_can_be_read_back_with_inputs_alternatives_and_reason(loop, world):
    busy(world)
    turn(loop, world)
    told = json.loads(json.dumps(world.decisions[0].as_dict()))
    (chat,) = told["services"]
    assert chat["inputs"]["decode"]["running"] == 8
    assert chat["inputs"]["prefill"]["waiting_tokens"] == 4 * 2048
    assert chat["forecast"]["decode_seconds"] < 0.05
    assert len(chat["alternatives"]) > 10
    assert told["before"] == {name: {"cores": 12, "share_percent": None} for name in ("prefill", "decode")}
    assert told["applied"] == {
        "done": True,
        "wall_seconds": 0.003,
        "revisions": {"prefill": 1, "decode": 1},
        "error": None,
    }
    assert "ITL target" in told["reason"]


def test_turns_that_change_nothing_are_counted_not_recorded(loop, world):
    busy(world)
    turn(loop, world, times=20)
    assert len(world.decisions) == 1
    loop.close()
    assert world.outcomes[0].turns == 20


def test_the_forecast_is_checked_against_what_came(loop, world):
    busy(world)
    for _ in range(10):
        turn(loop, world)
        world.decode.itl_count += 16
        world.decode.itl_sum += 16 * 0.048
        world.prefill.prompt_tokens += 600
    loop.close()
    outcome = world.outcomes[0]
    assert outcome.decode_observed_seconds == pytest.approx(0.048)
    assert outcome.decode_tokens == 16 * 9
    assert outcome.decode_forecast_seconds < 0.045
    assert outcome.prefill_observed_tokens_per_second == pytest.approx(600 / 0.05)
    assert outcome.prefill_forecast_tokens_per_second > 10_000


def test_a_decode_that_is_slower_than_forecast_gets_more_cores(loop, world):
    busy(world)
    first = split(turn(loop, world).after).decode
    for _ in range(60):
        world.decode.itl_count += 8
        world.decode.itl_sum += 8 * 0.055
        turn(loop, world)
    assert unit(loop).forecaster.decode > 1.2
    assert world.cores.split.decode > first


def test_the_correction_is_bounded(loop, world):
    busy(world)
    for _ in range(200):
        world.decode.itl_count += 8
        world.decode.itl_sum += 8 * 5.0
        turn(loop, world)
    assert unit(loop).forecaster.decode == 1.5


@pytest.mark.parametrize("trouble", [ScrapeError("connection refused"), "vllm:num_requests_running 3\n"])
def test_an_engine_that_is_not_seen_leads_to_the_safe_split_and_says_so(loop, world, trouble):
    busy(world)
    turn(loop, world)
    good = world.decode.page
    world.decode.page = lambda: trouble
    assert turn(loop, world).mode == "planned"  # one lost page is no reason to move
    late = turn(loop, world, times=25)
    assert (late.mode, split(late.after)) == ("safe", (12, 12))
    assert "decode was last observed" in late.reason
    assert world.cores.split == (12, 12)
    world.decode.page = good
    assert turn(loop, world).mode == "planned"
    assert world.cores.split != (12, 12)


def test_engines_that_were_never_seen_leave_the_safe_split(world, qwen):
    world.cores.views = [view(20, 4)]
    world.prefill.broken = ScrapeError("connection refused")
    (decision,) = Loop([pair(qwen)], Settings(), world.seams()).step()
    assert (decision.mode, world.cores.split) == ("safe", (12, 12))
    assert "prefill has not been observed (connection refused)" in decision.reason


def test_a_refused_move_is_recorded_once_and_tried_again(loop, world):
    busy(world)
    world.cores.refusal = "409 conflict"
    turn(loop, world, times=5)
    assert [decision.applied.error for decision in world.decisions] == ["409 conflict"]
    world.cores.refusal = None
    turn(loop, world, times=11)  # it asks the daemon twice a second
    assert world.cores.split.prefill > 12


def test_a_daemon_that_is_away_is_recorded_and_found_again(loop, world):
    world.cores.away = "no daemon at /run/flexnpu"
    world.sleep(1.1)
    busy(world)
    turn(loop, world, times=3)
    assert world.decisions[-1].applied.error == "no daemon at /run/flexnpu"
    world.cores.away = None
    turn(loop, world, times=11)
    assert world.cores.split.prefill > 12


def test_all_intervals_are_device_time(world, qwen):
    world.cores.views = [view(scale=10.0)]
    loop = Loop([pair(qwen)], Settings(), world.seams())
    turns = iter([False, False, True])
    busy(world)
    loop.run(lambda: next(turns))
    loop.close()
    assert world.slept == [0.5, 0.5]
    assert world.outcomes[0].held_seconds == pytest.approx(0.1)


def test_gaps_between_tokens_are_read_in_device_time(world, qwen):
    world.cores.views = [view(scale=10.0)]
    loop = Loop([pair(qwen)], Settings(), world.seams())
    busy(world)
    for _ in range(3):
        loop.step()
        world.sleep(0.5)
        world.decode.itl_count += 8
        world.decode.itl_sum += 8 * 0.4
    loop.close()
    assert world.outcomes[0].decode_observed_seconds == pytest.approx(0.04)


def test_a_scale_that_changes_while_it_runs_is_followed(loop, world):
    world.cores.views = [view(scale=4.0)]
    world.sleep(1.1)
    assert turn(loop, world).scale == 4.0


def test_cores_that_others_hold_are_left_alone(world, qwen):
    world.cores.views = [view(8, 8, cores=16)]
    loop = Loop([pair(qwen)], Settings(), world.seams())
    busy(world)
    for running in (8, 0, 200):
        world.decode.running = running
        assert sum(split(turn(loop, world).after)) == 16


def test_the_end_leaves_the_safe_split(loop, world):
    busy(world)
    turns = iter([False, True])
    loop.run(lambda: next(turns))
    loop.close()
    assert world.cores.split == (12, 12)
    assert world.decisions[-1].reason == "safe cores 12/12: the controller ends"


def test_the_end_is_quiet_when_everything_is_gone(loop, world):
    busy(world)
    turn(loop, world)
    world.cores.away = "no daemon"
    loop.close()
    assert len(world.decisions) == 1


def test_plain_vllm_without_lengths_is_planned_for_with_assumed_ones(loop, world):
    world.prefill = FakeEngine(waiting=4, lengths=None, prompt_tokens=30_000, prompts=10)
    world.decode = FakeEngine(running=8, lengths=None)
    decision = turn(loop, world)
    assert decision.mode == "planned"
    inputs = decision.services[0].inputs
    assert inputs["prefill_tokens"] == 4 * 3000
    assert inputs["decode"]["lengths"] == "assumed"


def test_a_batch_that_wavers_moves_no_cores(loop, world):
    busy(world)
    turn(loop, world, times=3)
    moves = len(world.cores.moves)
    for count in [9, 8, 10, 8, 9, 8] * 10:
        world.decode.running = count
        turn(loop, world)
    assert len(world.cores.moves) <= moves + 1


@pytest.mark.parametrize("safe", [(20, 20), (1, 23), (23, 1)])
def test_safe_cores_that_cannot_be_had_are_refused_at_the_start(world, qwen, safe):
    with pytest.raises(
        SnapshotError, match=rf"safe cores of service 'chat' are {safe[0]}/{safe[1]}; they must be at most"
    ):
        Loop([pair(qwen, safe=safe)], Settings(), world.seams())


def test_minima_over_the_device_are_refused_at_the_start(qwen):
    with pytest.raises(SnapshotError):
        Loop([pair(qwen, minima=(20, 20), safe=(12, 12))], Settings(), World(cores=FakeCores()).seams())


def test_an_idle_engine_is_noticed_when_it_is_idle_however_long_a_turn_takes(world, qwen):
    ends = Endpoint("prefill"), Endpoint("decode")
    world.begin("prefill", tokens=10, context=10, ago=60)
    world.begin("decode", requests=8, tokens=8, context=16_000)
    loop = Loop([pair(qwen, *ends)], Settings(period=10.0), world.seams())
    step = loop.step

    def slow():
        decisions = step()
        world.wall += 0.014
        return decisions

    loop.step = slow
    turns = iter([False, False, True])
    loop.run(lambda: next(turns))
    assert [decision.services[0].phases["decode"] for decision in world.decisions] == ["busy", "idle"]
    assert world.decisions[1].at < 0.2


def test_a_device_whose_cores_others_have_taken_is_left_as_it_is_and_planned_for_when_they_are_back(loop, world):
    busy(world)
    turn(loop, world)
    world.cores.views = [view(3, 2, cores=5)]
    decision = turn(loop, world, times=12)
    assert decision.mode == "safe"
    assert "minima are" in decision.reason
    assert not decision.moved
    world.cores.views = [view(3, 2)]
    assert turn(loop, world, times=12).mode == "planned"


def test_what_goes_wrong_while_planning_moves_nothing_and_is_said(loop, world, monkeypatch):
    busy(world)
    turn(loop, world)
    with monkeypatch.context() as patched:
        patched.setattr(unit(loop), "plan", lambda *_: 1 / 0)
        decision = turn(loop, world)
        assert (decision.mode, decision.moved) == ("safe", False)
        assert "ZeroDivisionError" in decision.reason
    assert turn(loop, world).mode == "planned"


def test_absurd_counts_are_planned_for_as_very_many(loop, world):
    world.prefill.waiting, world.decode.running = 2_000_000_000, 2_000_000_000
    assert turn(loop, world).mode == "planned"


def test_default_safe_cores_are_no_less_than_the_minima(world, qwen):
    assert unit(Loop([pair(qwen, minima=(14, 4))], Settings(), world.seams())).safe == (14, 10)


def test_a_cause_that_becomes_another_is_recorded(loop, world):
    world.prefill.broken = ScrapeError("connection refused")
    turn(loop, world, times=30)
    world.prefill.broken = None
    world.decode.broken = ScrapeError("timed out")
    turn(loop, world, times=30)
    reasons = [decision.reason for decision in world.decisions if decision.mode == "safe"]
    assert len(reasons) <= 3
    assert "connection refused" in reasons[0]
    assert "timed out" in reasons[-1]
