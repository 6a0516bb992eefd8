# SPDX-License-Identifier: Apache-2.0
"""Recurrent networks, and their gradients, against the CPU."""

from __future__ import annotations

PROGRAM = """
import copy, itertools
torch.manual_seed(0)
def flat(result):
    for item in result if isinstance(result, (tuple, list)) else [result]:
        yield from flat(item) if isinstance(item, (tuple, list)) else [item]
def of(module, *inputs):
    inputs = [copy_of(x) for x in inputs]
    leaves = [x for x in flat(inputs) if x.is_floating_point()]
    results = list(flat(module(*inputs)))
    sum((r * torch.arange(r.numel(), device=r.device).view(r.shape).cos()).sum() for r in results).backward()
    return [*results, *(x.grad for x in leaves), *(p.grad for p in module.parameters())]
def copy_of(x):
    return tuple(map(copy_of, x)) if isinstance(x, tuple) else x.detach().clone().requires_grad_()
def to(x, device):
    return tuple(to(one, device) for one in x) if isinstance(x, tuple) else x.to(device)
def difference(module, *inputs):
    device = copy.deepcopy(module).to("npu")
    pairs = zip(of(module, *inputs), of(device, *to(inputs, "npu")), strict=True)
    return max((a - b.cpu()).abs().max().item() for a, b in pairs)
worst = {}
states = {"LSTM": lambda n: (torch.randn(n, 3, 8), torch.randn(n, 3, 8)), "GRU": lambda n: torch.randn(n, 3, 8),
          "RNN": lambda n: torch.randn(n, 3, 8)}
either = (False, True)
for kind, layers, both, first, bias in itertools.product(states, (1, 2, 3), either, either, either):
    module = getattr(torch.nn, kind)(5, 8, layers, bias=bias, batch_first=first, bidirectional=both)
    x = torch.randn(3, 7, 5) if first else torch.randn(7, 3, 5)
    worst[f"{kind} {layers} {both} {first} {bias}"] = difference(module, x, states[kind](layers * (2 if both else 1)))
for kind in ("LSTMCell", "GRUCell", "RNNCell"):
    h = torch.randn(3, 8)
    worst[kind] = difference(getattr(torch.nn, kind)(5, 8), torch.randn(3, 5), (h, h + 1) if kind == "LSTMCell" else h)
print(json.dumps(worst))
"""


def test_networks_and_cells_give_the_results_and_gradients_of_the_cpu(on_device) -> None:
    worst = on_device(PROGRAM)
    assert len(worst) == 75
    assert {name: value for name, value in worst.items() if not value < 1e-4} == {}


PACKED = """
torch.manual_seed(0)
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
answers = []
module = torch.nn.LSTM(5, 8)
x = torch.randn(6, 3, 5)
for device in ("cpu", "npu"):
    module = module.to(device)
    module.zero_grad()
    y, (h, c) = module(pack_padded_sequence(x.to(device), [6, 4, 1]))
    y, _ = pad_packed_sequence(y)
    (y.sum() + 2 * h.sum() + 3 * c.sum()).backward()
    answers.append([t.detach().cpu() for t in (y, h, c, *(p.grad for p in module.parameters()))])
print(json.dumps([(a - b).abs().max().item() for a, b in zip(*answers)]))
"""


def test_sequences_of_several_lengths_are_no_longer_than_they_are(on_device) -> None:
    assert max(on_device(PACKED)) < 1e-4
