// SPDX-License-Identifier: Apache-2.0
//
// Normalisation, softmax, and what language models fuse with them.
#include "ops/op.h"

namespace {

// y = x / rms(x) * gamma over the last dimensions, computed in fp32 as the device does.
void rms_norm(const at::Tensor& x, const at::Tensor& gamma, double epsilon, at::Tensor& y, at::Tensor& rstd) {
    std::vector<int64_t> dims;
    for (int64_t d = 1; d <= gamma.dim(); ++d) {
        dims.push_back(-d);
    }
    const at::Tensor wide = x.to(at::kFloat);
    const at::Tensor inverse = at::rsqrt(wide.square().mean(dims, true) + epsilon);
    y.copy_(wide * inverse * gamma.to(at::kFloat));
    if (rstd.defined()) {
        rstd.copy_(inverse.reshape(rstd.sizes()));
    }
}

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

at::Tensor rotate(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin, int64_t mode) {
    TORCH_CHECK(mode == 0 || mode == 1, "rotary mode ", mode,
                ", the software NPU knows 0 (halves) and 1 (interleaved)");
    return x * cos + (mode == 0 ? rotate_half(x) : rotate_pairs(x)) * sin;
}

}  // namespace

OP(aclnnSoftmax, In(self), Int(dim), Out(out)) { out.copy_(at::softmax(self, dim)); }
OP(aclnnLogSoftmax, In(self), Int(dim), Out(out)) { out.copy_(at::log_softmax(self, dim)); }
OP(aclnnRmsNorm, In(x), In(gamma), F64(epsilon), Out(y), Out(rstd)) { rms_norm(x, gamma, epsilon, y, rstd); }
OP(aclnnAddRmsNorm, In(x1), In(x2), In(gamma), F64(epsilon), Out(y), Out(rstd), Out(sum)) {
    sum.copy_(x1 + x2);
    rms_norm(sum, gamma, epsilon, y, rstd);
}
OP(aclnnLayerNorm, In(input), Ints(shape), In(weight), In(bias), F64(eps), Out(out), Out(mean), Out(rstd)) {
    const auto [y, m, r] = at::native_layer_norm(input, shape, weight, bias, eps);
    out.copy_(y);
    if (mean.defined()) {
        mean.copy_(m.reshape(mean.sizes()));
    }
    if (rstd.defined()) {
        rstd.copy_(r.reshape(rstd.sizes()));
    }
}
OP(aclnnLayerNormWithImplMode, In(input), Ints(shape), In(weight), In(bias), F64(eps), Out(out), Out(mean), Out(rstd),
   I32(mode)) {
    aclnnLayerNorm_body(input, shape, weight, bias, eps, out, mean, rstd);
}
OP(aclnnSwiGlu, In(x), Int(dim), Out(out)) {
    const auto halves = x.chunk(2, dim);
    out.copy_(at::silu(halves[0]) * halves[1]);
}
OP(aclnnRotaryPositionEmbedding, In(x), In(cos), In(sin), Int(mode), Out(out)) { out.copy_(rotate(x, cos, sin, mode)); }
OP(aclnnRotaryPositionEmbeddingV2, In(x), In(cos), In(sin), Int(mode), In(rotation), Out(out)) {
    TORCH_CHECK(!rotation.defined(), "a rotation matrix is not bound in the software NPU");
    out.copy_(rotate(x, cos, sin, mode));
}
OP(aclnnApplyRotaryPosEmb, Out(query), Out(key), In(cos), In(sin), Int(layout)) {
    query.copy_(rotate(query, cos, sin, 0));
    key.copy_(rotate(key, cos, sin, 0));
}
