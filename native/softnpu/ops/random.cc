// SPDX-License-Identifier: Apache-2.0
//
// Random numbers: a generator of the seed and offset that the framework counts on, so that a seed gives the same
// numbers again. They are not the numbers that the device's own generator gives.
#include <ATen/CPUGeneratorImpl.h>

#include "ops/op.h"

namespace {

at::Generator generator(int64_t seed, int64_t offset) {
    constexpr uint64_t kSpread = 0x9e3779b97f4a7c15;  // 2^64 / golden ratio: neighbouring offsets give unrelated seeds
    return at::detail::createCPUGenerator(static_cast<uint64_t>(seed) ^ (static_cast<uint64_t>(offset) * kSpread));
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
