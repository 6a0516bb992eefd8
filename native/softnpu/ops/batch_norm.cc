// SPDX-License-Identifier: Apache-2.0
//
// Batch normalisation, in one piece and in the pieces that a group of devices exchanges.
#include "ops/op.h"

using softnpu::maybe;
using softnpu::put;
using softnpu::wide;

namespace {

// Sums of a channel go over every dimension but the second.
std::vector<int64_t> beside_channels(const at::Tensor& x) {
    std::vector<int64_t> dims{0};
    for (int64_t d = 2; d < x.dim(); ++d) {
        dims.push_back(d);
    }
    return dims;
}

at::Tensor per_channel(const at::Tensor& values, const at::Tensor& like) {
    std::vector<int64_t> sizes(like.dim(), 1);
    sizes[1] = -1;
    return values.reshape(sizes);
}

at::Tensor normalised(const at::Tensor& x, const at::Tensor& mean, const at::Tensor& inverse, const at::Tensor& weight,
                      const at::Tensor& bias) {
    at::Tensor y = (x - per_channel(mean, x)) * per_channel(inverse, x);
    y = weight.defined() ? y * per_channel(wide(weight), x) : y;
    return bias.defined() ? y + per_channel(wide(bias), x) : y;
}

void move_towards(const at::Tensor& running, const at::Tensor& value, double momentum) {
    if (running.defined()) {
        running.copy_(wide(running) * (1 - momentum) + value * momentum);
    }
}

}  // namespace

OP(aclnnBatchNorm, In(input), In(weight), In(bias), Out(running_mean), Out(running_var), Flag(training), F64(momentum),
   F64(eps), Out(out), Out(save_mean), Out(save_invstd)) {
    const at::Tensor x = wide(input);
    const auto dims = beside_channels(x);
    const auto [v, m] = training ? at::var_mean(x, dims, 0) : std::tuple(wide(running_var), wide(running_mean));
    const at::Tensor inverse = at::rsqrt(v + eps);
    put(out, normalised(x, m, inverse, weight, bias));
    if (training) {
        const double count = static_cast<double>(x.numel()) / static_cast<double>(x.size(1));
        move_towards(running_mean, m, momentum);
        move_towards(running_var, v * (count / std::max(1.0, count - 1)), momentum);
        put(save_mean, m);
        put(save_invstd, inverse);
    }
}
OP(aclnnBatchNormBackward, In(grad), In(input), In(weight), In(running_mean), In(running_var), In(save_mean),
   In(save_invstd), Flag(training), F64(eps), Bools(mask), Out(dx), Out(dweight), Out(dbias)) {
    const at::Tensor x = wide(input);
    const at::Tensor dy = wide(grad);
    const auto dims = beside_channels(x);
    const at::Tensor mean = training ? wide(save_mean) : wide(running_mean);
    const at::Tensor inverse = training ? wide(save_invstd) : at::rsqrt(wide(running_var) + eps);
    const at::Tensor normal = (x - per_channel(mean, x)) * per_channel(inverse, x);
    const at::Tensor sum = dy.sum(dims);
    const at::Tensor dot = (dy * normal).sum(dims);
    const at::Tensor gain = weight.defined() ? inverse * wide(weight) : inverse;
    const double count = static_cast<double>(x.numel()) / static_cast<double>(x.size(1));
    const at::Tensor centred = training ? dy - (per_channel(sum, x) + normal * per_channel(dot, x)) / count : dy;
    put(dx, centred * per_channel(gain, x));
    put(dweight, dot);
    put(dbias, sum);
}
OP(aclnnBatchNormReduce, In(x), Out(sum), Out(squares)) {
    const auto dims = beside_channels(x);
    put(sum, wide(x).sum(dims));
    put(squares, wide(x).square().sum(dims));
}
OP(aclnnBatchNormStats, In(input), F64(eps), Out(mean), Out(invstd)) {
    const auto [v, m] = at::var_mean(wide(input), beside_channels(input), 0);
    put(mean, m);
    put(invstd, at::rsqrt(v + eps));
}
OP(aclnnBatchNormElemt, In(input), In(weight), In(bias), In(mean), In(invstd), F64(eps), Out(out)) {
    put(out, normalised(wide(input), wide(mean), wide(invstd), weight, bias));
}
OP(aclnnBatchNormElemtBackward, In(grad), In(input), In(mean), In(invstd), In(weight), In(sum_dy), In(sum_dy_xmu),
   In(counts), Out(out)) {
    const at::Tensor x = wide(input);
    const at::Tensor total = wide(counts).sum().to(at::kFloat);
    const at::Tensor inverse = wide(invstd);
    const at::Tensor gain = weight.defined() ? inverse * wide(weight) : inverse;
    const at::Tensor slope = inverse * inverse * wide(sum_dy_xmu) / total;
    const at::Tensor centred =
        wide(grad) - per_channel(wide(sum_dy) / total, x) - (x - per_channel(wide(mean), x)) * per_channel(slope, x);
    put(out, centred * per_channel(gain, x));
}
OP(aclnnBatchNormReduceBackward, In(grad), In(input), In(mean), In(invstd), In(weight), Flag(with_input),
   Flag(with_weight), Flag(with_bias), Out(sum_dy), Out(sum_dy_xmu), Out(dweight), Out(dbias)) {
    const at::Tensor x = wide(input);
    const auto dims = beside_channels(x);
    const at::Tensor sum = wide(grad).sum(dims);
    const at::Tensor dot = (wide(grad) * (x - per_channel(wide(mean), x))).sum(dims);
    if (with_input) {
        put(sum_dy, sum);
        put(sum_dy_xmu, dot);
    }
    if (with_weight) {
        put(dweight, dot * wide(invstd));
    }
    if (with_bias) {
        put(dbias, sum);
    }
}
// The rows of mean, invstd and counts are the devices.
OP(aclnnBatchNormGatherStatsWithCounts, In(input), In(mean), In(invstd), Out(running_mean), Out(running_var),
   F64(momentum), F64(eps), In(counts), Out(mean_all), Out(invstd_all)) {
    const at::Tensor weights = wide(counts).to(at::kFloat).reshape({-1, 1});
    const at::Tensor total = weights.sum();
    const at::Tensor each = wide(mean);
    const at::Tensor m = (each * weights).sum(0) / total;
    const at::Tensor variance = wide(invstd).pow(-2) - eps;
    const at::Tensor v = ((variance + (each - m).square()) * weights).sum(0) / total;
    put(mean_all, m);
    put(invstd_all, at::rsqrt(v + eps));
    move_towards(running_mean, m, momentum);
    move_towards(running_var, v * total / (total - 1), momentum);
}
OP(aclnnSyncBatchNormGatherStats, In(sums), In(squares), In(counts), Out(mean), Out(variance), F32(momentum), F32(eps),
   Out(batch_mean), Out(batch_invstd)) {
    const at::Tensor total = wide(counts).to(at::kFloat).sum();
    const at::Tensor m = wide(sums).sum(0) / total;
    const at::Tensor v = wide(squares).sum(0) / total - m.square();
    put(batch_mean, m);
    put(batch_invstd, at::rsqrt(v + eps));
    move_towards(mean, m, momentum);
    move_towards(variance, v * total / (total - 1), momentum);
}
