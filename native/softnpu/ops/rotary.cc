// SPDX-License-Identifier: Apache-2.0
//
// Rotary position embedding.
#include "ops/op.h"

using softnpu::put;
using softnpu::wide;

namespace {

// The second half negated before the first: (x1, x2) -> (-x2, x1).
at::Tensor rotate_half(const at::Tensor& x) {
    const auto halves = x.chunk(2, -1);
    return at::cat({-halves[1], halves[0]}, -1);
}

// Neighbours as pairs: (x0, x1, x2, x3) -> (-x1, x0, -x3, x2).
at::Tensor rotate_pairs(const at::Tensor& x) {
    const at::Tensor pairs = x.reshape({-1, 2});
    return at::stack({-pairs.select(1, 1), pairs.select(1, 0)}, 1).reshape(x.sizes());
}

at::Tensor quarter_turn(const at::Tensor& x, int64_t mode) {
    TORCH_CHECK(mode == 0 || mode == 1, "rotary mode ", mode,
                ", the software NPU knows 0 (halves) and 1 (interleaved)");
    return mode == 0 ? rotate_half(x) : rotate_pairs(x);
}

at::Tensor rotate(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin, int64_t mode) {
    return wide(x) * wide(cos) + quarter_turn(wide(x), mode) * wide(sin);
}

// Only the leading part of each head is turned where cos is narrower than it.
void turn(at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin, int64_t mode) {
    at::Tensor part = x.narrow(-1, 0, cos.size(-1));
    part.copy_(rotate(part, cos, sin, mode));
}

// (tokens, rope width) of each position, from a table whose rows are the cosines and then the sines.
struct Turn {
    at::Tensor cos, sin;
};
Turn of_positions(const at::Tensor& table, const at::Tensor& positions) {
    const auto halves = wide(table).index_select(0, positions.reshape(-1).to(at::kLong)).chunk(2, -1);
    return {halves[0], halves[1]};
}

void turn_heads(const at::Tensor& in, const Turn& by, int64_t head, bool halves, const at::Tensor& out) {
    const at::Tensor x = wide(in).reshape({by.cos.size(0), -1, head});
    const int64_t width = 2 * by.cos.size(-1);
    const auto spread = [&](const at::Tensor& each) {
        return (halves ? at::cat({each, each}, -1) : each.repeat_interleave(2, -1)).unsqueeze(1);
    };
    const at::Tensor turned = rotate(x.narrow(-1, 0, width), spread(by.cos), spread(by.sin), halves ? 0 : 1);
    put(out, at::cat({turned, x.narrow(-1, width, head - width)}, -1));
}

}  // namespace

OP(aclnnRotaryPositionEmbedding, In(x), In(cos), In(sin), Int(mode), Out(out)) { out.copy_(rotate(x, cos, sin, mode)); }
OP(aclnnRotaryPositionEmbeddingV2, In(x), In(cos), In(sin), Int(mode), In(rotation), Out(out)) {
    TORCH_CHECK(!rotation.defined(), "a rotation matrix is not bound in the software NPU");
    out.copy_(rotate(x, cos, sin, mode));
}
OP(aclnnRotaryPositionEmbeddingGrad, In(grad), In(cos), In(sin), In(x), Int(mode), Out(dx), Out(dcos), Out(dsin)) {
    const at::Tensor dy = wide(grad);
    // A quarter turn's transpose is the turn back.
    put(dx, dy * wide(cos) - quarter_turn(dy * wide(sin), mode));
    if (x.defined() && x.numel() != 0) {
        put(dcos, (dy * wide(x)).sum_to_size(cos.sizes()));
        put(dsin, (dy * quarter_turn(wide(x), mode)).sum_to_size(sin.sizes()));
    }
}
OP(aclnnApplyRotaryPosEmb, Out(query), Out(key), In(cos), In(sin), Int(layout)) {
    turn(query, cos, sin, 0);
    turn(key, cos, sin, 0);
}
OP(aclnnApplyRotaryPosEmbV2, Out(query), Out(key), In(cos), In(sin), Int(layout), Text(mode)) {
    TORCH_CHECK(mode == "half" || mode == "interleave", "rotary mode ", mode,
                ", the software NPU knows half and interleave");
    turn(query, cos, sin, mode == "half" ? 0 : 1);
    turn(key, cos, sin, mode == "half" ? 0 : 1);
}
// The input's pairs become halves first.
OP(aclnnInterleaveRope, In(x), In(cos), In(sin), Out(out)) {
    const at::Tensor halves = wide(x).unflatten(-1, {-1, 2}).transpose(-1, -2).flatten(-2);
    out.copy_(rotate(halves, cos, sin, 0));
}
OP(aclnnRopeWithSinCosCache, In(positions), In(query), In(key), In(table), Ints(sections), Int(head), Flag(neox),
   Out(query_out), Out(key_out)) {
    TORCH_CHECK(sections.empty() || positions.dim() == 1, "multimodal sections are not bound in the software NPU");
    const Turn by = of_positions(table, positions);
    turn_heads(query, by, head, neox, query_out);
    turn_heads(key, by, head, neox, key_out);
}
