// SPDX-License-Identifier: Apache-2.0
//
// Order: sorting, the k-th and the middle, what is there once, where a value would go.
#include "ops/op.h"

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
OP(aclnnTopkV2, In(self), Int(k), Int(dim), Flag(largest), Flag(sorted), Flag(stable), Out(values), Out(indices)) {
    aclnnTopk_body(self, k, dim, largest, sorted, values, indices);
}
OP(aclnnKthvalue, In(self), Int(k), Int(dim), Flag(keep), Out(values), Out(indices)) {
    const auto [found, places] = at::kthvalue(self, k, dim, keep);
    values.copy_(found);
    indices.copy_(places);
}
OP(aclnnMedian, In(self), Out(out)) { out.copy_(at::median(self)); }
OP(aclnnMedianDim, In(self), Int(dim), Flag(keep), Out(values), Out(indices)) {
    const auto [found, places] = at::median(self, dim, keep);
    values.copy_(found);
    indices.copy_(places);
}
OP(aclnnNanMedian, In(self), Out(out)) { out.copy_(at::nanmedian(self)); }
OP(aclnnNanMedianDim, In(self), Int(dim), Flag(keep), Out(values), Out(indices)) {
    const auto [found, places] = at::nanmedian(self, dim, keep);
    values.copy_(found);
    indices.copy_(places);
}

OP(aclnnUnique, In(self), Flag(sorted), Flag(with_inverse), Sized(values), Out(inverse)) {
    const auto [found, places, counts] = at::_unique2(self, true, true, false);
    values.set(found);
    if (with_inverse) {
        inverse.copy_(places.reshape(inverse.sizes()));
    }
}
OP(aclnnUnique2, In(self), Flag(sorted), Flag(with_inverse), Flag(with_counts), Sized(values), Out(inverse),
   Sized(counts)) {
    const auto [found, places, times] = at::_unique2(self, true, true, true);
    values.set(found);
    if (with_inverse) {
        inverse.copy_(places.reshape(inverse.sizes()));
    }
    if (with_counts) {
        counts.set(times);
    }
}
OP(aclnnUniqueConsecutive, In(self), Flag(with_inverse), Flag(with_counts), Int(dim), Sized(values), Sized(inverse),
   Sized(counts)) {
    constexpr int64_t kFlat = 1000;  // torch_npu's word for "no dimension"
    const auto over = dim == kFlat ? std::nullopt : std::optional(dim);
    const auto [found, places, times] = at::unique_consecutive(self, true, true, over);
    values.set(found);
    if (with_inverse) {
        inverse.set(places);
    }
    if (with_counts) {
        counts.set(times);
    }
}
OP(aclnnUniqueDim, In(self), Flag(sorted), Flag(with_inverse), Int(dim), Sized(values), Out(inverse), Sized(counts)) {
    const auto [found, places, times] = at::unique_dim(self, dim, true, true, true);
    values.set(found);
    if (with_inverse) {
        inverse.copy_(places.reshape(inverse.sizes()));
    }
    counts.set(times);
}

OP(aclnnSearchSorted, In(sequence), In(self), Flag(as_int32), Flag(right), In(sorter), Out(out)) {
    const auto by = sorter.defined() ? std::optional(sorter) : std::nullopt;
    out.copy_(at::searchsorted(sequence, self, as_int32, right, std::nullopt, by));
}
OP(aclnnSearchSorteds, In(sequence), Num(self), Flag(as_int32), Flag(right), In(sorter), Out(out)) {
    const auto by = sorter.defined() ? std::optional(sorter) : std::nullopt;
    out.copy_(at::searchsorted(sequence, self, as_int32, right, std::nullopt, by));
}
OP(aclnnBucketize, In(self), In(boundaries), Flag(as_int32), Flag(right), Out(out)) {
    out.copy_(at::bucketize(self, boundaries, as_int32, right));
}
OP(aclnnHistc, In(self), Int(bins), Num(least), Num(most), Out(out)) {
    out.copy_(at::histc(self.to(at::kFloat), bins, least, most));
}
OP(aclnnBincount, In(self), In(weights), Int(least), Sized(out)) {
    out.set(at::bincount(self, weights.defined() ? std::optional(weights) : std::nullopt, least));
}
