// SPDX-License-Identifier: Apache-2.0
//
// Normalisation by rows and groups, softmax, and their gradients.
#include "ops/op.h"

using softnpu::maybe;
using softnpu::put;
using softnpu::wide;

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

// Of y = x / rms(x) * gamma: the gradients of x and of gamma.
std::pair<at::Tensor, at::Tensor> rms_norm_gradient(const at::Tensor& dy, const at::Tensor& x, const at::Tensor& rstd,
                                                    const at::Tensor& gamma) {
    const int64_t rows = x.numel() / gamma.numel();
    const at::Tensor inverse = rstd.reshape({rows, 1});
    const at::Tensor normal = x.reshape({rows, -1}) * inverse;
    const at::Tensor slope = dy.reshape({rows, -1});
    const at::Tensor weighted = slope * gamma.reshape({1, -1});
    const at::Tensor dx = inverse * (weighted - normal * (weighted * normal).mean(1, true));
    return {dx.reshape(x.sizes()), (slope * normal).sum(0).reshape(gamma.sizes())};
}

at::Tensor hidden(const at::Tensor& scores, const at::Tensor& mask, bool triangle) {
    return triangle ? at::ones({scores.size(-2), scores.size(-1)}, at::kBool).triu(1) : mask.to(at::kBool);
}

void group_norm(const at::Tensor& x, const at::Tensor& gamma, const at::Tensor& beta, int64_t groups, double eps,
                double silu_scale, at::Tensor& out, at::Tensor& mean, at::Tensor& rstd) {
    const int64_t n = x.size(0);
    const int64_t c = x.size(1);
    const auto [y, m, r] = at::native_group_norm(wide(x).contiguous(), maybe(wide(gamma)), maybe(wide(beta)), n, c,
                                                 x.numel() / std::max<int64_t>(1, n * c), groups, eps);
    put(out, silu_scale != 0 ? y * at::sigmoid(y * silu_scale) : y);
    put(mean, m);
    put(rstd, r);
}

void layer_norm_backward(const at::Tensor& grad, const at::Tensor& x, at::IntArrayRef shape, const at::Tensor& mean,
                         const at::Tensor& rstd, const at::Tensor& gamma, at::Tensor& dx, at::Tensor& dgamma,
                         at::Tensor& dbeta) {
    const at::Tensor bias = gamma.defined() ? at::zeros_like(wide(gamma)) : at::Tensor();
    const auto [a, b, c] =
        at::native_layer_norm_backward(wide(grad).contiguous(), wide(x).contiguous(), shape, wide(mean), wide(rstd),
                                       maybe(wide(gamma)), maybe(bias), {true, gamma.defined(), gamma.defined()});
    put(dx, a);
    put(dgamma, b);
    put(dbeta, c);
}

}  // namespace

OP(aclnnSoftmax, In(self), Int(dim), Out(out)) { out.copy_(at::softmax(wide(self), dim)); }
OP(aclnnSoftmaxBackward, In(grad), In(output), Int(dim), Out(out)) {
    const at::Tensor weighted = wide(grad) * wide(output);
    out.copy_(weighted - wide(output) * weighted.sum(dim, true));
}
OP(aclnnLogSoftmax, In(self), Int(dim), Out(out)) { out.copy_(at::log_softmax(wide(self), dim)); }
OP(aclnnLogSoftmaxBackward, In(grad), In(output), Int(dim), Out(out)) {
    const at::Tensor dy = wide(grad);
    out.copy_(dy - at::exp(wide(output)) * dy.sum(dim, true));
}
// y = softmax(x * scale with what the mask marks taken out); a fixed triangle marks what lies behind the diagonal.
OP(aclnnScaledMaskedSoftmax, In(x), In(mask), F64(scale), Flag(triangle), Out(out)) {
    out.copy_(at::softmax(at::masked_fill(wide(x) * scale, hidden(x, mask, triangle), -10000.0), -1));
}
OP(aclnnScaledMaskedSoftmaxBackward, In(grad), In(y), In(mask), F64(scale), Flag(triangle), Out(out)) {
    const at::Tensor weighted = wide(grad) * wide(y);
    const at::Tensor each = (weighted - wide(y) * weighted.sum(-1, true)) * scale;
    out.copy_(at::masked_fill(each, hidden(y, mask, triangle), 0.0));
}
OP(aclnnMaskedSoftmaxWithRelPosBias, In(x), In(mask), In(bias), F64(scale), Int(precision), Out(out)) {
    at::Tensor scores = wide(x) * scale;
    scores = mask.defined() ? scores + wide(mask) : scores;
    out.copy_(at::softmax(scores + wide(bias), -1));
}
OP(aclnnRmsNorm, In(x), In(gamma), F64(epsilon), Out(y), Out(rstd)) { rms_norm(x, gamma, epsilon, y, rstd); }
OP(aclnnAddRmsNorm, In(x1), In(x2), In(gamma), F64(epsilon), Out(y), Out(rstd), Out(sum)) {
    sum.copy_(x1 + x2);
    rms_norm(sum, gamma, epsilon, y, rstd);
}
OP(aclnnRmsNormGrad, In(grad), In(x), In(rstd), In(gamma), Out(dx), Out(dgamma)) {
    const auto [slope, weight] = rms_norm_gradient(wide(grad), wide(x), wide(rstd), wide(gamma));
    put(dx, slope);
    put(dgamma, weight);
}
OP(aclnnGemmaRmsNorm, In(x), In(gamma), F64(epsilon), Out(y), Out(rstd)) {
    rms_norm(x, wide(gamma) + 1, epsilon, y, rstd);
}

OP(aclnnLayerNorm, In(input), Ints(shape), In(weight), In(bias), F64(eps), Out(out), Out(mean), Out(rstd)) {
    const auto [y, m, r] = at::native_layer_norm(wide(input), shape, maybe(wide(weight)), maybe(wide(bias)), eps);
    put(out, y);
    put(mean, m);
    put(rstd, r);
}
OP(aclnnFastLayerNorm, In(input), Ints(shape), In(weight), In(bias), F64(eps), Out(out), Out(mean), Out(rstd)) {
    aclnnLayerNorm_body(input, shape, weight, bias, eps, out, mean, rstd);
}
OP(aclnnLayerNormWithImplMode, In(input), Ints(shape), In(weight), In(bias), F64(eps), Out(out), Out(mean), Out(rstd),
   I32(mode)) {
    aclnnLayerNorm_body(input, shape, weight, bias, eps, out, mean, rstd);
}
OP(aclnnLayerNormBackward, In(grad), In(input), Ints(shape), In(mean), In(rstd), In(weight), In(bias), Bools(mask),
   Out(dx), Out(dgamma), Out(dbeta)) {
    layer_norm_backward(grad, input, shape, mean, rstd, weight, dx, dgamma, dbeta);
}
OP(aclnnAddLayerNorm, In(x1), In(x2), In(gamma), In(beta), In(bias), F64(epsilon), Flag(with_sum), Out(y), Out(mean),
   Out(rstd), Out(sum)) {
    at::Tensor x = wide(x1) + wide(x2);
    x = bias.defined() ? x + wide(bias) : x;
    const auto [normal, m, r] = at::native_layer_norm(x, gamma.sizes(), wide(gamma), maybe(wide(beta)), epsilon);
    put(y, normal);
    put(mean, m);
    put(rstd, r);
    put(sum, x);
}
OP(aclnnAddLayerNormGrad, In(grad), In(x1), In(x2), In(rstd), In(mean), In(gamma), In(dsum), Out(dx), Out(dgamma),
   Out(dbeta)) {
    layer_norm_backward(grad, wide(x1) + wide(x2), gamma.sizes(), mean, rstd, gamma, dx, dgamma, dbeta);
    if (dsum.defined()) {
        dx.add_(dsum);
    }
}
OP(aclnnDeepNorm, In(x), In(gx), In(beta), In(gamma), F64(alpha), F64(epsilon), Out(mean), Out(rstd), Out(y)) {
    const auto [normal, m, r] =
        at::native_layer_norm(wide(x) * alpha + wide(gx), gamma.sizes(), wide(gamma), wide(beta), epsilon);
    put(y, normal);
    put(mean, m);
    put(rstd, r);
}
OP(aclnnDeepNormGrad, In(grad), In(x), In(gx), In(gamma), In(mean), In(rstd), F64(alpha), Out(dx), Out(dgx), Out(dbeta),
   Out(dgamma)) {
    layer_norm_backward(grad, wide(x) * alpha + wide(gx), gamma.sizes(), mean, rstd, gamma, dgx, dgamma, dbeta);
    put(dx, wide(dgx) * alpha);
}

OP(aclnnGroupNorm, In(self), In(gamma), In(beta), Int(n), Int(c), Int(hxw), Int(groups), F64(eps), Out(out), Out(mean),
   Out(rstd)) {
    group_norm(self, gamma, beta, groups, eps, 0, out, mean, rstd);
}
OP(aclnnGroupNormSilu, In(self), In(gamma), In(beta), Int(groups), F64(eps), Out(out), Out(mean), Out(rstd)) {
    group_norm(self, gamma, beta, groups, eps, 1, out, mean, rstd);
}
OP(aclnnGroupNormSwish, In(self), In(gamma), In(beta), Int(groups), Text(format), F64(eps), Flag(swish), F64(scale),
   Out(out), Out(mean), Out(rstd)) {
    group_norm(self, gamma, beta, groups, eps, swish ? scale : 0, out, mean, rstd);
}
OP(aclnnGroupNormBackward, In(grad), In(input), In(mean), In(rstd), In(gamma), Int(n), Int(c), Int(hxw), Int(groups),
   Bools(mask), Out(dx), Out(dgamma), Out(dbeta)) {
    const auto [a, b, g] = at::native_group_norm_backward(wide(grad).contiguous(), wide(input).contiguous(), wide(mean),
                                                          wide(rstd), maybe(wide(gamma)), n, c, hxw, groups,
                                                          {mask.at(0) != 0, mask.at(1) != 0, mask.at(2) != 0});
    put(dx, a);
    put(dgamma, b);
    put(dbeta, g);
}
OP(aclnnInplaceAddRmsNorm, Out(x1), Out(x2), In(gamma), F64(epsilon), Out(rstd)) {
    const at::Tensor sum = wide(x1) + wide(x2);
    x2.copy_(sum);
    rms_norm(sum, gamma, epsilon, x1, rstd);
}
OP(aclnnGroupNormSwishGrad, In(grad), In(mean), In(rstd), In(x), In(gamma), In(beta), Int(groups), Text(format),
   F64(scale), Flag(with_gamma), Flag(with_beta), Out(dx), Out(dgamma), Out(dbeta)) {
    const int64_t n = x.size(0);
    const int64_t c = x.size(1);
    const at::Tensor input = wide(x).contiguous();
    const at::Tensor m = wide(mean).reshape({n, groups, 1});
    const at::Tensor r = wide(rstd).reshape({n, groups, 1});
    std::vector<int64_t> channels(input.dim(), 1);
    channels[1] = c;
    const at::Tensor normal = ((input.reshape({n, groups, -1}) - m) * r).reshape(input.sizes());
    const at::Tensor y = normal * wide(gamma).reshape(channels) + wide(beta).reshape(channels);
    const at::Tensor gate = at::sigmoid(y * scale);
    const at::Tensor slope = wide(grad) * gate * (1 + scale * y * (1 - gate));
    const auto [a, b, g] =
        at::native_group_norm_backward(slope.contiguous(), input, m.reshape({n, groups}), r.reshape({n, groups}),
                                       wide(gamma), n, c, input.numel() / (n * c), groups, {true, true, true});
    put(dx, a);
    put(dgamma, with_gamma ? b : at::Tensor());
    put(dbeta, with_beta ? g : at::Tensor());
}
