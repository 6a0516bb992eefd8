# SPDX-License-Identifier: Apache-2.0
"""Start and end of one instance."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable
from types import FrameType

import torch

from pd_serving.cache import PagedCache, blocks_for
from pd_serving.decode import Decode, DecodeOptions
from pd_serving.errors import ConfigError
from pd_serving.front import Front
from pd_serving.graphs import DecodeGraphs
from pd_serving.http_api import Server
from pd_serving.link import LinkError, check_path
from pd_serving.loop import Parts
from pd_serving.model import Model
from pd_serving.options import BLOCK
from pd_serving.prefill import Prefill, PrefillOptions
from pd_serving.schedule import Budget
from pd_serving.text import tokenizer_for
from pd_serving.weights import Weights, load, read_config

# Of the device memory that is free once the weights are there and what an iteration needs is left; the rest is for
# the allocator's gaps.
_CACHE_SHARE = 0.9
_DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}


def main(options: argparse.Namespace) -> int:
    # The launch loop is one thread; torch's own pool would only get in the way of the other instance.
    torch.set_num_threads(1)
    try:
        return serve(options)
    except (LinkError, ConfigError, OSError, RuntimeError) as error:
        print(f"{options.role}: {' '.join(str(error).split())}", file=sys.stderr)
        return 1


def serve(options: argparse.Namespace) -> int:
    """Until SIGTERM or SIGINT."""
    check(options)
    server = Server(options.host, options.port)
    server.start()
    try:
        engine = make(options)
        _on_signal(lambda *_: engine.stop())
        server.engine = engine
        print(f"{options.role} listens on http://{options.host}:{server.server_port}", flush=True)
        try:
            engine.run()
        finally:
            _on_signal(signal.SIG_IGN)  # a second one would cut short what gives shared memory back
    finally:
        server.shutdown()
        server.server_close()
    return 0


def _on_signal(does: Callable[[int, FrameType | None], None] | signal.Handlers) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, does)


def check(options: argparse.Namespace) -> None:
    """What can be known before a model is loaded."""
    if options.role != "both":
        if not options.link:
            raise ConfigError(f"--role {options.role} needs --link, the socket between prefill and decode")
        if options.role == "decode" and len(options.link) > 1:
            raise ConfigError(f"--link {len(options.link)} times; a decode instance listens at one, for all of prefill")
        if twice := {str(path) for path in options.link if options.link.count(path) > 1}:
            raise ConfigError(f"--link {', '.join(sorted(twice))} twice; name each decode instance once")
        for path in options.link:
            check_path(path)
    elif options.chunk is not None and options.chunk <= options.max_batch:
        raise ConfigError(
            f"--chunk {options.chunk} with --max-batch {options.max_batch}: every running sequence takes a token, "
            "and prompts need some; give it more than --max-batch"
        )
    if options.hand_over == "ipc" and not options.device.startswith("npu"):
        raise ConfigError(
            f"--hand-over ipc on {options.device}: it is an NPU's memory that is shared; use auto or host"
        )
    if options.graphs and not options.device.startswith("npu"):
        raise ConfigError(f"--graphs on {options.device}: graphs are captured on an NPU alone; leave --graphs out")


def make(options: argparse.Namespace) -> Front | Decode:
    device = _device(options.device)
    config = read_config(options.model)
    weights = load(
        config,
        device,
        _DTYPES[options.dtype],
        positions=options.max_len,
        seed=options.random_weights,
        folder=options.weights,
    )
    tokenizer = tokenizer_for(options.tokenizer, options.weights, weights.vocabulary)
    parts = _parts(options, weights, device)
    if options.role == "both":
        return Front(parts, tokenizer)
    if options.role == "prefill":
        patience = (options.patience, options.give_up, options.queue)
        return Prefill(parts, tokenizer, PrefillOptions(options.link, options.hand_over, *patience))
    return Decode(parts, DecodeOptions(options.link[0], options.slots))


def _parts(options: argparse.Namespace, weights: Weights, device: torch.device) -> Parts:
    model = Model(weights, device, options.run_ahead)
    cache = PagedCache(weights, options.cache_blocks or _blocks_that_fit(weights, device, options))
    graphs = None
    if options.graphs and options.role != "prefill":
        graphs = DecodeGraphs(model, cache, blocks_for(options.max_len), options.steps_ahead)
    if cache.free < blocks_for(options.max_len):
        raise ConfigError(
            f"the cache has {cache.free} blocks of {BLOCK} tokens; --max-len {options.max_len} needs "
            f"{blocks_for(options.max_len)}; raise --cache-blocks, give the instance more memory, or lower --max-len"
        )
    budget = Budget(options.chunk or options.token_budget, options.max_batch, cut=options.chunk is not None)
    return Parts(_name(options), model, cache, budget, options.max_len, options.steps_ahead, graphs)


def _name(options: argparse.Namespace) -> str:
    """The model's, to clients."""
    if options.served_name:
        return str(options.served_name)
    path = (options.weights or options.model).resolve()
    return str(path.parent.name if path.name == "config.json" else path.stem if path.is_file() else path.name)


def _device(name: str) -> torch.device:
    if name.startswith("npu"):
        try:
            import torch_npu  # noqa: F401, PLC0415 - registers the device
        except ImportError as error:
            raise ConfigError(
                f"--device {name}: torch_npu cannot be loaded ({error}); install it and CANN, or use --device cpu"
            ) from error
        device = torch.device(name)
        torch.npu.set_device(device)
        return device
    return torch.device(name)


def _blocks_that_fit(weights: Weights, device: torch.device, options: argparse.Namespace) -> int:
    full = blocks_for(options.max_len)
    if device.type != "npu":
        return 4 * full
    element = weights.embedding.element_size()
    block_bytes = len(weights.layers) * 2 * BLOCK * weights.heads.kv_width * element
    free, _ = torch.npu.mem_get_info(device)
    return max(0, int(free * _CACHE_SHARE) - _workspace(weights, options)) // block_bytes


def _workspace(weights: Weights, options: argparse.Namespace) -> int:
    """Bytes that an iteration holds at once, with half as much again: the feed-forward's rows, and the logits."""
    tokens = options.max_batch if options.role == "decode" else options.chunk or options.token_budget
    hidden, both = weights.layers[0].gate_up.shape
    rows = tokens * (both + both // 2 + 4 * hidden) + options.max_batch * weights.vocabulary
    return int(1.5 * rows * weights.embedding.element_size())
