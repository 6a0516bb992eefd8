// SPDX-License-Identifier: Apache-2.0
//
// One operator over lists of tensors: item by item, all in one launch.
#include "ops/op.h"

using softnpu::wide;

namespace {

// A scalar that came as a tensor of one element.
at::Scalar number(const at::Tensor& scalar) { return scalar.reshape({-1}).select(0, 0).item(); }

// The i-th of some scalars that came as one tensor, which may have a single one for all.
at::Scalar number(const at::Tensor& scalars, size_t i) {
    const at::Tensor flat = scalars.reshape({-1});
    return flat.select(0, flat.numel() == 1 ? 0 : static_cast<int64_t>(i)).item();
}

}  // namespace

#define FOREACH(out, expression)              \
    for (size_t i = 0; i < out.size(); ++i) { \
        out[i].copy_(expression);             \
    }

// clang-format off: it knows no operators after one another in a macro
#define FOREACH_UNARY(Name, function) \
    OP(aclnnForeach##Name, List(x), List(out)) { FOREACH(out, at::function(wide(x[i]))) }

// With a list, a scalar in a tensor, a scalar, a list of scalars.
#define FOREACH_BINARY(Name, function) \
    OP(aclnnForeach##Name##List, List(a), List(b), List(out)) { FOREACH(out, at::function(wide(a[i]), wide(b[i]))) } \
    FOREACH_SCALARS(Name, function)

// The same, where a list comes with a factor.
#define FOREACH_SUM(Name, function) \
    OP(aclnnForeach##Name##List, List(a), List(b), In(alpha), List(out)) { \
        FOREACH(out, at::function(wide(a[i]), wide(b[i]), number(alpha))) \
    } \
    OP(aclnnForeach##Name##ListV2, List(a), List(b), Num(alpha), List(out)) { \
        FOREACH(out, at::function(wide(a[i]), wide(b[i]), alpha)) \
    } \
    FOREACH_SCALARS(Name, function)

#define FOREACH_SCALARS(Name, function) \
    OP(aclnnForeach##Name##Scalar, List(x), In(s), List(out)) { FOREACH(out, at::function(wide(x[i]), number(s))) } \
    OP(aclnnForeach##Name##ScalarV2, List(x), Num(s), List(out)) { FOREACH(out, at::function(wide(x[i]), s)) } \
    OP(aclnnForeach##Name##ScalarList, List(x), Nums(s), List(out)) { FOREACH(out, at::function(wide(x[i]), s.at(i))) }

#define FOREACH_FUSED(Name, function) \
    OP(aclnnForeach##Name##List, List(x), List(a), List(b), In(s), List(out)) { \
        FOREACH(out, at::function(wide(x[i]), wide(a[i]), wide(b[i]), number(s, i))) \
    } \
    OP(aclnnForeach##Name##ScalarList, List(x), List(a), List(b), In(s), List(out)) { \
        FOREACH(out, at::function(wide(x[i]), wide(a[i]), wide(b[i]), number(s, i))) \
    } \
    OP(aclnnForeach##Name##Scalar, List(x), List(a), List(b), In(s), List(out)) { \
        FOREACH(out, at::function(wide(x[i]), wide(a[i]), wide(b[i]), number(s))) \
    } \
    OP(aclnnForeach##Name##ScalarV2, List(x), List(a), List(b), Num(s), List(out)) { \
        FOREACH(out, at::function(wide(x[i]), wide(a[i]), wide(b[i]), s)) \
    }
// clang-format on

namespace {

at::Tensor most(const at::Tensor& x, const at::Tensor& other) { return at::maximum(x, other); }
at::Tensor most(const at::Tensor& x, const at::Scalar& other) { return at::clamp_min(x, other); }
at::Tensor least(const at::Tensor& x, const at::Tensor& other) { return at::minimum(x, other); }
at::Tensor least(const at::Tensor& x, const at::Scalar& other) { return at::clamp_max(x, other); }

at::Tensor rounded(const at::Tensor& x, int64_t mode) {
    switch (mode) {
        case 1:
            return at::round(x);
        case 2:
            return at::floor(x);
        case 3:
            return at::ceil(x);
        case 5:
            return at::trunc(x);
        case 7:
            return at::frac(x);
        default:
            TORCH_CHECK(false, "rounding mode ", mode, " is not bound in the software NPU");
    }
}

}  // namespace

FOREACH_UNARY(Abs, abs)
FOREACH_UNARY(Acos, acos)
FOREACH_UNARY(Asin, asin)
FOREACH_UNARY(Atan, atan)
FOREACH_UNARY(Cos, cos)
FOREACH_UNARY(Cosh, cosh)
FOREACH_UNARY(Erf, erf)
FOREACH_UNARY(Erfc, erfc)
FOREACH_UNARY(Exp, exp)
FOREACH_UNARY(Expm1, expm1)
FOREACH_UNARY(Log, log)
FOREACH_UNARY(Log10, log10)
FOREACH_UNARY(Log1p, log1p)
FOREACH_UNARY(Log2, log2)
FOREACH_UNARY(Neg, neg)
FOREACH_UNARY(Reciprocal, reciprocal)
FOREACH_UNARY(Sigmoid, sigmoid)
FOREACH_UNARY(Sign, sign)
FOREACH_UNARY(Sin, sin)
FOREACH_UNARY(Sinh, sinh)
FOREACH_UNARY(Sqrt, sqrt)
FOREACH_UNARY(Tan, tan)
FOREACH_UNARY(Tanh, tanh)
OP(aclnnForeachCopy, List(x), List(out)){FOREACH(out, x[i])} OP(aclnnForeachZeroInplace, List(x)) {
    for (const at::Tensor& each : x) {
        each.zero_();
    }
}
OP(aclnnForeachRoundOffNumber, List(x), In(mode), List(out)){
    FOREACH(out, rounded(x[i], number(mode).toLong()))} OP(aclnnForeachRoundOffNumberV2, List(x), Num(mode),
                                                           List(out)){FOREACH(out, rounded(x[i], mode.toLong()))}

FOREACH_SUM(Add, add) FOREACH_SUM(Sub, sub) FOREACH_BINARY(Mul, mul) FOREACH_BINARY(Div, div) FOREACH_BINARY(Pow, pow)
    OP(aclnnForeachPowScalarAndTensor, Num(s), List(x),
       List(out)){FOREACH(out, at::pow(s, x[i]))} OP(aclnnForeachMaximumList, List(a), List(b), List(out)){
        FOREACH(out, most(a[i], b[i]))} OP(aclnnForeachMaximumScalar, List(x), In(s), List(out)){
        FOREACH(out, most(x[i], number(s)))} OP(aclnnForeachMaximumScalarV2, List(x), Num(s), List(out)){
        FOREACH(out, most(x[i], s))} OP(aclnnForeachMaximumScalarList, List(x), Nums(s), List(out)){
        FOREACH(out, most(x[i], s.at(i)))} OP(aclnnForeachMinimumList, List(a), List(b), List(out)){
        FOREACH(out, least(a[i], b[i]))} OP(aclnnForeachMinimumScalar, List(x), In(s), List(out)){
        FOREACH(out, least(x[i], number(s)))} OP(aclnnForeachMinimumScalarV2, List(x), Num(s), List(out)){
        FOREACH(out, least(x[i], s))} OP(aclnnForeachMinimumScalarList, List(x), Nums(s),
                                         List(out)){FOREACH(out, least(x[i], s.at(i)))}

OP(aclnnForeachLerpList, List(a), List(b), List(weight), List(out)){
    FOREACH(out, at::lerp(a[i], b[i], weight[i]))} OP(aclnnForeachLerpScalar, List(a), List(b), Num(weight), List(out)){
    FOREACH(out, at::lerp(a[i], b[i], weight))} FOREACH_FUSED(Addcmul, addcmul) FOREACH_FUSED(Addcdiv, addcdiv)

    OP(aclnnForeachNorm, List(x), Num(order),
       List(out)){FOREACH(out, at::linalg_vector_norm(wide(x[i]), order).reshape(out[i].sizes()))}
// found_inf becomes 1 where any is not finite, and all are multiplied with the inverse of the loss scale.
OP(aclnnForeachNonFiniteCheckAndUnscale, List(grads), Out(found_inf), In(inverse)) {
    for (const at::Tensor& grad : grads) {
        if (!at::isfinite(grad).all().item<bool>()) {
            found_inf.fill_(1);
        }
        grad.copy_(wide(grad) * inverse);
    }
}
