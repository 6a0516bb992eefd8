# SPDX-License-Identifier: Apache-2.0
"""Mixtures of experts, latent attention, quantised models, and models over several devices."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flexnpu.forecast import Forecaster, ForecastError, Request
from flexnpu.forecast.collectives import all_gather, all_reduce, exchange
from flexnpu.forecast.experts import busiest_rows, touched
from flexnpu.hardware import load_soc
from flexnpu.llm import ModelShape, Parallel
from flexnpu.llm.presets import find_config

MIXTURE = {
    "architectures": ["Qwen3MoeForCausalLM"], "hidden_size": 2048, "intermediate_size": 6144, "head_dim": 128,
    "moe_intermediate_size": 768, "num_experts": 128, "num_experts_per_tok": 8, "num_hidden_layers": 48,
    "num_attention_heads": 32, "num_key_value_heads": 4, "vocab_size": 151936, "torch_dtype": "bfloat16",
}  # fmt: skip
H100, B2, A3 = load_soc("H100"), load_soc("Ascend910B2"), load_soc("Ascend910_9391")
MODELS = {
    "mixture": ModelShape.from_config(MIXTURE),
    "latent": ModelShape.from_config(find_config("DeepSeek-R1")[1]),
    "dense": ModelShape.from_config(find_config("Qwen3-14B")[1]),
    "w8a8": ModelShape.from_config(find_config("Qwen3-14B")[1], weights="int8", kv="int8"),
}
CASES = {
    "mixture": Forecaster(MODELS["mixture"], B2),
    "mixture over 8": Forecaster(MODELS["mixture"], B2, None, Parallel(1, 8)),
    "latent over 8": Forecaster(MODELS["latent"], H100, None, Parallel(8, 8)),
    "latent over 64": Forecaster(MODELS["latent"], A3, None, Parallel(1, 64)),
    "dense over 4": Forecaster(MODELS["dense"], B2, None, Parallel(4)),
    "w8a8": Forecaster(MODELS["w8a8"], B2),
}
requests = st.builds(Request, st.integers(1, 8192), st.integers(0, 65536), st.integers(1, 64))
batches = st.lists(requests, min_size=1, max_size=6)
cases = st.sampled_from(sorted(CASES)).map(CASES.get)


@settings(deadline=None)
@given(forecaster=cases, batch=batches)
def test_more_cores_are_never_slower(forecaster, batch):
    assert (np.diff(forecaster.alone(batch)[1:]) <= 1e-12).all()


@settings(deadline=None)
@given(forecaster=cases, batch=batches, extra=requests)
def test_more_tokens_are_never_faster(forecaster, batch, extra):
    on, other = forecaster.cores // 2, forecaster.forecast(forecaster.cores // 2, [Request(1, 2048, 32)])
    for neighbour in (None, other):
        before = forecaster.forecast(on, batch, neighbour).seconds
        assert forecaster.forecast(on, [*batch, extra], neighbour).seconds >= before * (1 - 1e-12)
    before = forecaster.alone(batch)
    assert (forecaster.alone([*batch, extra]) >= before * (1 - 1e-12)).all()


@settings(deadline=None)
@given(forecaster=cases, batch=batches, beside=batches)
def test_every_way_to_ask_gives_the_same_answer(forecaster, batch, beside):
    on = forecaster.cores // 3
    load, whole = forecaster.load(batch), forecaster.forecast(on, batch)
    assert sum(whole.by_operator.values()) == pytest.approx(whole.seconds)
    # Between rows of large counts there are straight lines, where parts of a matrix jump by a tile.
    assert forecaster.seconds(on, load) == pytest.approx(whole.seconds, rel=1e-2)
    assert forecaster.alone(load)[on] == pytest.approx(whole.seconds, rel=1e-2)
    other = forecaster.forecast(forecaster.cores - on, beside)
    told = forecaster.forecast(on, batch, other).seconds
    split = forecaster.split(beside, batch)[1][on]
    pair = forecaster.beside(forecaster.cores - on, forecaster.load(beside), on, load)[1]
    assert split == pytest.approx(told, rel=2e-2)
    assert pair == pytest.approx(told, rel=2e-2)
    assert whole.seconds * (1 - 1e-12) <= told <= 3 * whole.seconds


@settings(deadline=None)
@given(model=st.sampled_from(sorted(MODELS)).map(MODELS.get), batch=batches)
def test_more_devices_never_make_the_device_work_longer(model, batch):
    """All but what devices say to each other."""
    times = []
    for degree in (1, 2, 4):
        forecaster = Forecaster(model, B2, None, Parallel(degree))
        parts = forecaster.forecast(24, batch).by_operator
        times.append(sum(seconds for name, seconds in parts.items() if name not in {"all_reduce", "all_gather"}))
    assert times == sorted(times, reverse=True)


@pytest.mark.parametrize("soc", [H100, B2, load_soc("Ascend310P3")])
def test_one_device_says_nothing_to_others(soc):
    experts = MODELS["mixture"].experts
    assert all_reduce(soc, 1) == all_gather(soc, 1) == exchange(soc, 1, experts) == (0.0, 0.0)
    alone = Forecaster(MODELS["mixture"], soc).forecast(soc.cores, [Request(1, 100)])
    assert not {"all_reduce", "all_gather", "dispatch", "combine"} & set(alone.by_operator)
    assert alone.link_demand == 0


def test_a_ring_sends_every_byte_nearly_twice_over_each_link():
    start, each = all_reduce(B2, 8)
    assert (start, 1e9 * each) == (pytest.approx(10e-6), pytest.approx(2 * 7 / 8 / 196))
    assert 1e9 * all_gather(B2, 8).per_byte == pytest.approx(7 / 8 / 196)


def test_a_reduction_over_nodes_takes_the_network_for_a_part_of_the_bytes():
    start, each = all_reduce(B2, 32)
    assert (start, 1e9 * each) == (pytest.approx(20e-6), pytest.approx(2 * (7 / 8 / 196 + 3 / 4 / 8 / 25)))


def test_tokens_go_once_to_each_device_and_node_with_one_of_their_experts():
    experts = MODELS["latent"].experts
    copies = 8 * (1 - (7 / 8) ** 8)
    assert 1e9 * exchange(B2, 8, experts).per_byte == pytest.approx(copies * 7 / 8 / 196)
    # On 8 nodes a token's experts lie on 4 at most: those are the groups that it may choose.
    assert 1e9 * exchange(B2, 64, experts).per_byte == pytest.approx(4 * 7 / 8 / 25)
    assert exchange(B2, 64, experts._replace(groups=1)).per_byte > exchange(B2, 64, experts).per_byte


def test_devices_without_a_link_or_a_network_are_refused():
    with pytest.raises(ForecastError, match="Ascend310P3, which has no link_gb_s"):
        Forecaster(MODELS["dense"], load_soc("Ascend310P3"), None, Parallel(2))
    with pytest.raises(ForecastError, match="more than a node of 8 RTX4090, which has no network_gb_s"):
        Forecaster(MODELS["mixture"], load_soc("RTX4090"), None, Parallel(1, 16))


def test_a_batch_touches_few_experts_when_small_and_all_when_large():
    experts = MODELS["mixture"].experts
    assert touched(experts, 1.0) == pytest.approx(8)
    assert touched(experts, 16.0) == pytest.approx(128 * (1 - (1 - 8 / 128) ** 16))
    assert touched(experts, 10_000.0) == pytest.approx(128)


def test_the_touched_experts_are_as_many_as_drawing_them_shows():
    rng, experts = np.random.default_rng(1), MODELS["mixture"].experts
    for tokens in (4, 32):
        drawn = [
            len({e for _ in range(tokens) for e in rng.choice(128, 8, replace=False).tolist()}) for _ in range(200)
        ]
        assert touched(experts, float(tokens)) == pytest.approx(np.mean(drawn), rel=0.02)


def test_the_busiest_device_has_as_many_rows_as_drawing_them_shows():
    rng, whole = np.random.default_rng(1), MODELS["mixture"]
    parallel = Parallel(1, 8)
    experts = parallel.share(whole).experts
    for tokens in (64, 1024):
        drawn = []
        for _ in range(50):
            hit = np.argsort(rng.random((tokens, 128)), axis=1)[:, :8] // 16
            drawn.append(np.bincount(hit.reshape(-1), minlength=8).max())
        assert busiest_rows(experts, parallel, float(tokens)) == pytest.approx(np.mean(drawn), rel=0.1)


def test_decode_of_a_mixture_reads_the_experts_that_it_hits():
    parts = CASES["mixture"].forecast(24, [Request(1, 128, 4)]).by_operator
    hit = 128 * (1 - (1 - 8 / 128) ** 4)
    moved = 48 * hit * 2048 * 2 * 768 * 2
    assert parts["experts_gate_up"] == pytest.approx(moved / (0.75 * B2.hbm_bandwidth) + 48 * 3e-6, rel=0.02)


def test_prompts_of_a_mixture_multiply_with_the_chosen_experts_alone():
    parts = CASES["mixture"].forecast(24, [Request(8192, 0, 2)]).by_operator
    flops = 48 * 2 * 16384 * 8 * 2048 * 2 * 768
    assert parts["experts_gate_up"] > flops / (0.775 * B2.peak_flops)
    assert parts["experts_gate_up"] < 1.25 * flops / (0.775 * B2.peak_flops)


def test_latent_decode_reads_one_vector_per_token_and_layer():
    forecaster = Forecaster(MODELS["latent"], H100, None, Parallel(8, 8))
    parts = forecaster.forecast(H100.cores, [Request(1, 65_535, 16)]).by_operator
    moved = 61 * 16 * 65_536 * 576 * 2
    read = moved / (forecaster.profile.attention_bandwidth * H100.hbm_bandwidth)
    flops = 61 * 16 * 65_536 * 16 * 2 * (576 + 512)
    done = flops / (forecaster.profile.attention_efficiency * H100.peak_flops)
    assert parts["decode_attention"] == pytest.approx(np.hypot(read, done), rel=0.05)


def test_prompts_expand_every_key_that_they_see_and_decode_expands_none():
    forecaster = CASES["latent over 8"]
    prompt = forecaster.forecast(132, [Request(512)]).by_operator
    longer = forecaster.forecast(132, [Request(512, 65_536)]).by_operator
    decode = forecaster.forecast(132, [Request(1, 65_536)]).by_operator
    assert longer["kv_b"] > 20 * prompt["kv_b"]
    assert "kv_b" not in decode and "q_absorb" in decode and "q_absorb" not in prompt


@pytest.mark.parametrize(
    ("weights", "least", "most"), [("int8", 1.7, 2.05), ("fp8", 0.98, 1.05), ("int8_wo", 0.98, 1.05)]
)
def test_products_are_as_fast_as_the_device_is_in_their_format(weights, least, most):
    """A 910B has no units for fp8 and widens weights alone, but multiplies int8 at twice the rate."""
    shape = ModelShape.from_config(find_config("Qwen3-14B")[1], weights=weights)
    plain, quick = (Forecaster(one, B2).forecast(24, [Request(8192)]).by_operator for one in (MODELS["dense"], shape))
    assert least < plain["gate_up"] / quick["gate_up"] < most


def test_quantised_weights_and_caches_are_read_in_less_time():
    decode = [Request(1, 4096, 32)]
    plain, quick = (Forecaster(MODELS[name], B2).forecast(24, decode).by_operator for name in ("dense", "w8a8"))
    assert plain["gate_up"] / quick["gate_up"] == pytest.approx(2, rel=0.1)
    assert plain["decode_attention"] / quick["decode_attention"] == pytest.approx(2, rel=0.15)


def test_two_phases_share_the_links():
    forecaster = CASES["dense over 4"]
    prompt = forecaster.forecast(20, [Request(4096)])
    alone = forecaster.forecast(4, [Request(1, 100, 256)])
    beside = forecaster.forecast(4, [Request(1, 100, 256)], prompt)
    waited = sum(beside.by_operator[name] - alone.by_operator[name] for name in ("all_reduce", "all_gather"))
    # While the prompt sends, each has half of the links.
    assert waited == pytest.approx(prompt.link_demand * alone.link_demand * alone.seconds, rel=0.05)
    assert waited > 0.1e-3
