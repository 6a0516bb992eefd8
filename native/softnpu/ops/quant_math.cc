// SPDX-License-Identifier: Apache-2.0
#include "ops/quant_math.h"

#include "ops/op.h"

namespace softnpu {

void put_quantised(const at::Tensor& out, const at::Tensor& value) {
    if (!out.defined() || out.numel() == 0) {
        return;
    }
    const at::Tensor rounded = at::round(wide(value));
    if (out.numel() == value.numel()) {
        const bool floating = at::isFloatingType(out.scalar_type());
        const bool is_signed = out.scalar_type() == at::kChar;
        const at::Tensor limited = floating    ? wide(value)
                                   : is_signed ? at::clamp(rounded, -128, 127)
                                               : at::clamp(rounded, 0, 255);
        out.copy_((out.element_size() == 1 ? limited : rounded).reshape(out.sizes()));
        return;
    }
    const int64_t each = out.element_size() * 2;
    TORCH_CHECK(out.numel() * each == value.numel(), "a quantised result of ", value.numel(), " elements in ",
                out.numel());
    const at::Tensor nibbles = at::clamp(rounded, -8, 7).to(at::kLong).bitwise_and(15).reshape({-1, each});
    const at::Tensor words = at::bitwise_left_shift(nibbles, at::arange(each, at::kLong) * 4).sum(1);
    out.copy_(words.to(at::kInt).to(out.scalar_type()).reshape(out.sizes()));
}

at::Tensor scale_of(const at::Tensor& scale) {
    if (!scale.defined() || at::isFloatingType(scale.scalar_type())) {
        return wide(scale);
    }
    const at::Tensor low = scale.view(at::kLong).bitwise_and(0xffffffff).to(at::kInt);
    return low.view(at::kFloat).reshape(scale.sizes());
}

at::Tensor pack_scale(const at::Tensor& scale, const at::Tensor& offset) {
    constexpr int64_t kMantissaKept = 0xffffe000;  // 19 bits of the fp32
    constexpr int64_t kValid = int64_t{1} << 46;
    at::Tensor bits = scale.contiguous().view(at::kInt).to(at::kLong).bitwise_and(kMantissaKept).bitwise_or(kValid);
    if (offset.defined() && offset.numel() != 0) {
        const at::Tensor nine = at::clamp(at::round(wide(offset)), -256, 255).to(at::kLong).bitwise_and(0x1ff);
        bits = bits.bitwise_or(at::bitwise_left_shift(nine, 37));
    }
    return bits;
}

at::Tensor unpack_nibbles(const at::Tensor& packed) {
    if (packed.scalar_type() != at::kInt) {
        return packed;
    }
    const at::Tensor all =
        at::bitwise_right_shift(packed.unsqueeze(-1), at::arange(8, at::kInt) * 4).bitwise_and(15).flatten(-2);
    return at::where(all > 7, all - 16, all).to(at::kChar);
}

RowScales row_scales(const at::Tensor& x, double largest, bool symmetric) {
    if (symmetric) {
        return {x.abs().amax(-1, true) / largest, {}};
    }
    const at::Tensor most = x.amax(-1, true);
    const at::Tensor scale = (most - x.amin(-1, true)) / (2 * largest + 1);
    return {scale, largest - most / scale};
}

at::Tensor integer_product(const at::Tensor& left, const at::Tensor& right) {
    return at::matmul(left.to(at::kDouble), right.to(at::kDouble));
}

}  // namespace softnpu
