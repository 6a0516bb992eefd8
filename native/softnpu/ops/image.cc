// SPDX-License-Identifier: Apache-2.0
//
// Images of another size: interpolation, sampling on a grid, padding by what is there, and their gradients.
#include "ops/op.h"

using softnpu::put;
using softnpu::wide;

namespace {

// CANN takes 0 for a scale that is not given.
std::optional<double> scale(double value) { return value > 0 ? std::optional(value) : std::nullopt; }

}  // namespace

OP(aclnnUpsampleNearest1d, In(self), Ints(size), Out(out)) { put(out, at::upsample_nearest1d(wide(self), size)); }
OP(aclnnUpsampleNearest1dV2, In(self), Ints(size), F32(l), Out(out)) {
    put(out, at::upsample_nearest1d(wide(self), size, scale(l)));
}
OP(aclnnUpsampleNearest2d, In(self), Ints(size), Out(out)) { put(out, at::upsample_nearest2d(wide(self), size)); }
OP(aclnnUpsampleNearest2dV2, In(self), Ints(size), F32(h), F32(w), Out(out)) {
    put(out, at::upsample_nearest2d(wide(self), size, scale(h), scale(w)));
}
OP(aclnnUpsampleNearest1dBackward, In(grad), Ints(size), Ints(input_size), F64(l), Out(out)) {
    put(out, at::upsample_nearest1d_backward(wide(grad), size, input_size, scale(l)));
}
OP(aclnnUpsampleNearest2dBackward, In(grad), Ints(size), Ints(input_size), F64(h), F64(w), Out(out)) {
    put(out, at::upsample_nearest2d_backward(wide(grad), size, input_size, scale(h), scale(w)));
}
OP(aclnnUpsampleNearest3d, In(self), Ints(size), F64(d), F64(h), F64(w), Out(out)) {
    put(out, at::upsample_nearest3d(wide(self), size, scale(d), scale(h), scale(w)));
}
OP(aclnnUpsampleNearest3dBackward, In(grad), Ints(size), Ints(input_size), F64(d), F64(h), F64(w), Out(out)) {
    put(out, at::upsample_nearest3d_backward(wide(grad), size, input_size, scale(d), scale(h), scale(w)));
}
OP(aclnnUpsampleNearestExact1d, In(self), Ints(size), F64(l), Out(out)) {
    put(out, at::_upsample_nearest_exact1d(wide(self), size, scale(l)));
}
OP(aclnnUpsampleNearestExact1dBackward, In(grad), Ints(size), Ints(input_size), F64(l), Out(out)) {
    put(out, at::_upsample_nearest_exact1d_backward(wide(grad), size, input_size, scale(l)));
}
OP(aclnnUpsampleNearestExact2d, In(self), Ints(size), F64(h), F64(w), Out(out)) {
    put(out, at::_upsample_nearest_exact2d(wide(self), size, scale(h), scale(w)));
}
OP(aclnnUpsampleNearestExact2dBackward, In(grad), Ints(size), Ints(input_size), F64(h), F64(w), Out(out)) {
    put(out, at::_upsample_nearest_exact2d_backward(wide(grad), size, input_size, scale(h), scale(w)));
}
OP(aclnnUpsampleNearestExact3d, In(self), Ints(size), F64(d), F64(h), F64(w), Out(out)) {
    put(out, at::_upsample_nearest_exact3d(wide(self), size, scale(d), scale(h), scale(w)));
}
OP(aclnnUpsampleNearestExact3dBackward, In(grad), Ints(size), Ints(input_size), F64(d), F64(h), F64(w), Out(out)) {
    put(out, at::_upsample_nearest_exact3d_backward(wide(grad), size, input_size, scale(d), scale(h), scale(w)));
}
OP(aclnnUpsampleLinear1d, In(self), Ints(size), Flag(align), F64(l), Out(out)) {
    put(out, at::upsample_linear1d(wide(self), size, align, scale(l)));
}
OP(aclnnUpsampleLinear1dBackward, In(grad), Ints(size), Ints(input_size), Flag(align), F64(l), Out(out)) {
    put(out, at::upsample_linear1d_backward(wide(grad), size, input_size, align, scale(l)));
}
OP(aclnnUpsampleBilinear2d, In(self), Ints(size), Flag(align), F64(h), F64(w), Out(out)) {
    put(out, at::upsample_bilinear2d(wide(self), size, align, scale(h), scale(w)));
}
OP(aclnnUpsampleBilinear2dBackward, In(grad), Ints(size), Ints(input_size), Flag(align), F64(h), F64(w), Out(out)) {
    put(out, at::upsample_bilinear2d_backward(wide(grad), size, input_size, align, scale(h), scale(w)));
}
OP(aclnnUpsampleBilinear2dBackwardV2, In(grad), Ints(size), Ints(input_size), Flag(align), F64(h), F64(w), Out(out)) {
    put(out, at::upsample_bilinear2d_backward(wide(grad), size, input_size, align, scale(h), scale(w)));
}
OP(aclnnUpsampleTrilinear3d, In(self), Ints(size), Flag(align), F64(d), F64(h), F64(w), Out(out)) {
    put(out, at::upsample_trilinear3d(wide(self), size, align, scale(d), scale(h), scale(w)));
}
OP(aclnnUpsampleTrilinear3dBackward, In(grad), Ints(size), Ints(input_size), Flag(align), F64(d), F64(h), F64(w),
   Out(out)) {
    put(out, at::upsample_trilinear3d_backward(wide(grad), size, input_size, align, scale(d), scale(h), scale(w)));
}
OP(aclnnUpsampleBicubic2d, In(self), Ints(size), Flag(align), F64(h), F64(w), Out(out)) {
    put(out, at::upsample_bicubic2d(wide(self), size, align, scale(h), scale(w)));
}
OP(aclnnUpsampleBicubic2dBackward, In(grad), Ints(size), Ints(input_size), Flag(align), F64(h), F64(w), Out(out)) {
    put(out, at::upsample_bicubic2d_backward(wide(grad), size, input_size, align, scale(h), scale(w)));
}
OP(aclnnUpsampleBilinear2dAA, In(self), Ints(size), Flag(align), F64(h), F64(w), Out(out)) {
    put(out, at::_upsample_bilinear2d_aa(wide(self), size, align, scale(h), scale(w)));
}
OP(aclnnUpsampleBilinear2dAABackward, In(grad), Ints(size), Ints(input_size), Flag(align), F64(h), F64(w), Out(out)) {
    put(out, at::_upsample_bilinear2d_aa_backward(wide(grad), size, input_size, align, scale(h), scale(w)));
}
OP(aclnnUpsampleBicubic2dAA, In(self), Ints(size), Flag(align), F64(h), F64(w), Out(out)) {
    put(out, at::_upsample_bicubic2d_aa(wide(self), size, align, scale(h), scale(w)));
}
OP(aclnnUpsampleBicubic2dAAGrad, In(grad), Ints(size), Ints(input_size), Flag(align), F64(h), F64(w), Out(out)) {
    put(out, at::_upsample_bicubic2d_aa_backward(wide(grad), size, input_size, align, scale(h), scale(w)));
}

OP(aclnnGridSampler2D, In(self), In(grid), Int(mode), Int(padding), Flag(align), Out(out)) {
    put(out, at::grid_sampler_2d(wide(self), wide(grid), mode, padding, align));
}
OP(aclnnGridSampler2DBackward, In(grad), In(self), In(grid), Int(mode), Int(padding), Flag(align), Bools(mask),
   Out(grad_self), Out(grad_grid)) {
    const std::array<bool, 2> wanted{mask.at(0) != 0, mask.at(1) != 0};
    const auto [x, g] = at::grid_sampler_2d_backward(wide(grad), wide(self), wide(grid), mode, padding, align, wanted);
    put(grad_self, x);
    put(grad_grid, g);
}
OP(aclnnGridSampler3D, In(self), In(grid), Int(mode), Int(padding), Flag(align), Out(out)) {
    put(out, at::grid_sampler_3d(wide(self), wide(grid), mode, padding, align));
}
OP(aclnnGridSampler3DBackward, In(grad), In(self), In(grid), Int(mode), Int(padding), Flag(align), Bools(mask),
   Out(grad_self), Out(grad_grid)) {
    const std::array<bool, 2> wanted{mask.at(0) != 0, mask.at(1) != 0};
    const auto [x, g] = at::grid_sampler_3d_backward(wide(grad), wide(self), wide(grid), mode, padding, align, wanted);
    put(grad_self, x);
    put(grad_grid, g);
}
OP(aclnnAffineGrid, In(theta), Ints(size), Flag(align), Out(out)) {
    put(out, at::affine_grid_generator(wide(theta), size, align));
}
OP(aclnnChannelShuffle, In(self), Int(groups), Out(out)) { put(out, at::channel_shuffle(self, groups)); }

OP(aclnnReflectionPad1d, In(self), Ints(padding), Out(out)) { put(out, at::reflection_pad1d(self, padding)); }
OP(aclnnReflectionPad1dBackward, In(grad), In(self), Ints(padding), Out(out)) {
    put(out, at::reflection_pad1d_backward(wide(grad), wide(self), padding));
}
namespace {

// What a place of the padded tensor was before, along one dimension.
at::Tensor wrapped(int64_t size, int64_t before, int64_t after) {
    return at::remainder(at::arange(-before, size + after, at::kLong), size);
}

// Padding is given from the last dimension on: before, after.
at::Tensor circular_pad(at::Tensor x, const std::vector<int64_t>& padding) {
    for (size_t i = 0; i < padding.size() / 2; ++i) {
        const int64_t dim = x.dim() - 1 - static_cast<int64_t>(i);
        x = x.index_select(dim, wrapped(x.size(dim), padding[2 * i], padding[2 * i + 1]));
    }
    return x;
}

at::Tensor circular_pad_gradient(at::Tensor grad, const at::Tensor& x, const std::vector<int64_t>& padding) {
    for (size_t i = 0; i < padding.size() / 2; ++i) {
        const int64_t dim = x.dim() - 1 - static_cast<int64_t>(i);
        auto sizes = grad.sizes().vec();
        sizes[dim] = x.size(dim);
        grad = at::zeros(sizes, grad.options())
                   .index_add(dim, wrapped(x.size(dim), padding[2 * i], padding[2 * i + 1]), grad);
    }
    return grad;
}

}  // namespace

OP(aclnnCircularPad2d, In(self), Ints(padding), Out(out)) { put(out, circular_pad(self, padding)); }
OP(aclnnCircularPad3d, In(self), Ints(padding), Out(out)) { put(out, circular_pad(self, padding)); }
OP(aclnnCircularPad2dBackward, In(grad), In(self), Ints(padding), Out(out)) {
    put(out, circular_pad_gradient(wide(grad), self, padding));
}
OP(aclnnCircularPad3dBackward, In(grad), In(self), Ints(padding), Out(out)) {
    put(out, circular_pad_gradient(wide(grad), self, padding));
}
OP(aclnnReflectionPad2d, In(self), Ints(padding), Out(out)) { put(out, at::reflection_pad2d(self, padding)); }
OP(aclnnReflectionPad2dBackward, In(grad), In(self), Ints(padding), Out(out)) {
    put(out, at::reflection_pad2d_backward(wide(grad), wide(self), padding));
}
OP(aclnnReflectionPad3d, In(self), Ints(padding), Out(out)) { put(out, at::reflection_pad3d(self, padding)); }
OP(aclnnReflectionPad3dBackward, In(grad), In(self), Ints(padding), Out(out)) {
    put(out, at::reflection_pad3d_backward(wide(grad), wide(self), padding));
}
OP(aclnnReplicationPad1d, In(self), Ints(padding), Out(out)) { put(out, at::replication_pad1d(self, padding)); }
OP(aclnnReplicationPad1dBackward, In(grad), In(self), Ints(padding), Out(out)) {
    put(out, at::replication_pad1d_backward(wide(grad), wide(self), padding));
}
OP(aclnnReplicationPad2d, In(self), Ints(padding), Out(out)) { put(out, at::replication_pad2d(self, padding)); }
OP(aclnnReplicationPad2dBackward, In(grad), In(self), Ints(padding), Out(out)) {
    put(out, at::replication_pad2d_backward(wide(grad), wide(self), padding));
}
OP(aclnnReplicationPad3d, In(self), Ints(padding), Out(out)) { put(out, at::replication_pad3d(self, padding)); }
OP(aclnnReplicationPad3dBackward, In(grad), In(self), Ints(padding), Out(out)) {
    put(out, at::replication_pad3d_backward(wide(grad), wide(self), padding));
}
