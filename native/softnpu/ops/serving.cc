// SPDX-License-Identifier: Apache-2.0
//
// What an inference engine runs beside the model: sampling, paged caches, joining parts of an attention.
#include "ops/op.h"

using softnpu::put;
using softnpu::scatter_cost;
using softnpu::wide;

namespace {

constexpr float kNever = -std::numeric_limits<float>::infinity();

// Leaves the k most likely of each row, and of those the fewest that together have the probability p.
at::Tensor restrict(const at::Tensor& logits, const at::Tensor& p, const at::Tensor& k) {
    const int64_t words = logits.size(-1);
    const auto [ascending, places] = at::sort(wide(logits), true, -1, false);
    at::Tensor kept = ascending;
    if (k.defined() && k.numel() != 0) {
        const at::Tensor counts = at::clamp(k.to(at::kLong), 1, words).reshape({-1, 1});
        const at::Tensor least = ascending.gather(-1, words - counts);
        kept = kept.masked_fill(kept < least, kNever);
    }
    if (p.defined() && p.numel() != 0) {
        const at::Tensor sums = at::softmax(kept, -1).cumsum(-1);
        at::Tensor out = sums <= 1 - wide(p).reshape({-1, 1});
        out.narrow(-1, words - 1, 1).fill_(0);  // the likeliest stays
        kept = kept.masked_fill(out, kNever);
    }
    return at::empty_like(kept).scatter_(-1, places, kept);
}

// Rows of (blocks, block, …) as one list of slots.
at::Tensor slots(const at::Tensor& cache) { return cache.flatten(0, 1); }

void store(const at::Tensor& rows, const at::Tensor& cache, const at::Tensor& slot) {
    const at::Tensor places = slot.reshape(-1).to(at::kLong);
    const at::Tensor given = (places >= 0).nonzero().reshape(-1);  // -1: a token of padding
    at::Tensor all = slots(cache);
    std::vector<int64_t> shape = all.sizes().vec();
    shape[0] = -1;
    all.index_copy_(0, places.index_select(0, given), rows.reshape(shape).index_select(0, given));
}

}  // namespace

OP(aclnnApplyTopKTopP, In(logits), In(p), In(k), Out(out)) { put(out, restrict(logits, p, k)); }
// Draws with the exponential numbers q that the program gives; without them takes the likeliest.
OP(aclnnTopKTopPSample, In(logits), In(k), In(p), In(q), F64(eps), Flag(with_logits), Int(guess), Out(index),
   Out(selected)) {
    const at::Tensor kept = restrict(logits, p, k);
    const at::Tensor probability = at::softmax(kept, -1);
    const bool draws = q.defined() && q.numel() != 0;
    put(index, at::argmax(draws ? probability / (wide(q) + eps) : probability, -1));
    put(selected, with_logits ? kept : at::Tensor());
}
OP_COST(aclnnScatterPaKvCache, scatter_cost, In(key), Out(key_cache), In(slot), In(value), Out(value_cache),
        In(compressed), In(offsets), In(lengths), Text(mode), Text(how), Ints(strides), Ints(places)) {
    TORCH_CHECK(mode != "PA_NZ" && !compressed.defined(),
                "cache mode PA_NZ and compressed caches are not bound in the software NPU");
    store(key, key_cache, slot);
    store(value, value_cache, slot);
}
OP(aclnnAttentionUpdate, List(lse), List(parts), Int(kind), Out(out), Out(total)) {
    const at::Tensor all = wide(at::stack(lse)).reshape({static_cast<int64_t>(lse.size()), -1});
    const at::Tensor sum = at::logsumexp(all, 0);
    at::Tensor joined = at::zeros(out.sizes(), at::kFloat);
    for (size_t i = 0; i < parts.size(); ++i) {
        joined = joined + wide(parts[i]) * at::exp(all[static_cast<int64_t>(i)] - sum).unsqueeze(-1);
    }
    put(out, joined);
    put(total, sum);
}
// Two parts of one attention, over other keys each, become one. Statistics are (…, 8) with one number eight times.
OP(aclnnRingAttentionUpdate, In(before), In(before_max), In(before_sum), In(part), In(part_max), In(part_sum),
   In(lengths), Text(layout), Out(out), Out(maximum), Out(sum)) {
    const at::Tensor most = at::maximum(before_max, part_max);
    const at::Tensor first = before_sum * at::exp(before_max - most);
    const at::Tensor second = part_sum * at::exp(part_max - most);
    put(maximum, most);
    put(sum, first + second);
    const auto share = [&](const at::Tensor& weight) {  // (batch, heads, tokens, 8) as the output is laid out
        const at::Tensor one = (weight / (first + second)).select(-1, 0);
        if (layout == "TND") {
            return one.unsqueeze(-1);
        }
        const int64_t width = before.size(-1) / one.size(1);
        return one.permute({2, 0, 1}).repeat_interleave(width, -1);  // SBH
    };
    put(out, wide(before) * share(first) + wide(part) * share(second));
}
OP(aclnnRingAttentionUpdateV2, In(before), In(before_max), In(before_sum), In(part), In(part_max), In(part_sum),
   In(lengths), Text(layout), Text(statistics), Out(out), Out(maximum), Out(sum)) {
    aclnnRingAttentionUpdate_body(before, before_max, before_sum, part, part_max, part_sum, lengths, layout, out,
                                  maximum, sum);
}

// One step of decoding: the tokens that were drawn come in, positions and lengths move on by one, and the slots in the
// paged cache follow from the block tables.
OP(aclnnAdvanceStep, Out(tokens), In(drawn), Out(positions), Out(lengths), Out(slots), In(tables), Int(sequences),
   Int(queries), Int(block)) {
    const at::Tensor next = lengths.slice(0, 0, queries).clone();
    tokens.slice(0, 0, queries).copy_(drawn.reshape(-1).slice(0, 0, queries));
    lengths.slice(0, 0, queries).add_(1);
    positions.slice(0, 0, queries).copy_(next);
    const at::Tensor place = next.to(at::kLong);
    const at::Tensor page = at::div(place, block, "floor").unsqueeze(1);
    const at::Tensor first = tables.slice(0, 0, queries).to(at::kLong).gather(1, page).squeeze(1) * block;
    slots.slice(0, 0, queries).copy_(first + at::remainder(place, block));
}
