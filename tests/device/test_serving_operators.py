# SPDX-License-Identifier: Apache-2.0
"""The fused operators of training and serving, against the same written in plain torch on the CPU."""

from __future__ import annotations

import pytest


def test_attention_and_its_gradients_are_those_of_scaled_dot_product(on_device):
    apart = on_device("""
torch.manual_seed(0)
apart = {}
for layout in ("BNSD", "BSH", "BSND", "SBH"):
    shapes = [(2, 4, 9, 16), (2, 2, 9, 16), (2, 2, 9, 16)]
    cpu = [torch.randn(shape, requires_grad=True) for shape in shapes]
    k, v = (each.repeat_interleave(2, 1) for each in cpu[1:])
    mask = torch.ones(9, 9).triu(1).bool()
    wanted = torch.nn.functional.scaled_dot_product_attention(cpu[0], k, v, attn_mask=~mask)
    turn = {"BNSD": lambda x: x, "BSND": lambda x: x.transpose(1, 2), "BSH": lambda x: x.transpose(1, 2).flatten(2),
            "SBH": lambda x: x.permute(2, 0, 1, 3).flatten(2)}[layout]
    npu = [turn(each.detach()).contiguous().half().npu().requires_grad_() for each in cpu]
    found = torch_npu.npu_fusion_attention(*npu, 4, layout, atten_mask=mask.npu(), scale=16**-0.5)[0]
    weights = torch.randn(wanted.shape)
    (wanted * weights).sum().backward()
    (found * turn(weights).half().npu()).sum().backward()
    pairs = [(found, turn(wanted)), *((a.grad, turn(b.grad)) for a, b in zip(npu, cpu, strict=True))]
    apart[layout] = max((a.detach().cpu().float() - b.detach()).abs().max().item() for a, b in pairs)
print(json.dumps(apart))
""")
    assert all(each < 0.02 for each in apart.values()), apart


def test_packed_attention_keeps_sequences_apart(on_device):
    apart = on_device("""
torch.manual_seed(0)
ends, heads, width = [3, 10, 14], 2, 16
q, k, v = (torch.randn(14, heads, width).half().npu().requires_grad_() for _ in range(3))
out = torch_npu.npu_fusion_attention(q, k, v, heads, "TND", scale=0.25, actual_seq_qlen=ends, actual_seq_kvlen=ends)[0]
out.sum().backward()
cpu = [each.detach().cpu().float().requires_grad_() for each in (q, k, v)]
parts, start = [], 0
for end in ends:
    part = [each[start:end].transpose(0, 1) for each in cpu]
    parts.append(torch.nn.functional.scaled_dot_product_attention(*part, scale=0.25).transpose(0, 1))
    start = end
wanted = torch.cat(parts)
wanted.sum().backward()
pairs = [(out, wanted), *((a.grad, b.grad) for a, b in zip((q, k, v), cpu, strict=True))]
print(json.dumps(max((a.detach().cpu().float() - b.detach()).abs().max().item() for a, b in pairs)))
""")
    assert apart < 0.02


@pytest.mark.parametrize("name", ["rotate_half", "interleave"])
def test_rotary_embedding_and_its_gradient(on_device, name: str):
    apart = on_device(f"""
torch.manual_seed(0)
mode = {name!r}
x, cos, sin = torch.randn(2, 3, 4, 8), torch.randn(1, 3, 1, 8), torch.randn(1, 3, 1, 8)
def turned(x):
    if mode == "rotate_half":
        a, b = x.chunk(2, -1)
        return torch.cat((-b, a), -1)
    return torch.stack((-x[..., 1::2], x[..., ::2]), -1).flatten(-2)
cpu = [each.clone().requires_grad_() for each in (x, cos, sin)]
wanted = cpu[0] * cpu[1] + turned(cpu[0]) * cpu[2]
npu = [each.npu().requires_grad_() for each in (x, cos, sin)]
found = torch_npu.npu_rotary_mul(*npu, mode.replace("rotate_", ""))
weights = torch.randn(wanted.shape)
(wanted * weights).sum().backward()
(found * weights.npu()).sum().backward()
pairs = [(found, wanted), *((a.grad, b.grad) for a, b in zip(npu, cpu, strict=True))]
print(json.dumps(max((a.detach().cpu() - b.detach()).abs().max().item() for a, b in pairs)))
""")
    assert apart < 1e-4


def test_a_mixture_of_experts_goes_there_and_back(on_device):
    result = on_device("""
torch.manual_seed(0)
tokens, experts, k, width = 12, 4, 2, 8
x = torch.randn(tokens, width)
scores = torch.randn(tokens, experts)
weights, chosen, _ = torch_npu.npu_moe_gating_top_k_softmax(scores.npu(), None, k)
best, places = scores.softmax(-1).topk(k)
rows, index = torch_npu.npu_moe_token_permute(x.npu(), chosen)
matrices = torch.randn(experts, width, width)
counts = torch.bincount(places.flatten(), minlength=experts).cumsum(0)
products = torch_npu.npu_grouped_matmul([rows], [matrices.npu()], group_list=counts.npu(), split_item=3, group_type=0)
back = torch_npu.npu_moe_token_unpermute(products[0], index, probs=weights)
wanted = sum(best[:, i : i + 1] * torch.einsum("tw,twv->tv", x, matrices[places[:, i]]) for i in range(k))
print(json.dumps([bool((chosen.cpu() == places).all()), (back.cpu() - wanted).abs().max().item()]))
""")
    assert result[0] is True
    assert result[1] < 1e-4


def test_quantised_products_give_what_the_rounded_numbers_do(on_device):
    apart = on_device("""
torch.manual_seed(0)
x, w = torch.randn(5, 32), torch.randn(32, 16)
rows, row_scale = torch_npu.npu_dynamic_quant(x.half().npu())
column_scale = w.abs().amax(0) / 127
integers = (w / column_scale).round().to(torch.int8)
found = torch_npu.npu_quant_matmul(rows, integers.npu(), column_scale.npu(), pertoken_scale=row_scale,
                                   output_dtype=torch.float16)
exact = (rows.cpu().double() @ integers.double()) * column_scale * row_scale.cpu().unsqueeze(1)
whole = torch_npu.npu_weight_quant_batchmatmul(x.half().npu(), integers.npu(), column_scale.half().npu())
print(json.dumps([(found.cpu() - exact).abs().max().item(), (found.cpu() - x @ w).abs().max().item(),
                  (whole.cpu() - x @ w).abs().max().item()]))
""")
    assert apart[0] < 0.02  # fp16's rounding of numbers up to 20
    assert apart[1] < 0.5  # eight bits of both
    assert apart[2] < 0.3  # eight bits of one


def test_sampling_keeps_the_likeliest(on_device):
    kept, alone = on_device("""
logits = torch.tensor([[1.0, 3.0, 2.0, 0.0], [0.0, 0.0, 5.0, 0.0]]).npu()
k = torch.tensor([2, 4], dtype=torch.int32).npu()
p = torch.tensor([1.0, 0.5]).npu()
found = torch_npu.npu_top_k_top_p(logits, p, k).cpu()
print(json.dumps([torch.isfinite(found).tolist(), found[1, 2].item()]))
""")
    assert kept == [[False, True, True, False], [False, False, True, False]]
    assert alone == 5.0


def test_experts_with_a_gate_are_quantised_row_by_row(on_device):
    apart = on_device("""
torch.manual_seed(0)
experts, rows, width, inner = 3, 10, 32, 64
x, w = torch.randn(rows, width), torch.randn(experts, width, inner)
x_scale = x.abs().amax(1) / 127
w_scale = w.abs().amax(1) / 127
xq, wq = (x / x_scale[:, None]).round().to(torch.int8), (w / w_scale[:, None]).round().to(torch.int8)
ends = torch.tensor([4, 4, 9])
y, scale, _ = torch_npu.npu_grouped_matmul_swiglu_quant(xq.npu(), wq.npu(), ends.npu(), w_scale.npu(), x_scale.npu())
found = y.cpu().float()[:9] * scale.cpu()[:9, None]
parts, start = [], 0
for expert, end in enumerate(ends.tolist()):
    a, b = (x[start:end] @ w[expert]).chunk(2, -1)
    parts.append(torch.nn.functional.silu(a) * b)
    start = end
wanted = torch.cat(parts)
print(json.dumps(((found - wanted).abs().max() / wanted.abs().max()).item()))
""")
    assert apart < 0.05  # eight bits in, eight bits out


def test_weights_in_the_cubes_own_layout_multiply_as_others_do(on_device):
    apart = on_device("""
torch.manual_seed(0)
torch.npu.config.allow_internal_format = True
x, w, b = torch.randn(5, 64), torch.randn(64, 32), torch.randn(32)
nz = torch_npu.npu_format_cast(w.half().npu(), 29)
found = [x.half().npu() @ nz, torch.addmm(b.half().npu(), x.half().npu(), nz),
         torch.nn.functional.linear(x.half().npu(), torch_npu.npu_format_cast(w.t().contiguous().half().npu(), 29))]
wanted = [x @ w, x @ w + b, x @ w]
print(json.dumps([torch_npu.get_npu_format(nz) == 29,
                  max((a.cpu().float() - b).abs().max().item() for a, b in zip(found, wanted))]))
""")
    assert apart[0]
    assert apart[1] < 0.1  # fp16's rounding of sums of 64


def test_padding_goes_round(on_device):
    apart = on_device("""
torch.manual_seed(0)
worst = []
for shape, padding in (((2, 3, 5, 6), (1, 2, 3, 0)), ((2, 3, 4, 5, 6), (1, 2, 0, 3, 2, 1))):
    cpu = torch.randn(shape, requires_grad=True)
    npu = cpu.detach().npu().requires_grad_()
    answers = []
    for x in (cpu, npu):
        y = torch.nn.functional.pad(x, padding, mode="circular")
        (y * torch.arange(y.numel(), device=y.device).view(y.shape).cos()).sum().backward()
        answers.append((y.detach().cpu(), x.grad.cpu()))
    worst += [(a - b).abs().max().item() for a, b in zip(*answers)]
print(json.dumps(max(worst)))
""")
    assert apart < 1e-5
