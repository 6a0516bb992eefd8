# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from flexnpu.bench import react
from flexnpu.bench.result import Row
from flexnpu.bench.stand import BenchError

ENGINE = {"began_ns": 1_000_000, "cores": [[900_000, 12], [5_000_000, 18]]}


def decision(prefill: str = "busy", seen: float = 0.001, **more: Any) -> dict[str, Any]:
    return {
        "kind": "decision",
        "mode": "planned",
        "moved": True,
        "services": [{"phases": {"prefill": prefill, "decode": "busy"}}],
        "applied": {"done": True, "wall_seconds": 0.003},
        "planned_in_wall_seconds": 0.0005,
        "seen_after_wall_seconds": seen,
        **more,
    }


def named(rows: list[Row]) -> dict[str, Row]:
    return {row.name: row for row in rows}


def test_a_reaction_is_what_was_seen_planned_and_applied_one_after_the_other():
    found = react.reaction([decision()], ENGINE)
    assert found is not None
    assert (found.seen, found.planned, found.applied) == pytest.approx((1.0, 0.5, 3.0))
    assert found.together == pytest.approx(4.5)
    assert found.told == pytest.approx(4.0)


@pytest.mark.parametrize(
    "other",
    [
        {"kind": "outcome"},
        decision(moved=False),
        decision(mode="safe"),
        decision("idle"),
        decision(applied={"done": False, "wall_seconds": 0.5}),
        decision(applied=None),
    ],
)
def test_only_a_plan_that_moved_cores_for_a_busy_prefill_engine_counts_and_of_those_the_first(other: dict[str, Any]):
    assert react.reaction([other], ENGINE) is None
    found = react.reaction([other, decision(seen=0.002), decision(seen=0.009)], ENGINE)
    assert found is not None
    assert found.seen == pytest.approx(2.0)


def test_an_engine_that_was_told_nothing_new_has_no_figure():
    found = react.reaction([decision()], {"began_ns": 1, "cores": [[0, 12]]})
    assert found is not None
    assert found.told is None


def test_the_target_is_the_sums_at_the_ninetieth_percentile():
    reactions = [react.Reaction(1.0, 0.5, 3.0, 2.0)] * 9 + [react.Reaction(9.0, 0.5, 3.0)]
    rows = named(react.rows(reactions, 10))
    assert rows["prompts that moved cores"].passed is True
    assert (rows["together, p90"].value, rows["together, p90"].target) == (4.5, 5.0)
    assert rows["together, p99"].value == 12.5
    assert rows["seen after, p99"].value == 9.0
    assert rows["together, p90"].passed is True
    assert {row.target for name, row in rows.items() if "p90" not in name and "prompts" not in name} == {None}
    assert named(react.rows(reactions[-2:], 2))["together, p90"].passed is False


def test_prompts_for_which_nothing_moved_are_told_and_none_at_all_is_an_error():
    assert named(react.rows([react.Reaction(1, 1, 1)], 2))["prompts that moved cores"].passed is False
    with pytest.raises(BenchError, match="moved no cores for any of 3 prompts"):
        react.rows([], 3)


def test_a_journal_is_read_in_whole_lines_each_once(tmp_path: Path):
    file = tmp_path / "decisions.jsonl"
    journal = react.Journal(file)
    assert journal.fresh() == []
    first, second = json.dumps({"number": 1}), json.dumps({"number": 2, "reason": "µ"}, ensure_ascii=False)
    file.write_text(f"{first}\n{second[:9]}", encoding="utf-8")
    assert journal.fresh() == [{"number": 1}]
    file.write_text(f"{first}\n{second}\n", encoding="utf-8")
    assert journal.fresh() == [{"number": 2, "reason": "µ"}]
    assert journal.fresh() == []
