// SPDX-License-Identifier: Apache-2.0
//
// What an operator costs in device time, from its shapes: work, bytes, and the constant of its kind.
#pragma once

#include "ops/plan.h"

namespace softnpu {

// Constants per operator, s: the vendor's modelling constants for matrix and vector operators, and the floor under
// which small attention never goes on a 910B2.
constexpr double kMatmulConstant = 5e-6;
constexpr double kVectorConstant = 2e-6;
constexpr double kAttentionConstant = 18e-6;

// Peak of a data type on the cube unit, relative to fp16.
double cube_rate(aclDataType dtype);

// Bytes that a view reaches: an expanded dimension is read once.
double view_bytes(const aclTensor& tensor);

// Every tensor of the call is read or written once.
Cost vector_cost(const Plan& plan);
// So many multiplications and additions on the cube, and every tensor of the call once; `dtype` is what is multiplied.
Cost cube_cost(const Plan& plan, double flops, aclDataType dtype);
// No work on the device: views and shape changes.
Cost free_cost(const Plan& plan);
// The last tensor is the product of the two before it: (…, m, k) x (…, k, n).
Cost matmul_cost(const Plan& plan);
// A gather reads only the rows that it gives: the output twice, and the indices.
Cost gather_cost(const Plan& plan);
// Writes the last-named rows into a larger tensor: the source twice.
Cost scatter_cost(const Plan& plan);

}  // namespace softnpu
