// SPDX-License-Identifier: Apache-2.0
//
// Reading and writing by index, masks.
#include <algorithm>

#include "ops/op.h"

using softnpu::gather_cost;
using softnpu::maybe;
using softnpu::put;
using softnpu::scatter_cost;
using softnpu::wide;

namespace {

// A tensor of no elements and one dimension stands for "this dimension is not indexed", or is an index that selects
// nothing. Where every index is one, it is the latter: an operator without any index would not have been called.
bool selects_nothing(const std::vector<at::Tensor>& indices) {
    return std::none_of(indices.begin(), indices.end(), [](const at::Tensor& index) { return index.numel() != 0; });
}

c10::List<std::optional<at::Tensor>> index_list(const std::vector<at::Tensor>& indices) {
    c10::List<std::optional<at::Tensor>> list;
    for (const at::Tensor& index : indices) {
        const bool given = index.defined() && index.numel() != 0;
        list.push_back(given ? std::optional(index.scalar_type() == at::kBool ? index : index.to(at::kLong))
                             : std::nullopt);
    }
    return list;
}

const char* reduction(int64_t number) {
    constexpr const char* kNames[] = {"", "sum", "prod", "amax", "amin", "mean"};
    TORCH_CHECK(number >= 1 && number <= 5, "reduce ", number, ", must be 1 (sum) to 5 (mean)");
    return kNames[number];
}

}  // namespace

OP_COST(aclnnEmbedding, gather_cost, In(weight), In(indices), Out(out)) { out.copy_(at::embedding(weight, indices)); }
OP(aclnnEmbeddingDenseBackward, In(grad), In(indices), U64(rows), U64(padding), Flag(by_frequency), Out(out)) {
    put(out, at::embedding_dense_backward(wide(grad), indices.to(at::kLong), rows, padding, by_frequency));
}
OP_COST(aclnnEmbeddingRenorm, scatter_cost, Out(self), In(indices), F64(max_norm), F64(norm_type)) {
    at::Tensor weight = wide(self);
    self.copy_(at::embedding_renorm_(weight, indices.to(at::kLong), max_norm, norm_type));
}
OP_COST(aclnnEmbeddingBag, gather_cost, In(weight), In(indices), In(offsets), Flag(by_frequency), Int(mode),
        Flag(sparse), In(per_sample), Flag(last_offset), Int(padding), Out(out), Out(offset2bag), Out(bag_size),
        Out(max_indices)) {
    const auto [bags, bag_of, sizes, maxima] =
        at::_embedding_bag(wide(weight), indices.to(at::kLong), offsets.to(at::kLong), by_frequency, mode, false,
                           maybe(wide(per_sample)), last_offset, padding);
    put(out, bags);
    put(offset2bag, bag_of);
    put(bag_size, sizes);
    put(max_indices, maxima);
}
// The first batch_dims dimensions of both walk together; `dim` is picked from by the rest of the index.
OP_COST(aclnnGatherV3, gather_cost, In(self), Int(dim), In(index), Int(batch_dims), Int(mode), Out(out)) {
    const at::Tensor places = index.to(at::kLong);
    if (batch_dims == 0) {
        put(out, at::index_select(self, dim, places.reshape(-1)));
        return;
    }
    const at::Tensor rows = self.flatten(0, batch_dims - 1);
    const at::Tensor wanted = places.flatten(0, batch_dims - 1);
    std::vector<at::Tensor> each;
    for (int64_t i = 0; i < rows.size(0); ++i) {
        each.push_back(at::index_select(rows[i], dim - batch_dims, wanted[i].reshape(-1)));
    }
    put(out, at::stack(each));
}
OP_COST(aclnnInplaceScatterUpdate, scatter_cost, Out(self), In(indices), In(updates), Int(axis)) {
    // Row b of the updates goes to self[b] at indices[b], along the axis.
    const at::Tensor start = indices.to(at::kLong).reshape(-1);
    for (int64_t i = 0; i < self.size(0); ++i) {
        const int64_t at = start[start.numel() == 1 ? 0 : i].item<int64_t>();
        const int64_t length = updates.size(axis);
        self[i].narrow(axis < 0 ? axis : axis - 1, at, length).copy_(updates[i]);
    }
}
OP_COST(aclnnIndexSelect, gather_cost, In(self), Int(dim), In(index), Out(out)) {
    at::index_select_out(out, self, dim, index.reshape(-1));
}
OP_COST(aclnnGather, gather_cost, In(self), Int(dim), In(index), Out(out)) {
    at::gather_out(out, self, dim, index.to(at::kLong));
}
OP_COST(aclnnGatherV2, gather_cost, In(self), Int(dim), In(index), Out(out)) {
    out.copy_(at::index_select(self, dim, index.reshape(-1)).reshape(out.sizes()));
}
OP_COST(aclnnIndex, gather_cost, In(self), List(indices), Out(out)) {
    if (!selects_nothing(indices)) {
        softnpu::put(out, at::index(self, index_list(indices)));
    }
}
OP_COST(aclnnIndexPutImpl, scatter_cost, Out(self), List(indices), In(values), Flag(accumulate), Flag(unsafe)) {
    if (!selects_nothing(indices)) {
        self.index_put_(index_list(indices), values, accumulate);
    }
}
OP_COST(aclnnInplaceIndexCopy, scatter_cost, Out(self), Int(dim), In(index), In(source)) {
    self.index_copy_(dim, index.to(at::kLong), source);
}
OP_COST(aclnnIndexCopy, scatter_cost, In(self), Int(dim), In(index), In(source), Out(out)) {
    out.copy_(at::index_copy(self, dim, index.to(at::kLong), source));
}
OP_COST(aclnnIndexFill, scatter_cost, In(self), Int(dim), In(index), Num(value), Out(out)) {
    out.copy_(at::index_fill(self, dim, index.to(at::kLong), value));
}
OP_COST(aclnnInplaceIndexFill, scatter_cost, Out(self), Int(dim), In(index), Num(value)) {
    self.index_fill_(dim, index.to(at::kLong), value);
}
OP(aclnnScatter, In(self), Int(dim), In(index), In(source), Int(reduce), Out(out)) {
    TORCH_CHECK(reduce >= 0 && reduce <= 2, "reduce ", reduce, ", must be 0 (replace), 1 (add) or 2 (multiply)");
    out.copy_(reduce == 0 ? at::scatter(self, dim, index, source)
                          : at::scatter(self, dim, index, source, reduce == 1 ? "add" : "multiply"));
}
OP(aclnnInplaceScatter, Out(self), Int(dim), In(index), In(source), Int(reduce)) {
    TORCH_CHECK(reduce >= 0 && reduce <= 2, "reduce ", reduce, ", must be 0 (replace), 1 (add) or 2 (multiply)");
    reduce == 0 ? self.scatter_(dim, index, source)
                : self.scatter_(dim, index, source, reduce == 1 ? "add" : "multiply");
}
OP(aclnnScatterValue, In(self), Int(dim), In(index), Num(value), Int(reduce), Out(out)) {
    TORCH_CHECK(reduce >= 0 && reduce <= 2, "reduce ", reduce, ", must be 0 (replace), 1 (add) or 2 (multiply)");
    out.copy_(reduce == 0 ? at::scatter(self, dim, index, value)
                          : at::scatter(self, dim, index, value, reduce == 1 ? "add" : "multiply"));
}
OP(aclnnInplaceScatterValue, Out(self), Int(dim), In(index), Num(value), Int(reduce)) {
    TORCH_CHECK(reduce >= 0 && reduce <= 2, "reduce ", reduce, ", must be 0 (replace), 1 (add) or 2 (multiply)");
    reduce == 0 ? self.scatter_(dim, index, value) : self.scatter_(dim, index, value, reduce == 1 ? "add" : "multiply");
}
OP(aclnnScatterReduce, In(self), Int(dim), In(index), In(source), Int(reduce), Flag(include_self), Out(out)) {
    out.copy_(at::scatter_reduce(self, dim, index, source, reduction(reduce), include_self));
}
OP(aclnnInplaceScatterReduce, Out(self), Int(dim), In(index), In(source), Int(reduce), Flag(include_self)) {
    self.scatter_reduce_(dim, index, source, reduction(reduce), include_self);
}
OP_COST(aclnnIndexAdd, scatter_cost, In(self), Int(dim), In(index), In(source), Num(alpha), Out(out)) {
    out.copy_(at::index_add(self, dim, index, source, alpha));
}
OP_COST(aclnnIndexAddV2, scatter_cost, In(self), Int(dim), In(index), In(source), Num(alpha), Int(mode), Out(out)) {
    out.copy_(at::index_add(self, dim, index, source, alpha));
}
OP_COST(aclnnTake, gather_cost, In(self), In(index), Out(out)) { out.copy_(at::take(self, index.to(at::kLong))); }
OP_COST(aclnnInplacePut, scatter_cost, Out(self), In(index), In(source), Flag(accumulate)) {
    self.put_(index.to(at::kLong), source, accumulate);
}
OP_COST(aclnnIndexFillTensor, scatter_cost, In(self), Int(dim), Ints(index), Num(value), Out(out)) {
    out.copy_(at::index_fill(self, dim, at::tensor(index, at::kLong), value));
}
OP_COST(aclnnInplaceIndexFillTensor, scatter_cost, Out(self), Int(dim), Ints(index), Num(value)) {
    self.index_fill_(dim, at::tensor(index, at::kLong), value);
}
OP_COST(aclnnGatherNd, gather_cost, In(self), In(indices), Flag(negative), Out(out)) {
    out.copy_(at::index(self, index_list(indices.to(at::kLong).unbind(-1))));
}
OP_COST(aclnnScatterNd, scatter_cost, In(self), In(indices), In(updates), Out(out)) {
    out.copy_(self);
    out.index_put_(index_list(indices.to(at::kLong).unbind(-1)), updates);
}
OP_COST(aclnnTfScatterAdd, scatter_cost, Out(self), In(indices), In(updates)) {
    self.index_add_(0, indices.reshape(-1).to(at::kLong), updates);
}
OP(aclnnScatterAdd, In(self), Int(dim), In(index), In(source), Out(out)) {
    out.copy_(at::scatter_add(self, dim, index, source));
}
// updates[i…] goes to self[indices[i…]], an index of as many dimensions as the last dimension of `indices` has entries.
OP_COST(aclnnScatterNdUpdate, scatter_cost, Out(self), In(indices), In(updates)) {
    self.index_put_(index_list(indices.to(at::kLong).unbind(-1)), updates);
}
OP(aclnnMaskedSelect, In(self), In(mask), Sized(out)) { out.set(at::masked_select(self, mask.to(at::kBool))); }
// V2 has a column for each element, where the first has a row.
OP(aclnnNonzero, In(self), Sized(out)) { out.set(at::nonzero(self)); }
OP(aclnnNonzeroV2, In(self), Sized(out)) { out.set(at::nonzero(self).t()); }
OP(aclnnInplaceMaskedScatter, Out(self), In(mask), In(source)) { self.masked_scatter_(mask.to(at::kBool), source); }
OP(aclnnMaskedScale, In(self), In(mask), F32(scale), Out(out)) { out.copy_(self * mask * scale); }
OP(aclnnInplaceMaskedFillScalar, Out(self), In(mask), Num(value)) { self.masked_fill_(mask.to(at::kBool), value); }
OP(aclnnInplaceMaskedFillTensor, Out(self), In(mask), In(value)) {
    self.masked_fill_(mask.to(at::kBool), value.reshape({}));
}
