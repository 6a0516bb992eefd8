// SPDX-License-Identifier: Apache-2.0
//
// The fused attention operators. Quantised caches and shared prefixes are refused by name.
#include "ops/attention_math.h"
#include "ops/op.h"

using softnpu::AttentionCall;
using softnpu::AttentionShape;
using softnpu::Cost;
using softnpu::Plan;

namespace {

const aclTensor* tensor_at(const Plan& plan, size_t argument) {
    if (const auto* slot = std::get_if<softnpu::TensorSlot>(&plan.arguments[argument])) {
        return slot->index >= 0 ? &plan.tensors[slot->index] : nullptr;
    }
    const auto& list = std::get<softnpu::TensorListSlot>(plan.arguments[argument]);
    return list.count > 0 ? &plan.tensors[list.first] : nullptr;
}

// The arguments after the first string, which is the layout; the integers around it have the same order in every
// version.
struct Tail {
    size_t layout = 0;
    const Plan& plan;
    explicit Tail(const Plan& p) : plan(p) {
        while (!std::holds_alternative<std::string>(plan.arguments[layout])) {
            ++layout;
        }
    }
    int64_t integer(int from_layout) const {  // 0 where an older version has none
        const auto* value = std::get_if<int64_t>(&plan.arguments[layout + from_layout]);
        return value != nullptr ? *value : 0;
    }
};

int64_t kv_heads_of(int64_t key_heads_or_width, int64_t query_width, int64_t heads, const std::string& layout) {
    const bool fused = layout == "BSH" || layout == "SBH";
    return fused ? std::max<int64_t>(1, heads * key_heads_or_width / std::max<int64_t>(1, query_width))
                 : key_heads_or_width;
}

// Where the heads of a tensor are, or the width that holds them all.
size_t head_axis(const std::string& layout) { return layout == "BNSD" || layout == "TND" ? 1 : 2; }

// Training: …, headNum, layout, innerPrecise, sparseMode. `key` is the place of the key among the arguments.
template <size_t key, bool packed, bool backward>
Cost training_cost(const Plan& plan) {
    const Tail tail(plan);
    const std::string& layout = std::get<std::string>(plan.arguments[tail.layout]);
    const int64_t heads = tail.integer(-1);
    const aclTensor* queries = tensor_at(plan, 0);
    const aclTensor* keys = tensor_at(plan, key);
    const size_t axis = head_axis(layout);
    std::vector<const std::vector<int64_t>*> lists;  // prefix, and where packed the two running sums
    for (const softnpu::Argument& argument : plan.arguments) {
        if (const auto* list = std::get_if<std::vector<int64_t>>(&argument)) {
            lists.push_back(list);
        }
    }
    const bool lengths = packed && lists.size() >= 3;
    Cost cost = softnpu::attention_cost(
        softnpu::measure({queries, keys, lengths ? lists[1] : nullptr, lengths ? lists[2] : nullptr, heads,
                          kv_heads_of(keys->sizes[axis], queries->sizes[2], heads, layout), tail.integer(2), layout}));
    if (backward) {
        // Five products of the size of the forward's two, and every tensor again with its gradient.
        cost.cube_flops *= 2.5;
        cost.vector_flops *= 2;
        cost.hbm_bytes *= 2;
    }
    return cost;
}

// Inference: query, key, value, pse, mask, lengths, …, numHeads, scale, …, layout, numKeyValueHeads, sparseMode or
// blockSize.
Cost inference_cost(const Plan& plan) {
    const Tail tail(plan);
    size_t heads = 0;
    while (!std::holds_alternative<int64_t>(plan.arguments[heads])) {
        ++heads;
    }
    const auto* first = std::get_if<std::vector<int64_t>>(&plan.arguments[5]);
    const auto* second = std::get_if<std::vector<int64_t>>(&plan.arguments[6]);
    const bool incremental =
        std::string(plan.op->name).find("Incre") != std::string::npos;  // its lengths are the keys'
    AttentionShape shape{tensor_at(plan, 0),
                         tensor_at(plan, 1),
                         incremental ? nullptr : first,
                         incremental ? first : second,
                         std::get<int64_t>(plan.arguments[heads]),
                         tail.integer(1),
                         incremental ? 0 : tail.integer(2),
                         std::get<std::string>(plan.arguments[tail.layout])};
    constexpr size_t kBlockTable = 14;
    shape.paged = !incremental && heads > kBlockTable && tensor_at(plan, kBlockTable) != nullptr &&
                  std::string(plan.op->name).find("Fused") != std::string::npos;
    return softnpu::attention_cost(softnpu::measure(shape));
}

void refuse(std::initializer_list<std::pair<const char*, const at::Tensor*>> unsupported) {
    for (const auto& [name, tensor] : unsupported) {
        TORCH_CHECK(!tensor->defined(), name, " is not bound in the software NPU");
    }
}

struct Training {
    const at::Tensor &query, &key, &value, &shift, &drop, &padding, &mask;
    const std::vector<int64_t>&lengths, &keyLengths;
    double scale, keep;
    int64_t before, after, heads;
    const std::string& layout;
    int64_t sparse;
};

const std::vector<int64_t> kNoLengths;

AttentionCall training_call(const Training& t) {
    refuse({{"paddingMask", &t.padding}});
    AttentionCall call;
    call.query = t.query;
    call.key = t.key;
    call.value = t.value;
    call.mask = t.mask;
    call.bias = t.shift;
    call.drop = t.drop;
    call.keep = t.keep;
    call.query_lengths = t.lengths;
    call.key_lengths = t.keyLengths;
    call.heads = t.heads;
    const auto axis = static_cast<int64_t>(head_axis(t.layout));
    call.kv_heads = kv_heads_of(t.key.size(axis), t.query.size(2), t.heads, t.layout);
    call.scale = t.scale;
    call.before = t.before;
    call.after = t.after;
    call.sparse_mode = t.sparse;
    call.layout = t.layout;
    return call;
}

void train(AttentionCall call, const at::Tensor& maximum, const at::Tensor& sum, const at::Tensor& out) {
    call.out = out;
    call.softmax_max = maximum;
    call.softmax_sum = sum;
    softnpu::attend(std::move(call));
}

}  // namespace

// The backward computes the weights again from query and key; the statistics that the forward saved would give the
// same.
#define TRAINING_HEAD In(query), In(key), In(value)
#define TRAINING_MASKS In(shift), In(drop), In(padding), In(mask)
#define TRAINING_SAVED In(maximum), In(sum), In(softmaxIn), In(attention)
#define TRAINING_TAIL \
    F64(scale), F64(keep), Int(before), Int(after), Int(heads), Text(layout), Int(precise), Int(sparse)
#define TRAINING_OUT Out(maximum), Out(sum), Out(softmax), Out(out)
#define TRAINING_STARTS Ints(queryStart), Ints(keyStart)
#define TRAINING_LENGTHS Ints(lengths), Ints(keyLengths)
#define TRAINING_GRADIENTS Out(dq), Out(dk), Out(dv), Out(dpse)
#define PADDED_CALL                                                                                                   \
    training_call({query, key, value, shift, drop, padding, mask, kNoLengths, kNoLengths, scale, keep, before, after, \
                   heads, layout, sparse})
#define PACKED_CALL                                                                                                \
    training_call({query, key, value, shift, drop, padding, mask, lengths, keyLengths, scale, keep, before, after, \
                   heads, layout, sparse})

OP_COST(aclnnFlashAttentionScore, (training_cost<1, false, false>), TRAINING_HEAD, TRAINING_MASKS, Ints(prefix),
        TRAINING_TAIL, TRAINING_OUT) {
    train(PADDED_CALL, maximum, sum, out);
}
OP_COST(aclnnFlashAttentionScoreV2, (training_cost<1, false, false>), TRAINING_HEAD, TRAINING_MASKS, Ints(prefix),
        TRAINING_STARTS, TRAINING_TAIL, Int(pseType), TRAINING_OUT) {
    train(PADDED_CALL, maximum, sum, out);
}
OP_COST(aclnnFlashAttentionVarLenScore, (training_cost<1, true, false>), TRAINING_HEAD, TRAINING_MASKS, Ints(prefix),
        TRAINING_LENGTHS, TRAINING_TAIL, TRAINING_OUT) {
    train(PACKED_CALL, maximum, sum, out);
}
OP_COST(aclnnFlashAttentionVarLenScoreV2, (training_cost<1, true, false>), TRAINING_HEAD, TRAINING_MASKS, Ints(prefix),
        TRAINING_LENGTHS, TRAINING_STARTS, TRAINING_TAIL, Int(pseType), TRAINING_OUT) {
    train(PACKED_CALL, maximum, sum, out);
}
OP_COST(aclnnFlashAttentionVarLenScoreV3, (training_cost<2, true, false>), In(query), In(queryRope), In(key),
        In(keyRope), In(value), TRAINING_MASKS, Ints(prefix), TRAINING_LENGTHS, TRAINING_STARTS, TRAINING_TAIL,
        Int(pseType), TRAINING_OUT) {
    AttentionCall call = PACKED_CALL;
    call.query_rope = queryRope;
    call.key_rope = keyRope;
    train(std::move(call), maximum, sum, out);
}
OP_COST(aclnnFlashAttentionVarLenScoreV4, (training_cost<1, true, false>), TRAINING_HEAD, TRAINING_MASKS, Ints(prefix),
        TRAINING_LENGTHS, TRAINING_TAIL, Text(statisticsLayout), TRAINING_OUT) {
    train(PACKED_CALL, maximum, sum, out);
}

OP_COST(aclnnFlashAttentionScoreGrad, (training_cost<1, false, true>), TRAINING_HEAD, In(dy), TRAINING_MASKS,
        TRAINING_SAVED, Ints(prefix), TRAINING_TAIL, TRAINING_GRADIENTS) {
    softnpu::attend_backward(PADDED_CALL, dy, {dq, dk, dv, {}, {}, dpse});
}
OP_COST(aclnnFlashAttentionScoreGradV2, (training_cost<1, false, true>), TRAINING_HEAD, In(dy), TRAINING_MASKS,
        TRAINING_SAVED, Ints(prefix), TRAINING_STARTS, TRAINING_TAIL, Int(pseType), TRAINING_GRADIENTS) {
    softnpu::attend_backward(PADDED_CALL, dy, {dq, dk, dv, {}, {}, dpse});
}
OP_COST(aclnnFlashAttentionUnpaddingScoreGrad, (training_cost<1, true, true>), TRAINING_HEAD, In(dy), TRAINING_MASKS,
        TRAINING_SAVED, Ints(prefix), TRAINING_LENGTHS, TRAINING_TAIL, TRAINING_GRADIENTS) {
    softnpu::attend_backward(PACKED_CALL, dy, {dq, dk, dv, {}, {}, dpse});
}
OP_COST(aclnnFlashAttentionUnpaddingScoreGradV2, (training_cost<1, true, true>), TRAINING_HEAD, In(dy), TRAINING_MASKS,
        TRAINING_SAVED, Ints(prefix), TRAINING_LENGTHS, TRAINING_STARTS, TRAINING_TAIL, Int(pseType),
        TRAINING_GRADIENTS) {
    softnpu::attend_backward(PACKED_CALL, dy, {dq, dk, dv, {}, {}, dpse});
}
OP_COST(aclnnFlashAttentionUnpaddingScoreGradV3, (training_cost<2, true, true>), In(query), In(queryRope), In(key),
        In(keyRope), In(value), In(dy), TRAINING_MASKS, TRAINING_SAVED, Ints(prefix), TRAINING_LENGTHS, TRAINING_STARTS,
        TRAINING_TAIL, Int(pseType), Out(dq), Out(dqRope), Out(dk), Out(dkRope), Out(dv), Out(dpse)) {
    AttentionCall call = PACKED_CALL;
    call.query_rope = queryRope;
    call.key_rope = keyRope;
    softnpu::attend_backward(std::move(call), dy, {dq, dk, dv, dqRope, dkRope, dpse});
}
OP_COST(aclnnFlashAttentionUnpaddingScoreGradV4, (training_cost<1, true, true>), TRAINING_HEAD, In(dy), TRAINING_MASKS,
        TRAINING_SAVED, Ints(prefix), TRAINING_LENGTHS, TRAINING_TAIL, TRAINING_GRADIENTS, Text(statisticsLayout)) {
    softnpu::attend_backward(PACKED_CALL, dy, {dq, dk, dv, {}, {}, dpse});
}

OP_COST(aclnnPromptFlashAttentionV3, inference_cost, In(query), In(key), In(value), In(shift), In(mask), Ints(lengths),
        Ints(keyLengths), In(deq1), In(quant1), In(deq2), In(quant2), In(offset2), Int(heads), F64(scale), Int(before),
        Int(after), Text(layout), Int(kvHeads), Int(sparse), Int(precise), Out(out)) {
    refuse({{"quantScale1", &quant1}, {"quantScale2", &quant2}});
    AttentionCall call;
    call.query = query;
    call.key = key;
    call.value = value;
    call.mask = mask;
    call.bias = shift;
    call.query_lengths = lengths;
    call.key_lengths = keyLengths;
    call.heads = heads;
    call.kv_heads = kvHeads;
    call.scale = scale;
    call.before = before;
    call.after = after;
    call.sparse_mode = sparse;
    call.layout = layout;
    call.out = out;
    softnpu::attend(std::move(call));
}

OP_COST(aclnnIncreFlashAttentionV4, inference_cost, In(query), List(key), List(value), In(shift), In(mask),
        Ints(lengths), In(deq1), In(quant1), In(deq2), In(quant2), In(offset2), In(antiScale), In(antiOffset),
        In(blocks), In(padding), Int(heads), F64(scale), Text(layout), Int(kvHeads), Int(blockSize), Int(precise),
        Out(out)) {
    refuse({{"antiquantScale", &antiScale}, {"quantScale1", &quant1}, {"kvPaddingSize", &padding}});
    AttentionCall call;
    call.query = query;
    call.key = key.at(0);
    call.value = value.at(0);
    call.mask = mask;
    call.bias = shift;
    call.block_table = blocks;
    call.block_size = blockSize;
    call.key_lengths = lengths;
    call.heads = heads;
    call.kv_heads = kvHeads;
    call.scale = scale;
    call.layout = layout;
    call.out = out;
    softnpu::attend(std::move(call));
}

// The same, as they were before they took so much.
OP_COST(aclnnPromptFlashAttentionV2, inference_cost, In(query), In(key), In(value), In(shift), In(mask), Ints(lengths),
        Ints(keyLengths), In(deq1), In(quant1), In(deq2), In(quant2), In(offset2), Int(heads), F64(scale), Int(before),
        Int(after), Text(layout), Int(kvHeads), Int(sparse), Out(out)) {
    aclnnPromptFlashAttentionV3_body(query, key, value, shift, mask, lengths, keyLengths, deq1, quant1, deq2, quant2,
                                     offset2, heads, scale, before, after, layout, kvHeads, sparse, 0, out);
}
OP_COST(aclnnPromptFlashAttention, inference_cost, In(query), In(key), In(value), In(shift), In(mask), Ints(lengths),
        Int(heads), F64(scale), Int(before), Int(after), Text(layout), Int(kvHeads), Out(out)) {
    aclnnPromptFlashAttentionV3_body(query, key, value, shift, mask, lengths, {}, {}, {}, {}, {}, {}, heads, scale,
                                     before, after, layout, kvHeads, 0, 0, out);
}
OP_COST(aclnnIncreFlashAttentionV3, inference_cost, In(query), List(key), List(value), In(shift), In(mask),
        Ints(lengths), In(deq1), In(quant1), In(deq2), In(quant2), In(offset2), In(antiScale), In(antiOffset),
        In(blocks), Int(heads), F64(scale), Text(layout), Int(kvHeads), Int(blockSize), Int(precise), Out(out)) {
    aclnnIncreFlashAttentionV4_body(query, key, value, shift, mask, lengths, deq1, quant1, deq2, quant2, offset2,
                                    antiScale, antiOffset, blocks, {}, heads, scale, layout, kvHeads, blockSize,
                                    precise, out);
}
OP_COST(aclnnIncreFlashAttentionV2, inference_cost, In(query), List(key), List(value), In(shift), In(mask),
        Ints(lengths), In(deq1), In(quant1), In(deq2), In(quant2), In(offset2), Int(heads), F64(scale), Text(layout),
        Int(kvHeads), Out(out)) {
    aclnnIncreFlashAttentionV4_body(query, key, value, shift, mask, lengths, deq1, quant1, deq2, quant2, offset2, {},
                                    {}, {}, {}, heads, scale, layout, kvHeads, 0, 0, out);
}
OP_COST(aclnnIncreFlashAttention, inference_cost, In(query), List(key), List(value), In(shift), In(mask), Ints(lengths),
        Int(heads), F64(scale), Text(layout), Int(kvHeads), Out(out)) {
    aclnnIncreFlashAttentionV4_body(query, key, value, shift, mask, lengths, {}, {}, {}, {}, {}, {}, {}, {}, {}, heads,
                                    scale, layout, kvHeads, 0, 0, out);
}

namespace {

struct Fused {
    const at::Tensor &query, &shift, &mask, &blocks;
    const std::vector<at::Tensor>&key, &value;
    const std::vector<int64_t>&lengths, &keyLengths;
    int64_t heads;
    double scale;
    int64_t before, after;
    const std::string& layout;
    int64_t kvHeads, sparse, blockSize;
    bool wantLse;
    at::Tensor &out, &lse;
    at::Tensor queryRope, keyRope, sink;
};

void fused_inference(const Fused& f) {
    AttentionCall call;
    call.query = f.query;
    call.key = f.key.at(0);
    call.value = f.value.at(0);
    call.mask = f.mask;
    call.bias = f.shift;
    call.block_table = f.blocks;
    call.block_size = f.blockSize;
    call.query_lengths = f.lengths;
    call.key_lengths = f.keyLengths;
    call.heads = f.heads;
    call.kv_heads = f.kvHeads;
    call.scale = f.scale;
    call.before = f.before;
    call.after = f.after;
    call.sparse_mode = f.sparse;
    call.layout = f.layout;
    call.out = f.out;
    call.lse = f.wantLse ? f.lse : at::Tensor();
    call.query_rope = f.queryRope;
    call.key_rope = f.keyRope;
    call.sink = f.sink;
    softnpu::attend(std::move(call));
}

}  // namespace

#define FUSED_HEAD                                                                                                 \
    In(query), List(key), List(value), In(shift), In(mask), Ints(lengths), Ints(keyLengths), In(deq1), In(quant1), \
        In(deq2), In(quant2), In(offset2), In(antiScale), In(antiOffset), In(blocks), In(queryPadding), In(keyPadding)
#define FUSED_ANTIQUANT                                                                                           \
    In(keyAntiScale), In(keyAntiOffset), In(valueAntiScale), In(valueAntiOffset), In(keyPrefix), In(valuePrefix), \
        Ints(prefixLength)
#define FUSED_TAIL                                                                                          \
    Int(heads), F64(scale), Int(before), Int(after), Text(layout), Int(kvHeads), Int(sparse), Int(precise), \
        Int(blockSize), Int(antiMode), Flag(wantLse)
#define FUSED_RUN(...)                                                                                     \
    fused_inference({query,  shift, mask,   blocks,  key,    value,     lengths, keyLengths, heads, scale, \
                     before, after, layout, kvHeads, sparse, blockSize, wantLse, out,        lse,   __VA_ARGS__})

// What a program reserves before it captures a graph, so that updates of the operator fit: no workspace is needed.
#define MAX_WORKSPACE(name, ...)                                                                   \
    SN_EXPORT aclnnStatus name##GetMaxWorkspaceSize(SN_LIST(SN_ABI_, __VA_ARGS__), uint64_t* size, \
                                                    aclOpExecutor** executor) {                    \
        softnpu::PlanBuilder builder(name##_operator);                                             \
        SN_EACH(SN_KEEP_, __VA_ARGS__)                                                             \
        *size = 0;                                                                                 \
        *executor = nullptr;                                                                       \
        return ACL_SUCCESS;                                                                        \
    }

#define FUSED_V3                                                                                                 \
    FUSED_HEAD, FUSED_ANTIQUANT, In(queryRope), In(keyRope), In(keyRopeAntiScale), FUSED_TAIL, Int(keyAntiMode), \
        Int(valueAntiMode), Out(out), Out(lse)
#define FUSED_V4                                                                                               \
    FUSED_HEAD, FUSED_ANTIQUANT, In(queryRope), In(keyRope), In(keyRopeAntiScale), In(queryDequant), In(sink), \
        FUSED_TAIL, Int(keyAntiMode), Int(valueAntiMode), Int(queryQuantMode), Out(out), Out(lse)
#define FUSED_V5                                                                                                 \
    FUSED_HEAD, FUSED_ANTIQUANT, In(queryRope), In(keyRope), In(keyRopeAntiScale), In(queryDequant), In(sink),   \
        Ints(queryStart), Ints(keyStart), FUSED_TAIL, Int(keyAntiMode), Int(valueAntiMode), Int(queryQuantMode), \
        Int(pseType), Out(out), Out(lse)

OP_COST(aclnnFusedInferAttentionScore, inference_cost, FUSED_HEAD, FUSED_TAIL, Out(out), Out(lse)) {
    refuse({{"quantScale1", &quant1}, {"quantScale2", &quant2}, {"antiquantScale", &antiScale}});
    FUSED_RUN({}, {}, {});
}

OP_COST(aclnnFusedInferAttentionScoreV2, inference_cost, FUSED_HEAD, FUSED_ANTIQUANT, FUSED_TAIL, Int(keyAntiMode),
        Int(valueAntiMode), Out(out), Out(lse)) {
    refuse({{"quantScale1", &quant1},
            {"antiquantScale", &antiScale},
            {"keyAntiquantScale", &keyAntiScale},
            {"keySharedPrefix", &keyPrefix}});
    FUSED_RUN({}, {}, {});
}

OP_COST(aclnnFusedInferAttentionScoreV3, inference_cost, FUSED_V3) {
    refuse({{"quantScale1", &quant1},
            {"antiquantScale", &antiScale},
            {"keyAntiquantScale", &keyAntiScale},
            {"keySharedPrefix", &keyPrefix}});
    FUSED_RUN(queryRope, keyRope, {});
}

OP_COST(aclnnFusedInferAttentionScoreV4, inference_cost, FUSED_V4) {
    refuse({{"quantScale1", &quant1},
            {"antiquantScale", &antiScale},
            {"keyAntiquantScale", &keyAntiScale},
            {"keySharedPrefix", &keyPrefix}});
    FUSED_RUN(queryRope, keyRope, sink);
}

OP_COST(aclnnFusedInferAttentionScoreV5, inference_cost, FUSED_V5) {
    refuse({{"quantScale1", &quant1},
            {"antiquantScale", &antiScale},
            {"keyAntiquantScale", &keyAntiScale},
            {"keySharedPrefix", &keyPrefix}});
    FUSED_RUN(queryRope, keyRope, sink);
}

MAX_WORKSPACE(aclnnFusedInferAttentionScoreV3, FUSED_V3)
MAX_WORKSPACE(aclnnFusedInferAttentionScoreV4, FUSED_V4)
MAX_WORKSPACE(aclnnFusedInferAttentionScoreV5, FUSED_V5)
