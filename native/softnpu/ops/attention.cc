// SPDX-License-Identifier: Apache-2.0
//
// The fused attention operators. Quantised caches, rope inside the operator and shared prefixes are refused by name.
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
    int64_t integer(int from_layout) const { return std::get<int64_t>(plan.arguments[layout + from_layout]); }
};

// FlashAttentionScore: …, headNum, layout, innerPrecise, sparseMode.
Cost training_cost(const Plan& plan) {
    const Tail tail(plan);
    const aclTensor* key = tensor_at(plan, 1);
    const std::string& layout = std::get<std::string>(plan.arguments[tail.layout]);
    const int64_t heads = tail.integer(-1);
    const aclTensor* query = tensor_at(plan, 0);
    int64_t kv_heads = heads;
    if (layout == "BNSD") {
        kv_heads = key->sizes[1];
    } else if (layout == "BSND") {
        kv_heads = key->sizes[2];
    } else if (layout == "BSH" || layout == "SBH") {
        kv_heads = std::max<int64_t>(1, heads * key->sizes[2] / std::max<int64_t>(1, query->sizes[2]));
    }
    return softnpu::attention_cost(
        softnpu::measure({query, key, nullptr, nullptr, heads, kv_heads, tail.integer(2), layout}));
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

int64_t kv_heads_of(const at::Tensor& query, const at::Tensor& key, int64_t heads, const std::string& layout) {
    if (layout == "BNSD") {
        return key.size(1);
    }
    if (layout == "BSND") {
        return key.size(2);
    }
    return heads * key.size(-1) / query.size(-1);
}

}  // namespace

OP_COST(aclnnFlashAttentionScore, training_cost, In(query), In(key), In(value), In(shift), In(drop), In(padding),
        In(mask), Ints(prefix), F64(scale), F64(keep), Int(before), Int(after), Int(heads), Text(layout), Int(precise),
        Int(sparse), Out(maximum), Out(sum), Out(softmax), Out(out)) {
    refuse({{"dropMask", &drop}, {"paddingMask", &padding}});
    AttentionCall call;
    call.query = query;
    call.key = key;
    call.value = value;
    call.mask = mask;
    call.bias = shift;
    call.heads = heads;
    call.kv_heads = kv_heads_of(query, key, heads, layout);
    call.scale = scale;
    call.before = before;
    call.after = after;
    call.sparse_mode = sparse;
    call.layout = layout;
    call.out = out;
    call.softmax_max = maximum;
    call.softmax_sum = sum;
    softnpu::attend(std::move(call));
}

OP_COST(aclnnFlashAttentionScoreV2, training_cost, In(query), In(key), In(value), In(shift), In(drop), In(padding),
        In(mask), Ints(prefix), Ints(queryStart), Ints(keyStart), F64(scale), F64(keep), Int(before), Int(after),
        Int(heads), Text(layout), Int(precise), Int(sparse), Int(pseType), Out(maximum), Out(sum), Out(softmax),
        Out(out)) {
    aclnnFlashAttentionScore_body(query, key, value, shift, drop, padding, mask, prefix, scale, keep, before, after,
                                  heads, layout, precise, sparse, maximum, sum, softmax, out);
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
#define FUSED_RUN                                                                                                      \
    fused_inference({query, shift, mask, blocks, key, value, lengths, keyLengths, heads, scale, before, after, layout, \
                     kvHeads, sparse, blockSize, wantLse, out, lse})

OP_COST(aclnnFusedInferAttentionScore, inference_cost, FUSED_HEAD, FUSED_TAIL, Out(out), Out(lse)) {
    refuse({{"quantScale1", &quant1}, {"quantScale2", &quant2}, {"antiquantScale", &antiScale}});
    FUSED_RUN;
}

OP_COST(aclnnFusedInferAttentionScoreV2, inference_cost, FUSED_HEAD, FUSED_ANTIQUANT, FUSED_TAIL, Int(keyAntiMode),
        Int(valueAntiMode), Out(out), Out(lse)) {
    refuse({{"quantScale1", &quant1},
            {"antiquantScale", &antiScale},
            {"keyAntiquantScale", &keyAntiScale},
            {"keySharedPrefix", &keyPrefix}});
    FUSED_RUN;
}

OP_COST(aclnnFusedInferAttentionScoreV3, inference_cost, FUSED_HEAD, FUSED_ANTIQUANT, In(queryRope), In(keyRope),
        In(keyRopeAntiScale), FUSED_TAIL, Int(keyAntiMode), Int(valueAntiMode), Out(out), Out(lse)) {
    refuse({{"quantScale1", &quant1},
            {"antiquantScale", &antiScale},
            {"keyAntiquantScale", &keyAntiScale},
            {"keySharedPrefix", &keyPrefix},
            {"queryRope", &queryRope}});
    FUSED_RUN;
}

OP_COST(aclnnFusedInferAttentionScoreV4, inference_cost, FUSED_HEAD, FUSED_ANTIQUANT, In(queryRope), In(keyRope),
        In(keyRopeAntiScale), In(queryDequant), In(sink), FUSED_TAIL, Int(keyAntiMode), Int(valueAntiMode),
        Int(queryQuantMode), Out(out), Out(lse)) {
    refuse({{"quantScale1", &quant1},
            {"antiquantScale", &antiScale},
            {"keyAntiquantScale", &keyAntiScale},
            {"keySharedPrefix", &keyPrefix},
            {"queryRope", &queryRope},
            {"learnableSink", &sink}});
    FUSED_RUN;
}
