// SPDX-License-Identifier: Apache-2.0
//
// Activation functions and their gradients.
#include "ops/op.h"

using softnpu::put;
using softnpu::wide;

namespace {

const char* approximation(int64_t number) { return number == 1 ? "tanh" : "none"; }

at::Tensor fast_gelu(const at::Tensor& x) { return x * at::sigmoid(x * 1.702); }

// The half that the function is applied to, and the half that its result is multiplied with.
struct Halves {
    at::Tensor activated;
    at::Tensor gate;
};

Halves split(const at::Tensor& x, int64_t dim, bool activate_left) {
    const auto halves = x.chunk(2, dim);
    return activate_left ? Halves{halves[0], halves[1]} : Halves{halves[1], halves[0]};
}

at::Tensor join(const Halves& halves, int64_t dim, bool activate_left) {
    return activate_left ? at::cat({halves.activated, halves.gate}, dim)
                         : at::cat({halves.gate, halves.activated}, dim);
}

// A slope for each channel, or one for all.
at::Tensor slope_of(const at::Tensor& weight, const at::Tensor& x) {
    std::vector<int64_t> sizes(x.dim(), 1);
    if (weight.numel() > 1) {
        sizes[1] = weight.numel();
    }
    return wide(weight).reshape(sizes);
}

}  // namespace

OP(aclnnGelu, In(self), Out(out)) { out.copy_(at::gelu(wide(self))); }
OP(aclnnGeluV2, In(self), Int(approximate), Out(out)) { out.copy_(at::gelu(wide(self), approximation(approximate))); }
OP(aclnnGeluBackward, In(grad), In(self), Out(out)) { out.copy_(at::gelu_backward(wide(grad), wide(self))); }
OP(aclnnGeluBackwardV2, In(grad), In(self), Text(approximate), Out(out)) {
    out.copy_(at::gelu_backward(wide(grad), wide(self), approximate));
}
OP(aclnnFastGelu, In(self), Out(out)) { out.copy_(fast_gelu(wide(self))); }
OP(aclnnFastGeluBackward, In(grad), In(self), Out(out)) {
    const at::Tensor x = wide(self);
    const at::Tensor gate = at::sigmoid(x * 1.702);
    out.copy_(wide(grad) * gate * (1 + 1.702 * x * (1 - gate)));
}
OP(aclnnGeluMul, In(self), Text(approximate), Out(out)) {
    const Halves halves = split(wide(self), -1, true);
    out.copy_(at::gelu(halves.activated, approximate.empty() ? "none" : approximate) * halves.gate);
}
OP(aclnnGeGluV3, In(self), Int(dim), Int(approximate), Flag(left), Out(out), Out(gelu)) {
    const Halves halves = split(wide(self), dim, left);
    const at::Tensor activated = at::gelu(halves.activated, approximation(approximate));
    out.copy_(activated * halves.gate);
    put(gelu, activated);
}
OP(aclnnGeGluV3Backward, In(grad), In(self), In(gelu), Int(dim), Int(approximate), Flag(left), Out(out)) {
    const Halves halves = split(wide(self), dim, left);
    const at::Tensor dy = wide(grad);
    const at::Tensor activated = at::gelu_backward(dy * halves.gate, halves.activated, approximation(approximate));
    out.copy_(join({activated, dy * wide(gelu)}, dim, left));
}
OP(aclnnGlu, In(self), Int(dim), Out(out)) { out.copy_(at::glu(wide(self), dim)); }
OP(aclnnGluBackward, In(grad), In(self), Int(dim), Out(out)) {
    out.copy_(at::glu_backward(wide(grad), wide(self), dim));
}
OP(aclnnSwiGlu, In(x), Int(dim), Out(out)) {
    const Halves halves = split(wide(x), dim, true);
    out.copy_(at::silu(halves.activated) * halves.gate);
}
OP(aclnnSwiGluGrad, In(grad), In(x), Int(dim), Out(out)) {
    const Halves halves = split(wide(x), dim, true);
    const at::Tensor dy = wide(grad);
    const at::Tensor activated = at::silu_backward(dy * halves.gate, halves.activated);
    out.copy_(join({activated, dy * at::silu(halves.activated)}, dim, true));
}

OP(aclnnSilu, In(self), Out(out)) { out.copy_(at::silu(wide(self))); }
OP(aclnnSiluBackward, In(grad), In(self), Out(out)) { out.copy_(at::silu_backward(wide(grad), wide(self))); }
OP(aclnnSigmoidBackward, In(grad), In(output), Out(out)) { out.copy_(at::sigmoid_backward(wide(grad), wide(output))); }
OP(aclnnTanhBackward, In(grad), In(output), Out(out)) { out.copy_(at::tanh_backward(wide(grad), wide(output))); }
OP(aclnnMish, In(self), Out(out)) { out.copy_(at::mish(wide(self))); }
OP(aclnnInplaceMish, Out(self)) { self.copy_(at::mish(wide(self))); }
OP(aclnnMishBackward, In(grad), In(self), Out(out)) { out.copy_(at::mish_backward(wide(grad), wide(self))); }

OP(aclnnSelu, In(self), Out(out)) { out.copy_(at::selu(wide(self))); }
OP(aclnnInplaceSelu, Out(self)) { self.copy_(at::selu(wide(self))); }
OP(aclnnSeluBackward, In(grad), In(result), Out(out)) {
    constexpr double kAlpha = 1.6732632423543772848170429916717;
    constexpr double kScale = 1.0507009873554804934193349852946;
    out.copy_(at::elu_backward(wide(grad), kAlpha, kScale, 1, true, wide(result)));
}
OP(aclnnSoftsign, In(self), Out(out)) { out.copy_(wide(self) / (1 + wide(self).abs())); }
OP(aclnnSoftsignBackward, In(grad), In(self), Out(out)) { out.copy_(wide(grad) / (1 + wide(self).abs()).square()); }
OP(aclnnSwish, In(self), MaybeNum(beta), Out(out)) {
    out.copy_(wide(self) * at::sigmoid(wide(self) * beta.value_or(1.0)));
}
OP(aclnnSwishBackward, In(grad), In(self), MaybeNum(beta), Out(out)) {
    const at::Tensor factor = wide(self) * beta.value_or(1.0);
    const at::Tensor s = at::sigmoid(factor);
    out.copy_(wide(grad) * s * (1 + factor * (1 - s)));
}
OP(aclnnElu, In(self), Num(alpha), Num(scale), Num(input_scale), Out(out)) {
    out.copy_(at::elu(wide(self), alpha, scale, input_scale));
}
OP(aclnnInplaceElu, Out(self), Num(alpha), Num(scale), Num(input_scale)) {
    self.copy_(at::elu(wide(self), alpha, scale, input_scale));
}
OP(aclnnEluBackward, In(grad), Num(alpha), Num(scale), Num(input_scale), Flag(is_result), In(self), Out(out)) {
    out.copy_(at::elu_backward(wide(grad), alpha, scale, input_scale, is_result, wide(self)));
}
OP(aclnnCelu, In(self), Num(alpha), Out(out)) { out.copy_(at::celu(wide(self), alpha)); }
OP(aclnnInplaceCelu, Out(self), Num(alpha)) { self.copy_(at::celu(wide(self), alpha)); }

OP(aclnnLeakyRelu, In(self), Num(slope), Out(out)) { out.copy_(at::leaky_relu(wide(self), slope)); }
OP(aclnnInplaceLeakyRelu, Out(self), Num(slope)) { self.copy_(at::leaky_relu(wide(self), slope)); }
OP(aclnnLeakyReluBackward, In(grad), In(self), Num(slope), Flag(is_result), Out(out)) {
    out.copy_(at::leaky_relu_backward(wide(grad), wide(self), slope, is_result));
}
OP(aclnnPrelu, In(self), In(weight), Out(out)) {
    const at::Tensor x = wide(self);
    out.copy_(at::where(x > 0, x, x * slope_of(weight, x)));
}
OP(aclnnPreluBackward, In(grad), In(self), In(weight), Out(grad_self), Out(grad_weight)) {
    const at::Tensor x = wide(self);
    const at::Tensor dy = wide(grad);
    grad_self.copy_(at::where(x > 0, dy, dy * slope_of(weight, x)));
    const at::Tensor each = at::where(x > 0, at::zeros_like(x), dy * x);
    put(grad_weight, weight.numel() > 1 ? each.transpose(0, 1).flatten(1).sum(1) : each.sum());
}
OP(aclnnThreshold, In(self), Num(threshold), Num(value), Out(out)) {
    out.copy_(at::threshold(wide(self), threshold, value));
}
OP(aclnnInplaceThreshold, Out(self), Num(threshold), Num(value)) {
    self.copy_(at::threshold(wide(self), threshold, value));
}
OP(aclnnThresholdBackward, In(grad), In(self), Num(threshold), Out(out)) {
    out.copy_(at::threshold_backward(wide(grad), wide(self), threshold));
}
OP(aclnnHardtanh, In(self), Num(least), Num(most), Out(out)) { out.copy_(at::hardtanh(self, least, most)); }
OP(aclnnInplaceHardtanh, Out(self), Num(least), Num(most)) { self.copy_(at::hardtanh(self, least, most)); }
OP(aclnnHardtanhBackward, In(grad), In(self), Num(least), Num(most), Out(out)) {
    out.copy_(at::hardtanh_backward(wide(grad), wide(self), least, most));
}
OP(aclnnHardswish, In(self), Out(out)) { out.copy_(at::hardswish(wide(self))); }
OP(aclnnInplaceHardswish, Out(self)) { self.copy_(at::hardswish(wide(self))); }
OP(aclnnHardswishBackward, In(grad), In(self), Out(out)) { out.copy_(at::hardswish_backward(wide(grad), wide(self))); }
OP(aclnnHardswishBackwardV2, In(grad), In(self), Out(out)) {
    out.copy_(at::hardswish_backward(wide(grad), wide(self)));
}
OP(aclnnHardsigmoid, In(self), Out(out)) { out.copy_(at::hardsigmoid(self.to(at::kFloat))); }
OP(aclnnInplaceHardsigmoid, Out(self)) { self.copy_(at::hardsigmoid(self.to(at::kFloat))); }
OP(aclnnHardsigmoidBackward, In(grad), In(self), Out(out)) {
    out.copy_(at::hardsigmoid_backward(wide(grad), wide(self)));
}
OP(aclnnHardshrink, In(self), Num(lambda), Out(out)) { out.copy_(at::hardshrink(wide(self), lambda)); }
OP(aclnnHardshrinkBackward, In(grad), In(self), Num(lambda), Out(out)) {
    out.copy_(at::hardshrink_backward(wide(grad), wide(self), lambda));
}
OP(aclnnSoftshrink, In(self), Num(lambda), Out(out)) { out.copy_(at::softshrink(wide(self), lambda)); }
OP(aclnnSoftshrinkBackward, In(grad), In(self), Num(lambda), Out(out)) {
    out.copy_(at::softshrink_backward(wide(grad), wide(self), lambda));
}
OP(aclnnSoftplus, In(self), Num(beta), Num(threshold), Out(out)) {
    out.copy_(at::softplus(wide(self), beta, threshold));
}
OP(aclnnSoftplusBackward, In(grad), In(self), Num(beta), Num(threshold), Out(out)) {
    out.copy_(at::softplus_backward(wide(grad), wide(self), beta, threshold));
}
OP(aclnnLogSigmoid, In(self), Out(out)) { out.copy_(at::log_sigmoid(wide(self))); }
OP(aclnnLogSigmoidForward, In(self), Out(out), Out(buffer)) {
    out.copy_(at::log_sigmoid(wide(self)));
    put(buffer, at::exp(-at::abs(wide(self))));
}
OP(aclnnLogSigmoidBackward, In(grad), In(self), In(buffer), Out(out)) {
    out.copy_(wide(grad) * at::sigmoid(-wide(self)));
}
OP(aclnnLogitGrad, In(self), In(grad), F64(eps), Out(out)) {
    out.copy_(at::logit_backward(wide(grad), wide(self), eps < 0 ? std::nullopt : std::optional(eps)));
}
