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

// Straight into the result where it has the type that ATen gives, else computed and then cast, as the device does.
#define INTO(result, type, function, ...)                                      \
    (type) == (result).scalar_type() ? at::function##_out(result, __VA_ARGS__) \
                                     : (result).copy_(at::function(__VA_ARGS__))

// Of one tensor, into another of any type; the second kind also in place.
#define UNARY_OUT(Name, function) \
    OP(aclnn##Name, In(self), Out(out)) { out.copy_(at::function(self)); }
#define UNARY(Name, function) \
    UNARY_OUT(Name, function) \
    OP(aclnnInplace##Name, Out(self)) { self.copy_(at::function(self)); }

// Of several tensors.
#define ELEMENTWISE(name, ...) OP_CHECKED(name, softnpu::check_elementwise, softnpu::vector_cost, __VA_ARGS__)

}  // namespace

ELEMENTWISE(aclnnAdd, In(self), In(other), Num(alpha), Out(out)) {
    INTO(out, at::result_type(self, other), add, self, other, alpha);
}
OP(aclnnAdds, In(self), Num(other), Num(alpha), Out(out)) { out.copy_(at::add(self, other, alpha)); }
ELEMENTWISE(aclnnInplaceAdd, Out(self), In(other), Num(alpha)) {
    INTO(self, at::result_type(self, other), add, self, other, alpha);
}
OP(aclnnInplaceAdds, Out(self), Num(other), Num(alpha)) { self.copy_(at::add(self, other, alpha)); }
ELEMENTWISE(aclnnSub, In(self), In(other), Num(alpha), Out(out)) {
    INTO(out, at::result_type(self, other), sub, self, other, alpha);
}
OP(aclnnSubs, In(self), Num(other), Num(alpha), Out(out)) { out.copy_(at::sub(self, other, alpha)); }
ELEMENTWISE(aclnnInplaceSub, Out(self), In(other), Num(alpha)) {
    INTO(self, at::result_type(self, other), sub, self, other, alpha);
}
OP(aclnnInplaceSubs, Out(self), Num(other), Num(alpha)) { self.copy_(at::sub(self, other, alpha)); }
ELEMENTWISE(aclnnRsub, In(self), In(other), Num(alpha), Out(out)) { out.copy_(at::rsub(self, other, alpha)); }
OP(aclnnRsubs, In(self), Num(other), Num(alpha), Out(out)) { out.copy_(at::rsub(self, other, alpha)); }
ELEMENTWISE(aclnnMul, In(self), In(other), Out(out)) { INTO(out, at::result_type(self, other), mul, self, other); }
OP(aclnnMuls, In(self), Num(other), Out(out)) { out.copy_(at::mul(self, other)); }
ELEMENTWISE(aclnnInplaceMul, Out(self), In(other)) { INTO(self, at::result_type(self, other), mul, self, other); }
OP(aclnnInplaceMuls, Out(self), Num(other)) { self.copy_(at::mul(self, other)); }
ELEMENTWISE(aclnnDiv, In(self), In(other), Out(out)) { INTO(out, at::result_type(self, other), div, self, other); }
OP(aclnnDivs, In(self), Num(other), Out(out)) { out.copy_(at::div(self, other)); }
ELEMENTWISE(aclnnInplaceDiv, Out(self), In(other)) { INTO(self, at::result_type(self, other), div, self, other); }
OP(aclnnInplaceDivs, Out(self), Num(other)) { self.copy_(at::div(self, other)); }
ELEMENTWISE(aclnnDivMod, In(self), In(other), I32(mode), Out(out)) { out.copy_(at::div(self, other, rounding(mode))); }
OP(aclnnDivMods, In(self), Num(other), I32(mode), Out(out)) { out.copy_(at::div(self, other, rounding(mode))); }
ELEMENTWISE(aclnnInplaceDivMod, Out(self), In(other), I32(mode)) { self.copy_(at::div(self, other, rounding(mode))); }
OP(aclnnInplaceDivMods, Out(self), Num(other), I32(mode)) { self.copy_(at::div(self, other, rounding(mode))); }
ELEMENTWISE(aclnnFloorDivide, In(self), In(other), Out(out)) { out.copy_(at::floor_divide(self, other)); }
OP(aclnnFloorDivides, In(self), Num(other), Out(out)) { out.copy_(at::floor_divide(self, other)); }
OP(aclnnInplaceFloorDivides, Out(self), Num(other)) { self.copy_(at::floor_divide(self, other)); }
ELEMENTWISE(aclnnRemainderTensorTensor, In(self), In(other), Out(out)) { out.copy_(at::remainder(self, other)); }
OP(aclnnRemainderTensorScalar, In(self), Num(other), Out(out)) { out.copy_(at::remainder(self, other)); }
OP(aclnnFmodScalar, In(self), Num(other), Out(out)) { out.copy_(at::fmod(self, other)); }
ELEMENTWISE(aclnnAddcmul, In(self), In(a), In(b), Num(value), Out(out)) { out.copy_(at::addcmul(self, a, b, value)); }
ELEMENTWISE(aclnnAddcdiv, In(self), In(a), In(b), Num(value), Out(out)) { out.copy_(at::addcdiv(self, a, b, value)); }
ELEMENTWISE(aclnnLerp, In(self), In(end), In(weight), Out(out)) { out.copy_(at::lerp(self, end, weight)); }
ELEMENTWISE(aclnnLerps, In(self), In(end), Num(weight), Out(out)) { out.copy_(at::lerp(self, end, weight)); }
ELEMENTWISE(aclnnMaximum, In(self), In(other), Out(out)) { out.copy_(at::maximum(self, other)); }
ELEMENTWISE(aclnnMinimum, In(self), In(other), Out(out)) { out.copy_(at::minimum(self, other)); }
ELEMENTWISE(aclnnAtan2, In(self), In(other), Out(out)) { out.copy_(at::atan2(self, other)); }
OP(aclnnAddV3, Num(self), In(other), Num(alpha), Out(out)) { out.copy_(at::add(at::mul(other, alpha), self)); }
OP(aclnnAddRelu, In(self), In(other), Num(alpha), Out(out)) { out.copy_(at::relu(at::add(self, other, alpha))); }
OP(aclnnInplaceAddRelu, Out(self), In(other), Num(alpha)) { self.copy_(at::add(self, other, alpha).relu_()); }
ELEMENTWISE(aclnnDivV3, In(self), In(other), Int(mode), Out(out)) { out.copy_(at::div(self, other, rounding(mode))); }
ELEMENTWISE(aclnnInplaceFloorDivide, Out(self), In(other)) { self.copy_(at::floor_divide(self, other)); }
OP(aclnnRemainderScalarTensor, Num(self), In(other), Out(out)) { out.copy_(at::remainder(self, other)); }
ELEMENTWISE(aclnnInplaceRemainderTensorTensor, Out(self), In(other)) { self.copy_(at::remainder(self, other)); }
OP(aclnnInplaceRemainderTensorScalar, Out(self), Num(other)) { self.copy_(at::remainder(self, other)); }
ELEMENTWISE(aclnnFmodTensor, In(self), In(other), Out(out)) { out.copy_(at::fmod(self, other)); }
ELEMENTWISE(aclnnInplaceFmodTensor, Out(self), In(other)) { self.copy_(at::fmod(self, other)); }
OP(aclnnInplaceFmodScalar, Out(self), Num(other)) { self.copy_(at::fmod(self, other)); }
ELEMENTWISE(aclnnInplaceAddcmul, Out(self), In(a), In(b), Num(value)) { self.copy_(at::addcmul(self, a, b, value)); }
ELEMENTWISE(aclnnInplaceAddcdiv, Out(self), In(a), In(b), Num(value)) { self.copy_(at::addcdiv(self, a, b, value)); }
ELEMENTWISE(aclnnInplaceLerp, Out(self), In(end), In(weight)) { self.copy_(at::lerp(self, end, weight)); }
ELEMENTWISE(aclnnInplaceLerps, Out(self), In(end), Num(weight)) { self.copy_(at::lerp(self, end, weight)); }
ELEMENTWISE(aclnnInplaceAtan2, Out(self), In(other)) { self.copy_(at::atan2(self, other)); }
ELEMENTWISE(aclnnGcd, In(self), In(other), Out(out)) { out.copy_(at::gcd(self, other)); }
OP(aclnnHeaviside, In(self), In(values), Out(out)) { out.copy_(at::heaviside(self, values)); }
ELEMENTWISE(aclnnLogAddExp, In(self), In(other), Out(out)) { out.copy_(at::logaddexp(self, other)); }
ELEMENTWISE(aclnnLogAddExp2, In(self), In(other), Out(out)) { out.copy_(at::logaddexp2(self, other)); }
OP(aclnnXLogYTensor, In(self), In(other), Out(out)) { out.copy_(at::xlogy(self, other)); }
OP(aclnnXLogYScalarOther, In(self), Num(other), Out(out)) { out.copy_(at::xlogy(self, other)); }
OP(aclnnXLogYScalarSelf, Num(self), In(other), Out(out)) { out.copy_(at::xlogy(self, other)); }
OP(aclnnInplaceXLogYTensor, Out(self), In(other)) { self.copy_(at::xlogy(self, other)); }
OP(aclnnInplaceXLogYScalarOther, Out(self), Num(other)) { self.copy_(at::xlogy(self, other)); }
OP(aclnnXlog1py, In(self), In(other), Out(out)) { out.copy_(at::special_xlog1py(self, other)); }
OP(aclnnLeftShift, In(self), In(bits), Out(out)) { out.copy_(at::bitwise_left_shift(self, bits)); }
OP(aclnnLeftShifts, In(self), Num(bits), Out(out)) { out.copy_(at::bitwise_left_shift(self, bits)); }
OP(aclnnRightShift, In(self), In(bits), Out(out)) { out.copy_(at::bitwise_right_shift(self, bits)); }
OP(aclnnMulNoNan, In(self), In(other), Out(out)) {
    out.copy_(at::where(other == 0, at::zeros_like(self), self * other));
}
OP(aclnnAddN, List(tensors), Out(out)) {
    at::Tensor sum = tensors.at(0).clone();
    for (size_t i = 1; i < tensors.size(); ++i) {
        sum = sum + tensors[i];
    }
    out.copy_(sum);
}

OP(aclnnPowTensorScalar, In(self), Num(exponent), Out(out)) { out.copy_(at::pow(self, exponent)); }
ELEMENTWISE(aclnnPowTensorTensor, In(self), In(exponent), Out(out)) { out.copy_(at::pow(self, exponent)); }
OP(aclnnPowScalarTensor, Num(self), In(exponent), Out(out)) { out.copy_(at::pow(self, exponent)); }
OP(aclnnInplacePowTensorScalar, Out(self), Num(exponent)) { self.copy_(at::pow(self, exponent)); }
ELEMENTWISE(aclnnInplacePowTensorTensor, Out(self), In(exponent)) { self.copy_(at::pow(self, exponent)); }

UNARY(Acos, acos)
UNARY(Acosh, acosh)
UNARY(Asin, asin)
UNARY(Asinh, asinh)
UNARY(Atan, atan)
UNARY(Atanh, atanh)
UNARY(Ceil, ceil)
UNARY(Cos, cos)
UNARY(Cosh, cosh)
UNARY(Erf, erf)
UNARY(Erfc, erfc)
UNARY(Erfinv, erfinv)
UNARY(Exp, exp)
UNARY(Exp2, exp2)
UNARY(Expm1, expm1)
UNARY(Floor, floor)
UNARY(Frac, frac)
UNARY(Log, log)
UNARY(Log10, log10)
UNARY(Log1p, log1p)
UNARY(Log2, log2)
UNARY(Neg, neg)
UNARY(Reciprocal, reciprocal)
UNARY(Relu, relu)
UNARY(Round, round)
UNARY(Rsqrt, rsqrt)
UNARY(Sigmoid, sigmoid)
UNARY(Sin, sin)
UNARY(Sinc, sinc)
UNARY(Sinh, sinh)
UNARY(Sqrt, sqrt)
UNARY(Tan, tan)
UNARY(Tanh, tanh)
UNARY(Trunc, trunc)
UNARY_OUT(Abs, abs)
UNARY_OUT(AngleV2, angle)
UNARY_OUT(Digamma, digamma)
UNARY_OUT(Lgamma, lgamma)
UNARY_OUT(Real, real)
UNARY_OUT(Sign, sgn)
UNARY_OUT(Signbit, signbit)
UNARY_OUT(Square, square)

OP(aclnnRoundDecimals, In(self), Int(decimals), Out(out)) { out.copy_(at::round(self, decimals)); }
OP(aclnnInplaceRoundDecimals, Out(self), Int(decimals)) { self.round_(decimals); }
OP(aclnnNanToNum, In(self), F32(nan), F32(most), F32(least), Out(out)) {
    at::nan_to_num_out(out, self, nan, most, least);
}
OP(aclnnInplaceNanToNum, Out(self), F32(nan), F32(most), F32(least)) { self.nan_to_num_(nan, most, least); }
OP(aclnnLogit, In(self), F64(eps), Out(out)) {
    out.copy_(at::logit(self, eps < 0 ? std::nullopt : std::optional(eps)));
}
OP(aclnnComplex, In(real), In(imag), Out(out)) { out.copy_(at::complex(real, imag)); }
OP(aclnnPolar, In(length), In(angle), Out(out)) { out.copy_(at::polar(length, angle)); }

OP(aclnnClamp, In(self), MaybeNum(least), MaybeNum(most), Out(out)) { out.copy_(at::clamp(self, least, most)); }
OP(aclnnClampMin, In(self), Num(least), Out(out)) { out.copy_(at::clamp_min(self, least)); }
OP(aclnnClampMax, In(self), Num(most), Out(out)) { out.copy_(at::clamp_max(self, most)); }
OP(aclnnInplaceClampMax, Out(self), Num(most)) { self.clamp_max_(most); }
OP(aclnnInplaceClampMinTensor, Out(self), In(least)) { self.clamp_min_(least); }
OP(aclnnInplaceClampMaxTensor, Out(self), In(most)) { self.clamp_max_(most); }
OP(aclnnClampTensor, In(self), In(least), In(most), Out(out)) { out.copy_(at::clamp(self, least, most)); }
OP(aclnnClampMinTensor, In(self), In(least), Out(out)) { out.copy_(at::clamp_min(self, least)); }
OP(aclnnClampMaxTensor, In(self), In(most), Out(out)) { out.copy_(at::clamp_max(self, most)); }

OP(aclnnCast, In(self), Type(dtype), Out(out)) { out.copy_(self); }
OP(aclnnInplaceCopy, Out(self), In(source)) { self.copy_(source); }
OP(aclnnInplaceFillScalar, Out(self), Num(value)) { self.fill_(value); }
OP(aclnnInplaceFillDiagonal, Out(self), Num(value), Flag(wrap)) { self.fill_diagonal_(value, wrap); }
OP(aclnnInplaceFillTensor, Out(self), In(value)) { self.copy_(value.expand_as(self)); }
OP(aclnnInplaceZero, Out(self)) { self.zero_(); }
OP(aclnnInplaceOne, Out(self)) { self.fill_(1); }
OP(aclnnSWhere, In(condition), In(self), In(other), Out(out)) {
    out.copy_(at::where(condition.to(at::kBool), self, other));
}
