# SPDX-License-Identifier: Apache-2.0
"""Hugging Face models with random weights give on the software NPU what they give on the CPU."""

from __future__ import annotations

import pytest

MODEL = """
import transformers
transformers.logging.set_verbosity_error()
config = transformers.{family}Config(
    hidden_size=128, intermediate_size=256, num_hidden_layers=4, num_attention_heads=8, num_key_value_heads=2,
    vocab_size=1000, max_position_embeddings=512, attn_implementation="{attention}")
torch.manual_seed(0)
model = transformers.{family}ForCausalLM(config).eval()
ids = torch.randint(0, 1000, (2, 17))
greedy = dict(max_new_tokens=24, do_sample=False, pad_token_id=0)
with torch.no_grad():
    tokens = model.generate(ids, **greedy)
    logits = model(ids).logits
    narrow = model.to(torch.bfloat16)(ids).logits.float()
    torch.manual_seed(0)
    model = transformers.{family}ForCausalLM(config).eval().to("npu")
    on_npu = model.generate(ids.npu(), **greedy).cpu()
    npu_logits = model(ids.npu()).logits.cpu()
    npu_narrow = model.to(torch.bfloat16)(ids.npu()).logits.float().cpu()
print(json.dumps(dict(same=bool((tokens == on_npu).all()), new=on_npu.shape[1] - ids.shape[1],
    fp32=float((logits - npu_logits).abs().max()), bf16=float((narrow - npu_narrow).abs().max()),
    size=float(logits.abs().max()))))
"""


@pytest.mark.device
@pytest.mark.parametrize("family", ["Qwen2", "Llama"])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_a_model_generates_the_cpus_tokens(on_device, family, attention):
    result = on_device(MODEL.format(family=family, attention=attention))
    assert result["same"]
    assert result["new"] == 24
    assert result["fp32"] < 1e-5
    # bf16 keeps 8 bits: two roundings of a logit of that size may be apart by a few of its last places
    assert result["bf16"] < 4 * result["size"] * 2**-8


@pytest.mark.device
def test_an_operator_that_is_not_bound_fails_and_is_named(on_device):
    message = on_device("""
weight, tokens = torch.ones(32, 1).half().npu(), torch.ones(32, 1, 128).half().npu()
try:
    torch_npu.npu_nsa_compress(tokens, weight, 32, 16, actual_seq_len=[32])
    torch.npu.synchronize()
    text = "nothing was raised"
except RuntimeError as error:
    text = str(error)
print(json.dumps(text))
""")
    assert "aclnnNsaCompress is not bound in the software NPU" in message
