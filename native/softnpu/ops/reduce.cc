// SPDX-License-Identifier: Apache-2.0
//
// Reductions, sorting, cumulative operators.
#include "ops/op.h"

namespace {

// CANN takes an empty list of dimensions for all of them, where ATen wants none given.
at::OptionalIntArrayRef all_if_empty(const std::vector<int64_t>& dims) {
    return dims.empty() ? at::OptionalIntArrayRef() : at::OptionalIntArrayRef(dims);
}

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
    out.copy_(at::std(self, all_if_empty(dim), correction, keep).reshape(out.sizes()));
}
OP(aclnnVar, In(self), Ints(dim), Flag(unbiased), Flag(keep), Out(out)) {
    out.copy_(at::var(self, all_if_empty(dim), unbiased ? 1 : 0, keep).reshape(out.sizes()));
}
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
OP(aclnnSort, In(self), Flag(stable), Int(dim), Flag(descending), Out(values), Out(indices)) {
    const auto [sorted, places] = at::sort(self, stable, dim, descending);
    values.copy_(sorted);
    indices.copy_(places);
}
OP(aclnnArgsort, In(self), Int(dim), Flag(descending), Out(out)) { out.copy_(at::argsort(self, dim, descending)); }
OP(aclnnTopk, In(self), Int(k), Int(dim), Flag(largest), Flag(sorted), Out(values), Out(indices)) {
    const auto [top, places] = at::topk(self, k, dim, largest, sorted);
    values.copy_(top);
    indices.copy_(places);
}
