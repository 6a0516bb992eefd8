# SPDX-License-Identifier: Apache-2.0
"""Captured graphs: torch.npu.NPUGraph and what serving engines do with them."""

from __future__ import annotations


def test_a_replay_computes_with_what_its_inputs_hold_then(on_device):
    assert on_device("""
x = torch.ones(4, 4).npu()
warm = (x @ x).relu() + 1
graph = torch.npu.NPUGraph()
with torch.npu.graph(graph):
    y = (x @ x).relu() + 1
torch.npu.synchronize()
seen = []
for value in (1.0, 2.0, 3.0):
    x.fill_(value)
    graph.replay()
    seen.append(y[0, 0].item())
print(json.dumps(seen))
""") == [5.0, 17.0, 37.0]


def test_a_capture_holds_work_back_and_follows_other_streams(on_device):
    assert on_device("""
x, side = torch.zeros(3).npu(), torch.npu.Stream()
graph = torch.npu.NPUGraph()
with torch.npu.graph(graph):
    main = torch.npu.current_stream()
    side.wait_stream(main)
    with torch.npu.stream(side):
        x.add_(1)
    main.wait_stream(side)
    x.mul_(10)
torch.npu.synchronize()
before = x[0].item()
graph.replay()
graph.replay()
print(json.dumps([before, x[0].item()]))
""") == [0.0, 110.0]


def test_graphs_share_a_pool_and_outlive_each_other(on_device):
    assert on_device("""
x = torch.ones(1 << 16).npu()
graphs, results = [], []
for factor in (2.0, 3.0, 5.0):
    graph = torch.npu.NPUGraph()
    with torch.npu.graph(graph, pool=graphs[0].pool() if graphs else None):
        y = x * factor
    graphs.append(graph)
    results.append(y)
first = graphs.pop(0)
del first
sums = []
for graph, y in zip(graphs, results[1:], strict=True):
    graph.replay()
    sums.append(y.sum().item() / (1 << 16))
print(json.dumps(sums))
""") == [3.0, 5.0]


def test_a_task_group_is_updated_while_its_replay_waits(on_device):
    apart, first, second = on_device("""
torch.manual_seed(0)
heads, width, room = 2, 16, 32
q = torch.randn(1, heads, 1, width).half().npu()
k, v = torch.randn(2, 1, heads, room, width).half().npu()
out, lse = torch.empty_like(q), torch.empty(1, dtype=torch.float16).npu()
event, handle = torch.npu.ExternalEvent(), None

def attend(length):
    torch_npu.npu_fused_infer_attention_score.out(
        q, k, v, num_heads=heads, scale=0.25, input_layout="BNSD", actual_seq_lengths_kv=[length], out=[out, lse])

def wanted(length):
    return torch.nn.functional.scaled_dot_product_attention(
        q.cpu().float(), k[:, :, :length].cpu().float(), v[:, :, :length].cpu().float(), scale=0.25)

# torch_npu makes the event when it is first recorded; until then a wait for it does nothing.
event.record()
event.reset()
torch.npu.synchronize()
graph, update = torch.npu.NPUGraph(), torch.npu.Stream()
with torch.npu.graph(graph):
    stream = torch.npu.current_stream()
    event.wait(stream)
    event.reset(stream)
    torch.npu.graph_task_group_begin(stream)
    attend(room)
    handle = torch.npu.graph_task_group_end(stream)
    doubled = out * 2
found = []
for length in (5, 20):
    graph.replay()
    with torch.npu.stream(update):
        torch.npu.graph_task_update_begin(update, handle)
        attend(length)
        torch.npu.graph_task_update_end(update)
        event.record(update)
    torch.npu.synchronize()
    found.append((doubled.cpu().float() / 2 - wanted(length)).abs().max().item())
print(json.dumps([(wanted(5) - wanted(20)).abs().max().item(), *found]))
""")
    assert apart > 0.05
    assert first < 2e-3
    assert second < 2e-3
