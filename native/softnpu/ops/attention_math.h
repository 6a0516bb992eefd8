// SPDX-License-Identifier: Apache-2.0
//
// What all fused attention operators share: layouts, lengths, masks, paged caches.
#pragma once

#include <ATen/ATen.h>

#include <string>
#include <vector>

#include "ops/plan.h"

namespace softnpu {

// Which keys a query may see besides what the mask tensor says (CANN's sparseMode).
enum class Sparse { none, left_up_causal, right_down_causal, band };

struct AttentionCall {
    at::Tensor query, key, value;  // in the layout's own shape; with a block table, key and value are pools of blocks
    at::Tensor query_rope, key_rope;  // further places of each head that count in the scores only; undefined: none
    at::Tensor mask;                  // true: not seen; undefined: none
    at::Tensor bias;                  // added to the scores; undefined: none
    at::Tensor sink;                  // (heads): a score that every query has beside its keys'; undefined: none
    at::Tensor drop;                  // dropout's mask, a bit for each score; undefined: none
    double keep = 1.0;                // share of the weights that dropout keeps
    at::Tensor block_table;           // (batch, blocks); undefined: not paged
    int64_t block_size = 0;
    std::vector<int64_t> query_lengths, key_lengths;  // per sequence; running sums where the layout is TND
    int64_t heads = 0, kv_heads = 0;
    double scale = 1.0;
    int64_t before = 0, after = 0;  // keys seen before and after the diagonal (band)
    int64_t sparse_mode = 0;
    std::string layout;
    at::Tensor out;
    at::Tensor softmax_max, softmax_sum;  // (batch, heads, queries, 8), TND (tokens, heads, 8), filled where defined
    at::Tensor lse;                       // log of the sum of exponentials, filled where defined
};

void attend(AttentionCall call);

// What flows back through attend(call) from `grad`, the gradient of its result; each in the layout of its tensor. Those
// that are undefined are not asked for.
struct AttentionGradients {
    at::Tensor query, key, value, query_rope, key_rope, bias;
};
void attend_backward(AttentionCall call, const at::Tensor& grad, AttentionGradients gradients);

// Sizes of a call, read from shapes alone.
struct AttentionSize {
    double queries = 0;  // tokens, over the batch
    double keys = 0;
    double pairs = 0;  // query-key pairs that are computed
    double heads = 0, kv_heads = 0, head_dim = 0;
    double element = 2;
};

struct AttentionShape {
    const aclTensor* query;
    const aclTensor* key;
    const std::vector<int64_t>* query_lengths;  // nullptr: not given
    const std::vector<int64_t>* key_lengths;
    int64_t heads, kv_heads;
    int64_t sparse_mode;
    std::string layout;
    bool paged = false;
};

AttentionSize measure(const AttentionShape& shape);
// Flops and bytes of the roofline of DuetServe: 4 h q k d + 2 h q k, and every query, key, value and output once.
Cost attention_cost(const AttentionSize& size);

}  // namespace softnpu
