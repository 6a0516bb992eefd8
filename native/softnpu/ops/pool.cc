// SPDX-License-Identifier: Apache-2.0
//
// Pooling and its gradients.
#include "ops/op.h"

using softnpu::put;
using softnpu::wide;

namespace {

std::optional<int64_t> divisor(int64_t number) { return number == 0 ? std::nullopt : std::optional(number); }

}  // namespace

OP(aclnnAdaptiveAvgPool2d, In(self), Ints(size), Out(out)) { put(out, at::adaptive_avg_pool2d(wide(self), size)); }
OP(aclnnAdaptiveAvgPool2dBackward, In(grad), In(self), Out(out)) {
    put(out, at::_adaptive_avg_pool2d_backward(wide(grad), wide(self)));
}
OP(aclnnAdaptiveAvgPool3d, In(self), Ints(size), Out(out)) { put(out, at::adaptive_avg_pool3d(wide(self), size)); }
OP(aclnnAdaptiveAvgPool3dBackward, In(grad), In(self), Out(out)) {
    put(out, at::_adaptive_avg_pool3d_backward(wide(grad), wide(self)));
}
OP(aclnnAdaptiveMaxPool2d, In(self), Ints(size), Out(out), Out(indices)) {
    const auto [values, places] = at::adaptive_max_pool2d(wide(self), size);
    put(out, values);
    put(indices, places);
}
OP(aclnnAdaptiveMaxPool2dBackward, In(grad), In(self), In(indices), Out(out)) {
    put(out, at::adaptive_max_pool2d_backward(wide(grad), wide(self), indices.to(at::kLong)));
}
OP(aclnnAdaptiveMaxPool3d, In(self), Ints(size), Out(out), Out(indices)) {
    const auto [values, places] = at::adaptive_max_pool3d(wide(self), size);
    put(out, values);
    put(indices, places);
}
OP(aclnnAdaptiveMaxPool3dBackward, In(grad), In(self), In(indices), Out(out)) {
    put(out, at::adaptive_max_pool3d_backward(wide(grad), wide(self), indices.to(at::kLong)));
}

OP(aclnnAvgPool2d, In(self), Ints(kernel), Ints(stride), Ints(padding), Flag(ceil), Flag(count_padding), Int(over),
   I8(cube_math), Out(out)) {
    put(out, at::avg_pool2d(wide(self), kernel, stride, padding, ceil, count_padding, divisor(over)));
}
OP(aclnnAvgPool2dBackward, In(grad), In(self), Ints(kernel), Ints(stride), Ints(padding), Flag(ceil),
   Flag(count_padding), Int(over), I8(cube_math), Out(out)) {
    put(out,
        at::avg_pool2d_backward(wide(grad), wide(self), kernel, stride, padding, ceil, count_padding, divisor(over)));
}
OP(aclnnAvgPool3d, In(self), Ints(kernel), Ints(stride), Ints(padding), Flag(ceil), Flag(count_padding), Int(over),
   Out(out)) {
    put(out, at::avg_pool3d(wide(self), kernel, stride, padding, ceil, count_padding, divisor(over)));
}
OP(aclnnAvgPool3dBackward, In(grad), In(self), Ints(kernel), Ints(stride), Ints(padding), Flag(ceil),
   Flag(count_padding), Int(over), Out(out)) {
    put(out,
        at::avg_pool3d_backward(wide(grad), wide(self), kernel, stride, padding, ceil, count_padding, divisor(over)));
}

OP(aclnnMaxPool2dWithIndices, In(self), Ints(kernel), Ints(stride), Ints(padding), Ints(dilation), Flag(ceil), Out(out),
   Out(indices)) {
    const auto [values, places] = at::max_pool2d_with_indices(wide(self), kernel, stride, padding, dilation, ceil);
    put(out, values);
    put(indices, places);
}
OP(aclnnMaxPool2dWithIndicesBackward, In(grad), In(self), In(indices), Ints(kernel), Ints(stride), Ints(padding),
   Ints(dilation), Flag(ceil), Out(out)) {
    put(out, at::max_pool2d_with_indices_backward(wide(grad), wide(self), kernel, stride, padding, dilation, ceil,
                                                  indices.to(at::kLong)));
}
// The chip's mask is a bit for each place of each window, in a layout of its own that only its backward reads. Here it
// stays zero, and the backward finds the maxima again.
OP(aclnnMaxPool2dWithMask, In(self), Ints(kernel), Ints(stride), Ints(padding), Ints(dilation), Flag(ceil), Out(out),
   Out(mask)) {
    put(out, at::max_pool2d(wide(self), kernel, stride, padding, dilation, ceil));
    mask.zero_();
}
OP(aclnnMaxPool2dWithMaskBackward, In(grad), In(self), In(mask), Ints(kernel), Ints(stride), Ints(padding),
   Ints(dilation), Flag(ceil), Out(out)) {
    const at::Tensor x = wide(self);
    const at::Tensor places = std::get<1>(at::max_pool2d_with_indices(x, kernel, stride, padding, dilation, ceil));
    put(out, at::max_pool2d_with_indices_backward(wide(grad), x, kernel, stride, padding, dilation, ceil, places));
}
OP(aclnnMaxPool3dWithArgmax, In(self), Ints(kernel), Ints(stride), Ints(padding), Ints(dilation), Flag(ceil), Out(out),
   Out(indices)) {
    const auto [values, places] = at::max_pool3d_with_indices(wide(self), kernel, stride, padding, dilation, ceil);
    put(out, values);
    put(indices, places);
}
OP(aclnnMaxPool3dWithArgmaxBackward, In(grad), In(self), In(indices), Ints(kernel), Ints(stride), Ints(padding),
   Ints(dilation), Flag(ceil), Out(out)) {
    put(out, at::max_pool3d_with_indices_backward(wide(grad), wide(self), kernel, stride, padding, dilation, ceil,
                                                  indices.to(at::kLong)));
}
OP(aclnnMaxUnpool2d, In(self), In(indices), Ints(size), Out(out)) {
    put(out, at::max_unpool2d(wide(self), indices.to(at::kLong), size));
}
OP(aclnnMaxUnpool3d, In(self), In(indices), Ints(size), Ints(stride), Ints(padding), Out(out)) {
    put(out, at::max_unpool3d(wide(self), indices.to(at::kLong), size, stride, padding));
}
