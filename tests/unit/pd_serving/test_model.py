# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from pd_serving.errors import ConfigError
from pd_serving.instance import main
from pd_serving.options import parse
from pd_serving.schedule import Budget
from pd_serving.weights import from_model, load, read_config
from reference_tokens import generate, serve
from transformers import Qwen2ForCausalLM

CPU = torch.device("cpu")


def test_tied_embeddings_are_one_tensor(tiny_config):
    config = read_config(tiny_config)
    config.tie_word_embeddings = True
    torch.manual_seed(0)
    model = Qwen2ForCausalLM(config).eval()
    weights = from_model(model, CPU, 512)
    assert weights.head.data_ptr() == weights.embedding.data_ptr()
    assert serve(weights, Budget(512, 1, cut=False), [[5, 6, 7]], 8)[0] == [generate(model, [5, 6, 7], 8)]


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


@pytest.mark.parametrize("text", ["{", '{"model_type": "llama"}'])
def test_a_config_of_another_model_is_refused_by_name(tmp_path, text):
    path = tmp_path / "config.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match=str(path)):
        read_config(path)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--role", "decode"], "decode needs --link"),
        (["--role", "prefill", "--link", "/tmp/" + "x" * 110], "at most 107"),
        (["--role", "both", "--chunk", "64", "--max-batch", "64"], "--chunk 64 with --max-batch 64"),
        (["--role", "both", "--graphs"], "--graphs on cpu"),
        (["--role", "prefill", "--link", "/tmp/x", "--hand-over", "ipc"], "--hand-over ipc on cpu"),
        (
            ["--role", "both", "--cache-blocks", "3", "--max-len", "512"],
            "3 blocks of 128 tokens; --max-len 512",
        ),
        (["--role", "both", "--tokenizer", "/nowhere"], "--tokenizer '/nowhere' is no folder"),
    ],
)
def test_a_command_line_that_cannot_be_served_is_told_in_one_line(tiny_config, capsys, arguments, says):
    common = ["--model", str(tiny_config), "--device", "cpu", "--port", "0"]
    assert main(parse([*common, *arguments])) == 1
    said = capsys.readouterr().err
    assert says in said
    assert said.count("\n") == 1
