// SPDX-License-Identifier: Apache-2.0
#include "ops/attention_math.h"

#include <algorithm>
#include <limits>

#include "ops/cost.h"
#include "ops/op.h"

namespace softnpu {
namespace {

// One sequence of the batch: where its tokens are.
struct Span {
    int64_t batch;
    int64_t first = 0, queries = 0;  // of the packed tokens; a padded batch starts at 0
    int64_t first_key = 0, keys = 0;
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

// Sequence `b` of a padded tensor, as a view of (heads, tokens, head_dim).
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

int64_t length_of(const std::vector<int64_t>& lengths, int64_t b, int64_t whole) {
    if (lengths.empty()) {
        return whole;
    }
    return lengths[lengths.size() == 1 ? 0 : b];
}

// TND: the tokens of all sequences one after another, the lengths as running sums; those of a paged cache are lengths.
std::vector<Span> packed_spans(const AttentionCall& call) {
    TORCH_CHECK(!call.query_lengths.empty(), "layout TND needs the sequence lengths of the queries");
    const std::vector<int64_t>& sums = call.key_lengths.empty() ? call.query_lengths : call.key_lengths;
    std::vector<Span> all;
    Span next{};
    for (size_t b = 0; b < call.query_lengths.size(); ++b) {
        next.batch = static_cast<int64_t>(b);
        next.queries = call.query_lengths[b] - next.first;
        next.keys = call.block_table.defined() ? sums.at(b) : sums.at(b) - next.first_key;
        all.push_back(next);
        next.first = call.query_lengths[b];
        next.first_key = sums.at(b);
    }
    return all;
}

std::vector<Span> spans(const AttentionCall& call) {
    const std::string layout = input_layout(call.layout);
    if (layout == "TND" || layout == "NTD") {
        return packed_spans(call);
    }
    const int64_t axis = layout == "BNSD" ? 2 : layout == "SBH" ? 0 : 1;
    const int64_t batch = call.query.size(layout == "SBH" ? 1 : 0);
    std::vector<Span> all;
    for (int64_t b = 0; b < batch; ++b) {
        const int64_t room =
            call.block_table.defined() ? call.block_size * call.block_table.size(1) : call.key.size(axis);
        // A decode step has one query, whatever lengths a program leaves in the call.
        const int64_t tokens = call.query.size(axis);
        const int64_t queries = std::min(length_of(call.query_lengths, b, tokens), tokens);
        all.push_back({b, 0, queries, 0, length_of(call.key_lengths, b, room)});
    }
    return all;
}

// The tokens of a span as a view of (heads, tokens, head_dim).
at::Tensor rows(const at::Tensor& all, const std::string& layout, int64_t heads, const Span& span, bool of_keys) {
    const int64_t first = of_keys ? span.first_key : span.first;
    const int64_t count = of_keys ? span.keys : span.queries;
    if (layout == "TND") {
        return split_heads(all.narrow(0, first, count), heads);
    }
    if (layout == "NTD") {
        return all.narrow(1, first, count);
    }
    return sequence(all, layout, heads, span.batch).narrow(1, 0, count);
}

at::Tensor key_rows(const AttentionCall& call, const at::Tensor& all, const Span& span) {
    return call.block_table.defined() ? paged_sequence(all, call.block_table[span.batch], call.kv_heads, span.keys)
                                      : rows(all, input_layout(call.layout), call.kv_heads, span, true);
}

// The weights of one sequence, before dropout, and what they were made from; all fp32 and (heads, queries, …).
struct Weights {
    at::Tensor query, key;  // with rope; key and value as many heads as the query
    at::Tensor value;
    at::Tensor weights;       // sum to one over the keys
    at::Tensor maximum, sum;  // of the scores, and of their exponentials over the maximum
};

Weights weigh(const AttentionCall& call, const Span& span) {
    const std::string layout = input_layout(call.layout);
    const int64_t group = call.heads / call.kv_heads;
    Weights w;
    w.query = rows(call.query, layout, call.heads, span, false).to(at::kFloat);
    w.key = key_rows(call, call.key, span).to(at::kFloat);
    if (call.query_rope.defined() && call.query_rope.numel() != 0) {
        w.query = at::cat({w.query, rows(call.query_rope, layout, call.heads, span, false).to(at::kFloat)}, -1);
        w.key = at::cat({w.key, key_rows(call, call.key_rope, span).to(at::kFloat)}, -1);
    }
    w.key = w.key.repeat_interleave(group, 0);
    w.value = key_rows(call, call.value, span).to(at::kFloat).repeat_interleave(group, 0);
    at::Tensor scores = at::bmm(w.query, w.key.transpose(1, 2)) * call.scale;
    if (call.bias.defined() && call.bias.numel() != 0) {
        const at::Tensor bias = call.bias.to(at::kFloat);
        scores = scores + (bias.dim() == 4 ? bias[std::min(span.batch, bias.size(0) - 1)] : bias);
    }
    const at::Tensor mask = hidden(call, span.batch, span.queries, span.keys);
    if (mask.defined()) {
        scores = scores.masked_fill(mask, -std::numeric_limits<float>::infinity());
    }
    w.maximum = scores.amax(-1, true);
    const bool sinks = call.sink.defined() && call.sink.numel() != 0;
    const at::Tensor sink = sinks ? call.sink.to(at::kFloat).reshape({-1, 1, 1}) : at::Tensor();
    w.maximum = sinks ? at::maximum(w.maximum, sink) : w.maximum;
    w.maximum = at::where(at::isinf(w.maximum), at::zeros_like(w.maximum), w.maximum);
    w.weights = (scores - w.maximum).exp();
    w.sum = w.weights.sum(-1, true);
    w.sum = sinks ? w.sum + (sink - w.maximum).exp() : w.sum;
    // A query that sees no key gives zero, not a division by it.
    w.weights = w.weights / at::where(w.sum == 0, at::ones_like(w.sum), w.sum);
    return w;
}

// What dropout multiplies the weights with; undefined: nothing.
at::Tensor dropout(const AttentionCall& call, const Span& span) {
    if (!call.drop.defined() || call.drop.numel() == 0) {
        return {};
    }
    TORCH_CHECK(input_layout(call.layout) != "TND", "dropMask in layout TND is not bound in the software NPU");
    const int64_t each = call.heads * span.queries * span.keys;
    const at::Tensor bits = unpack_bits(call.drop, (span.batch + 1) * each).slice(0, span.batch * each);
    return bits.reshape({call.heads, span.queries, span.keys}).to(at::kFloat) / call.keep;
}

// A (heads, queries, 1) of each query into the statistics of all, whose last dimension repeats it.
void store_statistic(const AttentionCall& call, const at::Tensor& all, const at::Tensor& values, const Span& span) {
    if (!all.defined() || all.numel() == 0) {
        return;
    }
    const bool packed = input_layout(call.layout) == "TND";
    const at::Tensor place = packed ? all.narrow(0, span.first, span.queries).transpose(0, 1) : all[span.batch];
    place.narrow(1, 0, span.queries).copy_(values.expand({-1, -1, place.size(-1)}));
}

// Gradients of heads that share a key go together.
at::Tensor ungroup(const at::Tensor& each, int64_t kv_heads) { return each.unflatten(0, {kv_heads, -1}).sum(1); }

void add_rows(const AttentionCall& call, const at::Tensor& all, const at::Tensor& value, const Span& span,
              bool of_keys) {
    if (all.defined() && all.numel() != 0) {
        rows(all, input_layout(call.layout), of_keys ? call.kv_heads : call.heads, span, of_keys).add_(value);
    }
}

}  // namespace

void attend(AttentionCall call) {
    call.kv_heads = call.kv_heads > 0 ? call.kv_heads : call.heads;
    for (const Span& span : spans(call)) {
        const Weights w = weigh(call, span);
        const at::Tensor kept = dropout(call, span);
        const at::Tensor out = at::bmm(kept.defined() ? w.weights * kept : w.weights, w.value);
        rows(call.out, output_layout(call.layout), call.heads, span, false).copy_(out);
        store_statistic(call, call.softmax_max, w.maximum, span);
        store_statistic(call, call.softmax_sum, w.sum, span);
        store_statistic(call, call.lse, w.maximum + w.sum.log(), span);
    }
}

void attend_backward(AttentionCall call, const at::Tensor& grad, AttentionGradients gradients) {
    call.kv_heads = call.kv_heads > 0 ? call.kv_heads : call.heads;
    // Summed in fp32: two spans never share a place, but a bias may belong to all of them.
    for (at::Tensor* each : {&gradients.query, &gradients.key, &gradients.value, &gradients.query_rope,
                             &gradients.key_rope, &gradients.bias}) {
        if (each->defined()) {
            each->zero_();
        }
    }
    for (const Span& span : spans(call)) {
        const Weights w = weigh(call, span);
        const at::Tensor kept = dropout(call, span);
        const at::Tensor dy = rows(grad, output_layout(call.layout), call.heads, span, false).to(at::kFloat);
        const at::Tensor used = kept.defined() ? w.weights * kept : w.weights;
        const at::Tensor value = at::bmm(used.transpose(1, 2), dy);
        at::Tensor slope = at::bmm(dy, w.value.transpose(1, 2));
        slope = kept.defined() ? slope * kept : slope;
        const at::Tensor scores = w.weights * (slope - (slope * w.weights).sum(-1, true));
        const at::Tensor query = at::bmm(scores, w.key) * call.scale;
        const at::Tensor key = ungroup(at::bmm(scores.transpose(1, 2), w.query) * call.scale, call.kv_heads);
        const int64_t rope = call.query_rope.defined() ? call.query_rope.size(-1) : 0;
        const int64_t plain = query.size(-1) - rope;
        add_rows(call, gradients.query, query.narrow(-1, 0, plain), span, false);
        add_rows(call, gradients.key, key.narrow(-1, 0, plain), span, true);
        add_rows(call, gradients.query_rope, query.narrow(-1, plain, rope), span, false);
        add_rows(call, gradients.key_rope, key.narrow(-1, plain, rope), span, true);
        add_rows(call, gradients.value, ungroup(value, call.kv_heads), span, true);
        if (gradients.bias.defined() && gradients.bias.numel() != 0) {
            at::Tensor place = gradients.bias.dim() == 4
                                   ? gradients.bias[std::min(span.batch, gradients.bias.size(0) - 1)]
                                   : gradients.bias;
            place.add_(scores.sum_to_size(place.sizes()));
        }
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
            const int64_t given = (*shape.query_lengths)[shape.query_lengths->size() == 1 ? 0 : b] - sum_q;
            queries = packed ? given : std::min(given, queries);
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
