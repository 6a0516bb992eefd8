# SPDX-License-Identifier: Apache-2.0
"""Attention of an iteration where no measurements scale it: OperatorModel's equations, worked out by the extension.

One prompt is charged as a prompt; whatever else there is, reads its keys as running requests do, in a launch of its
own. So a batch takes no less time when a request of it asks for a second token, and turns from one into the other.

A plan asks for a handful of forecasts and a simulator for a million. So what heads and device fix is worked out once,
here, and the sums of a load are put into it in native/forecast/attention.cc.
"""

from __future__ import annotations

from flexnpu import _native
from flexnpu.forecast.breakdown import Quote
from flexnpu.forecast.contention import HALF
from flexnpu.forecast.load import Load
from flexnpu.forecast.operators import QUERIES, OperatorModel
from flexnpu.forecast.workload import Attention


class PlainAttention:
    """Of one model on one device. Answers are seconds of all layers; `native` is what gives them."""

    def __init__(self, operators: OperatorModel, attention: Attention) -> None:
        profile, times = operators.profile, attention.times
        bandwidth, width = operators.bandwidth_by_cores, operators.width(attention.head_dim)
        self._fixed = times * profile.attention_seconds
        # Operations of a pair of query and key; bytes of a query, and of a key and its value.
        query, each = 4.0 * attention.heads * attention.head_dim, attention.cached_bytes
        query += 4.0 * attention.kv_heads * attention.head_dim - each
        context = times * 4.0 * width * attention.heads, times * query, times * each * operators.attention_pace
        heads, kv_heads, size, each = attention.decoding
        pair = 4.0 * size * kv_heads * operators.rows_of_a_group(heads, kv_heads)
        self.native = _native.PlainAttention(
            rates=operators.attention_by_cores,
            bandwidth=bandwidth,
            left=HALF * bandwidth[-1],
            pace=operators.attention_pace,
            queries=QUERIES,
            heads=float(attention.heads),
            key=times * QUERIES * 4.0 * width,
            bend=profile.attention_bend,
            fixed=self._fixed,
            block=times * profile.block_seconds,
            context=context,
            generation=(times * pair, times * 4.0 * heads * size, times * each),
        )

    def prompts(self, load: Load, cores: int) -> Quote:
        """What prompts add to what the running requests of an iteration take by themselves."""
        several = load.prefill_sequences > 1.0
        alone, held, traffic = self.native.single(load if several else Load(*load[:4]), cores)
        if several and load.decode_sequences:
            running = self.native.single(Load.decode(load.decode_sequences, load.decode_seen), cores)
            alone, held, traffic = alone - running[0], held - running[1], traffic - running[2]
        bound = "compute" if self.native.computing(load, cores) else "bandwidth"
        if 2.0 * self._fixed > alone:
            bound = "launch"
        return Quote("prefill_attention", "context_attention", alone, held, traffic, 0.0, bound)
