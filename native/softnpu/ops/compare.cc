// SPDX-License-Identifier: Apache-2.0
//
// Comparison, logic, bits.
#include "ops/op.h"

#define BROADCAST(name, ...) OP_CHECKED(name, softnpu::check_broadcast, softnpu::vector_cost, __VA_ARGS__)

#define COMPARE(Name, function)                                                                             \
    BROADCAST(aclnn##Name##Tensor, In(self), In(other), Out(out)) { at::function##_out(out, self, other); } \
    OP(aclnn##Name##Scalar, In(self), Num(other), Out(out)) { out.copy_(at::function(self, other)); }       \
    BROADCAST(aclnnInplace##Name##Tensor, Out(self), In(other)) { self.function##_(other); }                \
    OP(aclnnInplace##Name##Scalar, Out(self), Num(other)) { self.function##_(other); }

COMPARE(Eq, eq)
COMPARE(Ne, ne)
COMPARE(Gt, gt)
COMPARE(Ge, ge)
COMPARE(Lt, lt)
COMPARE(Le, le)
COMPARE(BitwiseAnd, bitwise_and)
COMPARE(BitwiseOr, bitwise_or)
COMPARE(BitwiseXor, bitwise_xor)

OP(aclnnBitwiseNot, In(self), Out(out)) { at::bitwise_not_out(out, self); }
BROADCAST(aclnnLogicalAnd, In(self), In(other), Out(out)) { at::logical_and_out(out, self, other); }
BROADCAST(aclnnLogicalOr, In(self), In(other), Out(out)) { at::logical_or_out(out, self, other); }
BROADCAST(aclnnLogicalXor, In(self), In(other), Out(out)) { at::logical_xor_out(out, self, other); }
OP(aclnnLogicalNot, In(self), Out(out)) { at::logical_not_out(out, self); }
OP(aclnnInplaceLogicalNot, Out(self)) { self.logical_not_(); }
BROADCAST(aclnnInplaceLogicalAnd, Out(self), In(other)) { self.logical_and_(other); }
BROADCAST(aclnnInplaceLogicalOr, Out(self), In(other)) { self.logical_or_(other); }
OP(aclnnIsFinite, In(self), Out(out)) { out.copy_(at::isfinite(self)); }
OP(aclnnIsInf, In(self), Out(out)) { out.copy_(at::isinf(self)); }
OP(aclnnEqual, In(self), In(other), Out(out)) { out.fill_(at::equal(self, other)); }
OP(aclnnIsInTensorScalar, In(element), Num(test), Flag(unique), Flag(invert), Out(out)) {
    out.copy_(at::isin(element, test, unique, invert));
}
OP(aclnnIsInScalarTensor, Num(element), In(tests), Flag(unique), Flag(invert), Out(out)) {
    out.copy_(at::isin(element, tests, unique, invert));
}
OP(aclnnIsPosInf, In(self), Out(out)) { at::isposinf_out(out, self); }
OP(aclnnIsNegInf, In(self), Out(out)) { at::isneginf_out(out, self); }
OP(aclnnIsClose, In(self), In(other), F64(rtol), F64(atol), Flag(equal_nan), Out(out)) {
    out.copy_(at::isclose(self, other, rtol, atol, equal_nan));
}
OP(aclnnApproximateEqual, In(self), In(other), F32(tolerance), Out(out)) {
    out.copy_((self - other).abs() < tolerance);
}
OP(aclnnBitwiseAndTensorOut, In(self), In(other), Out(out)) { at::bitwise_and_out(out, self, other); }
OP(aclnnInplaceBitwiseAndTensorOut, Out(self), In(other)) { self.bitwise_and_(other); }
OP(aclnnLessScalar, In(self), Num(other), Out(out)) { out.copy_(at::lt(self, other)); }
