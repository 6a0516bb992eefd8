# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from pd_serving.instance import main
from pd_serving.model import BLOCK, LaunchWindow, Model, PagedCache, blocks_for
from pd_serving.options import parse
from pd_serving.pool import Layout, Pool, Staging
from pd_serving.ticket import Limits, RequestError
from pd_serving.ticket import parse as parse_request
from pd_serving.weights import ConfigError, from_model, load, read_config
from transformers import Qwen2ForCausalLM

CPU = torch.device("cpu")


@pytest.fixture
def reference(tiny_config):
    torch.manual_seed(0)
    return Qwen2ForCausalLM(read_config(tiny_config)).eval()


def generate(reference, prompt, count):
    ids = torch.tensor([prompt])
    with torch.no_grad():
        out = reference.generate(
            ids,
            max_new_tokens=count,
            min_new_tokens=count,
            do_sample=False,
            eos_token_id=None,
            attention_mask=torch.ones_like(ids),
        )
    return out[0, len(prompt) :].tolist()


def disaggregated(weights, prompts, count):
    """Prefill in one batch, hand-over through the shared slots, decode together."""
    model = Model(weights, CPU)
    lengths = [len(prompt) for prompt in prompts]
    kv = torch.empty(len(weights.layers), 2, sum(lengths) + BLOCK, weights.heads.kv_width)
    last = model.prefill(
        torch.tensor([token for prompt in prompts for token in prompt]), lengths, kv, LaunchWindow(CPU, 2)
    )
    layout = Layout.of(weights, len(prompts), 512)
    pool, staging, cache = Pool.create(layout), Staging(layout, CPU), PagedCache(weights, 16)
    tables, start = [], 0
    for slot, length in enumerate(lengths):
        place = pool.slot(slot, length)
        staging.to_host(kv[:, :, start : start + blocks_for(length) * BLOCK], place)
        tables.append(cache.take(length + count))
        cache.fill(tables[-1], staging.to_device(place))
        start += length
    widest = max(map(len, tables))
    table = torch.tensor([blocks + [0] * (widest - len(blocks)) for blocks in tables], dtype=torch.int32)
    tokens = [[token] for token in last]
    for step in range(count - 1):
        at = [length + step for length in lengths]
        rows = [blocks[p // BLOCK] * BLOCK + p % BLOCK for blocks, p in zip(tables, at, strict=True)]
        last = model.decode(torch.tensor([last, at, rows]), table, [p + 1 for p in at], cache)
        for each, token in zip(tokens, last, strict=True):
            each.append(token)
    return tokens


def test_disaggregated_tokens_are_those_of_transformers(reference):
    generator = torch.Generator().manual_seed(1)
    prompts = [torch.randint(0, 211, (n,), generator=generator).tolist() for n in (1, 7, 127, 128, 130)]
    got = disaggregated(from_model(reference, CPU, 512), prompts, 12)
    assert got == [generate(reference, prompt, 12) for prompt in prompts]
    assert len({tuple(each) for each in got}) == len(prompts)  # a model that always says the same would prove nothing


def test_tied_embeddings_are_one_tensor(tiny_config):
    config = read_config(tiny_config)
    config.tie_word_embeddings = True
    torch.manual_seed(0)
    model = Qwen2ForCausalLM(config).eval()
    weights = from_model(model, CPU, 512)
    assert weights.head.data_ptr() == weights.embedding.data_ptr()
    assert disaggregated(weights, [[5, 6, 7]], 8) == [generate(model, [5, 6, 7], 8)]


def test_weights_come_from_a_folder_of_safetensors(reference, tiny_config, tmp_path):
    reference.save_pretrained(tmp_path / "saved")
    config = read_config(tiny_config)
    loaded = load(config, CPU, torch.float32, positions=512, seed=None, folder=tmp_path / "saved")
    assert torch.equal(loaded.layers[2].qkv, from_model(reference, CPU, 512).layers[2].qkv)


def test_weights_without_values_have_the_shapes(tiny_config):
    bare = load(read_config(tiny_config), CPU, torch.bfloat16, positions=64, seed=None, folder=None)
    seeded = load(read_config(tiny_config), CPU, torch.bfloat16, positions=64, seed=0, folder=None)
    shapes = [[tuple(part.shape) for layer in each.layers for part in layer] for each in (bare, seeded)]
    assert shapes[0] == shapes[1]


def test_blocks_come_back(reference):
    cache = PagedCache(from_model(reference, CPU, 512), 4)
    first = cache.take(BLOCK + 1)
    assert first is not None
    assert len(first) == 2
    assert cache.take(3 * BLOCK) is None
    assert cache.free == 2
    cache.give_back(first)
    assert cache.free == 4


@pytest.mark.parametrize("text", ["{", '{"model_type": "llama"}'])
def test_a_config_of_another_model_is_refused_by_name(tmp_path, text):
    path = tmp_path / "config.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match=str(path)):
        read_config(path)


@pytest.mark.parametrize(
    ("body", "names"),
    [
        ([], "object"),
        ({}, "prompt_tokens"),
        ({"prompt_tokens": 101}, "prompt_tokens"),
        ({"prompt_token_ids": []}, "prompt_token_ids"),
        ({"prompt_token_ids": [1, 50]}, "50"),
        ({"prompt_token_ids": [True]}, "True"),
        ({"prompt_tokens": 5, "max_tokens": 0}, "max_tokens"),
        ({"prompt_tokens": 100, "max_tokens": 30}, "together at most 120"),
    ],
)
def test_a_bad_request_is_told_what_is_wrong(body, names):
    with pytest.raises(RequestError, match=names):
        parse_request(body, Limits(vocabulary=50, prompt=100, total=120))


def test_an_overlong_link_path_is_refused(tiny_config, capsys):
    options = parse(
        [
            "--role",
            "decode",
            "--model",
            str(tiny_config),
            "--device",
            "cpu",
            "--port",
            "0",
            "--link",
            "/tmp/" + "x" * 110,
        ]
    )
    assert main(options) == 1
    assert "at most 107" in capsys.readouterr().err
