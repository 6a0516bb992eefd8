// SPDX-License-Identifier: Apache-2.0
//
// Making, joining, cutting and turning tensors.
#include "ops/op.h"

OP(aclnnArange, Num(start), Num(end), Num(step), Out(out)) { at::arange_out(out, start, end, step); }
OP(aclnnRange, Num(start), Num(end), Num(step), Out(out)) { at::range_out(out, start, end, step); }
OP(aclnnLinspace, Num(start), Num(end), Int(steps), Out(out)) { at::linspace_out(out, start, end, steps); }
OP(aclnnEye, Int(n), Int(m), Out(out)) { at::eye_out(out, n, m); }

OP(aclnnLogSpace, Num(start), Num(end), Int(steps), F64(base), Out(out)) {
    at::logspace_out(out, start, end, steps, base);
}
OP(aclnnDiag, In(self), Int(diagonal), Out(out)) { at::diag_out(out, self, diagonal); }
OP(aclnnDiagFlat, In(self), Int(diagonal), Out(out)) { out.copy_(at::diagflat(self, diagonal)); }
OP(aclnnOneHot, In(self), I32(classes), In(on), In(off), Int(axis), Out(out)) {
    const at::Tensor wide = self.to(at::kLong);
    const int64_t dim = axis < 0 ? axis + out.dim() : axis;
    at::Tensor marks = at::arange(classes, at::kLong).reshape({classes});
    marks = wide.unsqueeze(-1) == marks;
    out.copy_(at::where(marks.movedim(-1, dim), on.reshape({}), off.reshape({})));
}

OP(aclnnCat, List(tensors), Int(dim), Out(out)) { at::cat_out(out, tensors, dim); }
OP(aclnnStack, List(tensors), Int(dim), Out(out)) { at::stack_out(out, tensors, dim); }
OP(aclnnSplitTensor, In(self), U64(sections), Int(dim), List(out)) {
    const auto pieces = at::split(self, sections, dim);
    TORCH_CHECK(pieces.size() == out.size(), "split gives ", pieces.size(), " pieces, ", out.size(),
                " outputs were given");
    for (size_t i = 0; i < out.size(); ++i) {
        out[i].copy_(pieces[i]);
    }
}
OP(aclnnSplitWithSize, In(self), Ints(sizes), Int(dim), List(out)) {
    const auto pieces = at::split_with_sizes(self, sizes, dim);
    TORCH_CHECK(pieces.size() == out.size(), "split gives ", pieces.size(), " pieces, ", out.size(),
                " outputs were given");
    for (size_t i = 0; i < out.size(); ++i) {
        out[i].copy_(pieces[i]);
    }
}
OP_COST(aclnnSlice, softnpu::gather_cost, In(self), Int(dim), Int(start), Int(end), Int(step), Out(out)) {
    out.copy_(at::slice(self, dim, start, end, step));
}
OP_COST(aclnnSliceV2, softnpu::gather_cost, In(self), Ints(starts), Ints(ends), Ints(axes), Ints(steps), Out(out)) {
    at::Tensor part = self;
    for (size_t i = 0; i < axes.size(); ++i) {
        part = at::slice(part, axes[i], starts[i], ends[i], steps[i]);
    }
    out.copy_(part);
}
OP_COST(aclnnStridedSliceAssignV2, softnpu::scatter_cost, Out(self), In(value), Ints(begin), Ints(end), Ints(strides),
        Ints(axes)) {
    at::Tensor part = self;
    for (size_t i = 0; i < begin.size(); ++i) {
        part = at::slice(part, axes.empty() ? static_cast<int64_t>(i) : axes[i], begin[i], end[i], strides[i]);
    }
    part.copy_(value);
}
OP(aclnnRepeat, In(self), Ints(repeats), Out(out)) { out.copy_(self.repeat(repeats)); }
OP(aclnnRepeatInterleave, In(self), In(repeats), Int(size), Out(out)) {
    out.copy_(at::repeat_interleave(self.reshape(-1), repeats));
}
OP(aclnnRepeatInterleaveInt, In(self), Int(repeats), Int(size), Out(out)) {
    out.copy_(at::repeat_interleave(self.reshape(-1), repeats));
}
OP(aclnnRepeatInterleaveIntWithDim, In(self), Int(repeats), Int(dim), Int(size), Out(out)) {
    out.copy_(at::repeat_interleave(self, repeats, dim));
}
OP(aclnnRepeatInterleaveWithDim, In(self), In(repeats), Int(dim), Int(size), Out(out)) {
    out.copy_(at::repeat_interleave(self, repeats, dim));
}
OP(aclnnRepeatInterleaveTensor, In(repeats), Int(size), Out(out)) { out.copy_(at::repeat_interleave(repeats)); }
OP(aclnnChunkCat, List(tensors), Int(dim), Int(chunks), Out(out)) { out.copy_(at::_chunk_cat(tensors, dim, chunks)); }
OP(aclnnExpand, In(self), Ints(size), Out(out)) { out.copy_(self.expand(size)); }
OP(aclnnPermute, In(self), Ints(dims), Out(out)) { out.copy_(self.permute(dims)); }
OP(aclnnFlip, In(self), Ints(dims), Out(out)) { out.copy_(at::flip(self, dims)); }
OP(aclnnRoll, In(self), Ints(shifts), Ints(dims), Out(out)) { out.copy_(at::roll(self, shifts, dims)); }
OP(aclnnTriu, In(self), Int(diagonal), Out(out)) { at::triu_out(out, self, diagonal); }
OP(aclnnTril, In(self), Int(diagonal), Out(out)) { at::tril_out(out, self, diagonal); }
OP(aclnnInplaceTriu, Out(self), Int(diagonal)) { self.triu_(diagonal); }
OP(aclnnInplaceTril, Out(self), Int(diagonal)) { self.tril_(diagonal); }
OP(aclnnConstantPadNd, In(self), Ints(pad), Num(value), Out(out)) { out.copy_(at::constant_pad_nd(self, pad, value)); }
OP(aclnnConfusionTranspose, In(x), Ints(perm), Ints(shape), Flag(transpose_first), Out(out)) {
    out.copy_(transpose_first ? x.permute(perm).reshape(shape) : x.reshape(shape).permute(perm));
}
OP(aclnnRepeatInterleaveGrad, In(grad), In(repeats), Int(dim), Out(out)) {
    const at::Tensor times = repeats.to(at::kLong).reshape(-1);
    const at::Tensor each = times.numel() == 1 ? times.expand({out.size(dim)}) : times;
    out.zero_();
    out.copy_(out.to(at::kFloat).index_add(dim, at::repeat_interleave(each), grad.to(at::kFloat)));
}
