// SPDX-License-Identifier: Apache-2.0
//
// Losses and their gradients.
#include "ops/op.h"

using softnpu::maybe;
using softnpu::put;
using softnpu::wide;

namespace {

// What a gradient of each element is divided by.
double share(const at::Tensor& elements, int64_t reduction) {
    return reduction == at::Reduction::Mean ? static_cast<double>(elements.numel()) : 1.0;
}

int64_t reduction_of(const std::string& name) {
    return name == "mean" ? at::Reduction::Mean : name == "sum" ? at::Reduction::Sum : at::Reduction::None;
}

}  // namespace

OP(aclnnMseLoss, In(self), In(target), Int(reduction), Out(out)) {
    out.copy_(at::mse_loss(wide(self), wide(target), reduction));
}
OP(aclnnMseLossBackward, In(grad), In(self), In(target), Int(reduction), Out(out)) {
    const at::Tensor x = wide(self);
    out.copy_(wide(grad) * (x - wide(target)) * (2.0 / share(out, reduction)));
}
OP(aclnnL1Loss, In(self), In(target), Int(reduction), Out(out)) {
    out.copy_(at::l1_loss(wide(self), wide(target), reduction));
}
OP(aclnnL1LossBackward, In(grad), In(self), In(target), Int(reduction), Out(out)) {
    out.copy_(wide(grad) * at::sign(wide(self) - wide(target)) / share(out, reduction));
}
OP(aclnnSmoothL1Loss, In(self), In(target), Int(reduction), F32(beta), Out(out)) {
    out.copy_(at::smooth_l1_loss(wide(self), wide(target), reduction, beta));
}
OP(aclnnSmoothL1LossBackward, In(grad), In(self), In(target), Int(reduction), F32(beta), Out(out)) {
    const at::Tensor gap = wide(self) - wide(target);
    const at::Tensor slope = beta == 0 ? at::sign(gap) : at::clamp(gap / beta, -1, 1);
    out.copy_(wide(grad) * slope / share(out, reduction));
}
OP(aclnnSoftMarginLoss, In(self), In(target), Int(reduction), Out(out)) {
    out.copy_(at::soft_margin_loss(wide(self), wide(target), reduction));
}
OP(aclnnSoftMarginLossBackward, In(grad), In(self), In(target), Int(reduction), Out(out)) {
    const at::Tensor y = wide(target);
    out.copy_(-wide(grad) * y * at::sigmoid(-y * wide(self)) / share(out, reduction));
}
OP(aclnnMultilabelMarginLoss, In(self), In(target), Int(reduction), Out(out), Out(is_target)) {
    const auto [loss, marks] = at::multilabel_margin_loss_forward(wide(self), target.to(at::kLong), reduction);
    put(out, loss);
    put(is_target, marks);
}
OP(aclnnKlDiv, In(self), In(target), Int(reduction), Flag(log_target), Out(out)) {
    out.copy_(at::kl_div(wide(self), wide(target), reduction, log_target));
}
OP(aclnnKlDivBackward, In(grad), In(self), In(target), Int(reduction), Flag(log_target), Out(out)) {
    const at::Tensor y = wide(target);
    const at::Tensor probability = log_target ? at::exp(y) : at::where(y > 0, y, at::zeros_like(y));
    out.copy_(-wide(grad) * probability / share(out, reduction));
}
OP(aclnnKlDivTargetBackward, In(grad), In(self), In(target), Int(reduction), Flag(log_target), Out(out)) {
    const at::Tensor y = wide(target);
    const at::Tensor x = wide(self);
    const at::Tensor slope =
        log_target ? at::exp(y) * (y + 1 - x) : at::where(y > 0, at::log(y) + 1 - x, at::zeros_like(y));
    out.copy_(wide(grad) * slope / share(out, reduction));
}

OP(aclnnBinaryCrossEntropy, In(self), In(target), In(weight), Int(reduction), Out(out)) {
    out.copy_(at::binary_cross_entropy(wide(self), wide(target), maybe(wide(weight)), reduction));
}
OP(aclnnBinaryCrossEntropyBackward, In(grad), In(self), In(target), In(weight), Int(reduction), Out(out)) {
    const at::Tensor x = wide(self);
    at::Tensor each = wide(grad) * (x - wide(target)) / at::clamp_min(x * (1 - x), 1e-12);
    each = weight.defined() ? each * wide(weight) : each;
    out.copy_(each / share(out, reduction));
}
OP(aclnnBinaryCrossEntropyWithLogits, In(self), In(target), In(weight), In(positive), Int(reduction), Out(out)) {
    out.copy_(at::binary_cross_entropy_with_logits(wide(self), wide(target), maybe(wide(weight)), maybe(wide(positive)),
                                                   reduction));
}
OP(aclnnBinaryCrossEntropyWithLogitsBackward, In(grad), In(self), In(target), In(weight), In(positive), Int(reduction),
   Out(out)) {
    const at::Tensor y = wide(target);
    const at::Tensor probability = at::sigmoid(wide(self));
    const at::Tensor weighted = positive.defined() ? wide(positive) * y : y;
    at::Tensor each = wide(grad) * ((weighted + 1 - y) * probability - weighted);
    each = weight.defined() ? each * wide(weight) : each;
    out.copy_(each / share(out, reduction));
}

OP(aclnnNLLLoss, In(self), In(target), In(weight), Int(reduction), Int(ignore), Out(out), Out(total)) {
    const auto [loss, weights] =
        at::nll_loss_forward(wide(self), target.to(at::kLong), maybe(wide(weight)), reduction, ignore);
    put(out, loss);
    put(total, weights);
}
OP(aclnnNLLLossBackward, In(grad), In(self), In(target), In(weight), Int(reduction), Int(ignore), In(total), Out(out)) {
    out.copy_(at::nll_loss_backward(wide(grad), wide(self), target.to(at::kLong), maybe(wide(weight)), reduction,
                                    ignore, wide(total).reshape({})));
}
OP(aclnnNLLLoss2d, In(self), In(target), In(weight), Int(reduction), Int(ignore), Out(out), Out(total)) {
    const auto [loss, weights] =
        at::nll_loss2d_forward(wide(self), target.to(at::kLong), maybe(wide(weight)), reduction, ignore);
    put(out, loss);
    put(total, weights);
}
OP(aclnnNLLLoss2dBackward, In(grad), In(self), In(target), In(weight), Int(reduction), Int(ignore), In(total),
   Out(out)) {
    out.copy_(at::nll_loss2d_backward(wide(grad), wide(self), target.to(at::kLong), maybe(wide(weight)), reduction,
                                      ignore, wide(total).reshape({})));
}
OP(aclnnCrossEntropyLoss, In(input), In(target), In(weight), Text(reduction), Int(ignore), F64(smoothing),
   F64(square_scale), Flag(with_zloss), Out(loss), Out(log_prob), Out(zloss), Out(lse)) {
    const at::Tensor x = wide(input);
    put(loss, at::cross_entropy_loss(x, target.to(at::kLong), maybe(wide(weight)), reduction_of(reduction), ignore,
                                     smoothing));
    put(log_prob, at::log_softmax(x, -1));
    put(lse, at::logsumexp(x, -1));
}
OP(aclnnCrossEntropyLossGrad, In(grad), In(log_prob), In(target), In(weight), In(grad_zloss), In(lse), Text(reduction),
   Int(ignore), F64(smoothing), F64(square_scale), Out(out)) {
    const at::Tensor log_p = wide(log_prob);
    const at::Tensor classes = target.to(at::kLong);
    const double count = static_cast<double>(log_p.size(1));
    const at::Tensor w = weight.defined() ? wide(weight) : at::ones({log_p.size(1)}, log_p.options());
    const at::Tensor counts = (classes != ignore).to(at::kFloat);
    const at::Tensor place = at::where(classes == ignore, at::zeros_like(classes), classes);
    const at::Tensor own = w.index_select(0, place) * counts;  // weight of each row
    // d loss / d log_p of each row, before the reduction
    at::Tensor slope = -(smoothing / count) * w.unsqueeze(0) * counts.unsqueeze(1);
    slope = slope.scatter_add(1, place.unsqueeze(1), -(1 - smoothing) * own.unsqueeze(1));
    at::Tensor rows = wide(grad).expand({log_p.size(0)}).unsqueeze(1);
    rows = reduction == "mean" ? rows / own.sum() : rows;
    slope = slope * rows;
    out.copy_(slope - at::exp(log_p) * slope.sum(1, true));
}
OP(aclnnCtcLoss, In(log_probs), In(targets), Ints(input_lengths), Ints(target_lengths), Int(blank), Flag(zero_infinity),
   Out(out), Out(log_alpha)) {
    const auto [loss, alpha] =
        at::_ctc_loss(wide(log_probs), targets.to(at::kLong), input_lengths, target_lengths, blank, zero_infinity);
    put(out, loss);
    // The device's table may be wider than the one that the longest target needs.
    log_alpha.fill_(-std::numeric_limits<double>::infinity());
    log_alpha.slice(2, 0, alpha.size(2)).slice(1, 0, alpha.size(1)).copy_(alpha);
}
OP(aclnnCtcLossBackward, In(grad), In(log_probs), In(targets), Ints(input_lengths), Ints(target_lengths), In(loss),
   In(log_alpha), Int(blank), Flag(zero_infinity), Out(out)) {
    out.copy_(at::_ctc_loss_backward(wide(grad), wide(log_probs), targets.to(at::kLong), input_lengths, target_lengths,
                                     wide(loss), wide(log_alpha), blank, zero_infinity));
}

// Cross entropy over a vocabulary that several devices share. Each makes the logits of its own part, with their largest
// and the sum of their exponentials; what is joined over the devices gives the loss, and the gradients of each part.
OP_COST(aclnnFusedLinearOnlineMaxSum, softnpu::matmul_cost, In(input), In(weight), In(target), Int(first), Int(last),
        Out(largest), Out(sum), Out(predicted), Out(mask), Out(place), Out(logits)) {
    const at::Tensor scores = at::matmul(wide(input), wide(weight).t());
    const at::Tensor most = scores.amax(-1);
    const at::Tensor elsewhere = (target < first).logical_or(target >= last);
    const at::Tensor own = at::where(elsewhere, at::zeros_like(target), target - first).to(at::kLong);
    put(largest, most);
    put(sum, at::exp(scores - most.unsqueeze(-1)).sum(-1));
    put(predicted, scores.gather(1, own.unsqueeze(1)).squeeze(1).masked_fill(elsewhere, 0));
    put(mask, softnpu::pack_bits(elsewhere, mask.numel()));
    put(place, own);
    put(logits, scores);
}
OP(aclnnFusedCrossEntropyLossWithMaxSum, In(largest), In(sum), In(predicted), F32(smoothing), In(input), In(weight),
   In(logits), Out(loss), Out(probability)) {
    put(loss, at::log(sum) + largest - predicted);
    if (logits.defined()) {
        put(probability, at::exp(wide(logits) - largest.unsqueeze(-1)) / sum.unsqueeze(-1));
    }
}
OP_COST(aclnnFusedLinearCrossEntropyLossGrad, softnpu::matmul_cost, In(grad), In(input), In(weight), In(mask),
        In(place), F32(smoothing), In(largest), In(sum), In(probability), Out(grad_input), Out(grad_weight)) {
    at::Tensor slope = probability;
    if (!slope.defined() || slope.numel() == 0) {
        const at::Tensor scores = at::matmul(wide(input), wide(weight).t());
        slope = at::exp(scores - largest.unsqueeze(-1)) / sum.unsqueeze(-1);
    }
    const at::Tensor here = 1 - softnpu::unpack_bits(mask, place.numel()).to(at::kFloat);
    slope = slope.scatter_add(1, place.to(at::kLong).unsqueeze(1), -here.unsqueeze(1)) * grad.unsqueeze(1);
    put(grad_input, at::matmul(slope, wide(weight)));
    put(grad_weight, at::matmul(slope.t(), wide(input)));
}
