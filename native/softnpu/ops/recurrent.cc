// SPDX-License-Identifier: Apache-2.0
//
// LSTM and GRU: whole networks (aclnn), one layer (by name), one cell.
#include "ops/compiled.h"
#include "ops/op.h"
#include "ops/recurrent_math.h"

using softnpu::GruTrace;
using softnpu::LstmTrace;
using softnpu::put;
using softnpu::Sequence;
using softnpu::WeightGradients;
using softnpu::Weights;
using softnpu::wide;

namespace {

using Tensors = std::vector<at::Tensor>;

// Every matrix among the tensors is multiplied with every step's rows.
softnpu::Cost recurrent_cost(const softnpu::Plan& plan) {
    const aclTensor& x = plan.tensors.front();
    const double width = x.dims > 0 && x.sizes[x.dims - 1] > 0 ? static_cast<double>(x.sizes[x.dims - 1]) : 1;
    double weights = 0;
    for (size_t i = 1; i < plan.tensors.size(); ++i) {
        weights += plan.tensors[i].dims == 2 ? static_cast<double>(plan.tensors[i].numel()) : 0;
    }
    return softnpu::cube_cost(plan, 2.0 * static_cast<double>(x.numel()) / width * weights, x.dtype);
}

// Time first, with the rows that count. Of packed data, (steps x batch, …), batch_sizes has a number for each step.
struct Input {
    Input(const at::Tensor& x, const at::Tensor& batch_sizes, bool batch_first) : turned(batch_first) {
        if (batch_sizes.defined() && batch_sizes.numel() > 0) {
            packed = true;
            const at::Tensor sizes = batch_sizes.to(at::kLong).contiguous();
            rows.assign(sizes.data_ptr<int64_t>(), sizes.data_ptr<int64_t>() + sizes.numel());
            const auto steps = static_cast<int64_t>(rows.size());
            TORCH_CHECK(x.size(0) % steps == 0, "packed data of ", x.size(0), " rows for ", steps, " steps");
        } else {
            rows.assign(x.size(batch_first ? 1 : 0), x.size(batch_first ? 0 : 1));
        }
        data = time_first(x);
    }
    at::Tensor time_first(const at::Tensor& x) const {
        if (packed) {
            return x.reshape({static_cast<int64_t>(rows.size()), -1, x.size(-1)});
        }
        return turned ? x.transpose(0, 1) : x;
    }
    // The way the program has it.
    at::Tensor given(const at::Tensor& x) const {
        return packed ? x.reshape({-1, x.size(-1)}) : turned ? x.transpose(0, 1) : x;
    }
    // Rows that are padding give 0.
    at::Tensor cleared(const at::Tensor& y) const {
        if (!packed) {
            return y;
        }
        at::Tensor result = y.clone();
        for (size_t t = 0; t < rows.size(); ++t) {
            result[static_cast<int64_t>(t)].slice(0, rows[t]).zero_();
        }
        return result;
    }

    bool turned;
    bool packed = false;
    std::vector<int64_t> rows;
    at::Tensor data;
};

// Layers above each other, each of one direction or two. `places` counts layer by layer, direction by direction.
struct Network {
    Network(const Tensors& parameters, bool biases, int64_t layers, bool bidirectional)
        : parameters(parameters),
          each(biases ? 4 : 2),
          directions(bidirectional ? 2 : 1),
          places(static_cast<size_t>(layers * directions)) {
        TORCH_CHECK(parameters.size() == places * each, parameters.size(), " parameters, ", places * each,
                    " are needed");
    }
    Weights weights(size_t place) const {
        const at::Tensor* first = &parameters[place * each];
        return {first[0], first[1], each == 4 ? first[2] : at::Tensor(), each == 4 ? first[3] : at::Tensor()};
    }
    Sequence sequence(const Input& input, size_t place) const { return {input.rows, place % directions == 1}; }
    // `layer` (x, place) gives the states of that place; the last layer's, side by side, are returned.
    template <typename Layer>
    at::Tensor forward(const Input& input, Layer layer) const {
        at::Tensor x = input.data;
        for (size_t place = 0; place < places; place += directions) {
            Tensors states;
            for (size_t d = 0; d < directions; ++d) {
                states.push_back(input.cleared(layer(x, place + d)));
            }
            x = at::cat(states, -1);
        }
        return x;
    }
    // What a place's layer was given: the input, or what the layer under it made.
    at::Tensor input_of(const Input& input, const Tensors& states, size_t place) const {
        if (place < directions) {
            return wide(input.data);
        }
        Tensors below;
        for (size_t d = 0; d < directions; ++d) {
            below.push_back(input.cleared(wide(states[place - place % directions - directions + d])));
        }
        return at::cat(below, -1);
    }
    // `layer` (dy, place) gives the gradient of what it was given; that of the network's input is returned.
    template <typename Layer>
    at::Tensor backward(const at::Tensor& dy, Layer layer) const {
        at::Tensor gradient = dy;
        for (size_t top = places; top > 0; top -= directions) {
            const auto parts = gradient.chunk(static_cast<int64_t>(directions), -1);
            at::Tensor below;
            for (size_t d = 0; d < directions; ++d) {
                const at::Tensor dx = layer(parts[d], top - directions + d);
                below = below.defined() ? below + dx : dx;
            }
            gradient = below;
        }
        return gradient;
    }
    void put_gradients(const Tensors& out, const WeightGradients& gradients, size_t place) const {
        const at::Tensor* first = &out[place * each];
        put(first[0], gradients.input);
        put(first[1], gradients.hidden);
        if (each == 4) {
            put(first[2], gradients.input_bias);
            put(first[3], gradients.hidden_bias);
        }
    }

    const Tensors& parameters;
    size_t each;
    size_t directions;
    size_t places;
};

// The state after the last turn.
at::Tensor last(const at::Tensor& states, bool reversed) { return states[reversed ? 0 : states.size(0) - 1]; }

// Lists of a call that does not train are empty.
void put_at(const Tensors& list, size_t place, const at::Tensor& value) {
    if (place < list.size()) {
        put(list[place], value);
    }
}

}  // namespace

OP_COST(aclnnLSTM, recurrent_cost, In(input), List(params), List(hx), In(batchSizes), Flag(hasBias), Int(numLayers),
        F64(dropout), Flag(train), Flag(bidirectional), Flag(batchFirst), Out(output), Out(hy), Out(cy), List(iOut),
        List(jOut), List(fOut), List(oOut), List(hOut), List(cOut), List(tanhCOut)) {
    TORCH_CHECK(dropout == 0 || !train || numLayers == 1, "a dropout of ", dropout,
                " between layers: only 0 is supported");
    const Input x(input, batchSizes, batchFirst);
    const Network network(params, hasBias, numLayers, bidirectional);
    put(output, x.given(network.forward(x, [&](const at::Tensor& below, size_t place) {
        const Sequence sequence = network.sequence(x, place);
        const auto index = static_cast<int64_t>(place);
        const LstmTrace trace =
            softnpu::lstm_layer(below, hx.at(0)[index], hx.at(1)[index], network.weights(place), sequence);
        put(hy[index], last(trace.h, sequence.reversed));
        put(cy[index], last(trace.c, sequence.reversed));
        put_at(iOut, place, trace.i);
        put_at(jOut, place, trace.g);
        put_at(fOut, place, trace.f);
        put_at(oOut, place, trace.o);
        put_at(hOut, place, trace.h);
        put_at(cOut, place, trace.c);
        put_at(tanhCOut, place, trace.tanh_c);
        return trace.h;
    })));
}

OP_COST(aclnnLstmBackward, recurrent_cost, In(input), List(hx), List(params), In(dy), In(dh), In(dc), List(i), List(g),
        List(f), List(o), List(h), List(c), List(tanhc), In(batchSizesOptional), Flag(hasBias), Int(numLayers),
        F64(dropout), Flag(train), Flag(bidirectional), Flag(batchFirst), Bools(outputMask), Out(dxOut), Out(dhPrevOut),
        Out(dcPrevOut), List(dparamsOut)) {
    const Input x(input, batchSizesOptional, batchFirst);
    const Network network(params, hasBias, numLayers, bidirectional);
    const auto steps = static_cast<int64_t>(x.rows.size());
    const int64_t hidden = hx.at(0).size(-1);
    const int64_t batch = x.data.size(1);
    const auto width = static_cast<int64_t>(network.directions) * hidden;
    const auto zeros = [&](at::IntArrayRef sizes) { return at::zeros(sizes, at::kFloat); };
    const at::Tensor top = dy.defined() && dy.numel() > 0 ? wide(x.time_first(dy)) : zeros({steps, batch, width});
    const at::Tensor dx = network.backward(top, [&](const at::Tensor& above, size_t place) {
        const auto index = static_cast<int64_t>(place);
        const auto shaped = [&](const at::Tensor& t) { return t.reshape({steps, batch, hidden}); };
        const LstmTrace trace{shaped(i.at(place)), shaped(f.at(place)),     shaped(g.at(place)), shaped(o.at(place)),
                              shaped(c.at(place)), shaped(tanhc.at(place)), shaped(h.at(place))};
        Tensors states;
        for (const at::Tensor& one : h) {
            states.push_back(shaped(one));
        }
        const auto gradient = softnpu::lstm_layer_gradient(
            network.input_of(x, states, place), hx.at(0)[index], hx.at(1)[index], network.weights(place), trace, above,
            dh.defined() && dh.numel() > 0 ? dh[index] : zeros({batch, hidden}),
            dc.defined() && dc.numel() > 0 ? dc[index] : zeros({batch, hidden}), network.sequence(x, place));
        put(dhPrevOut[index], gradient.h);
        put(dcPrevOut[index], gradient.c);
        network.put_gradients(dparamsOut, gradient.weights, place);
        return gradient.x;
    });
    put(dxOut, x.given(dx));
}

OP_COST(aclnnGRU, recurrent_cost, In(input), List(params), In(hx), In(batchSizes), Flag(hasBias), Int(numLayers),
        F64(dropout), Flag(train), Flag(bidirection), Flag(batchFirst), Out(output), Out(hy), List(rOut), List(zOut),
        List(nOut), List(hnOut), List(hOut)) {
    TORCH_CHECK(dropout == 0 || !train || numLayers == 1, "a dropout of ", dropout,
                " between layers: only 0 is supported");
    const Input x(input, batchSizes, batchFirst);
    const Network network(params, hasBias, numLayers, bidirection);
    put(output, x.given(network.forward(x, [&](const at::Tensor& below, size_t place) {
        const Sequence sequence = network.sequence(x, place);
        const auto index = static_cast<int64_t>(place);
        const GruTrace trace = softnpu::gru_layer(below, hx[index], network.weights(place), sequence);
        put(hy[index], last(trace.h, sequence.reversed));
        put_at(rOut, place, trace.r);
        put_at(zOut, place, trace.z);
        put_at(nOut, place, trace.n);
        put_at(hnOut, place, trace.hidden_n);
        put_at(hOut, place, trace.h);
        return trace.h;
    })));
}

OP_COST(aclnnGRUBackward, recurrent_cost, In(input), List(params), In(hx), In(dy), In(dh), List(r), List(z), List(n),
        List(hn), List(h), In(batchSizes), Flag(hasBias), Int(numLayers), Flag(bidirection), Flag(batchFirst),
        Out(dxOut), Out(dhPrevOut), List(dparamsOut)) {
    const Input x(input, batchSizes, batchFirst);
    const Network network(params, hasBias, numLayers, bidirection);
    const auto steps = static_cast<int64_t>(x.rows.size());
    const at::Tensor dx = network.backward(wide(x.time_first(dy)), [&](const at::Tensor& above, size_t place) {
        const auto index = static_cast<int64_t>(place);
        const auto shaped = [&](const at::Tensor& t) { return t.reshape({steps, x.data.size(1), hx.size(-1)}); };
        const GruTrace trace{shaped(r.at(place)), shaped(z.at(place)), shaped(n.at(place)), shaped(hn.at(place)),
                             shaped(h.at(place))};
        Tensors states;
        for (const at::Tensor& one : h) {
            states.push_back(shaped(one));
        }
        const auto gradient =
            softnpu::gru_layer_gradient(network.input_of(x, states, place), hx[index], network.weights(place), trace,
                                        above, dh[index], network.sequence(x, place));
        put(dhPrevOut[index], gradient.h);
        network.put_gradients(dparamsOut, gradient.weights, place);
        return gradient.x;
    });
    put(dxOut, x.given(dx));
}

namespace {

// Both directions of one layer; the second's weights may be missing.
void both_ways(const at::Tensor& x, const at::Tensor& h, const at::Tensor& c, const Tensors& weights, bool biases,
               bool batch_first, bool both, const at::Tensor& batch_sizes, Tensors out) {
    Tensors given;
    for (size_t k = 0; k < (both ? 8U : 4U); ++k) {
        if (k % 4 < 2 || biases) {
            given.push_back(weights[k]);
        }
    }
    const Input input(x, batch_sizes, batch_first);
    const Network network(given, biases, 1, both);
    put(out[0], input.given(network.forward(input, [&](const at::Tensor& below, size_t place) {
        const auto index = static_cast<int64_t>(place);
        const Sequence sequence = network.sequence(input, place);
        const auto first = [&](const at::Tensor& state) {
            return state.defined() ? state[index] : at::zeros({below.size(1), given[1].size(1)});
        };
        const LstmTrace trace = softnpu::lstm_layer(below, first(h), first(c), network.weights(place), sequence);
        put(out[1][index], last(trace.h, sequence.reversed));
        put(out[2][index], last(trace.c, sequence.reversed));
        return trace.h;
    })));
}

}  // namespace

OP_COST(aclnnBidirectionLSTM, recurrent_cost, In(x), In(initH), In(initC), In(wIh), In(wHh), In(bIh), In(bHh),
        In(wIhReverse), In(wHhReverse), In(bIhReverse), In(bHhReverse), Int(numLayers), Flag(isbias), Flag(batchFirst),
        Flag(bidirection), Out(yOut), Out(outputHOut), Out(outputCOut)) {
    TORCH_CHECK(numLayers == 1, numLayers, " layers with the weights of one");
    both_ways(x, initH, initC, {wIh, wHh, bIh, bHh, wIhReverse, wHhReverse, bIhReverse, bHhReverse}, isbias, batchFirst,
              bidirection, {}, {yOut, outputHOut, outputCOut});
}
OP_COST(aclnnBidirectionLSTMV2, recurrent_cost, In(x), In(initH), In(initC), In(wIh), In(wHh), In(bIh), In(bHh),
        In(wIhReverse), In(wHhReverse), In(bIhReverse), In(bHhReverse), In(batchSize), Int(numLayers), Flag(isbias),
        Flag(batchFirst), Flag(bidirection), Flag(packed), Out(yOut), Out(outputHOut), Out(outputCOut)) {
    TORCH_CHECK(numLayers == 1, numLayers, " layers with the weights of one");
    both_ways(x, initH, initC, {wIh, wHh, bIh, bHh, wIhReverse, wHhReverse, bIhReverse, bHhReverse}, isbias, batchFirst,
              bidirection, packed ? batchSize : at::Tensor(), {yOut, outputHOut, outputCOut});
}

OP(aclnnThnnFusedLstmCell, In(inputGates), In(hiddenGates), In(cx), In(inputBiasOptional), In(hiddenBiasOptional),
   Out(hyOut), Out(cyOut), Out(storageOut)) {
    at::Tensor gates = wide(inputGates) + wide(hiddenGates);
    for (const at::Tensor& bias : {inputBiasOptional, hiddenBiasOptional}) {
        gates = bias.defined() ? gates + wide(bias) : gates;
    }
    const auto part = gates.chunk(4, 1);
    const at::Tensor i = at::sigmoid(part[0]), f = at::sigmoid(part[1]), g = at::tanh(part[2]);
    const at::Tensor o = at::sigmoid(part[3]);
    const at::Tensor c = f * wide(cx) + i * g;
    put(cyOut, c);
    put(hyOut, o * at::tanh(c));
    put(storageOut, at::cat({i, f, g, o}, 1));
}

OP(aclnnThnnFusedLstmCellBackward, In(gradHyOptional), In(gradCOptional), In(cx), In(cy), In(storage), Flag(hasBias),
   Out(gradGatesOut), Out(gradCxOut), Out(gradBiasOut)) {
    const auto gate = wide(storage).chunk(4, 1);
    const at::Tensor tanh_c = at::tanh(wide(cy));
    const at::Tensor dh = gradHyOptional.defined() ? wide(gradHyOptional) : at::zeros_like(tanh_c);
    at::Tensor dc = dh * gate[3] * (1 - tanh_c * tanh_c);
    dc = gradCOptional.defined() ? dc + wide(gradCOptional) : dc;
    const at::Tensor gates = at::cat({dc * gate[2] * gate[0] * (1 - gate[0]), dc * wide(cx) * gate[1] * (1 - gate[1]),
                                      dc * gate[0] * (1 - gate[2] * gate[2]), dh * tanh_c * gate[3] * (1 - gate[3])},
                                     1);
    put(gradGatesOut, gates);
    put(gradCxOut, dc * gate[1]);
    if (hasBias) {
        put(gradBiasOut, gates.sum(0));
    }
}

// One layer, one direction, time first. seq_length, where it is of three dimensions, is 1 where a row counts.
namespace {

Sequence sequence_of(const at::Tensor& x, const at::Tensor& mask, const std::string& direction) {
    Sequence sequence{std::vector<int64_t>(x.size(0), x.size(1)), direction == "REDIRECTIONAL"};
    if (mask.defined() && mask.dim() == 3) {
        for (size_t t = 0; t < sequence.steps(); ++t) {
            const at::Tensor row = mask[static_cast<int64_t>(t)].select(1, 0);
            sequence.rows[t] = row.ne(0).sum().item<int64_t>();
        }
    }
    return sequence;
}

// (batch, hidden) of (1, batch, hidden).
at::Tensor flat_state(const at::Tensor& state, const at::Tensor& x, int64_t hidden) {
    return state.defined() ? state.reshape({x.size(1), hidden}) : at::zeros({x.size(1), hidden});
}

at::Tensor given_or_none(const at::Tensor& bias) { return bias.defined() && bias.numel() > 0 ? bias : at::Tensor(); }

void put_lstm(softnpu::CompiledCall& call, const LstmTrace& trace, const at::Tensor& y) {
    const at::Tensor results[] = {y, trace.h, trace.c, trace.i, trace.g, trace.f, trace.o, trace.tanh_c};
    for (size_t k = 0; k < std::size(results); ++k) {
        put(call.out(k), results[k]);
    }
}

}  // namespace

// x, w (input + hidden, 4 hidden), b, seq_length, init_h, init_c
COMPILED_COST(DynamicRNN, recurrent_cost) {
    const auto parts = in(1).t().split_with_sizes({in(0).size(2), in(1).size(0) - in(0).size(2)}, 1);
    const int64_t hidden = parts[1].size(1);
    const Sequence sequence = sequence_of(in(0), in(3), text("direction"));
    const LstmTrace trace =
        softnpu::lstm_layer(in(0), flat_state(in(4), in(0), hidden), flat_state(in(5), in(0), hidden),
                            {parts[0], parts[1], given_or_none(in(2)), {}}, sequence);
    at::Tensor y = trace.h.clone();
    for (size_t t = 0; t < sequence.steps(); ++t) {
        y[static_cast<int64_t>(t)].slice(0, sequence.rows[t]).zero_();
    }
    put_lstm(*this, trace, y);
}

// x, w, b, y, init_h, init_c, h, c, dy, dh, dc, i, j, f, o, tanhc, seq_length, …
COMPILED_COST(DynamicRNNGrad, recurrent_cost) {
    const auto parts = in(1).t().split_with_sizes({in(0).size(2), in(1).size(0) - in(0).size(2)}, 1);
    const int64_t hidden = parts[1].size(1);
    const auto state = [&](size_t k) { return flat_state(in(k), in(0), hidden); };
    const auto gradient = softnpu::lstm_layer_gradient(
        in(0), state(4), state(5), {parts[0], parts[1], {}, {}}, {in(11), in(13), in(12), in(14), in(7), in(15), in(6)},
        in(8), state(9), state(10), sequence_of(in(0), in(16), text("direction")));
    put(out(0), at::cat({gradient.weights.input, gradient.weights.hidden}, 1).t());
    put(out(1), gradient.weights.input_bias);
    put(out(2), gradient.x);
    put(out(3), gradient.h);
    put(out(4), gradient.c);
}

// x, w_ih (input, 4 hidden), w_hh (hidden, 4 hidden), b, seq_length, init_h, init_c
COMPILED_COST(DynamicRNNV2, recurrent_cost) {
    const int64_t hidden = in(2).size(0);
    const LstmTrace trace =
        softnpu::lstm_layer(in(0), flat_state(in(5), in(0), hidden), flat_state(in(6), in(0), hidden),
                            {in(1).t(), in(2).t(), given_or_none(in(3)), {}}, sequence_of(in(0), {}, {}));
    put_lstm(*this, trace, trace.h);
}

// x, w_ih, w_hh, y, init_h, init_c, h, c, dy, dh, dc, i, j, f, o, tanhc, …
COMPILED_COST(DynamicRNNV2Grad, recurrent_cost) {
    const int64_t hidden = in(2).size(0);
    const at::Tensor x = in(0).dim() == 2 ? in(0).unsqueeze(0) : in(0);
    const auto state = [&](size_t k) { return flat_state(in(k), x, hidden); };
    const auto steps = [&](size_t k) { return in(k).reshape({x.size(0), x.size(1), hidden}); };
    const auto gradient =
        softnpu::lstm_layer_gradient(x, state(4), state(5), {in(1).t(), in(2).t(), {}, {}},
                                     {steps(11), steps(13), steps(12), steps(14), steps(7), steps(15), steps(6)},
                                     steps(8), state(9), state(10), sequence_of(x, {}, {}));
    put(out(0), gradient.weights.input.t());
    put(out(1), gradient.weights.hidden.t());
    put(out(2), gradient.weights.input_bias);
    put(out(3), gradient.x.reshape(out(3).sizes()));
    put(out(4), gradient.h.reshape(out(4).sizes()));
    put(out(5), gradient.c.reshape(out(5).sizes()));
}

// x, weight_input (input, 3 hidden), weight_hidden, bias_input, bias_hidden, seq_length, init_h
COMPILED_COST(DynamicGRUV2, recurrent_cost) {
    const GruTrace trace = softnpu::gru_layer(in(0), flat_state(in(6), in(0), in(2).size(0)),
                                              {in(1).t(), in(2).t(), given_or_none(in(3)), given_or_none(in(4))},
                                              sequence_of(in(0), {}, text("direction")));
    const at::Tensor results[] = {trace.h, trace.h, trace.z, trace.r, trace.n, trace.hidden_n};
    for (size_t k = 0; k < std::size(results); ++k) {
        put(out(k), results[k]);
    }
}

// x, weight_input, weight_hidden, y, init_h, h, dy, dh, update, reset, new, hidden_new, …
COMPILED_COST(DynamicGRUV2Grad, recurrent_cost) {
    const int64_t hidden = in(2).size(0);
    const auto gradient = softnpu::gru_layer_gradient(
        in(0), flat_state(in(4), in(0), hidden), {in(1).t(), in(2).t(), {}, {}}, {in(9), in(8), in(10), in(11), in(5)},
        in(6), flat_state(in(7), in(0), hidden), sequence_of(in(0), {}, text("direction")));
    put(out(0), gradient.weights.input.t());
    put(out(1), gradient.weights.hidden.t());
    put(out(2), gradient.weights.input_bias);
    put(out(3), gradient.weights.hidden_bias);
    put(out(4), gradient.x);
    put(out(5), gradient.h.reshape(out(5).sizes()));
}
