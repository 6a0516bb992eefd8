// SPDX-License-Identifier: Apache-2.0
#include "ops/recurrent_math.h"

#include "ops/op.h"

namespace softnpu {
namespace {

at::Tensor product(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
    const at::Tensor result = at::matmul(x, wide(weight).t());
    return bias.defined() ? result + wide(bias) : result;
}

// Of what a step began with: what the one before it ended with.
at::Tensor before(const at::Tensor& states, const at::Tensor& first, const Sequence& sequence, size_t turn) {
    return turn == 0 ? first : states[static_cast<int64_t>(sequence.at(turn - 1))];
}

// Sums of what each step adds.
struct Sums {
    explicit Sums(const Weights& weights)
        : total{at::zeros_like(wide(weights.input)), at::zeros_like(wide(weights.hidden)),
                at::zeros({weights.input.size(0)}), at::zeros({weights.input.size(0)})} {}

    void add(const at::Tensor& d_input, const at::Tensor& d_hidden, const at::Tensor& x, const at::Tensor& h) {
        total.input.add_(at::matmul(d_input.t(), x));
        total.hidden.add_(at::matmul(d_hidden.t(), h));
        total.input_bias.add_(d_input.sum(0));
        total.hidden_bias.add_(d_hidden.sum(0));
    }

    WeightGradients total;
};

at::Tensor of_sigmoid(const at::Tensor& y) { return y * (1 - y); }
at::Tensor of_tanh(const at::Tensor& y) { return 1 - y * y; }

}  // namespace

LstmTrace lstm_layer(const at::Tensor& x, const at::Tensor& h, const at::Tensor& c, const Weights& weights,
                     const Sequence& sequence) {
    const at::Tensor projected = product(wide(x), weights.input, weights.input_bias);
    at::Tensor hidden = wide(h).clone();
    at::Tensor cell = wide(c).clone();
    const at::Tensor zeros = at::zeros({x.size(0), h.size(0), h.size(1)});
    LstmTrace trace{zeros, zeros.clone(), zeros.clone(), zeros.clone(), zeros.clone(), zeros.clone(), zeros.clone()};
    for (size_t turn = 0; turn < sequence.steps(); ++turn) {
        const size_t step = sequence.at(turn);
        const int64_t rows = sequence.rows[step];
        const auto t = static_cast<int64_t>(step);
        const auto part = [&](const at::Tensor& all) { return all[t].narrow(0, 0, rows); };
        at::Tensor own_h = hidden.narrow(0, 0, rows);
        at::Tensor own_c = cell.narrow(0, 0, rows);
        const auto gates = (part(projected) + product(own_h, weights.hidden, weights.hidden_bias)).chunk(4, 1);
        part(trace.i).copy_(at::sigmoid(gates[0]));
        part(trace.f).copy_(at::sigmoid(gates[1]));
        part(trace.g).copy_(at::tanh(gates[2]));
        part(trace.o).copy_(at::sigmoid(gates[3]));
        own_c.copy_(part(trace.f) * own_c + part(trace.i) * part(trace.g));
        part(trace.tanh_c).copy_(at::tanh(own_c));
        own_h.copy_(part(trace.o) * part(trace.tanh_c));
        trace.h[t].copy_(hidden);
        trace.c[t].copy_(cell);
    }
    return trace;
}

GruTrace gru_layer(const at::Tensor& x, const at::Tensor& h, const Weights& weights, const Sequence& sequence) {
    const at::Tensor projected = product(wide(x), weights.input, weights.input_bias);
    at::Tensor hidden = wide(h).clone();
    const at::Tensor zeros = at::zeros({x.size(0), h.size(0), h.size(1)});
    GruTrace trace{zeros, zeros.clone(), zeros.clone(), zeros.clone(), zeros.clone()};
    for (size_t turn = 0; turn < sequence.steps(); ++turn) {
        const size_t step = sequence.at(turn);
        const int64_t rows = sequence.rows[step];
        const auto t = static_cast<int64_t>(step);
        const auto part = [&](const at::Tensor& all) { return all[t].narrow(0, 0, rows); };
        at::Tensor own = hidden.narrow(0, 0, rows);
        const auto from_x = part(projected).chunk(3, 1);
        const auto from_h = product(own, weights.hidden, weights.hidden_bias).chunk(3, 1);
        part(trace.r).copy_(at::sigmoid(from_x[0] + from_h[0]));
        part(trace.z).copy_(at::sigmoid(from_x[1] + from_h[1]));
        part(trace.hidden_n).copy_(from_h[2]);
        part(trace.n).copy_(at::tanh(from_x[2] + part(trace.r) * from_h[2]));
        own.copy_(part(trace.n) + part(trace.z) * (own - part(trace.n)));
        trace.h[t].copy_(hidden);
    }
    return trace;
}

LstmGradient lstm_layer_gradient(const at::Tensor& x, const at::Tensor& h, const at::Tensor& c, const Weights& weights,
                                 const LstmTrace& trace, const at::Tensor& dy, const at::Tensor& dh,
                                 const at::Tensor& dc, const Sequence& sequence) {
    const at::Tensor inputs = wide(x);
    LstmGradient gradient{at::zeros_like(inputs), wide(dh).clone(), wide(dc).clone(), {}};
    Sums sums(weights);
    for (size_t turn = sequence.steps(); turn-- > 0;) {
        const size_t step = sequence.at(turn);
        const int64_t rows = sequence.rows[step];
        const auto t = static_cast<int64_t>(step);
        const auto part = [&](const at::Tensor& all) { return wide(all[t].narrow(0, 0, rows)); };
        const at::Tensor i = part(trace.i), f = part(trace.f), g = part(trace.g), o = part(trace.o);
        const at::Tensor tanh_c = part(trace.tanh_c);
        const at::Tensor old_h = wide(before(trace.h, h, sequence, turn).narrow(0, 0, rows));
        const at::Tensor old_c = wide(before(trace.c, c, sequence, turn).narrow(0, 0, rows));
        at::Tensor own_h = gradient.h.narrow(0, 0, rows);
        at::Tensor own_c = gradient.c.narrow(0, 0, rows);
        own_h.add_(part(dy));
        own_c.add_(own_h * o * of_tanh(tanh_c));
        const at::Tensor gates = at::cat({own_c * g * of_sigmoid(i), own_c * old_c * of_sigmoid(f),
                                          own_c * i * of_tanh(g), own_h * tanh_c * of_sigmoid(o)},
                                         1);
        own_c.mul_(f);
        own_h.copy_(at::matmul(gates, wide(weights.hidden)));
        gradient.x[t].narrow(0, 0, rows).copy_(at::matmul(gates, wide(weights.input)));
        sums.add(gates, gates, inputs[t].narrow(0, 0, rows), old_h);
    }
    gradient.weights = sums.total;
    return gradient;
}

GruGradient gru_layer_gradient(const at::Tensor& x, const at::Tensor& h, const Weights& weights, const GruTrace& trace,
                               const at::Tensor& dy, const at::Tensor& dh, const Sequence& sequence) {
    const at::Tensor inputs = wide(x);
    GruGradient gradient{at::zeros_like(inputs), wide(dh).clone(), {}};
    Sums sums(weights);
    for (size_t turn = sequence.steps(); turn-- > 0;) {
        const size_t step = sequence.at(turn);
        const int64_t rows = sequence.rows[step];
        const auto t = static_cast<int64_t>(step);
        const auto part = [&](const at::Tensor& all) { return wide(all[t].narrow(0, 0, rows)); };
        const at::Tensor r = part(trace.r), z = part(trace.z), n = part(trace.n), hidden_n = part(trace.hidden_n);
        const at::Tensor old = wide(before(trace.h, h, sequence, turn).narrow(0, 0, rows));
        at::Tensor own = gradient.h.narrow(0, 0, rows);
        own.add_(part(dy));
        const at::Tensor d_n = own * (1 - z) * of_tanh(n);
        const at::Tensor d_r = d_n * hidden_n * of_sigmoid(r);
        const at::Tensor d_z = own * (old - n) * of_sigmoid(z);
        const at::Tensor d_input = at::cat({d_r, d_z, d_n}, 1);
        const at::Tensor d_hidden = at::cat({d_r, d_z, d_n * r}, 1);
        own.copy_(own * z + at::matmul(d_hidden, wide(weights.hidden)));
        gradient.x[t].narrow(0, 0, rows).copy_(at::matmul(d_input, wide(weights.input)));
        sums.add(d_input, d_hidden, inputs[t].narrow(0, 0, rows), old);
    }
    gradient.weights = sums.total;
    return gradient;
}

}  // namespace softnpu
