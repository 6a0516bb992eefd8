// SPDX-License-Identifier: Apache-2.0
//
// Convolutions, their gradients, and the columns they are made of.
#include "ops/op.h"

using softnpu::maybe;
using softnpu::Plan;
using softnpu::put;
using softnpu::wide;

namespace {

// Multiplications of a convolution of these tensors: each element of the smaller image meets one filter.
softnpu::Cost convolution(const Plan& plan, const aclTensor& image, const aclTensor& filter, double passes) {
    const double per_place = static_cast<double>(filter.numel()) / std::max<double>(1, filter.sizes[0]);
    return softnpu::cube_cost(plan, passes * 2.0 * static_cast<double>(image.numel()) * per_place, image.dtype);
}

softnpu::Cost forward_cost(const Plan& plan) { return convolution(plan, plan.tensors.back(), plan.tensors[1], 1); }
softnpu::Cost backward_cost(const Plan& plan) { return convolution(plan, plan.tensors[0], plan.tensors[2], 2); }

// Both ends of each dimension, where they are the same, or one number for both.
std::vector<int64_t> one_end(const std::vector<int64_t>& padding, int64_t dims) {
    if (static_cast<int64_t>(padding.size()) != 2 * dims) {
        return padding;
    }
    std::vector<int64_t> ends;
    for (size_t i = 0; i < padding.size(); i += 2) {
        TORCH_CHECK(padding[i] == padding[i + 1], "padding of ", padding[i], " and ", padding[i + 1],
                    " at the two ends of a dimension is not bound in the software NPU");
        ends.push_back(padding[i]);
    }
    return ends;
}

std::array<bool, 3> three(const std::vector<uint8_t>& mask) {
    TORCH_CHECK(mask.size() == 3, "an output mask of ", mask.size(), " entries, 3 are needed");
    return {mask[0] != 0, mask[1] != 0, mask[2] != 0};
}

}  // namespace

OP_COST(aclnnConvolution, forward_cost, In(input), In(weight), In(bias), Ints(stride), Ints(padding), Ints(dilation),
        Flag(transposed), Ints(output_padding), Int(groups), Out(out), I8(cube_math)) {
    put(out, at::convolution(wide(input), wide(weight), maybe(wide(bias)), stride, one_end(padding, weight.dim() - 2),
                             dilation, transposed, output_padding, groups));
}
OP_COST(aclnnConvolutionBackward, backward_cost, In(grad), In(input), In(weight), Ints(bias_sizes), Ints(stride),
        Ints(padding), Ints(dilation), Flag(transposed), Ints(output_padding), I32(groups), Bools(mask), I8(cube_math),
        Out(grad_input), Out(grad_weight), Out(grad_bias)) {
    const auto sizes = bias_sizes.empty() ? at::OptionalIntArrayRef() : at::OptionalIntArrayRef(bias_sizes);
    const auto [x, w, b] = at::convolution_backward(wide(grad), wide(input), wide(weight), sizes, stride,
                                                    one_end(padding, weight.dim() - 2), dilation, transposed,
                                                    output_padding, groups, three(mask));
    put(grad_input, x);
    put(grad_weight, w);
    put(grad_bias, b);
}
OP_COST(aclnnConvDepthwise2d, forward_cost, In(input), In(weight), Ints(kernel), In(bias), Ints(stride), Ints(padding),
        Ints(dilation), Out(out), I8(cube_math)) {
    put(out, at::conv2d(wide(input), wide(weight), maybe(wide(bias)), stride, padding, dilation, input.size(-3)));
}
OP_COST(aclnnConvTbc, forward_cost, In(input), In(weight), In(bias), Int(pad), Out(out), I8(cube_math)) {
    put(out, at::conv_tbc(wide(input), wide(weight), wide(bias), pad));
}
OP_COST(aclnnConvTbcBackward, backward_cost, In(grad), In(input), In(weight), In(bias), Int(pad), I8(cube_math),
        Out(grad_input), Out(grad_weight), Out(grad_bias)) {
    const auto [x, w, b] = at::conv_tbc_backward(wide(grad), wide(input), wide(weight), wide(bias), pad);
    put(grad_input, x);
    put(grad_weight, w);
    put(grad_bias, b);
}

OP(aclnnIm2col, In(self), Ints(kernel), Ints(dilation), Ints(padding), Ints(stride), Out(out)) {
    put(out, at::im2col(wide(self), kernel, dilation, padding, stride));
}
OP(aclnnIm2colBackward, In(grad), Ints(size), Ints(kernel), Ints(dilation), Ints(padding), Ints(stride), Out(out)) {
    put(out, at::col2im(wide(grad), size, kernel, dilation, padding, stride));
}
OP(aclnnUnfoldGrad, In(grad), Ints(sizes), Int(dim), Int(size), Int(step), Out(out)) {
    put(out, at::unfold_backward(wide(grad), sizes, dim, size, step));
}
