// SPDX-License-Identifier: Apache-2.0
//
// One layer of a recurrent network in one direction, and its gradient, in fp32. Weights are as torch has them: (gates x
// hidden, input) and (gates x hidden, hidden), gates in the order i, f, g, o (LSTM) or r, z, n (GRU).
#pragma once

#include <ATen/ATen.h>

#include <vector>

namespace softnpu {

// Which rows of (steps, batch, …) count: the first rows[t] at step t, in falling numbers; the others are padding.
struct Sequence {
    std::vector<int64_t> rows;
    bool reversed = false;

    size_t steps() const { return rows.size(); }
    size_t at(size_t turn) const { return reversed ? steps() - 1 - turn : turn; }  // the step that comes as turn-th
};

struct Weights {
    at::Tensor input, hidden;
    at::Tensor input_bias, hidden_bias;  // undefined where there are none
};

struct WeightGradients {
    at::Tensor input, hidden, input_bias, hidden_bias;
};

// Each (steps, batch, hidden). In rows that are padding, h and c stay what they were; all else is 0.
struct LstmTrace {
    at::Tensor i, f, g, o, c, tanh_c, h;
};
struct GruTrace {
    at::Tensor r, z, n, hidden_n, h;
};

struct LstmGradient {
    at::Tensor x, h, c;
    WeightGradients weights;
};
struct GruGradient {
    at::Tensor x, h;
    WeightGradients weights;
};

// x (steps, batch, input); h and c (batch, hidden), of before the first step.
LstmTrace lstm_layer(const at::Tensor& x, const at::Tensor& h, const at::Tensor& c, const Weights& weights,
                     const Sequence& sequence);
GruTrace gru_layer(const at::Tensor& x, const at::Tensor& h, const Weights& weights, const Sequence& sequence);

// dy (steps, batch, hidden) of every h; dh and dc (batch, hidden) of the last ones.
LstmGradient lstm_layer_gradient(const at::Tensor& x, const at::Tensor& h, const at::Tensor& c, const Weights& weights,
                                 const LstmTrace& trace, const at::Tensor& dy, const at::Tensor& dh,
                                 const at::Tensor& dc, const Sequence& sequence);
GruGradient gru_layer_gradient(const at::Tensor& x, const at::Tensor& h, const Weights& weights, const GruTrace& trace,
                               const at::Tensor& dy, const at::Tensor& dh, const Sequence& sequence);

}  // namespace softnpu
