# SPDX-License-Identifier: Apache-2.0
import json
import re
from html.parser import HTMLParser
from itertools import pairwise
from xml.etree import ElementTree

import numpy as np
import pytest

from flexnpu.simulator.arrival import Finished, Sample
from flexnpu.simulator.charts import Axis, Chart, Line, Rule, nice_high, percent
from flexnpu.simulator.document import curves_entry, head, policy_entry, slo_entry, to_json, trace_entry
from flexnpu.simulator.report import page
from flexnpu.simulator.results import Collector
from flexnpu.simulator.slo import Slo
from flexnpu.simulator.traces import make_trace, totals

LOAD = "rate=2,requests=40,prompt=100,output=11"
VOID = {"meta", "br", "link", "img", "input", "hr"}


def document(names=("chunked", "ours"), **parts):
    trace = make_trace([LOAD], ["synthetic"])
    entries = []
    for place, name in enumerate(names):
        collector = Collector(Slo(1.0, 0.1))
        for number in range(40):
            at, wait = number / 2, 0.2 + 0.03 * number * (place + 1)
            collector.request(
                Finished(at, at + wait, at + wait + 0.5, 100, 11, 0, 0.1, 0.09, 0.05, 0, dropped=False, number=number)
            )
            collector.gaps([np.full(10, 0.05)])
            collector.sample(Sample(at, number % 3, 2, 10 + place, 8, 3, 0.4))
        collector.series.advance(25.0)
        collector.plans.keep({"at_s": 1.0, "mode": "split", "split": [10, 14], "steps": 2, "reason": "a & b < c"})
        entries.append(policy_entry(name, "one device", collector))
    return head(
        model={"name": "Qwen3-8B", "architecture": "Qwen3ForCausalLM"},
        device={"name": "Ascend910B2", "cores": 24, "pool": [1, 0], "pool_cores": 24},
        forecast="spec sheet",
        slo=slo_entry(Slo(1.0, 0.1)),
        trace=trace_entry(trace, totals(trace)),
        engine={"token_budget": 8192},
        policies=entries,
        **parts,
    )


CURVES = {
    "note": "A sweep.",
    "policies": [
        {"policy": name, "points": [{"rate": rate, "goodput": rate * 0.9, "attainment": 0.9} for rate in (1.0, 2.0)]}
        for name in ("chunked", "ours")
    ],
}


class Balance(HTMLParser):
    """Fails where a tag is not closed by its own."""

    def __init__(self):
        super().__init__()
        self.open, self.ids, self.text, self.links = [], [], [], []

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.ids += [found["id"]] if "id" in found else []
        self.links += [found[name] for name in ("href", "src", "data", "xlink:href") if name in found]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        pass

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def parsed(html):
    balance = Balance()
    balance.feed(html)
    balance.close()
    assert balance.open == []
    return balance


def test_every_tag_is_closed_and_every_id_is_there_once():
    balance = parsed(page(document(curves=CURVES)))
    assert len(set(balance.ids)) == len(balance.ids)
    assert {link[1:] for link in balance.links} <= set(balance.ids)


def test_the_page_loads_nothing():
    html = page(document(curves=CURVES))
    assert "default-src 'none'" in html
    assert not re.search(r"https?://|@import|url\(|//\w+\.\w+/", html)
    assert all(link.startswith("#") for link in parsed(html).links)


def test_every_plot_is_sound_svg_with_a_title_a_description_and_a_table():
    html = page(document(curves=CURVES))
    plots = re.findall(r"<svg .*?</svg>", html, re.DOTALL)
    named = [plot for plot in plots if 'role="img"' in plot]
    assert len(named) == 4 + 2 + 2 + 3  # latencies, rates, cores by policy, queues
    for plot in plots:
        ElementTree.fromstring(plot)
    for plot in named:
        assert re.search(r"<title id=.*?>\w.*</title>", plot)
        assert re.search(r"<desc id=.*?>\w.*</desc>", plot)
        assert "nan" not in plot.lower()
    assert html.count("Figures as a table") == len(named)


def test_the_page_says_that_it_is_modelled_by_which_version_under_which_targets():
    text = " ".join(parsed(page(document())).text)
    assert "modelled, not measured" in text
    assert re.search(r"FlexNPU \d+\.\d+", text)
    assert "TTFT ≤ 1 s, mean ITL ≤ 100 ms" in text
    assert "a & b < c" in text  # a plan's reason, as written


@pytest.mark.parametrize("evil", ["</script><script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "a&b"])
def test_names_cannot_break_out_of_their_place(evil):
    html = page(document((evil, "ours"), curves={**CURVES, "policies": [{**CURVES["policies"][0], "policy": evil}]}))
    balance = parsed(html)
    assert html.count("<script") == 2
    assert "<img" not in html
    assert any(evil in text for text in balance.text)


def test_values_under_the_pointer_are_those_of_the_plots():
    html = page(document())
    frames = json.loads(re.search(r'id="frames">(.*?)</script>', html, re.DOTALL)[1])
    charts = re.findall(r'data-chart="(.*?)"', html)
    assert set(charts) == set(frames)
    last = frames["cdf-ttft"]["lines"][0]["points"][-1]
    assert last == [pytest.approx(1.37, rel=0.01), 1.0]


def test_equal_documents_give_equal_pages_and_json_comes_back_to_the_same_page():
    one, other = document(curves=CURVES), document(curves=CURVES)
    assert to_json(one) == to_json(other)
    assert page(one) == page(json.loads(to_json(other)))


def test_a_run_in_which_nothing_finished_still_has_a_page():
    found = document()
    collector = Collector(Slo(1.0, 0.1))
    collector.request(Finished(0, float("nan"), float("nan"), 1, 1, 0, 0, 0, 0, 0, dropped=True, number=0))
    found["policies"] = [policy_entry("chunked", "one device", collector)]
    assert "1 dropped" in page(found)
    to_json(found)


def test_without_curves_and_plans_their_sections_are_left_out():
    found = document()
    for run in found["policies"]:
        run["plans"] = []
    html = page(found)
    assert 'id="rate"' not in html
    assert 'id="plans"' not in html


def test_a_line_is_where_its_values_are():
    chart = Chart("k", "t", "d", Axis("x", 0, 10), Axis("y", 0, 100), [Line("a", [(0, 0), (10, 100)], 0)], labels=False)
    path = re.search(r'class="line c0" d="M([\d.]+) ([\d.]+)L([\d.]+) ([\d.]+)"', chart.svg())
    left, bottom, right, top = map(float, path.groups())
    assert (left, right) == (78, 540)
    assert bottom > top


def test_steps_hold_a_value_until_the_next():
    chart = Chart("k", "t", "d", Axis("x", 0, 2), Axis("y", 0, 1), [Line("a", [(0, 0), (1, 1)], 0, step=True)])
    assert re.search(r'd="M[\d.]+ [\d.]+H[\d.]+V[\d.]+"', chart.svg())


def test_areas_lie_on_top_of_each_other():
    areas = [Line("a", [(0, 1), (1, 1)], "prefill"), Line("b", [(0, 2), (1, 2)], "decode")]
    svg = Chart("k", "t", "d", Axis("x", 0, 2), Axis("y", 0, 4), areas=areas).svg()
    first, second = re.findall(r'class="area \w+" d="M[\d.]+ ([\d.]+)H', svg)
    assert float(first) == pytest.approx(22 + (340 - 52 - 22) * 0.75, abs=0.1)
    assert float(second) == pytest.approx(22 + (340 - 52 - 22) * 0.25, abs=0.1)


def test_a_target_outside_the_plot_is_not_drawn():
    axis = Axis("x", 1, 10, log=True)
    inside, outside = (Chart("k", "t", "d", axis, Axis("y", 0, 1), rules=[Rule("r", at)]).svg() for at in (2, 20))
    assert 'class="rule"' in inside
    assert 'class="rule"' not in outside


def test_labels_do_not_cover_each_other_or_leave_the_plot():
    lines = [Line(f"policy {n}", [(0, 0), (1, 0.001 * n)], n) for n in range(8)]
    svg = Chart("k", "t", "d", Axis("x", 0, 1), Axis("y", 0, 1), lines).svg()
    places = sorted(float(y) for y in re.findall(r'class="label" x="[\d.]+" y="([\d.]+)"', svg))
    assert len(places) == 8
    assert min(b - a for a, b in pairwise(places)) >= 14.9
    assert places[-1] < 340 - 20


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0, 7.3), (0, 24), (0.5, 1.0), (0, 12345), (3, 3.01)])
def test_linear_axes_have_a_few_round_ticks_inside(low, high):
    ticks = Axis("x", low, high).ticks()
    assert 3 <= len(ticks) <= 8
    assert all(low - 1e-9 <= tick <= high + 1e-9 for tick in ticks)


@pytest.mark.parametrize(("low", "high"), [(0.01, 0.05), (0.009, 12), (1e-4, 1e3), (1e-6, 1e6), (2, 3.5)])
def test_logarithmic_axes_too(low, high):
    ticks = Axis("x", low, high, log=True).ticks()
    assert 1 <= len(ticks) <= 9
    assert all(low * 0.99 <= tick <= high * 1.01 for tick in ticks)


def test_almost_all_is_not_shown_as_all():
    assert [percent(part) for part in (1.0, 0.9996, 0.99999, 0.5, 0.0)] == [
        "100 %",
        "99.96 %",
        "99.999 %",
        "50 %",
        "0 %",
    ]
    assert [nice_high(value) for value in (0, 0.9, 1, 23, 0.0131)] == [1, 1, 1, 30, 0.015]


def test_a_curve_has_whole_runs_alone():
    assert curves_entry("n", []) == {"note": "n", "policies": []}


def test_the_script_can_show_every_kind_of_value_that_an_axis_has():
    html = page(document(curves=CURVES))
    frames = json.loads(re.search(r'id="frames">(.*?)</script>', html, re.DOTALL)[1])
    used = {name for frame in frames.values() for name in frame["shown"]}
    known = re.search(r"const formats = \{(.*?)\};", html)[1]
    assert used <= set(re.findall(r"(\w+):", known))


def test_the_headline_says_what_the_search_has_found():
    found = {"0.9": {"rate": 2.0, "missed_at": 2.1}}
    nothing = {"0.9": {"rate": None, "missed_at": 0.1}}
    capacity = {
        "note": "n",
        "attainments": [0.9],
        "policies": [{"policy": "chunked", "at": nothing, "ceiling": 0.5}, {"policy": "ours", "at": found}],
    }
    assert "The highest rate at 90 % is 2 requests/s, by ours." in page(document(capacity=capacity))
    capacity["policies"].pop()
    assert "No policy keeps 90 % at any rate." in page(document(capacity=capacity))


@pytest.mark.parametrize(("by", "plot"), [("mean", None), ("p99", "cdf-itl_p99"), ("max", "cdf-itl_max")])
def test_what_is_held_against_the_itl_target_has_a_plot(by, plot):
    found = document()
    found["slo"] = slo_entry(Slo(1.0, 0.1, by))
    charts = re.findall(r'data-chart="(cdf-.*?)"', page(found))
    assert charts == ["cdf-ttft", "cdf-tpot", "cdf-itl", "cdf-e2e", *([plot] if plot else [])]
