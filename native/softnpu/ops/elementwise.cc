// SPDX-License-Identifier: Apache-2.0
//
// One value out for each place in: arithmetic, functions, casts, fills.
#include "ops/op.h"

namespace {

std::optional<c10::string_view> rounding(int64_t mode) {
    // 0: true division, 1: towards zero, 2: towards minus infinity
    return mode == 1   ? std::optional<c10::string_view>("trunc")
           : mode == 2 ? std::optional<c10::string_view>("floor")
                       : std::nullopt;
}

}  // namespace

OP(aclnnAdd, In(self), In(other), Num(alpha), Out(out)) { at::add_out(out, self, other, alpha); }
OP(aclnnAdds, In(self), Num(other), Num(alpha), Out(out)) { out.copy_(at::add(self, other, alpha)); }
OP(aclnnInplaceAdd, Out(self), In(other), Num(alpha)) { self.add_(other, alpha); }
OP(aclnnInplaceAdds, Out(self), Num(other), Num(alpha)) { self.add_(other, alpha); }
OP(aclnnSub, In(self), In(other), Num(alpha), Out(out)) { at::sub_out(out, self, other, alpha); }
OP(aclnnSubs, In(self), Num(other), Num(alpha), Out(out)) { out.copy_(at::sub(self, other, alpha)); }
OP(aclnnInplaceSub, Out(self), In(other), Num(alpha)) { self.sub_(other, alpha); }
OP(aclnnInplaceSubs, Out(self), Num(other), Num(alpha)) { self.sub_(other, alpha); }
OP(aclnnRsub, In(self), In(other), Num(alpha), Out(out)) { out.copy_(at::rsub(self, other, alpha)); }
OP(aclnnRsubs, In(self), Num(other), Num(alpha), Out(out)) { out.copy_(at::rsub(self, other, alpha)); }
OP(aclnnMul, In(self), In(other), Out(out)) { at::mul_out(out, self, other); }
OP(aclnnMuls, In(self), Num(other), Out(out)) { out.copy_(at::mul(self, other)); }
OP(aclnnInplaceMul, Out(self), In(other)) { self.mul_(other); }
OP(aclnnInplaceMuls, Out(self), Num(other)) { self.mul_(other); }
OP(aclnnDiv, In(self), In(other), Out(out)) { at::div_out(out, self, other); }
OP(aclnnDivs, In(self), Num(other), Out(out)) { out.copy_(at::div(self, other)); }
OP(aclnnInplaceDiv, Out(self), In(other)) { self.div_(other); }
OP(aclnnInplaceDivs, Out(self), Num(other)) { self.div_(other); }
OP(aclnnDivMod, In(self), In(other), I32(mode), Out(out)) { at::div_out(out, self, other, rounding(mode)); }
OP(aclnnDivMods, In(self), Num(other), I32(mode), Out(out)) { out.copy_(at::div(self, other, rounding(mode))); }
OP(aclnnInplaceDivMod, Out(self), In(other), I32(mode)) { self.div_(other, rounding(mode)); }
OP(aclnnInplaceDivMods, Out(self), Num(other), I32(mode)) { self.div_(other, rounding(mode)); }
OP(aclnnFloorDivide, In(self), In(other), Out(out)) { at::floor_divide_out(out, self, other); }
OP(aclnnFloorDivides, In(self), Num(other), Out(out)) { out.copy_(at::floor_divide(self, other)); }
OP(aclnnInplaceFloorDivides, Out(self), Num(other)) { self.floor_divide_(other); }
OP(aclnnRemainderTensorTensor, In(self), In(other), Out(out)) { at::remainder_out(out, self, other); }
OP(aclnnRemainderTensorScalar, In(self), Num(other), Out(out)) { out.copy_(at::remainder(self, other)); }
OP(aclnnFmodScalar, In(self), Num(other), Out(out)) { out.copy_(at::fmod(self, other)); }
OP(aclnnAddcmul, In(self), In(a), In(b), Num(value), Out(out)) { at::addcmul_out(out, self, a, b, value); }
OP(aclnnAddcdiv, In(self), In(a), In(b), Num(value), Out(out)) { at::addcdiv_out(out, self, a, b, value); }
OP(aclnnLerp, In(self), In(end), In(weight), Out(out)) { at::lerp_out(out, self, end, weight); }
OP(aclnnLerps, In(self), In(end), Num(weight), Out(out)) { at::lerp_out(out, self, end, weight); }
OP(aclnnMaximum, In(self), In(other), Out(out)) { at::maximum_out(out, self, other); }
OP(aclnnMinimum, In(self), In(other), Out(out)) { at::minimum_out(out, self, other); }
OP(aclnnAtan2, In(self), In(other), Out(out)) { at::atan2_out(out, self, other); }

OP(aclnnPowTensorScalar, In(self), Num(exponent), Out(out)) { out.copy_(at::pow(self, exponent)); }
OP(aclnnPowTensorTensor, In(self), In(exponent), Out(out)) { at::pow_out(out, self, exponent); }
OP(aclnnPowScalarTensor, Num(self), In(exponent), Out(out)) { out.copy_(at::pow(self, exponent)); }
OP(aclnnInplacePowTensorScalar, Out(self), Num(exponent)) { self.pow_(exponent); }

OP(aclnnNeg, In(self), Out(out)) { at::neg_out(out, self); }
OP(aclnnInplaceNeg, Out(self)) { self.neg_(); }
OP(aclnnAbs, In(self), Out(out)) { at::abs_out(out, self); }
OP(aclnnExp, In(self), Out(out)) { at::exp_out(out, self); }
OP(aclnnInplaceExp, Out(self)) { self.exp_(); }
OP(aclnnExp2, In(self), Out(out)) { at::exp2_out(out, self); }
OP(aclnnLog, In(self), Out(out)) { at::log_out(out, self); }
OP(aclnnInplaceLog, Out(self)) { self.log_(); }
OP(aclnnSqrt, In(self), Out(out)) { at::sqrt_out(out, self); }
OP(aclnnInplaceSqrt, Out(self)) { self.sqrt_(); }
OP(aclnnRsqrt, In(self), Out(out)) { at::rsqrt_out(out, self); }
OP(aclnnInplaceRsqrt, Out(self)) { self.rsqrt_(); }
OP(aclnnReciprocal, In(self), Out(out)) { at::reciprocal_out(out, self); }
OP(aclnnInplaceReciprocal, Out(self)) { self.reciprocal_(); }
OP(aclnnSquare, In(self), Out(out)) { at::square_out(out, self); }
OP(aclnnSin, In(self), Out(out)) { at::sin_out(out, self); }
OP(aclnnCos, In(self), Out(out)) { at::cos_out(out, self); }
OP(aclnnTan, In(self), Out(out)) { at::tan_out(out, self); }
OP(aclnnTanh, In(self), Out(out)) { at::tanh_out(out, self); }
OP(aclnnErf, In(self), Out(out)) { at::erf_out(out, self); }
OP(aclnnFloor, In(self), Out(out)) { at::floor_out(out, self); }
OP(aclnnCeil, In(self), Out(out)) { at::ceil_out(out, self); }
OP(aclnnRound, In(self), Out(out)) { at::round_out(out, self); }
OP(aclnnTrunc, In(self), Out(out)) { at::trunc_out(out, self); }
OP(aclnnSign, In(self), Out(out)) { at::sign_out(out, self); }
OP(aclnnSigmoid, In(self), Out(out)) { at::sigmoid_out(out, self); }
OP(aclnnInplaceSigmoid, Out(self)) { self.sigmoid_(); }
OP(aclnnRelu, In(self), Out(out)) { out.copy_(at::relu(self)); }
OP(aclnnInplaceRelu, Out(self)) { self.relu_(); }
OP(aclnnSilu, In(self), Out(out)) { at::silu_out(out, self); }
OP(aclnnGelu, In(self), Out(out)) { out.copy_(at::gelu(self)); }
OP(aclnnGeluV2, In(self), Int(approximate), Out(out)) { out.copy_(at::gelu(self, approximate == 1 ? "tanh" : "none")); }
OP(aclnnSoftplus, In(self), Num(beta), Num(threshold), Out(out)) { out.copy_(at::softplus(self, beta, threshold)); }
OP(aclnnLeakyRelu, In(self), Num(slope), Out(out)) { out.copy_(at::leaky_relu(self, slope)); }
OP(aclnnHardswish, In(self), Out(out)) { out.copy_(at::hardswish(self)); }
OP(aclnnHardtanh, In(self), Num(least), Num(most), Out(out)) { out.copy_(at::hardtanh(self, least, most)); }

OP(aclnnClamp, In(self), MaybeNum(least), MaybeNum(most), Out(out)) { out.copy_(at::clamp(self, least, most)); }
OP(aclnnClampMin, In(self), Num(least), Out(out)) { out.copy_(at::clamp_min(self, least)); }
OP(aclnnClampMax, In(self), Num(most), Out(out)) { out.copy_(at::clamp_max(self, most)); }
OP(aclnnInplaceClampMax, Out(self), Num(most)) { self.clamp_max_(most); }
OP(aclnnClampTensor, In(self), In(least), In(most), Out(out)) { at::clamp_out(out, self, least, most); }
OP(aclnnClampMinTensor, In(self), In(least), Out(out)) { at::clamp_min_out(out, self, least); }
OP(aclnnClampMaxTensor, In(self), In(most), Out(out)) { at::clamp_max_out(out, self, most); }

OP(aclnnCast, In(self), Type(dtype), Out(out)) { out.copy_(self); }
OP(aclnnInplaceCopy, Out(self), In(source)) { self.copy_(source); }
OP(aclnnInplaceFillScalar, Out(self), Num(value)) { self.fill_(value); }
OP(aclnnInplaceFillTensor, Out(self), In(value)) { self.copy_(value.expand_as(self)); }
OP(aclnnInplaceZero, Out(self)) { self.zero_(); }
OP(aclnnInplaceOne, Out(self)) { self.fill_(1); }
OP(aclnnSWhere, In(condition), In(self), In(other), Out(out)) {
    out.copy_(at::where(condition.to(at::kBool), self, other));
}
