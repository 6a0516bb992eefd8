// SPDX-License-Identifier: Apache-2.0
//
// Reductions, cumulative operators.
#include "ops/op.h"

using softnpu::wide;

namespace {

// CANN takes an empty list of dimensions for all of them, where ATen wants none given.
at::OptionalIntArrayRef all_if_empty(const std::vector<int64_t>& dims) {
    return dims.empty() ? at::OptionalIntArrayRef() : at::OptionalIntArrayRef(dims);
}

// As a scalar: a bare integer would be taken for the flag of Bessel's correction.
std::optional<at::Scalar> degrees(int64_t correction) { return at::Scalar(correction); }

}  // namespace

OP(aclnnMean, In(self), Ints(dim), Flag(keep), Type(dtype), Out(out)) {
    out.copy_(at::mean(self, all_if_empty(dim), keep, dtype).reshape(out.sizes()));
}
OP(aclnnMeanV2, In(self), Ints(dim), Flag(keep), Flag(noop), Out(out)) {
    out.copy_(noop && dim.empty() ? self
                                  : at::mean(self, all_if_empty(dim), keep, out.scalar_type()).reshape(out.sizes()));
}
OP(aclnnReduceSum, In(self), Ints(dim), Flag(keep), Type(dtype), Out(out)) {
    out.copy_(at::sum(self, all_if_empty(dim), keep, dtype).reshape(out.sizes()));
}
OP(aclnnAmax, In(self), Ints(dim), Flag(keep), Out(out)) { out.copy_(at::amax(self, dim, keep)); }
OP(aclnnAmin, In(self), Ints(dim), Flag(keep), Out(out)) { out.copy_(at::amin(self, dim, keep)); }
OP(aclnnMax, In(self), Out(out)) { out.copy_(at::max(self)); }
OP(aclnnMin, In(self), Out(out)) { out.copy_(at::min(self)); }
OP(aclnnMaxDim, In(self), Int(dim), Flag(keep), Out(out), Out(indices)) {
    const auto [values, places] = at::max(self, dim, keep);
    out.copy_(values);
    indices.copy_(places);
}
OP(aclnnMinDim, In(self), Int(dim), Flag(keep), Out(out), Out(indices)) {
    const auto [values, places] = at::min(self, dim, keep);
    out.copy_(values);
    indices.copy_(places);
}
OP(aclnnMaxV2, In(self), Ints(dim), Flag(keep), Flag(noop), Out(out)) {
    out.copy_(noop && dim.empty() ? self : at::amax(self, dim, keep).reshape(out.sizes()));
}
OP(aclnnAminmax, In(self), Ints(dim), Flag(keep), Out(least), Out(most)) {
    least.copy_(at::amin(self, dim, keep).reshape(least.sizes()));
    most.copy_(at::amax(self, dim, keep).reshape(most.sizes()));
}
OP(aclnnAminmaxDim, In(self), Int(dim), Flag(keep), Out(least), Out(most)) {
    least.copy_(at::amin(self, dim, keep));
    most.copy_(at::amax(self, dim, keep));
}
OP(aclnnAminmaxAll, In(self), Out(least), Out(most)) {
    least.copy_(at::amin(self));
    most.copy_(at::amax(self));
}
OP(aclnnArgMax, In(self), Int(dim), Flag(keep), Out(out)) { out.copy_(at::argmax(self, dim, keep)); }
OP(aclnnArgMin, In(self), Int(dim), Flag(keep), Out(out)) { out.copy_(at::argmin(self, dim, keep)); }
OP(aclnnAll, In(self), Ints(dim), Flag(keep), Out(out)) {
    out.copy_(at::all(self.to(at::kBool), all_if_empty(dim), keep).reshape(out.sizes()));
}
OP(aclnnAny, In(self), Ints(dim), Flag(keep), Out(out)) {
    out.copy_(at::any(self.to(at::kBool), all_if_empty(dim), keep).reshape(out.sizes()));
}
OP(aclnnProd, In(self), Type(dtype), Out(out)) { out.copy_(at::prod(self, dtype)); }
OP(aclnnProdDim, In(self), Int(dim), Flag(keep), Type(dtype), Out(out)) { out.copy_(at::prod(self, dim, keep, dtype)); }
OP(aclnnStd, In(self), Ints(dim), Int(correction), Flag(keep), Out(out)) {
    out.copy_(at::std(wide(self), all_if_empty(dim), degrees(correction), keep).reshape(out.sizes()));
}
OP(aclnnVar, In(self), Ints(dim), Flag(unbiased), Flag(keep), Out(out)) {
    out.copy_(at::var(wide(self), all_if_empty(dim), degrees(unbiased ? 1 : 0), keep).reshape(out.sizes()));
}
OP(aclnnVarCorrection, In(self), Ints(dim), Int(correction), Flag(keep), Out(out)) {
    out.copy_(at::var(wide(self), all_if_empty(dim), degrees(correction), keep).reshape(out.sizes()));
}
OP(aclnnVarMean, In(self), Ints(dim), Int(correction), Flag(keep), Out(variance), Out(mean)) {
    const auto [v, m] = at::var_mean(wide(self), all_if_empty(dim), degrees(correction), keep);
    variance.copy_(v.reshape(variance.sizes()));
    mean.copy_(m.reshape(mean.sizes()));
}
OP(aclnnStdMeanCorrection, In(self), Ints(dim), Int(correction), Flag(keep), Out(deviation), Out(mean)) {
    const auto [d, m] = at::std_mean(wide(self), all_if_empty(dim), degrees(correction), keep);
    deviation.copy_(d.reshape(deviation.sizes()));
    mean.copy_(m.reshape(mean.sizes()));
}
OP(aclnnReduceNansum, In(self), Ints(dim), Flag(keep), Type(dtype), Out(out)) {
    out.copy_(at::nansum(self, all_if_empty(dim), keep, dtype).reshape(out.sizes()));
}
OP(aclnnLogSumExp, In(self), Ints(dim), Flag(keep), Out(out)) {
    out.copy_(at::logsumexp(self, dim, keep).reshape(out.sizes()));
}
OP(aclnnReduceLogSum, In(self), Ints(dim), Flag(keep), Flag(noop), Out(out)) {
    out.copy_(noop && dim.empty() ? self : at::log(at::sum(self, all_if_empty(dim), keep)).reshape(out.sizes()));
}
OP(aclnnTrace, In(self), Out(out)) { out.copy_(at::trace(self)); }
OP(aclnnNorm, In(self), Num(p), Ints(dim), Flag(keep), Out(out)) {
    out.copy_(at::norm(self, p, dim, keep).reshape(out.sizes()));
}

OP(aclnnCumsum, In(self), Int(dim), Type(dtype), Out(out)) { at::cumsum_out(out, self, dim, dtype); }
OP(aclnnCumsumV2, In(self), Int(dim), Flag(exclusive), Flag(reverse), Out(out)) {
    at::Tensor source = reverse ? self.flip(dim) : self;
    at::Tensor sums = at::cumsum(source, dim, out.scalar_type());
    sums = exclusive ? sums - source : sums;
    out.copy_(reverse ? sums.flip(dim) : sums);
}
OP(aclnnCumprod, In(self), Num(dim), Type(dtype), Out(out)) { at::cumprod_out(out, self, dim.toLong(), dtype); }
OP(aclnnInplaceCumprod, Out(self), Num(dim)) { self.cumprod_(dim.toLong()); }
OP(aclnnCummax, In(self), Int(dim), Out(values), Out(indices)) {
    const auto [found, places] = at::cummax(self, dim);
    values.copy_(found);
    indices.copy_(places);
}
OP(aclnnCummin, In(self), Int(dim), Out(values), Out(indices)) {
    const auto [found, places] = at::cummin(self, dim);
    values.copy_(found);
    indices.copy_(places);
}
