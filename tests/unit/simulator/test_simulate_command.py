# SPDX-License-Identifier: Apache-2.0
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import foreground
import pytest
from rich.console import Console
from typer.testing import CliRunner

from flexnpu.cli.main import app
from flexnpu.errors import FlexNpuError
from flexnpu.llm import Parallel
from flexnpu.planner import POLICIES
from flexnpu.simulator.command import Question, parse_pool, run_capacity, run_simulate
from flexnpu.simulator.policies import parse_policies

LOAD = "rate=2,requests=60,prompt=1000,output=20,seed=3"


def question(**changes):
    asked = {
        "traces": [LOAD], "formats": ["synthetic"], "model": "Qwen2.5-7B", "device": "Ascend910B2",
        "policy": "chunked,static", "slo": "ttft=1s,itl=100ms",
    }  # fmt: skip
    return Question(**{**asked, **changes})


@pytest.fixture
def console(tmp_path):
    with (tmp_path.parent / "shown").open("w") as file:
        yield Console(file=file, width=150)


def test_the_same_question_gives_the_same_bytes(tmp_path, console):
    for name in "ab":
        run_simulate(
            question(), json_file=tmp_path / f"{name}.json", report_file=tmp_path / f"{name}.html",
            requests_file=tmp_path / f"{name}.csv", console=console,
        )  # fmt: skip
    for kind in ("json", "html", "csv"):
        assert (tmp_path / f"a.{kind}").read_bytes() == (tmp_path / f"b.{kind}").read_bytes()


def test_the_json_has_every_policy_and_no_time_or_place_of_the_run(tmp_path, console):
    file = tmp_path / "out.json"
    found = run_simulate(question(), json_file=file, console=console)
    kept = json.loads(file.read_text())
    assert [run["policy"] for run in kept["policies"]] == ["chunked", "static"]
    assert kept["policies"][0]["requests"]["total"] == 60
    assert kept["schema"] == "flexnpu.simulate/1"
    assert kept["note"].startswith("modelled, not measured")
    assert kept["trace"]["parts"][0]["source"] == LOAD
    assert kept["engine"]["kv_tokens"] > 100_000
    assert found["slo"] == kept["slo"]
    assert str(tmp_path) not in file.read_text()


def test_a_device_of_the_pool_has_the_cache_that_its_part_of_the_model_leaves(console):
    def tokens(**changes):
        changes = {"model": "DeepSeek-R1", "device": "Ascend910_9391", "policy": "chunked", **changes}
        return run_simulate(question(**changes), console=console)["engine"]["kv_tokens"]

    kept = 0.9 * 64 * 2**30
    # W8A8 over 32 devices: 8 experts of 58 layers each, and the rest, whole.
    rest = 671e9 - 58 * 256 * 3 * 7168 * 2048 + 2 * 129280 * 7168
    weights = rest + 58 * 8 * 3 * 7168 * 2048
    told = tokens(parallel=Parallel(1, 32), weight_dtype="int8")
    assert told == pytest.approx((kept - weights) / 70_272, rel=0.01)
    halved = tokens(parallel=Parallel(1, 32), weight_dtype="int8", kv_dtype="int8")
    assert halved == pytest.approx(2 * told, rel=0.001)
    with pytest.raises(FlexNpuError, match=r"64 GiB and the weights take 626\.8"):
        tokens(weight_dtype="int8")


def test_every_request_is_written_as_it_ends(tmp_path, console):
    file = tmp_path / "requests.csv"
    run_simulate(question(), requests_file=file, console=console)
    head, *rows = file.read_text().splitlines()
    assert head.startswith("policy,arrival,first_token,finish,prompt,output")
    assert len(rows) == 120
    assert sum(row.startswith("static,") for row in rows) == 60


def test_a_report_sweeps_half_to_twice_the_rate(tmp_path, console):
    found = run_simulate(question(policy="chunked"), report_file=tmp_path / "out.html", console=console)
    rates = [point["rate"] for point in found["curves"]["policies"][0]["points"]]
    assert max(rates) == pytest.approx(4 * min(rates))
    assert "Goodput against rate" in (tmp_path / "out.html").read_text()


def test_a_load_that_comes_at_once_has_no_rates_to_sweep(tmp_path, console):
    asked = question(traces=["requests=30,prompt=500,output=5"], policy="chunked")
    assert run_simulate(asked, report_file=tmp_path / "out.html", console=console)["curves"] == {}
    with pytest.raises(FlexNpuError, match="no rate"):
        run_capacity(asked, console=console)


def test_capacity_names_what_was_met_beside_what_was_missed(tmp_path, console):
    file = tmp_path / "out.json"
    run_capacity(question(policy="chunked"), json_file=file, report_file=tmp_path / "out.html", console=console)
    kept = json.loads(file.read_text())
    at = kept["capacity"]["policies"][0]["at"]
    assert set(at) == {"0.9", "0.99"}
    assert at["0.9"]["missed_at"] == pytest.approx(at["0.9"]["rate"] * 2 ** (1 / 32))
    assert kept["policies"][0]["attainment"] >= 0.9  # the comparison is made at that rate
    assert "Capacity" in (tmp_path / "out.html").read_text()


def test_capacity_does_not_depend_on_the_order_of_policies_and_ranks_nobody_beyond_its_grid(tmp_path, console):
    found, load = {}, "rate=0.5,requests=30,prompt=4000,output=20,seed=3"
    for order in ("chunked,static,duetserve", "duetserve,static,chunked"):
        for slo in ("ttft=3s,itl=100ms", "ttft=10000s,itl=1000s"):
            report = tmp_path / "out.html"
            asked = question(policy=order, slo=slo, traces=[load])
            kept = run_capacity(asked, report_file=report, console=console)["capacity"]["policies"]
            found[order, slo] = sorted(((each["policy"], each["at"]) for each in kept), key=lambda each: each[0])
    (one, free), (other, free_too) = list(found.values())[:2], list(found.values())[2:]
    assert one == other
    assert free == free_too
    ats = [at for _, each in free for at in each.values()]
    assert {(at["missed_at"], at["no_limit_up_to"]) for at in ats} == {(None, 4096)}
    assert len({at["rate"] for at in ats}) == 1
    assert {at["no_limit_up_to"] for _, each in one for at in each.values()} == {None}
    assert (
        "At 90 %, no limit found up to 4096 times the trace's rate for duetserve, static, chunked."
        in report.read_text()
    )
    console.file.flush()
    assert "no limit found up to 4096 times" in (tmp_path.parent / "shown").read_text()


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"policy": "chunked,best"}, "'best' is not known; give one of flexnpu, chunked"),
        ({"policy": "chunked,chunked"}, "names a policy twice"),
        ({"policy": "static:decode=much"}, "'decode=much' is no setting of static; its settings are decode, budget"),
        ({"policy": "static:speed=1"}, "its settings are"),
        ({"policy": "chunked:budget=0"}, "'chunked:budget=0': chunked budget .* is 0; it must be 1 to 16777216"),
        ({"policy": "static:budget=-5"}, "static budget .* is -5"),
        ({"policy": "weights:budget=0"}, "weights budget .* is 0"),
        ({"policy": "semi-pd:budget=0"}, "semi-pd budget .* is 0"),
        ({"policy": "pdmux:budget=0"}, "pdmux budget .* is 0"),
        ({"policy": "pdmux:table=3"}, "'table=3' is no setting of pdmux"),
        ({"policy": "duetserve:budget=2.5"}, "duetserve budget .* is 2.5; it must be a whole number"),
        ({"policy": "duetserve:step=0"}, "duetserve step .* is 0"),
        ({"policy": "disaggregated:budget=0", "pool": "1:1"}, "disaggregated budget .* is 0"),
        ({"policy": "flexnpu:floor=0"}, "flexnpu floor .* is 0"),
        ({"policy": "flexnpu:look=0.5"}, "flexnpu look .* is 0.5"),
        ({"policy": "flexnpu:breath=0"}, "flexnpu breath .* is 0"),
        ({"policy": "disaggregated"}, "the pool is 1:0; give --pool 1:1"),
        ({"model": "GPT-5"}, "is no file, and no model that ships.*Qwen3-8B"),
        ({"device": "TPU"}, "'TPU' is not known"),
        ({"slo": "ttft=1us,itl=1ms"}, "ttft=1 µs is under the .* that one token takes alone on all of Ascend910B2"),
        ({"slo": "ttft=1s,itl=1ms"}, "itl=1 ms is under"),
        ({"slo": "ttft=1s"}, "names one target of two"),
        ({"itl_by": "median"}, "give one of mean, p99, max"),
        ({"pool": "0"}, "--pool '0' is no pool; give N or N:M"),
        ({"pool": "1:x"}, "--pool '1:x'"),
        ({"traces": ["nowhere.csv"], "formats": ["csv"]}, "nowhere.csv cannot be read"),
        ({"token_budget": 10}, "token_budget is 10"),
    ],
)
def test_what_cannot_be_meant_is_one_error_and_leaves_no_file(tmp_path, console, changes, named):
    with pytest.raises(FlexNpuError, match=named) as caught:
        run_simulate(question(**changes), json_file=tmp_path / "out.json", console=console)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_broken_line_ends_it_before_anything_is_simulated(tmp_path, console):
    trace = tmp_path / "trace.csv"
    trace.write_text("arrival_s,prompt_tokens,output_tokens\n0,10,10\n1,10\n")
    with pytest.raises(FlexNpuError, match=r"trace\.csv line 3"):
        run_simulate(question(traces=[str(trace)], formats=["csv"]), json_file=tmp_path / "out.json", console=console)
    assert [path.name for path in tmp_path.iterdir()] == ["trace.csv"]


def test_names_that_are_no_unicode_are_written_as_backslashes(tmp_path, console, qwen_config):
    odd = os.fsdecode(b"trace-\xff.csv")
    trace, config = tmp_path / odd, tmp_path / os.fsdecode(b"\xfe")
    trace.write_text("arrival_s,prompt_tokens,output_tokens\n0,10,10\n1,10,10\n")
    config.mkdir()
    (config / "config.json").write_bytes(qwen_config.read_bytes())
    files = {"json_file": tmp_path / "a.json", "report_file": tmp_path / os.fsdecode(b"\xff.html")}
    run_simulate(question(traces=[str(trace)], formats=["csv"], model=str(config)), console=console, **files)
    kept = json.loads(files["json_file"].read_bytes())
    assert kept["trace"]["parts"][0]["source"] == f"{tmp_path}/trace-\\xff.csv"
    assert "trace-\\xff.csv" in files["report_file"].read_text(encoding="utf-8")


def test_policies_take_settings():
    named = parse_policies("static:decode=0.25,chunked:budget=2048")
    assert [each.policy.name for each in named] == ["static", "chunked"]
    assert (named[0].policy.decode, named[1].policy.budget) == (0.25, 2048)
    assert named[0].name == "static:decode=0.25"
    assert repr(parse_policies("duetserve:budget=2e3")[0].policy.budget) == "2000"


def test_pools_are_alike_devices_or_prefill_and_decode():
    assert (parse_pool("2"), parse_pool("1:3")) == ((2, 0), (1, 3))


def test_the_command_line_has_both_forms(tmp_path):
    common = ["--trace", LOAD, "--format", "synthetic", "--model", "Qwen2.5-7B", "--policy", "chunked"]
    result = CliRunner().invoke(app, ["simulate", *common, "--json", str(tmp_path / "a.json")])
    assert result.exit_code == 0, result.output
    assert "modelled, not measured" in result.output
    result = CliRunner().invoke(app, ["simulate", "capacity", *common, "--attainment", "0.9"])
    assert result.exit_code == 0, result.output
    assert "at 90 %" in result.output


def test_options_before_capacity_are_not_lost_without_a_word():
    result = CliRunner().invoke(app, ["simulate", "--trace", LOAD, "capacity", "--policy", "chunked"])
    assert "options stand before capacity" in str(result.exception)


def test_all_runs_what_the_pool_can_and_names_what_it_left_out(tmp_path, console):
    found = run_simulate(question(policy="all"), console=console)
    assert found["left_out"] == ["disaggregated"]
    assert {run["policy"] for run in found["policies"]} == {*POLICIES} - {"disaggregated"}
    console.file.flush()
    lines = (tmp_path.parent / "shown").read_text().splitlines()
    assert [line for line in lines if line.startswith("left out: disaggregated, ")]
    assert run_simulate(question(policy="all", pool="1:1"), console=console)["left_out"] == []


def test_a_policy_that_is_named_and_does_not_fit_is_refused(console):
    with pytest.raises(FlexNpuError, match="disaggregated runs prefill and decode on separate devices"):
        run_simulate(question(policy="chunked,disaggregated"), console=console)


@pytest.mark.parametrize("pool", ["1:2", "2:1", "1:7"])
def test_the_layout_is_the_pool_that_was_simulated(console, pool):
    prefill, decode = pool.split(":")
    set_too = f"disaggregated:prefill={prefill}:decode={decode}"
    found = run_simulate(question(policy=f"disaggregated,chunked,{set_too}", pool=pool), console=console)["policies"]
    assert [run["layout"] for run in found] == [pool, "one device", pool]
    assert found[0]["latency_s"] == found[2]["latency_s"]


@pytest.mark.parametrize("settings", ["prefill=3:decode=5", "decode=2", "prefill=1.5"])
def test_devices_that_the_pool_has_not_are_refused(console, settings):
    with pytest.raises(FlexNpuError, match=r"sets (prefill|decode) to .* devices; the pool 1:1 has 1; leave"):
        run_simulate(question(policy=f"disaggregated:{settings}", pool="1:1"), console=console)


def test_kept_plans_say_what_they_beat_where_a_policy_weighs(tmp_path, console):
    asked = question(policy="all", pool="1:1", traces=["rate=6,requests=60,prompt=3000,output=100,seed=1"])
    found = run_simulate(asked, report_file=tmp_path / "out.html", json_file=tmp_path / "out.json", console=console)
    plans = {run["policy"]: run["plans"] for run in found["policies"]}
    weighing = {name for name, kept in plans.items() if any(plan["alternatives"] for plan in kept)}
    assert weighing == {"flexnpu", "duetserve", "instances", "co-located"}
    text = " ".join((Path(__file__).parents[3] / "docs/planner.md").read_text().split())
    fixed = [f"`{name}`" for name in plans if name not in weighing]
    assert f"{', '.join(fixed[:-1])} and {fixed[-1]} follow a fixed rule" in text
    for plan in (plan for kept in plans.values() for plan in kept):
        rates = [one["tokens_per_second"] for one in plan["alternatives"]]
        assert rates == sorted(rates, reverse=True)
        assert len(rates) == min(plan["alternatives_weighed"], 8)
        assert plan["chosen"]["split"] == plan["split"]
        assert all(one["verdict"] for one in (plan["chosen"], *plan["alternatives"]))
    assert "others the first: " in (tmp_path / "out.html").read_text()


def test_a_missing_option_is_named():
    result = CliRunner().invoke(app, ["simulate", "--format", "csv"])
    assert "--trace is missing" in str(result.exception)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_run_that_is_ended_leaves_nothing_half_written(tmp_path, number):
    endless = "rate=5,requests=1000000,prompt=1000,output=200"
    options = ["--trace", endless, "--format", "synthetic", "--model", "Qwen2.5-7B", "--policy", "chunked"]
    files = ["--json", str(tmp_path / "a.json"), "--requests", str(tmp_path / "a.csv")]
    program = [sys.executable, "-m", "flexnpu.cli.main", "simulate", *options, *files]
    with foreground.start(program, stderr=subprocess.PIPE) as running:
        while not any(tmp_path.glob(".a.csv.*")):
            assert running.poll() is None, running.stderr.read()
            time.sleep(0.01)
        running.send_signal(number)
        assert running.wait(60) == 130
    assert list(tmp_path.iterdir()) == []


def test_a_table_that_finds_no_room_is_one_error_and_leaves_no_file(tmp_path):
    options = ["--trace", LOAD, "--format", "synthetic", "--model", "Qwen2.5-7B", "--policy", "chunked"]
    program = [sys.executable, "-m", "flexnpu.cli.main", "simulate", *options, "--json", str(tmp_path / "a.json")]
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(program, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    message = "the output cannot be written (No space left on device); write it where there is room"
    assert (ended.returncode, ended.stderr) == (1, f"flexnpu: error: {message}\n")
    assert list(tmp_path.iterdir()) == []


def test_every_field_of_the_json_is_in_the_docs(tmp_path, console):
    text = (Path(__file__).parents[3] / "docs/simulate.md").read_text()
    found = run_capacity(question(policy="chunked"), console=console)
    run = found["policies"][0]
    fields = {*found, *run, *run["requests"], *run["requests"]["missed"], *run["throughput"], *run["latency_s"]}
    fields |= {*found["curves"]["policies"][0]["points"][0], *found["capacity"]["policies"][0]}
    missing = {
        name
        for name in fields - {"schema", "note", "version", "policies"}
        if f"`{name}`" not in text.replace("`.", "`")
    }
    assert missing == set()
