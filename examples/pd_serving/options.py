# SPDX-License-Identifier: Apache-2.0
"""The command line, read before torch is imported, because it says which torch is wanted."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

BLOCK = 128  # tokens in a block of the paged cache
_LINK = "unix socket between prefill and decode; decode makes it, prefill may have several: one of each decode instance"
_HAND_OVER = "prefill: by NPU memory that decode reads (ipc), through host memory, or the first that works (auto)"

_AHEAD = "decode steps launched without waiting for the tokens of the one before; new requests join after so many (1)"
_GIVE_UP = "prefill: silence after which a decode instance is taken for dead"


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    options = parser().parse_args(arguments)
    prepare(options.device)
    return options


def prepare(device: str) -> None:
    """torch and transformers load torch_npu where it is installed, and fail without CANN: load it by --device."""
    os.environ["TORCH_DEVICE_BACKEND_AUTOLOAD"] = "0"
    if not device.startswith("npu"):
        sys.modules.setdefault("torch_npu", None)  # type: ignore[arg-type] # None is Python's "not to be imported"


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="engine.py", description="One instance of the engine.", allow_abbrev=False)
    made.add_argument("--role", required=True, choices=("both", "prefill", "decode"))
    made.add_argument("--model", required=True, type=Path, help="a Hugging Face config.json of a Qwen2 model")
    made.add_argument("--device", default="npu:0", help="npu:0 (default) or cpu")
    made.add_argument("--dtype", default="bfloat16", choices=("bfloat16", "float16", "float32"))
    made.add_argument("--port", required=True, type=int, help="HTTP; 0 lets the system choose")
    made.add_argument("--host", default="127.0.0.1", help="address to listen at (127.0.0.1)")
    made.add_argument("--link", type=Path, action="append", default=[], metavar="SOCKET", help=_LINK)
    weights = made.add_mutually_exclusive_group()
    weights.add_argument("--random-weights", type=int, metavar="SEED", help="initialise as transformers does")
    weights.add_argument("--weights", type=Path, metavar="DIR", help="a folder of safetensors")
    made.add_argument("--tokenizer", type=Path, metavar="DIR", help="as transformers saves one; of --weights, or bytes")
    made.add_argument("--served-name", help="the model's name to clients and in metrics; the folder's or file's")
    made.add_argument("--max-len", type=_positive, default=8192, help="tokens of prompt and answer together")
    made.add_argument("--token-budget", type=_positive, default=8192, help="tokens in an iteration; prompts are whole")
    made.add_argument("--chunk", type=_positive, metavar="TOKENS", help="the same, and prompts are cut where need be")
    made.add_argument("--run-ahead", type=_natural, default=2, help="layers of prompts launched ahead; 0 for no bound")
    made.add_argument("--max-batch", type=_positive, default=64, help="sequences in an iteration")
    made.add_argument("--cache-blocks", type=_positive, help=f"blocks of {BLOCK} tokens; as many as fit")
    made.add_argument("--graphs", action="store_true", help="decode steps as captured graphs, one per core count")
    made.add_argument("--hand-over", default="auto", choices=("auto", "ipc", "host"), help=_HAND_OVER)
    made.add_argument("--slots", type=_positive, default=8, help="decode: prompts on their way from each prefill")
    made.add_argument("--steps-ahead", type=_positive, default=1, metavar="K", help=_AHEAD)
    made.add_argument("--patience", type=_seconds, default=120.0, help="prefill: seconds that requests wait for decode")
    made.add_argument("--give-up", type=_seconds, default=10.0, metavar="SECONDS", help=_GIVE_UP)
    made.add_argument("--queue", type=_positive, default=256, help="prefill: requests at most while there is no decode")
    return made


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text}; it must be at least 1")
    return value


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text}; it must be above 0")
    return value


def _natural(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text}; it must be at least 0")
    return value
