# SPDX-License-Identifier: Apache-2.0
"""The serving example's captured decode steps: the tokens of eager ones, and a graph for each core count; and steps
that run ahead of the host, of either kind."""

from __future__ import annotations

from pathlib import Path

EXAMPLES = Path(__file__).parents[2] / "examples"

STEPS = f"""
import sys
sys.path.insert(0, {str(EXAMPLES)!r})
from transformers import Qwen2Config, Qwen2ForCausalLM
from pd_serving.batch import Batch
from pd_serving.cache import PagedCache
from pd_serving.graphs import DecodeGraphs
from pd_serving.model import Model
from pd_serving.sampling import Sampling
from pd_serving.schedule import Sequence
from pd_serving.weights import from_model

torch.manual_seed(0)
device = torch.device("npu:0")
config = Qwen2Config(hidden_size=64, intermediate_size=96, num_hidden_layers=3, num_attention_heads=4,
                     num_key_value_heads=2, vocab_size=211, initializer_range=0.2)
model = Model(from_model(Qwen2ForCausalLM(config).half().eval(), device, 512), device)

def steps(step_of, batches, sampling=None):
    \"\"\"Tokens of sequences that begin with an empty cache; batches says how many there are in each step.\"\"\"
    cache = PagedCache(model.weights, 24)
    cache.store.zero_()
    step = step_of(cache)
    every = [Sequence(n, [7 + n], 512, 99, True, sampling, blocks=cache.take(512)) for n in range(max(batches))]
    seen = []
    for batch in batches:
        seen.append(step(Batch.of([(each, 1) for each in every[:batch]])).wait())
        for each, token in zip(every, seen[-1]):
            each.computed(1)
            each.got(token, 0.0, frozenset())
    return seen

def eager(cache):
    return lambda batch: model.launch(batch, cache)
"""


def test_captured_steps_give_the_tokens_of_eager_ones(on_device):
    wanted, got, captured = on_device(
        STEPS
        + """
batches, made = [1, 1, 1, 3, 3, 3, 4, 4, 2, 2, 1], []
def captured(cache):
    made.append(DecodeGraphs(model, cache, 4))
    return made[-1].launch
drawn = Sampling(0.9, 0.8, 3)
wanted = [steps(eager, batches), steps(eager, batches, drawn)]
print(json.dumps([wanted, [steps(captured, batches), steps(captured, batches, drawn)], made[0].captured]))
"""
    )
    assert got == wanted
    assert wanted[0] != wanted[1]
    assert len({tuple(each) for each in wanted[0]}) > 3
    assert sorted(batch for _, batch, _ in captured) == [1, 2, 4]


def test_another_core_count_has_graphs_of_its_own(on_device):
    wanted, got, captured = on_device(
        STEPS
        + """
batches, made = [2] * 9, []
def changing(cache):
    made.append(DecodeGraphs(model, cache, 4))
    count = 0
    def run(batch):
        nonlocal count
        cores = (24, 12)[count // 3 % 2]
        for kind, count_of in enumerate((cores, 2 * cores)):  # torch.npu.set_device_limit works once in a process
            torch_npu._C._npu_set_device_res_limit(0, kind, count_of)
        count += 1
        return made[0].launch(batch)
    return run
wanted = steps(eager, batches)
print(json.dumps([wanted, steps(changing, batches), made[0].captured]))
"""
    )
    assert got == wanted
    assert sorted(map(tuple, captured)) == [(12, 2, 0), (24, 2, 0)]


def test_steps_that_run_ahead_give_the_tokens_of_steps_one_by_one(on_device):
    wanted, eager, captured = on_device(
        STEPS
        + """
from pd_serving.steps import Steps

def rounds(ahead, graphs):
    cache = PagedCache(model.weights, 24)
    cache.store.zero_()
    run = Steps(model, cache, DecodeGraphs(model, cache, 4, ahead) if graphs else None).run
    kinds = (None, Sampling(0.9, 0.8, 3), None, Sampling(1.1, 1.0, 4))
    every = [Sequence(n, [7 + n], 512, 9 + 5 * n, True, kinds[n], blocks=cache.take(512)) for n in range(4)]
    seen = [[] for _ in every]
    while work := [(each, 1) for each in every if each.left]:
        for part, tokens in run(work, ahead):
            for (each, _), token in zip(part, tokens, strict=True):
                each.computed(1)
                each.got(token, 0.0, frozenset())
                seen[each.number].append(token)
    return seen

wanted = rounds(1, False)
print(json.dumps([wanted, [rounds(k, False) for k in (2, 4)], [rounds(k, True) for k in (1, 3, 4)]]))
"""
    )
    assert [len(each) for each in wanted] == [9, 14, 19, 24]
    assert eager == [wanted] * 2
    assert captured == [wanted] * 3
