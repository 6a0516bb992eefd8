// SPDX-License-Identifier: Apache-2.0
//
// Random numbers: a generator of the seed and offset that the framework counts on, so that a seed gives the same
// numbers again. They are not the numbers that the device's own generator gives.
#include <ATen/CPUGeneratorImpl.h>

#include "ops/op.h"

using softnpu::put;
using softnpu::wide;

namespace softnpu {

at::Generator generator(int64_t seed, int64_t offset) {
    constexpr uint64_t kSpread = 0x9e3779b97f4a7c15;  // 2^64 / golden ratio: neighbouring offsets give unrelated seeds
    return at::detail::createCPUGenerator(static_cast<uint64_t>(seed) ^ (static_cast<uint64_t>(offset) * kSpread));
}

void draw_mask(int64_t count, double share, const at::Generator& random, const at::Tensor& mask) {
    const at::Tensor kept = at::empty({count}, at::kFloat).bernoulli_(share, random);
    mask.copy_(pack_bits(kept, mask.numel()).view(mask.scalar_type()).reshape(mask.sizes()));
}

}  // namespace softnpu

namespace {

using softnpu::generator;

// A graph's seed lies in device memory, and its offset too, plus what the call adds.
at::Generator generator(const at::Tensor& seed, const at::Tensor& base, int64_t offset) {
    return generator(seed.item<int64_t>(), base.item<int64_t>() + offset);
}

void keep(at::IntArrayRef shape, double drop, const at::Generator& random, const at::Tensor& mask) {
    softnpu::draw_mask(c10::multiply_integers(shape), 1 - drop, random, mask);
}

at::Tensor drop_out(const at::Tensor& x, const at::Tensor& mask, double drop) {
    const double gain = drop < 1 ? 1 / (1 - drop) : 0;
    return wide(x) * softnpu::unpack_bits(mask, x.numel()).reshape(x.sizes()) * gain;
}

// A slope of its own for every negative element, drawn while training; the noise keeps it for the backward.
void leak(const at::Tensor& self, const at::Tensor& noise, double lower, double upper, bool training,
          const at::Generator& random, const at::Tensor& out) {
    const at::Tensor x = wide(self);
    if (!training) {
        out.copy_(at::leaky_relu(x, (lower + upper) / 2));
        return;
    }
    const at::Tensor drawn = at::empty_like(x).uniform_(lower, upper, random);
    const at::Tensor slopes = at::where(x <= 0, drawn, at::ones_like(x));
    put(noise, slopes);
    out.copy_(x * slopes);
}

}  // namespace

OP(aclnnInplaceUniform, Out(self), F64(from), F64(to), U64(seed), U64(offset)) {
    self.uniform_(from, to, generator(seed, offset));
}
OP(aclnnInplaceNormal, Out(self), F32(mean), F32(std), Int(seed), Int(offset)) {
    self.normal_(mean, std, generator(seed, offset));
}
OP(aclnnInplaceRandom, Out(self), Int(from), Int(to), Int(seed), Int(offset)) {
    self.random_(from, to, generator(seed, offset));
}
OP(aclnnBernoulli, In(self), Num(p), Int(seed), Int(offset), Out(out)) {
    out.bernoulli_(p.toDouble(), generator(seed, offset));
}
OP(aclnnMultinomial, In(self), Int(samples), Flag(replacement), Int(seed), Int(offset), Out(out)) {
    out.copy_(at::multinomial(self, samples, replacement, generator(seed, offset)));
}
OP(aclnnInplaceBernoulli, Out(self), Num(p), Int(seed), Int(offset)) {
    self.bernoulli_(p.toDouble(), generator(seed, offset));
}
OP(aclnnInplaceBernoulliTensor, Out(self), In(p), Int(seed), Int(offset)) {
    self.bernoulli_(p.to(at::kFloat), generator(seed, offset));
}
OP(aclnnBernoulliTensor, In(self), In(p), Int(seed), Int(offset), Out(out)) {
    out.bernoulli_(p.to(at::kFloat), generator(seed, offset));
}
OP(aclnnInplaceRandomWithoutFromTo, Out(self), Int(seed), Int(offset)) { self.random_(generator(seed, offset)); }
OP(aclnnRandperm, Int(n), Int(seed), Int(offset), Out(out)) {
    out.copy_(at::randperm(n, generator(seed, offset), at::kLong));
}
OP(aclnnNormalTensorTensor, In(mean), In(std), Int(seed), Int(offset), Out(out)) {
    out.copy_(at::normal(mean, std, generator(seed, offset)));
}
OP(aclnnNormalTensorFloat, In(mean), F32(std), Int(seed), Int(offset), Out(out)) {
    out.copy_(at::normal(mean, std, generator(seed, offset)));
}
OP(aclnnNormalFloatTensor, F32(mean), In(std), Int(seed), Int(offset), Out(out)) {
    out.copy_(at::normal(mean, std, generator(seed, offset)));
}
OP(aclnnNormalFloatFloat, F32(mean), F32(std), Int(seed), Int(offset), Out(out)) {
    out.normal_(mean, std, generator(seed, offset));
}

OP(aclnnInplaceUniformTensor, Out(self), F64(from), F64(to), In(seed), In(base), U64(offset)) {
    self.uniform_(from, to, generator(seed, base, offset));
}
OP(aclnnInplaceNormalTensor, Out(self), F32(mean), F32(std), In(seed), In(base), Int(offset)) {
    self.normal_(mean, std, generator(seed, base, offset));
}
OP(aclnnInplaceRandomTensor, Out(self), Int(from), Int(to), In(seed), In(base), Int(offset)) {
    self.random_(from, to, generator(seed, base, offset));
}
OP(aclnnInplaceRandomWithoutFromToTensor, Out(self), In(seed), In(base), Int(offset)) {
    self.random_(generator(seed, base, offset));
}
OP(aclnnMultinomialTensor, In(self), Int(samples), Flag(replacement), In(seed), In(base), Int(offset), Out(out)) {
    out.copy_(at::multinomial(wide(self), samples, replacement, generator(seed, base, offset)));
}

OP(aclnnDropoutGenMask, Ints(shape), F64(drop), Int(seed), Int(offset), Out(mask)) {
    keep(shape, drop, generator(seed, offset), mask);
}
OP(aclnnDropoutGenMaskV2, Ints(shape), F64(drop), Int(seed), Int(offset), Type(dtype), Out(mask)) {
    keep(shape, drop, generator(seed, offset), mask);
}
OP(aclnnDropoutGenMaskV2Tensor, Ints(shape), F64(drop), In(seed), In(base), Int(offset), Type(dtype), Out(mask)) {
    keep(shape, drop, generator(seed, base, offset), mask);
}
OP(aclnnDropoutDoMask, In(self), In(mask), F64(drop), Out(out)) { out.copy_(drop_out(self, mask, drop)); }
OP(aclnnDropoutV3, In(self), In(noise), F64(drop), Int(seed), Int(offset), Out(out), Out(mask)) {
    keep(self.sizes(), drop, generator(seed, offset), mask);
    out.copy_(drop_out(self, mask, drop));
}
OP(aclnnDropoutV3Grad, In(grad), In(mask), F64(gain), Out(out)) {
    out.copy_(wide(grad) * softnpu::unpack_bits(mask, grad.numel()).reshape(grad.sizes()) * gain);
}

OP(aclnnRReluWithNoise, In(self), Out(noise), Num(lower), Num(upper), Flag(training), Int(seed), Int(offset),
   Out(out)) {
    leak(self, noise, lower.toDouble(), upper.toDouble(), training, generator(seed, offset), out);
}
OP(aclnnInplaceRReluWithNoise, Out(self), Out(noise), Num(lower), Num(upper), Flag(training), Int(seed), Int(offset)) {
    leak(self, noise, lower.toDouble(), upper.toDouble(), training, generator(seed, offset), self);
}
OP(aclnnSimThreadExponential, Out(self), Int(count), F64(rate), Int(seed), Int(offset)) {
    self.exponential_(rate, generator(seed, offset));
}
