// SPDX-License-Identifier: Apache-2.0
//
// What quantised operators share: rounding into an integer type, scales, packed nibbles.
#pragma once

#include <ATen/ATen.h>

namespace softnpu {

// Rounds to the nearest (ties to even), limits to the range of `out` and stores. Nibbles go eight to an int32 (or two
// to a byte), the lowest first, where `out` has that many fewer elements.
void put_quantised(const at::Tensor& out, const at::Tensor& value);

// Scales as fp32. The cube's own form keeps the fp32 in the low half of 64 bits.
at::Tensor scale_of(const at::Tensor& scale);
at::Tensor pack_scale(const at::Tensor& scale, const at::Tensor& offset);

// An integer matrix as it counts: nibbles of an int32 matrix spread along its last dimension; others as they are.
at::Tensor unpack_nibbles(const at::Tensor& packed);

// Of each row: the scale that takes its largest magnitude to the largest value of the target.
struct RowScales {
    at::Tensor scale;   // (…, 1), fp32
    at::Tensor offset;  // (…, 1); undefined where symmetric
};
RowScales row_scales(const at::Tensor& x, double largest, bool symmetric);

// (m, k) x (k, n) of integers, exact in fp64, which holds every sum that int32 does.
at::Tensor integer_product(const at::Tensor& left, const at::Tensor& right);

}  // namespace softnpu
