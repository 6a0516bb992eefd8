// SPDX-License-Identifier: Apache-2.0
//
// Fourier transforms. Their complex numbers may come as pairs along a last dimension of 2.
#include "ops/op.h"

using softnpu::wide;

namespace {

void put_complex(const at::Tensor& out, const at::Tensor& value) {
    out.copy_(out.is_complex() ? value : at::view_as_real(value.resolve_conj()));
}

}  // namespace

// Frames that are not centred; a window shorter than a frame lies in its middle.
OP(aclStft, In(self), In(window), Out(out), Int(nFft), Int(hop), Int(length), Flag(normalized), Flag(onesided),
   Flag(returnComplex)) {
    put_complex(out, at::stft(wide(self), nFft, hop, length, softnpu::maybe(window), normalized, onesided, true));
}

// norm: 1 none, 2 divided by n, 3 by its root.
OP(aclRfft1D, In(self), Int(n), Int(dim), Int(norm), Out(out)) {
    constexpr const char* kNorms[] = {"backward", "forward", "ortho"};
    TORCH_CHECK(norm >= 1 && norm <= 3, "norm ", norm, ", must be 1 to 3");
    put_complex(out, at::fft_rfft(wide(self), n, dim, kNorms[norm - 1]));
}
