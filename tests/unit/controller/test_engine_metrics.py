# SPDX-License-Identifier: Apache-2.0
import pytest
from controller_fakes import DECODE, FakeEngine

from flexnpu.controller import ScrapeError
from flexnpu.controller.engines import ScrapedEngine, Work
from flexnpu.controller.metrics import parse_metrics
from flexnpu.forecast import Request

# As vLLM 0.10 writes it, two engines behind one server, shortened.
VLLM_PAGE = """\
# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="Qwen/Qwen2.5-7B"} 5.0
vllm:num_requests_running{engine="1",model_name="Qwen/Qwen2.5-7B"} 3.0
# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting{engine="0",model_name="Qwen/Qwen2.5-7B"} 2.0
# TYPE vllm:prompt_tokens counter
vllm:prompt_tokens_total{engine="0",model_name="Qwen/Qwen2.5-7B"} 123456.0
# TYPE vllm:time_per_output_token_seconds histogram
vllm:time_per_output_token_seconds_bucket{engine="0",le="0.01",model_name="Qwen/Qwen2.5-7B"} 1.0
vllm:time_per_output_token_seconds_count{engine="0",model_name="Qwen/Qwen2.5-7B"} 100.0
vllm:time_per_output_token_seconds_sum{engine="0",model_name="Qwen/Qwen2.5-7B"} 4.0
# TYPE process_cpu_seconds counter
process_cpu_seconds_total 12.0
"""


def test_a_vllm_page_is_read_and_summed_over_its_engines():
    page = parse_metrics(VLLM_PAGE)
    assert (page.running, page.waiting, page.prompt_tokens) == (8, 2, 123456)
    assert (page.itl_sum, page.itl_count, page.context_tokens) == (4.0, 100.0, None)


@pytest.mark.parametrize(
    ("page", "complaint"),
    [
        ("", "vllm:num_requests_running is missing"),
        ("<html>not found</html>", "vllm:num_requests_running is missing"),
        ("vllm:num_requests_running 1\n", "vllm:num_requests_waiting is missing"),
        ("vllm:num_requests_running NaN\nvllm:num_requests_waiting 1\n", "vllm:num_requests_running is nan"),
        ("vllm:num_requests_running 1\nvllm:num_requests_waiting -3\n", "vllm:num_requests_waiting is -3"),
        ("vllm:num_requests_running one\n", "not a Prometheus page"),
        ('vllm:num_requests_running{a="', "not a Prometheus page"),
    ],
)
def test_a_page_that_cannot_be_used_is_refused_by_metric(page, complaint):
    with pytest.raises(ScrapeError, match=complaint):
        parse_metrics(page)


def work(role, **page):
    engine = ScrapedEngine(DECODE, role)
    engine.take(FakeEngine(**page).page(), 1.0)
    return engine.work(1.0)


def test_a_prefill_engines_queue_is_what_runs_and_what_waits():
    found = work("prefill", running=1, waiting=3, lengths=500, prompt_tokens=9000, prompts=9)
    assert found == Work(prefill=(Request(1000, 0, 1), Request(500, 0, 3)))


def test_a_decode_engines_batch_is_what_runs_and_what_is_about_to_join():
    assert work("decode", running=6, waiting=2, lengths=1800) == Work(decode=(Request(1, 1800, 8),))


def test_an_engine_of_both_phases_runs_its_batch_and_prompts_wait():
    found = work("both", running=6, waiting=2, lengths=1800)
    assert found == Work((Request(1800, 0, 2),), (Request(1, 1800, 6),))


@pytest.mark.parametrize("role", ["prefill", "decode", "both"])
def test_idle_engines_have_no_requests(role):
    assert work(role) == Work()


def test_a_restarted_engine_does_not_count_backwards():
    engine = ScrapedEngine(DECODE, "decode")
    engine.take(FakeEngine(itl_count=100, itl_sum=5.0).page(), 1.0)
    engine.take(FakeEngine(itl_count=10, itl_sum=0.5).page(), 1.05)
    assert engine.progress(1.0).gaps == 0


def test_growth_is_not_taken_across_a_gap():
    engine = ScrapedEngine(DECODE, "decode")
    engine.take(FakeEngine(itl_count=100).page(), 1.0)
    engine.take(ScrapeError("timed out"), 1.05)
    engine.take(FakeEngine(itl_count=200).page(), 1.1)
    assert engine.progress(1.0).gaps == 0
    engine.take(FakeEngine(itl_count=207).page(), 1.15)
    assert engine.progress(1.0).gaps == 7
