// SPDX-License-Identifier: Apache-2.0
//
// The matmul family. cubeMathType chooses among the cube unit's internal precisions; ATen always keeps the inputs' own.
#include "ops/op.h"

using softnpu::check_factors;
using softnpu::check_product;
using softnpu::matmul_cost;
using softnpu::put;
using softnpu::wide;

OP_CHECKED(aclnnMatmul, check_product, matmul_cost, In(self), In(mat2), Out(out), I8(cubeMathType)) {
    at::matmul_out(out, self, mat2);
}
OP_CHECKED(aclnnMm, check_product, matmul_cost, In(self), In(mat2), Out(out), I8(cubeMathType)) {
    at::mm_out(out, self, mat2);
}
OP_CHECKED(aclnnBatchMatMul, check_product, matmul_cost, In(self), In(mat2), Out(out), I8(cubeMathType)) {
    at::matmul_out(out, self, mat2);  // a stack of one goes with any
}
OP_CHECKED(aclnnAddmm, check_product, matmul_cost, In(self), In(a), In(b), Num(beta), Num(alpha), Out(out),
           I8(cubeMathType)) {
    at::addmm_out(out, self, a, b, beta, alpha);
}
OP_CHECKED(aclnnInplaceAddmm, check_product, matmul_cost, Out(self), In(a), In(b), Num(beta), Num(alpha),
           I8(cubeMathType)) {
    self.addmm_(a, b, beta, alpha);
}
OP_CHECKED(aclnnBaddbmm, check_product, matmul_cost, In(self), In(a), In(b), Num(beta), Num(alpha), Out(out),
           I8(cubeMathType)) {
    at::baddbmm_out(out, self, a, b, beta, alpha);
}
OP_CHECKED(aclnnAddbmm, check_factors, matmul_cost, In(self), In(a), In(b), Num(beta), Num(alpha), Out(out),
           I8(cubeMathType)) {
    at::addbmm_out(out, self, a, b, beta, alpha);
}
OP_CHECKED(aclnnMv, check_factors, matmul_cost, In(self), In(vec), Out(out), I8(cubeMathType)) {
    at::mv_out(out, self, vec);
}
OP(aclnnDot, In(self), In(other), Out(out)) { at::dot_out(out, self, other); }
OP_CHECKED(aclnnInplaceBaddbmm, check_product, matmul_cost, Out(self), In(a), In(b), Num(beta), Num(alpha),
           I8(cubeMathType)) {
    self.baddbmm_(a, b, beta, alpha);
}
OP_CHECKED(aclnnInplaceAddbmm, check_factors, matmul_cost, Out(self), In(a), In(b), Num(beta), Num(alpha),
           I8(cubeMathType)) {
    self.addbmm_(a, b, beta, alpha);
}
OP_CHECKED(aclnnAddmv, check_factors, matmul_cost, In(self), In(mat), In(vec), Num(alpha), Num(beta), Out(out),
           I8(cubeMathType)) {
    out.copy_(at::addmv(self, mat, vec, beta, alpha));
}
OP(aclnnAddr, In(self), In(a), In(b), MaybeNum(beta), MaybeNum(alpha), Out(out)) {
    out.copy_(at::addr(self, a, b, beta.value_or(1), alpha.value_or(1)));
}
OP(aclnnInplaceAddr, Out(self), In(a), In(b), MaybeNum(beta), MaybeNum(alpha)) {
    self.addr_(a, b, beta.value_or(1), alpha.value_or(1));
}
OP(aclnnGer, In(self), In(other), Out(out)) { out.copy_(at::outer(self, other)); }

// Weights in the cube's own layout, whose elements lie in their logical order here.
OP_CHECKED(aclnnMatmulWeightNz, check_product, matmul_cost, In(self), In(mat2), Out(out), I8(cubeMathType)) {
    at::matmul_out(out, self, mat2);
}
OP_CHECKED(aclnnBatchMatMulWeightNz, check_product, matmul_cost, In(self), In(mat2), Out(out), I8(cubeMathType)) {
    at::matmul_out(out, self, mat2);
}
OP_CHECKED(aclnnAddmmWeightNz, check_product, matmul_cost, In(self), In(a), In(b), Num(beta), Num(alpha), Out(out),
           I8(cubeMathType)) {
    at::addmm_out(out, self, a, b, beta, alpha);
}

// y = x1 x2, each turned first, and turned after; a split cuts the batch into that many parts side by side.
OP_COST(aclnnTransposeBatchMatMul, matmul_cost, In(x1), In(x2), In(bias), In(scale), Ints(perm1), Ints(perm2),
        Ints(permY), I8(cubeMathType), I32(split), Out(out)) {
    TORCH_CHECK(!scale.defined() || scale.numel() == 0, "scale is not bound in the software NPU");
    const auto turned = [](const at::Tensor& x, const std::vector<int64_t>& order) {
        return order.empty() ? x : x.permute(order);
    };
    at::Tensor y = at::matmul(turned(wide(x1), perm1), turned(wide(x2), perm2));
    y = bias.defined() ? y + wide(bias) : y;
    y = turned(y, permY);
    put(out, split > 1 ? y.reshape({y.size(0), split, -1}).transpose(0, 1) : y);
}
OP_COST(aclnnTransposeBatchMatMulWeightNz, matmul_cost, In(x1), In(x2), In(bias), In(scale), Ints(perm1), Ints(perm2),
        Ints(permY), I8(cubeMathType), I32(split), Out(out)) {
    aclnnTransposeBatchMatMul_body(x1, x2, bias, scale, perm1, perm2, permY, cubeMathType, split, out);
}
