# SPDX-License-Identifier: Apache-2.0
"""Start and end of one instance."""

from __future__ import annotations

import argparse
import signal
import sys

import torch

from pd_serving.decode import DecodeEngine, DecodeOptions
from pd_serving.http_api import Server
from pd_serving.link import LinkError, check_path
from pd_serving.model import Model, blocks_for
from pd_serving.options import BLOCK
from pd_serving.prefill import PrefillEngine, PrefillOptions
from pd_serving.weights import ConfigError, Weights, load, read_config

# Of the device memory that is free once the weights are there, what the cache takes; the rest is for activations.
_CACHE_SHARE = 0.8
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
    check_path(options.link)
    server = Server(options.port)
    server.start()
    try:
        engine = _engine(options)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: engine.stop())
        server.engine = engine
        print(f"{options.role} listens on http://127.0.0.1:{server.server_port}", flush=True)
        engine.run()
    finally:
        server.shutdown()
        server.server_close()
    return 0


def _engine(options: argparse.Namespace) -> PrefillEngine | DecodeEngine:
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
    model = Model(weights, device)
    if options.role == "prefill":
        return PrefillEngine(
            model,
            PrefillOptions(options.link, options.max_len, options.token_budget, options.run_ahead, options.patience),
        )
    blocks = options.cache_blocks or _blocks_that_fit(weights, device, options)
    if options.graphs and device.type != "npu":
        raise ConfigError(f"--graphs on {options.device}: graphs are captured on an NPU alone; leave --graphs out")
    return DecodeEngine(
        model,
        DecodeOptions(options.link, options.max_len, options.max_batch, blocks, options.slots, options.graphs),
    )


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
    block_bytes = len(weights.layers) * 2 * BLOCK * weights.heads.kv_width * weights.embedding.element_size()
    free, _ = torch.npu.mem_get_info(device)
    blocks = int(free * _CACHE_SHARE) // block_bytes
    if blocks < full:
        raise ConfigError(
            f"{free / 2**30:.1f} GiB of device memory are free after the weights, which hold {blocks} cache blocks; "
            f"--max-len {options.max_len} needs {full}; give the instance more memory or lower --max-len"
        )
    return blocks
