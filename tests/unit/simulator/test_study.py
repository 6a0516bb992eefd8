# SPDX-License-Identifier: Apache-2.0
import json

import pytest

from flexnpu.forecast import Forecaster
from flexnpu.hardware import load_soc
from flexnpu.llm import ModelShape
from flexnpu.llm.presets import find_config
from flexnpu.simulator.arrival import Arrival
from flexnpu.simulator.capacity import STEPS, Answer, Point
from flexnpu.simulator.slo import Slo
from flexnpu.simulator.study import __main__ as bench
from flexnpu.simulator.study import capacities, duetserve, flexnpu
from flexnpu.simulator.study.capacities import (
    OURS,
    Cell,
    Load,
    Place,
    as_json,
    place_cells,
    possible_requests,
    tally,
    why,
)
from flexnpu.simulator.study.kept import Kept, digest_of
from flexnpu.simulator.study.pages import page
from flexnpu.simulator.traces import make_trace

SLO = Slo(1.0, 0.1)
STEADY = "rate=1,requests=60,prompt=2000,output=20,seed=3"
LATER = "rate=4,requests=60,prompt=300,output=40,seed=4"


@pytest.fixture(scope="module")
def place():
    forecaster = Forecaster(ModelShape.from_config(find_config("Qwen2.5-7B")[1]), load_soc("Ascend910B2"))
    return Place("Qwen2.5-7B", "Ascend910B2", SLO, forecaster, "uncalibrated")


def synthetic(*loads):
    return make_trace(list(loads), ["synthetic"])


@pytest.fixture(scope="module")
def cells(place):
    loads = [
        Load("steady", synthetic(STEADY)),
        Load("later", synthetic(LATER)),
        Load("change", synthetic(STEADY, LATER), ("steady", "later")),
    ]
    return list(place_cells(place, loads, ["flexnpu", "chunked", "static", "disaggregated"]))


def cell(**rates):
    made = Cell("load", Place("m", "d", SLO, None, "f"), kept=100, left_out=0)
    for policy, rate in rates.items():
        step = None if rate is None else 0
        made.rates[policy] = (Answer(0.9, rate, 1.0, step), Answer(0.99, rate, 1.0, step))
        missed = (("ttft", 10), ("itl", 20), ("both", 10), ("dropped", 0), ("unfinished", 0))
        made.lost[policy] = (Point(0, 1.0, 0.6, 1.0, whole=True, missed=missed),) * 2
    return made


def test_the_best_policy_has_the_highest_rate_and_nobody_higher(cells):
    for each in cells:
        for which in (0, 1):
            best = each.best(which)
            assert all(each.rate(policy, which) <= best for policy in each.rates)
            assert all(each.rate(policy, which) * 1.05 > best for policy in each.winners(which))


def test_a_device_for_each_phase_is_counted_as_two(place):
    whole, apart = (
        next(iter(place_cells(place, [Load("l", synthetic(STEADY))], [policy]))).rates[policy][0]
        for policy in ("chunked", "disaggregated")
    )
    assert 0 < apart.rate < 2 * whole.rate
    assert apart.missed_at == pytest.approx(apart.rate * 2 ** (1 / STEPS))


def test_parts_of_a_change_come_at_the_rates_that_can_be_served_of_each(cells):
    steady, later, change = cells
    assert change.kept == steady.kept + later.kept
    assert min(steady.rate("chunked", 0), later.rate("chunked", 0)) > 0
    assert change.rates["chunked"][0].step == pytest.approx(0, abs=STEPS)  # about those very rates


def test_requests_that_cannot_be_met_alone_are_left_out_and_counted(place):
    prompts = [500, 60_000, 500, 60_000, *[500] * 30]
    arrivals = [Arrival(float(second), prompt, 5) for second, prompt in enumerate(prompts)]
    kept = possible_requests(place, arrivals)
    assert [arrival.prompt for arrival in kept] == [500] * 32
    assert [arrival.seconds for arrival in kept][:3] == [0.0, 2.0, 4.0]


def test_a_load_of_which_almost_nothing_can_be_met_has_no_winner(place):
    found = next(
        iter(place_cells(place, [Load("l", synthetic("rate=1,requests=30,prompt=99999,output=5"))], ["chunked"]))
    )
    assert (found.kept, found.left_out) == (0, 30)
    assert found.winners(0) == []
    assert why(found, 0) == "no policy meets any rate"
    json.dumps(as_json(found), allow_nan=False)


def test_rates_a_grid_step_apart_are_a_tie():
    assert cell(flexnpu=1.0, chunked=1.02).winners(0) == ["flexnpu", "chunked"]
    assert cell(flexnpu=1.0, chunked=1.1).winners(0) == ["chunked"]


def test_the_reason_says_who_leads_by_how_much_and_what_the_next_one_misses():
    text = why(cell(flexnpu=1.2, chunked=1.0, static=None), 0)
    assert text.startswith("flexnpu, +20% over chunked; at its rate chunked misses 40% (of them 50% TTFT and 75% ITL)")


def test_the_tally_names_every_comparison_that_ours_does_not_win():
    found = tally([cell(flexnpu=1.0, chunked=0.5), cell(flexnpu=1.0, chunked=2.0), cell(flexnpu=None, chunked=None)])
    assert (found["contests"], found["ours_best"], found["nobody"]) == (4, 2, 2)
    assert [each["attainment"] for each in found["lost"]] == [0.9, 0.99]
    assert OURS == "flexnpu"


def test_the_page_has_a_table_for_each_place_and_marks_the_best(cells):
    text = page(cells, [], "Few requests.", "`the command`")
    assert "modelled, not measured" in text
    assert "- Few requests." in text
    assert text.count("### Qwen2.5-7B on Ascend910B2, TTFT ≤ 1 s, mean ITL ≤ 100 ms") == 1
    assert "| policy | steady | later | change |" in text
    assert "**" in text


def test_published_figures_of_flexnpu_leave_out_most_of_the_wait():
    before = flexnpu.in_system(488.1, 0.02035, 1024, 195.3)
    after = flexnpu.in_system(0.33, 0.02053, 1024, 194.3)
    assert before.requests == pytest.approx(195.3 / 1024 * (488.1 + 1023 * 0.02035))
    assert (round(before.requests), round(after.requests)) == (97, 4)


def test_co_location_sets_time_to_first_token_beside_end_to_end(place):
    found = flexnpu.co_location(place, 12)
    assert len(found.rows) == 4 * 4
    assert all(len(row) == len(found.head) for row in found.rows)
    few, many = found.figures["rows"][0], found.figures["rows"][2]
    assert many["ttft"] < few["ttft"]
    assert len(found.verdict) == 2 + 4


def test_disaggregation_is_set_beside_as_many_alike_devices(place):
    found = flexnpu.disaggregation(place, 8, ((1, 1), (1, 2)))
    assert [row[0] for row in found.rows[:2]] == ["1024/1024, 1:1, disaggregated", "1024/1024, 1:1, weights"]
    assert len(found.rows) == 2 * 2 * 2
    assert "depends on how badly the fixed ratio fits" in found.verdict[0]


def test_duetserve_is_compared_at_an_equal_time_per_token(place):
    arrivals = list(synthetic("rate=1,requests=40,prompt=4000,output=60,seed=2"))
    found = duetserve.finding(place, arrivals)
    assert len(found.rows) == len(duetserve.BUDGETS) + len(duetserve.TARGETS)
    assert found.figures["throughput_ratio"] > 0
    assert any("no longer a time per token" in line or "as short a time" in line for line in found.verdict)


@pytest.fixture
def traces(tmp_path):
    lines = ["TIMESTAMP,ContextTokens,GeneratedTokens"]
    lines += [f"2023-11-16 18:{n // 60:02}:{n % 60:02},{500 + n},{5 + n % 7}" for n in range(60)]
    (tmp_path / "azure_code_2023.csv").write_text("\n".join(lines))
    rows = [
        {"timestamp": n * 1000, "input_length": 1000 + n, "output_length": 20, "hash_ids": [n, n + 1]}
        for n in range(60)
    ]
    (tmp_path / "mooncake_conversation_trace.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    return tmp_path


@pytest.fixture
def small(monkeypatch):
    """A bench of seconds."""
    monkeypatch.setattr(bench, "DEVICES", ("H100",))
    monkeypatch.setattr(bench, "POLICIES", ("flexnpu", "chunked"))
    monkeypatch.setattr(bench, "SLOS", (Slo(1.0, 0.05), Slo(2.0, 0.1)))
    monkeypatch.setattr(bench, "QUICK", bench.Size(30, 20, 8, 4))
    monkeypatch.setattr(bench, "MODELS", ("Qwen3-8B",))


def test_the_bench_writes_the_same_bytes_twice(traces, small, capsys):
    kept = []
    for name in "ab":
        files = [traces / f"{name}.json", traces / f"{name}.md"]
        options = ["--traces", traces, "--json", files[0], "--markdown", files[1]]
        assert bench.main(["--quick", *map(str, options)]) == 0
        kept.append([file.read_bytes() for file in files])
    assert kept[0] == kept[1]
    found = json.loads(kept[0][0])
    assert len(found["cells"]) == 2 * 3
    assert {each["load"] for each in found["cells"]} == {"azure code", "mooncake", "azure, then mooncake"}
    assert str(traces) not in files[1].read_text()
    assert "modelled, not measured" in capsys.readouterr().out


def test_a_bench_that_was_ended_goes_on_where_it_was(traces, small, monkeypatch):
    options = ["--quick", "--traces", str(traces), "--keep", str(traces / "kept"), "--json", str(traces / "kept.json")]

    def ended(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(flexnpu, "co_location", ended)
        assert bench.main(options) == 130
    assert not (traces / "kept.json").exists()
    text = (traces / "kept").read_text()
    (traces / "kept").write_text(text + text.splitlines()[1][:-20])  # cut off while it was written
    with monkeypatch.context() as patch:
        patch.setattr(capacities, "_cell", ended)  # nothing is worked out again
        patch.setattr(duetserve, "finding", ended)
        assert bench.main(options) == 0
    assert bench.main(["--quick", "--traces", str(traces), "--json", str(traces / "anew.json")]) == 0
    assert (traces / "kept.json").read_bytes() == (traces / "anew.json").read_bytes()


def test_what_was_kept_of_another_trace_is_not_taken(tmp_path):
    (tmp_path / "trace").write_text("1")
    before = Kept(tmp_path / "kept", digest_of([tmp_path / "trace"]))
    assert before.get("answer", lambda: 1) == before.get("answer", lambda: 2) == 1
    (tmp_path / "trace").write_text("2")
    assert Kept(tmp_path / "kept", digest_of([tmp_path / "trace"])).get("answer", lambda: 2) == 2


def test_the_bench_says_what_it_lacks(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("FLEXNPU_TRACES", raising=False)
    assert bench.main([]) == 2
    assert "give --traces DIR or set FLEXNPU_TRACES" in capsys.readouterr().err
    assert bench.main(["--traces", str(tmp_path)]) == 2
    assert "has no azure_code_2023.csv" in capsys.readouterr().err
