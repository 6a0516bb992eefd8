// SPDX-License-Identifier: Apache-2.0
//
// Mixture of experts on one device: which expert a token goes to, and the way there and back.
#include "ops/op.h"
#include "ops/quant_math.h"

using softnpu::put;
using softnpu::wide;

namespace {

// Slots (token * k + choice) in the order of their experts.
at::Tensor by_expert(const at::Tensor& experts) { return at::argsort(experts.reshape(-1), true, 0, false); }

at::Tensor undo(const at::Tensor& order) { return at::argsort(order, true, 0, false); }

int64_t choices(const at::Tensor& indices) { return indices.dim() > 1 ? indices.size(1) : 1; }

// Rows of each expert: their number, or running sums of it.
void put_counts(const at::Tensor& out, const at::Tensor& experts, int64_t first, int64_t count, int64_t kind) {
    if (!out.defined() || out.numel() == 0) {
        return;
    }
    const at::Tensor own = experts.reshape(-1).to(at::kLong) - first;
    const at::Tensor inside = own.masked_select((own >= 0).logical_and(own < count));
    const at::Tensor counts = at::bincount(inside, {}, count);
    if (kind == 2) {  // pairs of those that have any, then zeros
        out.zero_();
        const at::Tensor some = counts.nonzero().reshape(-1);
        const at::Tensor pairs = at::stack({some + first, counts.index_select(0, some)}, 1);
        out.slice(0, 0, pairs.size(0)).copy_(pairs);
        return;
    }
    put(out, kind == 0 ? counts.cumsum(0) : counts);
}

struct Routing {
    const at::Tensor& x;
    const at::Tensor& experts;
    const at::Tensor& scale;
    const at::Tensor& offset;
    int64_t active, capacity, number, drop_pad;
    int64_t first, last;  // experts that are here
    int64_t quantise;     // -1: no, 0: static, 1: dynamic
    bool scatter_index;   // rows of the result name their slot, rather than slots their row
};

struct Routed {
    const at::Tensor &rows, &index, &scale;
};

void quantise(const Routing& r, const at::Tensor& rows, const at::Tensor& experts, const Routed& to) {
    if (r.quantise == 0) {
        softnpu::put_quantised(to.rows, wide(rows) * wide(r.scale) + wide(r.offset));
        return;
    }
    at::Tensor values = wide(rows);
    if (r.scale.defined() && r.scale.numel() != 0) {
        const at::Tensor factors = wide(r.scale);
        values = values * (factors.size(0) == 1 ? factors : factors.index_select(0, experts - r.first));
    }
    const at::Tensor scales = softnpu::row_scales(values, 127, true).scale;
    softnpu::put_quantised(to.rows, values / scales);
    put(to.scale, scales);
}

// Every row of an expert's tokens one after another; tokens of experts that are elsewhere are left out.
void route(const Routing& r, const Routed& to) {
    const int64_t k = choices(r.experts);
    const at::Tensor experts = r.experts.reshape(-1).to(at::kLong);
    const at::Tensor here = (experts >= r.first).logical_and(experts < r.last);
    at::Tensor order = by_expert(at::where(here, experts, at::full_like(experts, r.last + 1)));
    const int64_t kept = here.sum().item<int64_t>();
    order = order.slice(0, 0, r.active > 0 ? std::min(r.active, kept) : kept);
    if (r.drop_pad == 1) {
        // A fixed number of places for each expert: what comes later is dropped, what is free stays zero.
        at::Tensor index = at::full_like(experts, -1);
        to.rows.zero_();
        std::vector<int64_t> used(r.number, 0);
        for (int64_t i = 0; i < order.numel(); ++i) {
            const int64_t slot = order[i].item<int64_t>();
            const int64_t expert = experts[slot].item<int64_t>();
            const int64_t place = used.at(expert)++;
            if (place < r.capacity) {
                to.rows.reshape({r.number * r.capacity, -1})[expert * r.capacity + place].copy_(r.x[slot / k]);
                index[slot] = expert * r.capacity + place;
            }
        }
        put(to.index, index);
        return;
    }
    const at::Tensor rows = r.x.index_select(0, at::floor_divide(order, k));
    const int64_t count = std::min(rows.size(0), to.rows.size(0));
    const Routed part{to.rows.slice(0, 0, count), to.index,
                      to.scale.defined() && to.scale.numel() != 0 ? to.scale.slice(0, 0, count) : at::Tensor()};
    if (r.quantise < 0) {
        put(part.rows, rows.slice(0, 0, count));
        if (part.scale.defined() && r.scale.defined()) {  // a scale of each token travels with it
            put(part.scale, r.scale.index_select(0, at::floor_divide(order, k)).slice(0, 0, count));
        }
    } else {
        quantise(r, rows.slice(0, 0, count), experts.index_select(0, order).slice(0, 0, count), part);
    }
    at::Tensor index = at::full_like(experts, -1);
    if (r.scatter_index) {
        index.slice(0, 0, order.numel()).copy_(order);
    } else {
        index.index_copy_(0, order, at::arange(order.numel(), at::kLong));
    }
    put(to.index, index);
}

// The k best of each row, with their places; the softmax before or after the choice.
void gate(const at::Tensor& x, int64_t k, bool renormalise, at::Tensor& weights, at::Tensor& experts,
          const at::Tensor& all) {
    const at::Tensor probability = renormalise ? wide(x) : at::softmax(wide(x), -1);
    const auto [best, places] = at::topk(probability, k, -1);
    put(weights, renormalise ? at::softmax(best, -1) : best);
    put(experts, places);
    put(all, at::softmax(wide(x), -1));
}

void mask_finished(const at::Tensor& finished, const at::Tensor& experts, int64_t number) {
    if (finished.defined() && finished.numel() != 0) {
        experts.masked_fill_(finished.to(at::kBool).unsqueeze(-1), number);
    }
}

}  // namespace

OP(aclnnMoeGatingTopKSoftmax, In(x), In(finished), Int(k), Out(weights), Out(experts), Out(row_index)) {
    gate(x, k, false, weights, experts, {});
    mask_finished(finished, experts, x.size(-1));
    const int64_t rows = x.numel() / x.size(-1);
    put(row_index, at::arange(rows * k, at::kInt).reshape({k, rows}).t());
}
OP(aclnnMoeGatingTopKSoftmaxV2, In(x), In(finished), Int(k), Int(renormalise), Flag(with_all), Out(weights),
   Out(experts), Out(all)) {
    gate(x, k, renormalise == 1, weights, experts, with_all ? all : at::Tensor());
    mask_finished(finished, experts, x.size(-1));
}
OP(aclnnMoeGatingTopK, In(x), In(bias), Int(k), Int(k_group), Int(groups), Int(select), Int(renormalise), Int(norm),
   Flag(with_all), F64(factor), F64(eps), Out(weights), Out(experts), Out(all)) {
    const at::Tensor scores = norm == 1 ? at::sigmoid(wide(x)) : at::softmax(wide(x), -1);
    at::Tensor choice = bias.defined() ? scores + wide(bias) : scores;
    if (groups > 1) {
        const at::Tensor grouped = choice.reshape({choice.size(0), groups, -1});
        const at::Tensor value = select == 0 ? grouped.amax(-1) : std::get<0>(at::topk(grouped, 2, -1)).sum(-1);
        const at::Tensor best = at::argsort(value, true, -1, true).slice(1, 0, k_group);
        const at::Tensor out = at::ones_like(value, at::kBool).scatter(1, best, 0);
        choice =
            grouped.masked_fill(out.unsqueeze(-1), -std::numeric_limits<float>::infinity()).reshape(scores.sizes());
    }
    const at::Tensor places = at::argsort(choice, true, -1, true).slice(1, 0, k);
    at::Tensor best = scores.gather(1, places);
    best = norm == 1 || renormalise == 1 ? best / (best.sum(-1, true) + eps) : best;
    put(weights, best * factor);
    put(experts, places);
    put(all, with_all ? scores : at::Tensor());
}
OP(aclnnMoeComputeExpertTokens, In(sorted), Int(experts), Out(out)) {
    put(out, at::searchsorted(sorted.to(at::kLong), at::arange(experts, at::kLong), false, true));
}

OP(aclnnMoeInitRouting, In(x), In(row_index), In(experts), Int(active), Out(rows), Out(index), Out(sorted)) {
    const int64_t k = choices(experts);
    const int64_t tokens = x.size(0);
    const at::Tensor order = by_expert(experts);
    const at::Tensor slots = row_index.reshape(-1).to(at::kLong).index_select(0, order);
    const int64_t count = std::min(active, tokens) * k;
    put(rows, x.index_select(0, at::remainder(slots.slice(0, 0, count), tokens)));
    put(index, undo(slots));
    put(sorted, experts.reshape(-1).index_select(0, order));
}
OP(aclnnMoeInitRoutingV2, In(x), In(experts), Int(active), Int(capacity), Int(number), Int(drop_pad), Int(counting),
   Flag(before), Out(rows), Out(index), Out(counts), Out(counts_before)) {
    const int64_t last = number > 0 ? number : std::numeric_limits<int64_t>::max() - 2;
    route({x, experts, {}, {}, active, capacity, number, drop_pad, 0, last, -1, false}, {rows, index, {}});
    put_counts(counts, experts, 0, number, counting == 1 ? 0 : 1);
    put_counts(counts_before, experts, 0, number, 1);
}
OP(aclnnMoeInitRoutingQuantV2, In(x), In(experts), In(scale), In(offset), Int(active), Int(capacity), Int(number),
   Int(drop_pad), Int(counting), Flag(before), Int(mode), Out(rows), Out(index), Out(counts), Out(counts_before),
   Out(row_scale)) {
    const int64_t last = number > 0 ? number : std::numeric_limits<int64_t>::max() - 2;
    route({x, experts, scale, offset, active, capacity, number, drop_pad, 0, last, mode, false},
          {rows, index, row_scale});
    put_counts(counts, experts, 0, number, counting == 1 ? 0 : 1);
    put_counts(counts_before, experts, 0, number, 1);
}
OP(aclnnMoeInitRoutingV3, In(x), In(experts), In(scale), In(offset), Int(active), Int(capacity), Int(number),
   Int(drop_pad), Int(counting), Flag(count), Int(mode), Ints(range), Int(index_type), Out(rows), Out(index),
   Out(counts), Out(row_scale)) {
    const int64_t first = range.size() == 2 ? range[0] : 0;
    const int64_t last = range.size() == 2 ? range[1] : number;
    route({x, experts, scale, offset, active, capacity, number, drop_pad, first, last, mode, index_type == 1},
          {rows, index, row_scale});
    if (count) {
        put_counts(counts, experts, first, last - first, counting);
    }
}

OP(aclnnMoeTokenPermute, In(tokens), In(indices), Int(kept), Flag(padded), Out(rows), Out(index)) {
    const int64_t k = choices(indices);
    if (padded) {
        put(rows, tokens.index_select(0, indices.reshape(-1).to(at::kLong)));
        put(index, indices);
        return;
    }
    const at::Tensor order = by_expert(indices);
    put(rows, tokens.index_select(0, at::floor_divide(order.slice(0, 0, rows.size(0)), k)));
    put(index, undo(order));
}
OP(aclnnMoeTokenPermuteGrad, In(grad), In(index), Int(k), Flag(padded), Out(out)) {
    const at::Tensor slots = index.reshape(-1).to(at::kLong);
    at::Tensor each = at::zeros({slots.numel(), grad.size(-1)}, at::kFloat);
    const at::Tensor there = (slots < grad.size(0)).nonzero().reshape(-1);
    each.index_copy_(0, there, grad.to(at::kFloat).index_select(0, slots.index_select(0, there)));
    put(out, each.reshape({-1, k, grad.size(-1)}).sum(1));
}
OP(aclnnMoeTokenUnpermute, In(rows), In(index), In(probabilities), Flag(padded), Ints(shape), Out(out)) {
    const int64_t k = probabilities.defined() && probabilities.dim() > 1 ? probabilities.size(1) : 1;
    const at::Tensor slots = index.reshape(-1).to(at::kLong);
    at::Tensor each = at::zeros({slots.numel(), rows.size(-1)}, at::kFloat);
    const at::Tensor there = (slots < rows.size(0)).nonzero().reshape(-1);
    each.index_copy_(0, there, rows.to(at::kFloat).index_select(0, slots.index_select(0, there)));
    each = probabilities.defined() ? each * wide(probabilities).reshape({-1, 1}) : each;
    put(out, each.reshape({-1, k, rows.size(-1)}).sum(1));
}
OP(aclnnMoeTokenUnpermuteGrad, In(rows), In(grad), In(index), In(probabilities), Flag(padded), Ints(shape),
   Out(grad_rows), Out(grad_probabilities)) {
    const int64_t k = probabilities.defined() && probabilities.dim() > 1 ? probabilities.size(1) : 1;
    const at::Tensor slots = index.reshape(-1).to(at::kLong);
    const at::Tensor each = wide(grad).repeat_interleave(k, 0);  // of each slot
    const at::Tensor weighted = probabilities.defined() ? each * wide(probabilities).reshape({-1, 1}) : each;
    const at::Tensor there = (slots < rows.size(0)).nonzero().reshape(-1);
    const at::Tensor places = slots.index_select(0, there);
    grad_rows.zero_();
    grad_rows.index_copy_(0, places, weighted.index_select(0, there).to(grad_rows.scalar_type()));
    if (probabilities.defined()) {
        at::Tensor found = at::zeros({slots.numel()}, at::kFloat);
        found.index_copy_(0, there, (wide(rows).index_select(0, places) * each.index_select(0, there)).sum(1));
        put(grad_probabilities, found);
    }
}

namespace {

// out[i] = skip1[i] + skip2[i] + sum over the choices j of scale[i][j] * (row of that choice + bias of its expert).
void finalize(const at::Tensor& rows, const at::Tensor& skip1, const at::Tensor& skip2, const at::Tensor& bias,
              const at::Tensor& scales, const at::Tensor& index, const at::Tensor& experts, bool by_choice,
              const at::Tensor& out) {
    const int64_t width = rows.size(-1);
    const int64_t k = scales.defined() ? scales.size(1) : 1;
    const int64_t tokens = index.numel() / k;
    const at::Tensor all = wide(rows).reshape({-1, width});
    at::Tensor places = index.reshape(-1).to(at::kLong);
    places = by_choice ? places.reshape({k, tokens}).t() : places.reshape({tokens, k});
    const at::Tensor given = (places >= 0).logical_and(places < all.size(0));
    at::Tensor each = all.index_select(0, at::where(given, places, at::zeros_like(places)).reshape(-1));
    each = each.reshape({tokens, k, width}) * given.unsqueeze(-1);
    if (bias.defined()) {
        each = each + wide(bias).index_select(0, experts.reshape(-1).to(at::kLong)).reshape({tokens, k, width});
    }
    each = scales.defined() ? each * wide(scales).unsqueeze(-1) : each;
    at::Tensor sum = each.sum(1);
    sum = skip1.defined() ? sum + wide(skip1) : sum;
    put(out, skip2.defined() ? sum + wide(skip2) : sum);
}

}  // namespace

OP(aclnnMoeFinalizeRouting, In(rows), In(skip1), In(skip2), In(bias), In(scales), In(index), In(experts), Out(out)) {
    finalize(rows, skip1, skip2, bias, scales, index, experts, true, out);
}
OP(aclnnMoeFinalizeRoutingV2, In(rows), In(index), In(skip1), In(skip2), In(bias), In(scales), In(experts), Int(mode),
   Out(out)) {
    finalize(rows, skip1, skip2, bias, scales, index, experts, mode < 2, out);
}
OP(aclnnMoeFinalizeRoutingV4, In(rows), In(index), In(skip1), In(skip2), In(bias), In(scales), In(experts), In(unused1),
   In(unused2), In(unused3), In(unused4), Int(mode), Ints(range1), Ints(range2), Ints(range3), Int(k), Out(out)) {
    finalize(rows, skip1, skip2, bias, scales, index, experts, mode < 2, out);
}

// Tokens come rank by rank, in each rank expert by expert, counts (ranks, experts); they leave expert by expert. Index
// type 0 says where each row came from, 1 where it went; count type 0 gives running sums, 1 counts.
OP(aclnnMoeReRouting, In(tokens), In(counts), In(scales), Int(count_type), Int(index_type), Out(out), Out(out_scales),
   Out(index), Out(expert_tokens)) {
    const at::Tensor each = counts.to(at::kLong).contiguous();
    const at::Tensor first = (each.reshape(-1).cumsum(0) - each.reshape(-1)).reshape(each.sizes());
    std::vector<at::Tensor> pieces;
    for (int64_t expert = 0; expert < each.size(1); ++expert) {
        for (int64_t rank = 0; rank < each.size(0); ++rank) {
            const int64_t start = first[rank][expert].item<int64_t>();
            const int64_t end = std::min(start + each[rank][expert].item<int64_t>(), tokens.size(0));
            if (start < end) {
                pieces.push_back(at::arange(start, end, at::kLong));
            }
        }
    }
    const at::Tensor from = pieces.empty() ? at::empty({0}, at::kLong) : at::cat(pieces);
    out.slice(0, 0, from.numel()).copy_(tokens.index_select(0, from));
    if (scales.defined() && scales.numel() != 0) {
        out_scales.slice(0, 0, from.numel()).copy_(scales.index_select(0, from));
    }
    index.slice(0, 0, from.numel()).copy_(index_type == 0 ? from : from.argsort());
    const at::Tensor sums = each.sum(0);
    put(expert_tokens, count_type == 0 ? sums.cumsum(0) : sums);
}
