// SPDX-License-Identifier: Apache-2.0
//
// Quantising and its reverse, and what is fused with them. The formats of later chips (fp8, mx, hif8) are not here.
#include "ops/op.h"
#include "ops/quant_math.h"

using softnpu::put;
using softnpu::put_quantised;
using softnpu::scale_of;
using softnpu::wide;

namespace {

constexpr double kInt8 = 127;
constexpr double kInt4 = 7;

double largest_of(const at::Tensor& out, const at::Tensor& value) {
    return out.numel() == value.numel() ? kInt8 : kInt4;
}

// A vector along one dimension of x.
at::Tensor along(const at::Tensor& vector, const at::Tensor& x, int64_t axis) {
    if (!vector.defined() || vector.numel() == 1 || vector.dim() == x.dim()) {
        return vector;
    }
    std::vector<int64_t> sizes(x.dim(), 1);
    sizes[axis < 0 ? axis + x.dim() : axis] = -1;
    return vector.reshape(sizes);
}

// Each row times the factors of the group it is in; the group index is a running sum of rows.
at::Tensor smooth(const at::Tensor& x, const at::Tensor& factors, const at::Tensor& group_index) {
    if (!factors.defined() || factors.numel() == 0) {
        return x;
    }
    if (!group_index.defined() || group_index.numel() == 0) {
        return x * wide(factors);
    }
    const at::Tensor rows = x.reshape({-1, x.size(-1)}).clone();
    int64_t start = 0;
    for (int64_t group = 0; group < group_index.numel(); ++group) {
        const int64_t end = group_index[group].item<int64_t>();
        if (end > start) {
            rows.slice(0, start, end).mul_(wide(factors)[group]);
            start = end;
        }
    }
    return rows.reshape(x.sizes());
}

struct Dynamic {
    at::Tensor y, scale, offset;
    bool symmetric = true;
    std::string mode = "pertoken";
};

void quantise_rows(const at::Tensor& x, const Dynamic& to) {
    const double largest = largest_of(to.y, x);
    const bool by_channel = to.mode == "perchannel";
    const at::Tensor rows = by_channel ? x.transpose(-1, -2) : to.mode == "pertensor" ? x.reshape({1, -1}) : x;
    const auto [scale, offset] = softnpu::row_scales(rows, largest, to.symmetric);
    at::Tensor quantised = rows / scale;
    quantised = offset.defined() ? quantised + offset : quantised;
    put_quantised(to.y, by_channel ? quantised.transpose(-1, -2).contiguous() : quantised.reshape(x.sizes()));
    put(to.scale, scale);
    put(to.offset, offset);
}

at::Tensor rms(const at::Tensor& x, const at::Tensor& gamma, const at::Tensor& beta, double epsilon) {
    at::Tensor y = x * at::rsqrt(x.square().mean(-1, true) + epsilon) * wide(gamma);
    return beta.defined() ? y + wide(beta) : y;
}

at::Tensor scaled(const at::Tensor& x, const at::Tensor& scale, const at::Tensor& zero, bool divide) {
    const at::Tensor y = divide ? x / wide(scale) : x * wide(scale);
    return zero.defined() ? y + wide(zero) : y;
}

at::Tensor gated(const at::Tensor& x, bool left) {
    const auto halves = x.chunk(2, -1);
    return at::silu(halves[left ? 0 : 1]) * halves[left ? 1 : 0];
}

}  // namespace

OP(aclnnAscendQuantV3, In(x), In(scale), In(offset), Flag(root), Text(rounding), I32(type), I32(axis), Out(y)) {
    at::Tensor factor = along(wide(scale), x, axis);
    factor = root ? factor * factor : factor;
    const at::Tensor product = wide(x) * factor;
    put_quantised(y, offset.defined() ? product + along(wide(offset), x, axis) : product);
}
OP(aclnnAscendQuant, In(x), In(scale), In(offset), Flag(root), Text(rounding), I32(type), Out(y)) {
    aclnnAscendQuantV3_body(x, scale, offset, root, rounding, type, -1, y);
}
OP(aclnnAscendAntiQuant, In(x), In(scale), In(offset), Int(type), Flag(root), Out(y)) {
    const at::Tensor factor = root ? wide(scale) * wide(scale) : wide(scale);
    const at::Tensor values = softnpu::unpack_nibbles(x).to(at::kFloat);
    put(y, (offset.defined() ? values + wide(offset) : values) * factor);
}
OP(aclnnQuantize, In(x), In(scales), In(zeros), Type(dtype), I32(axis), Out(out)) {
    const at::Tensor quantised = at::round(wide(x) / along(wide(scales), x, axis));
    put_quantised(out, zeros.defined() ? quantised + along(wide(zeros), x, axis) : quantised);
}
// Row b of the updates, quantised, goes to self[b] at indices[b] along the axis.
OP_COST(aclnnInplaceQuantScatter, softnpu::scatter_cost, Out(self), In(indices), In(updates), In(scales), In(zeros),
        Int(axis), Int(quant_axis), Int(reduction)) {
    at::Tensor values = wide(updates) / along(wide(scales), updates, quant_axis);
    values = zeros.defined() && zeros.numel() != 0 ? values + along(wide(zeros), updates, quant_axis) : values;
    const int64_t along_axis = axis < 0 ? axis + self.dim() : axis;
    const at::Tensor starts = indices.to(at::kLong).reshape(-1);
    for (int64_t b = 0; b < updates.size(0); ++b) {
        const int64_t start = starts[starts.numel() == 1 ? 0 : b].item<int64_t>();
        put_quantised(self[b].narrow(along_axis - 1, start, updates.size(along_axis)), values[b]);
    }
}
OP_COST(aclnnInplaceQuantScatterV2, softnpu::scatter_cost, Out(self), In(indices), In(updates), In(scales), In(zeros),
        Int(axis), Int(quant_axis), Int(reduction), Text(rounding)) {
    aclnnInplaceQuantScatter_body(self, indices, updates, scales, zeros, axis, quant_axis, reduction);
}
OP(aclnnGroupQuant, In(x), In(scale), In(group_index), In(offset), I32(type), Out(y)) {
    const at::Tensor product = smooth(wide(x), scale, group_index);
    put_quantised(y, offset.defined() ? product + wide(offset) : product);
}
OP(aclnnDynamicQuant, In(x), In(factors), Out(y), Out(scale)) {
    quantise_rows(smooth(wide(x), factors, {}), {y, scale, {}});
}
OP(aclnnDynamicQuantV2, In(x), In(factors), In(group_index), Int(type), Out(y), Out(scale), Out(offset)) {
    const bool symmetric = !offset.defined() || offset.numel() == 0;
    quantise_rows(smooth(wide(x), factors, group_index), {y, scale, offset, symmetric});
}
OP(aclnnDynamicQuantV3, In(x), In(factors), In(group_index), Int(type), Flag(symmetric), Text(mode), Out(y), Out(scale),
   Out(offset)) {
    quantise_rows(smooth(wide(x), factors, group_index), {y, scale, offset, symmetric, mode});
}
OP(aclnnDynamicQuantV4, In(x), In(factors), In(group_index), Int(type), Flag(symmetric), Text(mode), F32(largest),
   Out(y), Out(scale), Out(offset)) {
    quantise_rows(smooth(wide(x), factors, group_index), {y, scale, offset, symmetric, mode});
}
OP(aclnnDequantBias, In(x), In(weight_scale), In(row_scale), In(bias), Int(type), Out(out)) {
    const bool whole = bias.defined() && bias.scalar_type() == at::kInt;
    at::Tensor y = (whole ? x + bias : x).to(at::kFloat) * scale_of(weight_scale);
    y = row_scale.defined() ? y * wide(row_scale).unsqueeze(-1) : y;
    put(out, bias.defined() && !whole ? y + wide(bias) : y);
}
OP(aclnnTransQuantParamV2, In(scale), In(offset), Out(out)) {
    out.copy_(softnpu::pack_scale(scale, offset).expand(out.sizes()));
}
OP(aclnnTransQuantParamV3, In(scale), In(offset), Int(rounding), Out(out)) {
    out.copy_(softnpu::pack_scale(scale, offset).expand(out.sizes()));
}
OP(aclnnFakeQuantPerTensorAffineCachemask, In(self), In(scale), In(zero), F32(enabled), Int(least), Int(most), Out(out),
   Out(mask)) {
    const at::Tensor step = wide(scale);
    const at::Tensor whole = at::round(wide(self) / step) + wide(zero);
    put(out, (at::clamp(whole, least, most) - wide(zero)) * step);
    put(mask, (whole >= least).logical_and(whole <= most));
}
OP(aclnnFakeQuantPerChannelAffineCachemask, In(self), In(scale), In(zero), Int(axis), Int(least), Int(most), Out(out),
   Out(mask)) {
    const at::Tensor step = along(wide(scale), self, axis);
    const at::Tensor origin = along(wide(zero), self, axis);
    const at::Tensor whole = at::round(wide(self) / step) + origin;
    put(out, (at::clamp(whole, least, most) - origin) * step);
    put(mask, (whole >= least).logical_and(whole <= most));
}

OP(aclnnRmsNormQuant, In(x), In(gamma), In(beta), In(scale), In(offset), F64(epsilon), Out(y)) {
    put_quantised(y, scaled(rms(wide(x), gamma, beta, epsilon), scale, offset, false));
}
OP(aclnnAddRmsNormQuant, In(x1), In(x2), In(gamma), In(scales1), In(scales2), In(zeros1), In(zeros2), Int(axis),
   F64(epsilon), Flag(divide), Out(y1), Out(y2), Out(sum)) {
    put(sum, wide(x1) + wide(x2));
    const at::Tensor y = rms(wide(x1) + wide(x2), gamma, {}, epsilon);
    put_quantised(y1, scaled(y, scales1, zeros1, divide));
    if (scales2.defined()) {
        put_quantised(y2, scaled(y, scales2, zeros2, divide));
    }
}
OP(aclnnAddRmsNormQuantV2, In(x1), In(x2), In(gamma), In(scales1), In(scales2), In(zeros1), In(zeros2), In(beta),
   Int(axis), F64(epsilon), Flag(divide), Out(y1), Out(y2), Out(sum), Out(normal)) {
    put(sum, wide(x1) + wide(x2));
    const at::Tensor y = rms(wide(x1) + wide(x2), gamma, beta, epsilon);
    put(normal, y);
    put_quantised(y1, scaled(y, scales1, zeros1, divide));
    if (scales2.defined()) {
        put_quantised(y2, scaled(y, scales2, zeros2, divide));
    }
}
OP(aclnnAddRmsNormDynamicQuantV2, In(x1), In(x2), In(gamma), In(smooth1), In(smooth2), In(beta), F64(epsilon),
   Bools(mask), Out(y1), Out(y2), Out(sum), Out(scale1), Out(scale2)) {
    put(sum, wide(x1) + wide(x2));
    const at::Tensor y = rms(wide(x1) + wide(x2), gamma, beta, epsilon);
    quantise_rows(smooth(y, smooth1, {}), {y1, scale1, {}});
    if (smooth2.defined()) {
        quantise_rows(smooth(y, smooth2, {}), {y2, scale2, {}});
    }
}
OP(aclnnAddRmsNormDynamicQuant, In(x1), In(x2), In(gamma), In(smooth1), In(smooth2), F64(epsilon), Out(y1), Out(y2),
   Out(sum), Out(scale1), Out(scale2)) {
    aclnnAddRmsNormDynamicQuantV2_body(x1, x2, gamma, smooth1, smooth2, {}, epsilon, {}, y1, y2, sum, scale1, scale2);
}
OP(aclnnSwiGluQuantV2, In(x), In(factors), In(offsets), In(group_index), Flag(left), Text(mode), Int(group_type),
   Int(type), Out(y), Out(scale)) {
    const at::Tensor product = gated(wide(x), left);
    const at::Tensor sums = group_index.defined() && group_type == 1 ? group_index.cumsum(0) : group_index;
    if (mode == "static") {
        const at::Tensor quantised = smooth(product, factors, sums);
        put_quantised(y, offsets.defined() ? quantised + wide(offsets) : quantised);
    } else {
        quantise_rows(smooth(product, factors, sums), {y, scale, {}});
    }
}
OP(aclnnDequantSwigluQuant, In(x), In(weight_scale), In(row_scale), In(bias), In(factors), In(offset), In(group_index),
   Flag(left), Text(mode), Out(y), Out(scale)) {
    at::Tensor value = x.to(at::kFloat);
    value = bias.defined() ? value + wide(bias) : value;
    value = weight_scale.defined() ? value * scale_of(weight_scale) : value;
    value = row_scale.defined() ? value * wide(row_scale).reshape({-1, 1}) : value;
    const at::Tensor product = gated(value, left);
    if (mode == "static") {
        const at::Tensor quantised = product / wide(factors);
        put_quantised(y, offset.defined() ? quantised + wide(offset) : quantised);
    } else {
        const at::Tensor sums = group_index.defined() ? group_index.cumsum(0) : group_index;
        quantise_rows(smooth(product, factors, sums), {y, scale, {}});
    }
}
