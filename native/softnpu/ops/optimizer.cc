// SPDX-License-Identifier: Apache-2.0
//
// Optimiser steps and loss scaling in one launch.
#include "ops/op.h"

using softnpu::wide;

namespace {

double number(const at::Tensor& x) { return x.reshape(-1)[0].to(at::kDouble).item<double>(); }

struct AdamW {
    double lr, beta1, beta2, decay, epsilon;
    double power1, power2;  // beta to the number of this step
    bool amsgrad, maximize;
};

void step(const AdamW& a, at::Tensor& var, at::Tensor& m, at::Tensor& v, at::Tensor& most, const at::Tensor& gradient) {
    const at::Tensor grad = a.maximize ? -wide(gradient) : wide(gradient);
    const at::Tensor first = wide(m) * a.beta1 + grad * (1 - a.beta1);
    const at::Tensor second = wide(v) * a.beta2 + grad.square() * (1 - a.beta2);
    at::Tensor spread = second;
    if (a.amsgrad) {
        spread = at::maximum(wide(most), second);
        most.copy_(spread);
    }
    const at::Tensor scale = (spread / (1 - a.power2)).sqrt() + a.epsilon;
    var.copy_(wide(var) * (1 - a.lr * a.decay) - (a.lr / (1 - a.power1)) * first / scale);
    m.copy_(first);
    v.copy_(second);
}

}  // namespace

// The powers are those of the step before.
OP(aclnnApplyAdamW, Out(var), Out(m), Out(v), In(power1), In(power2), In(lr), In(decay), In(beta1), In(beta2),
   In(epsilon), In(grad), Out(most), Flag(amsgrad), Flag(maximize)) {
    step({number(lr), number(beta1), number(beta2), number(decay), number(epsilon), number(power1) * number(beta1),
          number(power2) * number(beta2), amsgrad, maximize},
         var, m, v, most, grad);
}
OP(aclnnApplyAdamWV2, Out(var), Out(m), Out(v), Out(most), In(grad), In(steps), F32(lr), F32(beta1), F32(beta2),
   F32(decay), F32(epsilon), Flag(amsgrad), Flag(maximize)) {
    const double count = number(steps);
    step({lr, beta1, beta2, decay, epsilon, std::pow(beta1, count), std::pow(beta2, count), amsgrad, maximize}, var, m,
         v, most, grad);
}
OP(aclnnFusedSgd, List(params), List(grads), List(momenta), In(grad_scale), F32(decay), F32(momentum), F32(lr),
   F32(dampening), Flag(nesterov), Flag(maximize), Flag(first)) {
    for (size_t i = 0; i < params.size(); ++i) {
        at::Tensor grad = maximize ? -wide(grads[i]) : wide(grads[i]);
        grad = grad_scale.defined() ? grad / wide(grad_scale) : grad;
        grad = decay != 0 ? grad + wide(params[i]) * decay : grad;
        if (momentum != 0) {
            momenta.at(i).copy_(first ? grad : wide(momenta[i]) * momentum + grad * (1 - dampening));
            grad = nesterov ? grad + wide(momenta[i]) * momentum : wide(momenta[i]);
        }
        params[i].copy_(wide(params[i]) - lr * grad);
    }
}
OP(aclnnAmpUpdateScale, Out(scale), Out(tracker), In(found_inf), F64(growth), F64(backoff), Int(interval),
   Out(scale_out), Out(tracker_out)) {
    if (number(found_inf) != 0) {
        scale_out.copy_(wide(scale) * backoff);
        tracker_out.zero_();
        return;
    }
    const int64_t good = tracker.item<int64_t>() + 1;
    const bool grows = good == interval;
    scale_out.copy_(grows ? wide(scale) * growth : wide(scale));
    tracker_out.fill_(grows ? 0 : good);
}
