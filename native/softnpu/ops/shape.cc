// SPDX-License-Identifier: Apache-2.0
//
// Making, joining, cutting and turning tensors.
#include "ops/op.h"

OP(aclnnArange, Num(start), Num(end), Num(step), Out(out)) { at::arange_out(out, start, end, step); }
OP(aclnnRange, Num(start), Num(end), Num(step), Out(out)) { at::range_out(out, start, end, step); }
OP(aclnnLinspace, Num(start), Num(end), Int(steps), Out(out)) { at::linspace_out(out, start, end, steps); }
OP(aclnnEye, Int(n), Int(m), Out(out)) { at::eye_out(out, n, m); }

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
OP(aclnnExpand, In(self), Ints(size), Out(out)) { out.copy_(self.expand(size)); }
OP(aclnnPermute, In(self), Ints(dims), Out(out)) { out.copy_(self.permute(dims)); }
OP(aclnnFlip, In(self), Ints(dims), Out(out)) { out.copy_(at::flip(self, dims)); }
OP(aclnnRoll, In(self), Ints(shifts), Ints(dims), Out(out)) { out.copy_(at::roll(self, shifts, dims)); }
OP(aclnnTriu, In(self), Int(diagonal), Out(out)) { at::triu_out(out, self, diagonal); }
OP(aclnnTril, In(self), Int(diagonal), Out(out)) { at::tril_out(out, self, diagonal); }
OP(aclnnInplaceTriu, Out(self), Int(diagonal)) { self.triu_(diagonal); }
OP(aclnnInplaceTril, Out(self), Int(diagonal)) { self.tril_(diagonal); }
OP(aclnnConstantPadNd, In(self), Ints(pad), Num(value), Out(out)) { out.copy_(at::constant_pad_nd(self, pad, value)); }
