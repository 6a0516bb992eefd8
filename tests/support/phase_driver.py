# SPDX-License-Identifier: Apache-2.0
"""The programs that record_phase.py records: phase_driver.py PART RECORDING FOLDER, on an NPU.

Before and after each forward pass it waits for the device, so that all launches are recorded, and writes what the pass
is into the recording.
"""

from __future__ import annotations

import json
import os
import random
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
TINY = {
    "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "hidden_size": 64, "intermediate_size": 96,
    "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 211,
    "max_position_embeddings": 1024, "rope_theta": 10000.0, "rms_norm_eps": 1e-6, "tie_word_embeddings": False,
    "eos_token_id": 3, "initializer_range": 0.2,
}  # fmt: skip


class Truth:
    """Writes what the passes are, between the detector's own lines."""

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def begin(self, new: Sequence[int], contexts: Sequence[int], *, decodes: int, graph: bool = False) -> None:
        """new, contexts: tokens of each sequence in the pass, and what it attends to. decodes: how many decode."""
        phase = "decode" if decodes == len(new) else "mixed" if decodes else "prefill"
        seen = f"{sum(contexts)} {max(contexts)}" if contexts else "- -"
        self._line(f"step {phase} {len(new)} {sum(new)} {seen} {int(graph)}")

    def end(self) -> None:
        self._line("end")

    @contextmanager
    def step(self, new: Sequence[int], contexts: Sequence[int], *, decodes: int, graph: bool = False) -> Iterator[None]:
        self.begin(new, contexts, decodes=decodes, graph=graph)
        yield
        self.end()

    def _line(self, text: str) -> None:
        import torch  # noqa: PLC0415 - the engine's command line is read before it

        torch.npu.synchronize()
        os.write(self._file, (text + "\n").encode())


# --- Hugging Face's generate ---


def generate(truth: Truth, attention: str) -> None:
    import torch  # noqa: PLC0415
    import torch_npu  # noqa: F401, PLC0415
    import transformers  # noqa: PLC0415

    torch.manual_seed(0)
    config = transformers.Qwen2Config(**TINY, attn_implementation=attention)
    model = transformers.Qwen2ForCausalLM(config).eval().bfloat16().npu()

    past = 0

    def before(_module: Any, _given: Any, named: dict[str, Any]) -> None:
        nonlocal past
        batch, tokens = named["input_ids"].shape
        past += tokens
        truth.begin([tokens] * batch, [past] * batch, decodes=batch if past > tokens else 0)

    model.register_forward_pre_hook(before, with_kwargs=True)
    model.register_forward_hook(lambda *_: truth.end())
    for batch, prompt, answer in ((1, 23, 20), (4, 57, 24), (2, 5, 12), (1, 200, 9), (8, 16, 16)):
        past, ids = 0, torch.randint(4, 200, (batch, prompt)).npu()
        with torch.no_grad():
            model.generate(ids, max_new_tokens=answer, min_new_tokens=answer, do_sample=False, pad_token_id=0)


# --- the parts of examples/pd_serving in one process: chunked prefill, and decode in captured graphs ---


class Running:
    """One request: its prompt is computed in chunks, then it decodes."""

    def __init__(self, prompt: int, answer: int, blocks: list[int]) -> None:
        self.prompt, self.left, self.blocks, self.length = prompt, answer, blocks, 0

    @property
    def decodes(self) -> bool:
        return self.length >= self.prompt


class Small:
    """pd_serving's tiny model over a paged cache, with many new tokens per sequence, and capturable."""

    def __init__(self, folder: Path) -> None:
        sys.path.insert(0, str(ROOT / "examples"))
        import torch  # noqa: PLC0415
        import torch_npu  # noqa: PLC0415
        from pd_serving.cache import PagedCache  # noqa: PLC0415
        from pd_serving.model import Model  # noqa: PLC0415
        from pd_serving.weights import load, read_config  # noqa: PLC0415

        config = folder / "config.json"
        config.write_text(json.dumps(TINY))
        self.torch, self.npu = torch, torch_npu
        device = torch.device("npu:0")
        weights = load(read_config(config), device, torch.bfloat16, positions=1024, seed=0, folder=None)
        self.weights = weights
        self.kernels = Model(weights, device)._kernels
        self.cache = PagedCache(weights, 64)
        self.mask = torch.ones(2048, 2048, dtype=torch.bool).triu_(1).npu()

    def layers(self, ids: Any, attend: Any) -> Any:
        torch, weights, kernels = self.torch, self.weights, self.kernels
        residual = torch.nn.functional.embedding(ids, weights.embedding)
        hidden = kernels.rms_norm(residual, weights.layers[0].input_norm, weights.eps)
        for index, layer in enumerate(weights.layers):
            query = torch.addmm(layer.qkv_bias, hidden, layer.qkv)[:, : weights.heads.query_width]
            mixed = torch.mm(attend(index, query.contiguous()), layer.out)
            hidden, residual = kernels.add_rms_norm(mixed, residual, layer.post_norm, weights.eps)
            mixed = torch.mm(kernels.swiglu(torch.mm(hidden, layer.gate_up)), layer.down)
            hidden, residual = kernels.add_rms_norm(mixed, residual, weights.norm, weights.eps)
        return torch.mm(hidden, weights.head).argmax(-1)

    def packed(self, new: Sequence[int], contexts: Sequence[int], table: Any) -> Any:
        """One call for all sequences, however many new tokens each has: chunked prefill beside decodes."""
        heads, ends = self.weights.heads, [sum(new[: i + 1]) for i in range(len(new))]

        def attend(index: int, query: Any) -> Any:
            rows = query.view(-1, heads.query, heads.dim)
            out = self.npu.npu_fused_infer_attention_score(
                rows, self.cache.keys[index], self.cache.values[index], atten_mask=self.mask, block_table=table,
                actual_seq_lengths=ends, actual_seq_lengths_kv=list(contexts), num_heads=heads.query,
                num_key_value_heads=heads.kv, input_layout="TND", scale=heads.scale, sparse_mode=3, block_size=128,
            )[0]  # fmt: skip
            return out.reshape(-1, heads.query_width)

        return self.layers(self.torch.zeros(sum(new), dtype=self.torch.int64).npu(), attend)

    def apart(self, new: Sequence[int], contexts: Sequence[int], table: Any, decodes: int) -> Any:
        """Decodes first, in a call of their own, then the chunks: what engines without one kernel for both do."""
        torch, heads = self.torch, self.weights.heads
        ends = [sum(new[decodes : i + 1]) for i in range(decodes, len(new))]

        def attend(index: int, query: Any) -> Any:
            keys, values = self.cache.layer(index)
            parts = []
            if decodes:
                lengths = contexts[:decodes]
                parts.append(self.kernels.attend_paged(query[:decodes], (keys, values), table[:decodes], lengths))
            if ends:
                rows = query[decodes:].view(-1, heads.query, heads.dim)
                parts.append(self.npu.npu_fused_infer_attention_score(
                    rows, keys, values, atten_mask=self.mask, block_table=table[decodes:], actual_seq_lengths=ends,
                    actual_seq_lengths_kv=list(contexts[decodes:]), num_heads=heads.query, num_key_value_heads=heads.kv,
                    input_layout="TND", scale=heads.scale, sparse_mode=3, block_size=128,
                )[0].reshape(-1, heads.query_width))  # fmt: skip
            return torch.cat(parts)

        return self.layers(torch.zeros(sum(new), dtype=torch.int64).npu(), attend)

    def table(self, sequences: Sequence[Running]) -> Any:
        return self.torch.tensor([each.blocks for each in sequences], dtype=self.torch.int32).npu()


def batches(
    seed: int, requests: int, budget: int, drafts: tuple[int, int] = (0, 0)
) -> Iterator[tuple[list[Running], list[int]]]:
    """The steps of a chunked scheduler: every running sequence decodes, what is left of the budget goes to prompts.

    drafts: the least and the most tokens of a speculative step beyond the one that is sure.
    """
    chance = random.Random(seed)
    lengths = [chance.choice((3, 40, 90, 129, 260, chance.randint(1, 520))) for _ in range(requests)]
    waiting = [
        Running(prompt, chance.randint(3, 25), [5 * (i % 12) + b for b in range(5)]) for i, prompt in enumerate(lengths)
    ]
    running: list[Running] = []
    while waiting or running:
        while waiting and len(running) < 6:
            running.append(waiting.pop(0))
        running.sort(key=lambda each: not each.decodes)
        chosen, new, room = [], [], budget
        for each in running:
            tokens = 1 + chance.randint(*drafts) if each.decodes else min(room, each.prompt - each.length)
            if tokens:
                chosen.append(each)
                new.append(tokens)
                room -= tokens
        yield chosen, new
        for each, tokens in zip(chosen, new, strict=True):
            taken = chance.randint(1, tokens) if each.decodes else tokens  # of the drafts, not all are right
            each.left -= taken if each.decodes else 0
            each.length += taken
        running = [each for each in running if each.left > 0]


def chunked(truth: Truth, folder: Path) -> None:
    small = Small(folder)
    plans = ((1, 128, "packed"), (2, 64, "apart"), (3, 100, "packed"), (4, 512, "apart"), (8, 37, "packed"))
    for seed, budget, kernel in plans:
        for sequences, new in batches(seed, 10, budget):
            contexts = [each.length + tokens for each, tokens in zip(sequences, new, strict=True)]
            decodes = sum(each.decodes for each in sequences)
            table = small.table(sequences)
            with truth.step(new, contexts, decodes=decodes):
                if kernel == "packed":
                    small.packed(new, contexts, table)
                else:
                    small.apart(new, contexts, table, decodes)


def speculative(truth: Truth, folder: Path) -> None:
    """Each sequence has the same number of drafts, then each its own."""
    small = Small(folder)
    for seed, budget, drafts in ((11, 200, (3, 3)), (12, 128, (0, 4)), (13, 150, (1, 1))):
        for sequences, new in batches(seed, 14, budget, drafts):
            contexts = [each.length + tokens for each, tokens in zip(sequences, new, strict=True)]
            with truth.step(new, contexts, decodes=sum(each.decodes for each in sequences)):
                small.packed(new, contexts, small.table(sequences))


class DecodeGraph:
    """A decode step of one batch size as a captured graph, whose lengths are changed while it replays."""

    def __init__(self, small: Small, batch: int, *, updated: bool) -> None:
        torch = small.torch
        self._small, self._batch, self._handles = small, batch, []
        self._ids = torch.zeros(batch, dtype=torch.int64).npu()
        self._table = torch.zeros(batch, 5, dtype=torch.int32).npu()
        self._event, self._stream = torch.npu.ExternalEvent(), torch.npu.Stream()
        self._queries: list[Any] = []
        self._outs: list[Any] = []
        self._event.record()
        self._event.reset()
        torch.npu.synchronize()
        self._graph = torch.npu.NPUGraph()
        with torch.npu.graph(self._graph):
            small.layers(self._ids, self._capture if updated else self._attend)

    def _attend(self, index: int, query: Any) -> Any:
        lengths = [512] * self._batch
        return self._small.kernels.attend_paged(query, self._small.cache.layer(index), self._table, lengths)

    def _call(self, index: int, lengths: list[int]) -> None:
        heads, cache = self._small.weights.heads, self._small.cache
        self._small.npu.npu_fused_infer_attention_score.out(
            self._queries[index], cache.keys[index], cache.values[index], block_table=self._table,
            actual_seq_lengths_kv=lengths, num_heads=heads.query, num_key_value_heads=heads.kv, input_layout="BSH",
            scale=heads.scale, block_size=128, out=self._outs[index],
        )  # fmt: skip

    def _capture(self, index: int, query: Any) -> Any:
        torch = self._small.torch
        self._queries.append(query.view(self._batch, 1, -1))
        self._outs.append([torch.empty_like(self._queries[-1]), torch.empty(1, dtype=query.dtype, device=query.device)])
        stream = torch.npu.current_stream()
        if index == 0:
            self._event.wait(stream)
            self._event.reset(stream)
        torch.npu.graph_task_group_begin(stream)
        self._call(index, [512] * self._batch)
        self._handles.append(torch.npu.graph_task_group_end(stream))
        return self._outs[-1][0].view(self._batch, -1)

    def run(self, lengths: list[int]) -> None:
        torch = self._small.torch
        self._graph.replay()
        if not self._handles:
            return
        with torch.npu.stream(self._stream):
            for index, handle in enumerate(self._handles):
                torch.npu.graph_task_update_begin(self._stream, handle)
                self._call(index, lengths)
                torch.npu.graph_task_update_end(self._stream)
            self._event.record(self._stream)


def graph(truth: Truth, folder: Path) -> None:
    """Decode in graphs (with the real lengths, then with those of the capture), chunks of prompts eager."""
    small = Small(folder)
    for updated in (True, False):
        graphs = {batch: DecodeGraph(small, batch, updated=updated) for batch in (1, 2, 3, 4, 5, 6)}
        for sequences, new in batches(7, 12, 200):
            contexts = [each.length + tokens for each, tokens in zip(sequences, new, strict=True)]
            decodes = sum(each.decodes for each in sequences)
            if decodes == len(sequences):
                with truth.step(new, contexts if updated else [], decodes=decodes, graph=True):
                    graphs[decodes].run(contexts)
            else:
                with truth.step(new, contexts, decodes=decodes):
                    small.packed(new, contexts, small.table(sequences))


# --- examples/pd_serving as it is: two engines, and requests to them ---


def told_model(truth: Truth) -> type:
    from pd_serving.model import Model  # noqa: PLC0415

    class ToldModel(Model):
        def launch(self, batch: Any, cache: Any, before: Any = None) -> Any:
            prefill = any(count == length for count, length in zip(batch.new, batch.lengths, strict=True))
            decodes = 0 if prefill else len(batch.new)
            with truth.step(batch.new, batch.lengths, decodes=decodes):
                return super().launch(batch, cache, before)

    return ToldModel


def told_graphs(truth: Truth) -> type:
    from pd_serving.graphs import DecodeGraphs  # noqa: PLC0415
    from pd_serving.model import Model  # noqa: PLC0415

    class ToldGraphs(DecodeGraphs):
        def __init__(self, model: Any, *rest: Any) -> None:
            super().__init__(Model(model.weights, model.device), *rest)  # what it runs eagerly is told here

        def launch(self, batch: Any, before: Any = None, ahead: int = 0) -> Any:
            rows = len(batch.new)
            truth.begin(batch.new, batch.lengths, decodes=rows, graph=self._has(rows, ahead))
            ids = super().launch(batch, before, ahead)
            truth.end()
            return ids

        def _has(self, rows: int, ahead: int) -> bool:
            return any(
                (cores, place) == (self._cores(), ahead) and batch // 2 < rows <= batch
                for cores, batch, place in self.captured
            )

    return ToldGraphs


def serving(truth: Truth, role: str, folder: Path) -> None:
    config = folder / "config.json"
    if not config.exists():
        config.write_text(json.dumps(TINY))
    sys.path.insert(0, str(ROOT / "examples"))
    from pd_serving.options import parse  # noqa: PLC0415

    graphs = ["--graphs", "--steps-ahead", "2"] if role == "graphs" else []
    role = "prefill" if role == "prefill" else "decode"
    common = ["--model", str(config), "--link", str(folder / "link"), "--port", "0", "--random-weights", "0"]
    limits = ["--max-len", "1024", "--token-budget", "600", "--max-batch", "8", "--cache-blocks", "64"]
    options = parse(["--role", role, *common, *limits, *graphs])
    from pd_serving import instance  # noqa: PLC0415

    instance.Model = told_model(truth)
    instance.DecodeGraphs = told_graphs(truth)
    made = instance.make(options)
    if role == "decode":
        import threading  # noqa: PLC0415

        def stop_at_end() -> None:
            import time  # noqa: PLC0415

            while not (folder / "done").exists():
                time.sleep(0.05)
            made.stop()

        threading.Thread(target=stop_at_end, daemon=True).start()
        made.run()
        return
    ask_prefill(made, folder)


def ask_prefill(engine: Any, folder: Path) -> None:
    import threading  # noqa: PLC0415
    import time  # noqa: PLC0415

    chance = random.Random(5)

    def ask() -> None:
        while engine.trouble is not None:
            time.sleep(0.05)
        for _ in range(24):
            lengths = [chance.choice((1, 6, 33, 300, chance.randint(1, 555))) for _ in range(chance.randint(1, 5))]
            bodies = [
                {"prompt_tokens": each, "max_tokens": chance.randint(2, 14), "ignore_eos": True} for each in lengths
            ]
            tickets = [engine.protocol.read(body, chat=False).ticket for body in bodies]
            for ticket in tickets:
                engine.submit(ticket)
            for ticket in tickets:
                while ticket.events.get(timeout=60).reason is None:
                    pass
        engine.stop()
        (folder / "done").touch()

    threading.Thread(target=ask, daemon=True).start()
    engine.run()


def main(part: str, recording: str, folder: Path) -> None:
    truth = Truth(recording)
    if part in ("generate", "unfused"):
        generate(truth, "sdpa" if part == "generate" else "eager")
    elif part == "chunked":
        chunked(truth, folder)
    elif part == "speculative":
        speculative(truth, folder)
    elif part == "graph":
        graph(truth, folder)
    else:
        serving(truth, part, folder)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
