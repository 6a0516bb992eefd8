// SPDX-License-Identifier: Apache-2.0
//
// The matmul family. cubeMathType chooses among the cube unit's internal precisions; ATen always keeps the inputs' own.
#include "ops/op.h"

using softnpu::matmul_cost;

OP_COST(aclnnMatmul, matmul_cost, In(self), In(mat2), Out(out), I8(cubeMathType)) { at::matmul_out(out, self, mat2); }
OP_COST(aclnnMm, matmul_cost, In(self), In(mat2), Out(out), I8(cubeMathType)) { at::mm_out(out, self, mat2); }
OP_COST(aclnnBatchMatMul, matmul_cost, In(self), In(mat2), Out(out), I8(cubeMathType)) { at::bmm_out(out, self, mat2); }
OP_COST(aclnnAddmm, matmul_cost, In(self), In(a), In(b), Num(beta), Num(alpha), Out(out), I8(cubeMathType)) {
    at::addmm_out(out, self, a, b, beta, alpha);
}
OP_COST(aclnnInplaceAddmm, matmul_cost, Out(self), In(a), In(b), Num(beta), Num(alpha), I8(cubeMathType)) {
    self.addmm_(a, b, beta, alpha);
}
OP_COST(aclnnBaddbmm, matmul_cost, In(self), In(a), In(b), Num(beta), Num(alpha), Out(out), I8(cubeMathType)) {
    at::baddbmm_out(out, self, a, b, beta, alpha);
}
OP_COST(aclnnAddbmm, matmul_cost, In(self), In(a), In(b), Num(beta), Num(alpha), Out(out), I8(cubeMathType)) {
    at::addbmm_out(out, self, a, b, beta, alpha);
}
OP_COST(aclnnMv, matmul_cost, In(self), In(vec), Out(out), I8(cubeMathType)) { at::mv_out(out, self, vec); }
OP(aclnnDot, In(self), In(other), Out(out)) { at::dot_out(out, self, other); }
OP_COST(aclnnInplaceBaddbmm, matmul_cost, Out(self), In(a), In(b), Num(beta), Num(alpha), I8(cubeMathType)) {
    self.baddbmm_(a, b, beta, alpha);
}
OP_COST(aclnnInplaceAddbmm, matmul_cost, Out(self), In(a), In(b), Num(beta), Num(alpha), I8(cubeMathType)) {
    self.addbmm_(a, b, beta, alpha);
}
OP_COST(aclnnAddmv, matmul_cost, In(self), In(mat), In(vec), Num(alpha), Num(beta), Out(out), I8(cubeMathType)) {
    out.copy_(at::addmv(self, mat, vec, beta, alpha));
}
OP(aclnnAddr, In(self), In(a), In(b), MaybeNum(beta), MaybeNum(alpha), Out(out)) {
    out.copy_(at::addr(self, a, b, beta.value_or(1), alpha.value_or(1)));
}
OP(aclnnInplaceAddr, Out(self), In(a), In(b), MaybeNum(beta), MaybeNum(alpha)) {
    self.addr_(a, b, beta.value_or(1), alpha.value_or(1));
}
OP(aclnnGer, In(self), In(other), Out(out)) { out.copy_(at::outer(self, other)); }
