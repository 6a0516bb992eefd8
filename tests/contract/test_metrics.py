# SPDX-License-Identifier: Apache-2.0
"""What is written about metrics agrees with their tables: the page, the rules, the dashboard."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import yaml
from prometheus_tools import promtool

from flexnpu.api.metrics.aliases import TABLES as ALIASES
from flexnpu.api.metrics.guide import page
from flexnpu.api.metrics.naming import ALIASES as ALIAS_NAMES
from flexnpu.api.metrics.page import TABLES

ROOT = Path(__file__).parents[2]
RULES = ROOT / "deploy/prometheus/flexnpu.rules.yml"
RULES_TEST = RULES.with_name("flexnpu.rules_test.yml")
DASHBOARD = json.loads((ROOT / "deploy/grafana/flexnpu.json").read_text())
# A series or recorded name; labels and functions have no such prefix.
NAME = re.compile(r"(?<![\w:\"])flexnpu[:_][a-zA-Z0-9_:]+")


def rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def known() -> set[str]:
    series = {name for table in TABLES for row in table.rows for name in row.series}
    return series | {rule["record"] for rule in rules() if "record" in rule}


def queries() -> list[str]:
    """Of the dashboard's panels."""
    return [target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", ())]


def test_the_page_of_metrics_agrees_with_the_tables():
    committed = (ROOT / "docs/metrics.md").read_text()
    assert committed == page(), "run: python -m flexnpu.api.metrics.guide > docs/metrics.md"


def test_the_flag_names_the_aliases_that_there_are():
    assert tuple(ALIASES) == ALIAS_NAMES


def test_the_rules_use_metrics_that_there_are():
    used = {name for rule in rules() for name in NAME.findall(rule["expr"])}
    assert used
    assert used <= known()


def test_the_dashboard_uses_metrics_that_there_are():
    variables = [each["definition"] for each in DASHBOARD["templating"]["list"] if each["type"] == "query"]
    used = {name for query in [*queries(), *variables] for name in NAME.findall(query)}
    assert len(used) > 20
    assert used <= known()


def test_the_dashboard_shows_every_kind_of_thing():
    used = {name for query in queries() for name in NAME.findall(query)}
    used |= {name for rule in rules() if rule.get("record") in used for name in NAME.findall(rule["expr"])}
    for table in TABLES:
        assert used & {name for row in table.rows for name in row.series}, table.title


def test_a_query_of_the_dashboard_is_one(tmp_path: Path):
    names = {"$__rate_interval": "1m", "$node": ".*", "$vnpu": ".*", "$service": ".*"}
    written = []
    for query in queries():
        for name, value in names.items():
            query = query.replace(name, value)  # noqa: PLW2901 - one after the other
        written.append({"record": f"panel:{len(written)}", "expr": query})
    file = tmp_path / "rules.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": written}]}))
    assert f"{len(written)} rules found" in promtool("check", "rules", str(file))


def test_panels_have_ids_of_their_own_and_say_what_they_show():
    panels = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    assert all(panel["description"] for panel in panels)


def test_the_rules_are_rules_and_do_what_their_tests_say():
    assert "SUCCESS" in promtool("check", "rules", str(RULES))
    assert "SUCCESS" in promtool("test", "rules", str(RULES_TEST))
    assert "SUCCESS" in promtool("check", "config", "--syntax-only", str(RULES.with_name("prometheus.yml")))


def test_every_alert_has_a_test():
    alerts = {rule["alert"] for rule in rules() if "alert" in rule}
    tested = {
        each["alertname"]
        for test in yaml.safe_load(RULES_TEST.read_text())["tests"]
        for each in test.get("alert_rule_test", ())
        if each["exp_alerts"]
    }
    assert alerts == tested
