// SPDX-License-Identifier: Apache-2.0
#include "ops/attention_math.h"

#include <algorithm>
#include <limits>

#include "ops/cost.h"

namespace softnpu {
namespace {

// One sequence: (heads, tokens, head_dim).
struct Sequence {
    at::Tensor query, key, value;
};

std::string input_layout(const std::string& layout) { return layout.substr(0, layout.find('_')); }

// The layout of the result, where it differs (BNSD_BSND).
std::string output_layout(const std::string& layout) {
    const size_t cut = layout.find('_');
    return cut == std::string::npos ? layout : layout.substr(cut + 1);
}

// (tokens, heads, head_dim) or a fused last dimension -> (heads, tokens, head_dim), as a view.
at::Tensor split_heads(const at::Tensor& rows, int64_t heads) {
    return rows.reshape({rows.size(0), heads, -1}).transpose(0, 1);
}

// Sequence `b` of a tensor, as a view of (heads, tokens, head_dim).
at::Tensor sequence(const at::Tensor& all, const std::string& layout, int64_t heads, int64_t b) {
    if (layout == "BNSD") {
        return all[b];
    }
    if (layout == "BSH") {
        return all[b].unflatten(-1, {heads, -1}).transpose(0, 1);
    }
    if (layout == "BSND") {
        return all[b].transpose(0, 1);
    }
    if (layout == "SBH") {
        return all.select(1, b).unflatten(-1, {heads, -1}).transpose(0, 1);
    }
    TORCH_CHECK(false, "input layout ", layout, ", the software NPU knows BNSD, BSH, BSND, SBH and TND");
}

at::Tensor paged_sequence(const at::Tensor& pool, const at::Tensor& blocks, int64_t heads, int64_t length) {
    const at::Tensor picked = pool.index_select(0, blocks.to(at::kLong));
    if (pool.dim() == 4) {  // (blocks, heads, block, head_dim)
        return picked.transpose(0, 1).flatten(1, 2).narrow(1, 0, length);
    }
    return split_heads(picked.flatten(0, 1).narrow(0, 0, length), heads);  // (blocks, block, heads * head_dim)
}

Sparse sparse_of(int64_t mode) {
    switch (mode) {
        case 0:
        case 1:
            return Sparse::none;
        case 2:
            return Sparse::left_up_causal;
        case 3:
            return Sparse::right_down_causal;
        case 4:
            return Sparse::band;
        default:
            TORCH_CHECK(false, "sparse mode ", mode, ", the software NPU knows 0 to 4");
    }
}

// true where query i must not see key j.
at::Tensor hidden(const AttentionCall& call, int64_t b, int64_t queries, int64_t keys) {
    const Sparse sparse = sparse_of(call.sparse_mode);
    if (sparse == Sparse::none) {
        if (!call.mask.defined()) {
            return {};
        }
        at::Tensor mask = call.mask.to(at::kBool);
        if (mask.dim() > 2) {
            mask = mask.size(0) > 1 ? mask[b] : mask[0];  // (1 or heads, queries, keys), or (queries, keys)
        }
        return mask.narrow(-2, 0, std::min(mask.size(-2), queries)).narrow(-1, 0, keys);
    }
    const at::Tensor i = at::arange(queries).unsqueeze(1);
    const at::Tensor j = at::arange(keys).unsqueeze(0);
    const int64_t shift = sparse == Sparse::left_up_causal ? 0 : keys - queries;  // the diagonal ends in the last key
    if (sparse == Sparse::band) {
        return (j > i + shift + call.after).logical_or(j < i + shift - call.before);
    }
    return j > i + shift;
}

struct Result {
    at::Tensor out, maximum, sum;
};

Result attend_one(const AttentionCall& call, const Sequence& s, int64_t b) {
    const int64_t group = call.heads / call.kv_heads;
    const at::Tensor key = s.key.to(at::kFloat).repeat_interleave(group, 0);
    const at::Tensor value = s.value.to(at::kFloat).repeat_interleave(group, 0);
    at::Tensor scores = at::bmm(s.query.to(at::kFloat), key.transpose(1, 2)) * call.scale;
    if (call.bias.defined()) {
        scores =
            scores + (call.bias.dim() == 4 ? call.bias[std::min(b, call.bias.size(0) - 1)] : call.bias).to(at::kFloat);
    }
    const at::Tensor mask = hidden(call, b, s.query.size(1), s.key.size(1));
    if (mask.defined()) {
        scores = scores.masked_fill(mask, -std::numeric_limits<float>::infinity());
    }
    at::Tensor maximum = scores.amax(-1, true);
    maximum = at::where(at::isinf(maximum), at::zeros_like(maximum), maximum);
    const at::Tensor weights = (scores - maximum).exp();
    const at::Tensor sum = weights.sum(-1, true);
    // A query that sees no key gives zero, not a division by it.
    const at::Tensor out = at::bmm(weights, value) / at::where(sum == 0, at::ones_like(sum), sum);
    return {out, maximum, sum};
}

void store(AttentionCall& call, const Result& result, int64_t b) {
    at::Tensor target = sequence(call.out, output_layout(call.layout), call.heads, b);
    target.narrow(1, 0, result.out.size(1)).copy_(result.out);
    if (call.softmax_max.defined() && call.softmax_max.numel() != 0) {
        call.softmax_max[b].copy_(result.maximum.expand_as(call.softmax_max[b]));
        call.softmax_sum[b].copy_(result.sum.expand_as(call.softmax_sum[b]));
    }
    if (call.lse.defined() && call.lse.numel() != 0) {
        call.lse[b].copy_((result.maximum + result.sum.log()).reshape(call.lse[b].sizes()));
    }
}

int64_t length_of(const std::vector<int64_t>& lengths, int64_t b, int64_t whole) {
    if (lengths.empty()) {
        return whole;
    }
    return lengths[lengths.size() == 1 ? 0 : b];
}

// TND: the tokens of all sequences one after another, the lengths as running sums.
void attend_packed(AttentionCall& call) {
    TORCH_CHECK(!call.query_lengths.empty(), "layout TND needs the sequence lengths of the queries");
    int64_t first = 0;
    int64_t first_key = 0;
    for (size_t b = 0; b < call.query_lengths.size(); ++b) {
        const int64_t queries = call.query_lengths[b] - first;
        Sequence s;
        s.query = split_heads(call.query.narrow(0, first, queries), call.heads);
        if (call.block_table.defined()) {
            const int64_t keys = call.key_lengths.at(b);  // of a paged cache: lengths, not sums
            s.key = paged_sequence(call.key, call.block_table[b], call.kv_heads, keys);
            s.value = paged_sequence(call.value, call.block_table[b], call.kv_heads, keys);
        } else {
            const std::vector<int64_t>& sums = call.key_lengths.empty() ? call.query_lengths : call.key_lengths;
            s.key = split_heads(call.key.narrow(0, first_key, sums[b] - first_key), call.kv_heads);
            s.value = split_heads(call.value.narrow(0, first_key, sums[b] - first_key), call.kv_heads);
            first_key = sums[b];
        }
        const Result result = attend_one(call, s, static_cast<int64_t>(b));
        at::Tensor target = call.out.narrow(0, first, queries);
        target.copy_(result.out.transpose(0, 1).reshape(target.sizes()));
        first = call.query_lengths[b];
    }
}

}  // namespace

void attend(AttentionCall call) {
    call.kv_heads = call.kv_heads > 0 ? call.kv_heads : call.heads;
    const std::string layout = input_layout(call.layout);
    if (layout == "TND") {
        attend_packed(call);
        return;
    }
    const int64_t batch = call.query.size(layout == "SBH" ? 1 : 0);
    for (int64_t b = 0; b < batch; ++b) {
        Sequence s;
        s.query = sequence(call.query, layout, call.heads, b);
        s.query = s.query.narrow(1, 0, length_of(call.query_lengths, b, s.query.size(1)));
        if (call.block_table.defined()) {
            const int64_t keys = length_of(call.key_lengths, b, call.block_size * call.block_table.size(1));
            s.key = paged_sequence(call.key, call.block_table[b], call.kv_heads, keys);
            s.value = paged_sequence(call.value, call.block_table[b], call.kv_heads, keys);
        } else {
            s.key = sequence(call.key, layout, call.kv_heads, b);
            s.value = sequence(call.value, layout, call.kv_heads, b);
            const int64_t keys = length_of(call.key_lengths, b, s.key.size(1));
            s.key = s.key.narrow(1, 0, keys);
            s.value = s.value.narrow(1, 0, keys);
        }
        store(call, attend_one(call, s, b), b);
    }
}

AttentionSize measure(const AttentionShape& shape) {
    const std::string layout = input_layout(shape.layout);
    const aclTensor& q = *shape.query;
    const aclTensor& k = *shape.key;
    AttentionSize size;
    size.heads = static_cast<double>(shape.heads);
    size.kv_heads = static_cast<double>(shape.kv_heads > 0 ? shape.kv_heads : shape.heads);
    size.element = element_size(q.dtype);
    const bool packed = layout == "TND";
    const int axis = layout == "BNSD" ? 2 : layout == "SBH" || packed ? 0 : 1;  // where the tokens are
    const int64_t batch = packed
                              ? static_cast<int64_t>(shape.query_lengths != nullptr ? shape.query_lengths->size() : 1)
                              : q.sizes[layout == "SBH" ? 1 : 0];
    size.head_dim = layout == "BSH" || layout == "SBH" ? static_cast<double>(q.sizes[2]) / std::max(1.0, size.heads)
                                                       : static_cast<double>(q.sizes[q.dims - 1]);
    int64_t sum_q = 0;
    int64_t sum_k = 0;
    for (int64_t b = 0; b < batch; ++b) {
        int64_t queries = q.sizes[axis];
        int64_t keys = shape.paged ? 0 : k.sizes[axis];
        if (shape.query_lengths != nullptr && !shape.query_lengths->empty()) {
            queries = (*shape.query_lengths)[shape.query_lengths->size() == 1 ? 0 : b] - sum_q;
            sum_q += packed ? queries : 0;
        }
        if (shape.key_lengths != nullptr && !shape.key_lengths->empty()) {
            keys = (*shape.key_lengths)[shape.key_lengths->size() == 1 ? 0 : b] - sum_k;
            sum_k += packed && !shape.paged ? keys : 0;
        } else if (packed) {
            keys = queries;
        }
        const auto rows = static_cast<double>(queries);
        const auto columns = static_cast<double>(keys);
        const bool causal = shape.sparse_mode == 2 || shape.sparse_mode == 3;
        size.queries += rows;
        size.keys += columns;
        size.pairs += causal ? std::max(rows, rows * columns - rows * (rows - 1) / 2) : rows * columns;
    }
    return size;
}

Cost attention_cost(const AttentionSize& size) {
    Cost cost{};
    cost.unit = Unit::mix;
    cost.cube_flops = 4.0 * size.heads * size.pairs * size.head_dim;
    cost.vector_flops = 2.0 * size.heads * size.pairs;
    cost.hbm_bytes = size.element * size.head_dim * (2.0 * size.heads * size.queries + 2.0 * size.kv_heads * size.keys);
    cost.cube_rate = size.element <= 2 ? 1.0 : 0.25;
    cost.fixed_s = kAttentionConstant;
    return cost;
}

}  // namespace softnpu
