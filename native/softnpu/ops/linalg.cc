// SPDX-License-Identifier: Apache-2.0
//
// Linear algebra beyond products.
#include "ops/op.h"

using softnpu::wide;

namespace {

// Every slice along `dim` whose norm is over `most` is brought down to it; at::renorm refuses an order of 0.
at::Tensor limited(const at::Tensor& self, const at::Scalar& p, int64_t dim, const at::Scalar& most) {
    const at::Tensor x = wide(self);
    std::vector<int64_t> others;
    for (int64_t d = 0; d < x.dim(); ++d) {
        if (d != (dim < 0 ? dim + x.dim() : dim)) {
            others.push_back(d);
        }
    }
    const at::Tensor norm = at::linalg_vector_norm(x, p, others, true);
    return x * at::where(norm > most, most.toDouble() / (norm + 1e-7), at::ones_like(norm));
}

}  // namespace

OP(aclnnLinalgVectorNorm, In(self), Num(order), Ints(dims), Flag(keep), Type(dtype), Out(out)) {
    const auto over = dims.empty() ? at::OptionalIntArrayRef() : at::OptionalIntArrayRef(dims);
    out.copy_(at::linalg_vector_norm(self, order, over, keep, dtype).reshape(out.sizes()));
}
OP(aclnnLinalgCross, In(self), In(other), Int(dim), Out(out)) { out.copy_(at::linalg_cross(self, other, dim)); }
OP(aclnnLinalgCholesky, In(self), Flag(upper), Out(out)) { out.copy_(at::linalg_cholesky(self, upper)); }
OP(aclnnLinalgQr, In(self), Int(mode), Out(q), Out(r)) {
    // 0: reduced, 1: complete, 2: r alone
    TORCH_CHECK(mode >= 0 && mode <= 2, "mode ", mode, ", must be 0 (reduced), 1 (complete) or 2 (r)");
    const auto [found_q, found_r] = at::linalg_qr(self, mode == 0 ? "reduced" : mode == 1 ? "complete" : "r");
    if (mode != 2) {
        q.copy_(found_q);
    }
    r.copy_(found_r);
}
OP(aclnnSvd, In(self), Flag(full), Flag(vectors), Out(s), Out(u), Out(v)) {
    if (vectors) {
        const auto [found_u, found_s, found_vh] = at::linalg_svd(self, full);
        u.copy_(found_u);
        s.copy_(found_s);
        v.copy_(found_vh.mH());
    } else {
        s.copy_(at::linalg_svdvals(self));
    }
}
OP(aclnnTriangularSolve, In(self), In(a), Flag(upper), Flag(transpose), Flag(unit), Out(x), Out(m)) {
    const auto [solution, coefficients] = at::triangular_solve(self, a, upper, transpose, unit);
    x.copy_(solution);
    m.copy_(coefficients);
}
OP(aclnnInverse, In(self), Out(out)) { out.copy_(at::linalg_inv(wide(self))); }
OP(aclnnLogdet, In(self), Out(out)) { out.copy_(at::logdet(self)); }
OP(aclnnSlogdet, In(self), Out(sign), Out(log)) {
    const auto [s, l] = at::slogdet(self);
    sign.copy_(s);
    log.copy_(l);
}
OP(aclnnCdist, In(a), In(b), F32(p), Int(mode), Out(out)) {
    // 0: by products where that is faster, 1: always, 2: never
    out.copy_(at::cdist(wide(a), wide(b), p, mode));
}
OP(aclnnPdist, In(self), F32(p), Out(out)) { out.copy_(at::pdist(wide(self), p)); }
OP(aclnnRenorm, In(self), Num(p), Int(dim), Num(most), Out(out)) { out.copy_(limited(self, p, dim, most)); }
OP(aclnnInplaceRenorm, Out(self), Num(p), Int(dim), Num(most)) { self.copy_(limited(self, p, dim, most)); }
OP(aclnnEinsum, List(tensors), Text(equation), Out(out)) { out.copy_(at::einsum(equation, tensors)); }
OP(aclnnCdistBackward, In(grad), In(a), In(b), In(distances), F32(p), Out(out)) {
    out.copy_(at::_cdist_backward(wide(grad).contiguous(), wide(a).contiguous(), wide(b).contiguous(), p,
                                  wide(distances).contiguous()));
}
