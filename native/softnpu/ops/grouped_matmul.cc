// SPDX-License-Identifier: Apache-2.0
//
// Quantised products, and products of many pairs at once: the experts of a mixture.
#include "ops/op.h"
#include "ops/quant_math.h"

using softnpu::maybe;
using softnpu::put;
using softnpu::put_quantised;
using softnpu::scale_of;
using softnpu::wide;

namespace {

// Where a list has one entry for all experts stacked, or one for each.
at::Tensor of_expert(const std::vector<at::Tensor>& list, size_t expert, int64_t experts) {
    if (list.empty()) {
        return {};
    }
    if (list.size() > 1 || experts == 1) {
        const at::Tensor& own = list.at(list.size() > 1 ? expert : 0);
        return own.numel() == 0 ? at::Tensor() : own;
    }
    const at::Tensor& all = list[0];
    return all.numel() == 0 ? at::Tensor() : all.size(0) == experts ? all[static_cast<int64_t>(expert)] : all;
}

struct Quantisation {
    at::Tensor scale, offset;                // of the product, per column
    at::Tensor weight_scale, weight_offset;  // of the weight: w = (q + offset) * scale, in groups of rows
    at::Tensor row_scale;                    // of the product, per row
};

// Nibbles lie along the dimension that is contiguous, whichever way the matrix is turned.
at::Tensor unpacked(const at::Tensor& matrix) {
    const bool turned = matrix.dim() >= 2 && matrix.stride(-2) == 1 && matrix.size(-1) > 1 && matrix.stride(-1) != 1;
    return turned ? softnpu::unpack_nibbles(matrix.transpose(-1, -2)).transpose(-1, -2)
                  : softnpu::unpack_nibbles(matrix);
}

at::Tensor dequantised(const at::Tensor& weight, const Quantisation& by) {
    at::Tensor w = unpacked(weight).to(at::kFloat);
    const int64_t rows = w.size(-2);
    const auto spread = [&](const at::Tensor& x) {
        const at::Tensor each = wide(x);
        const bool in_groups = each.dim() >= 2 && each.size(-2) > 1 && each.size(-2) < rows;
        return in_groups ? each.repeat_interleave(rows / each.size(-2), -2) : each;
    };
    w = by.weight_offset.defined() ? w + spread(by.weight_offset) : w;
    return w * spread(by.weight_scale);
}

at::Tensor product(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, const Quantisation& by) {
    const bool integers = x.scalar_type() == at::kChar || x.scalar_type() == at::kInt;
    if (!integers) {
        const at::Tensor w = by.weight_scale.defined() ? dequantised(weight, by) : wide(weight);
        at::Tensor y = at::matmul(wide(x), w);
        y = bias.defined() ? y + wide(bias) : y;
        return by.scale.defined() ? y * scale_of(by.scale) : y;
    }
    const bool whole = bias.defined() && bias.scalar_type() == at::kInt;
    at::Tensor y = softnpu::integer_product(unpacked(x), unpacked(weight));
    y = (whole ? y + bias.to(at::kDouble) : y).to(at::kFloat);
    y = by.scale.defined() ? y * scale_of(by.scale) : y;
    y = by.row_scale.defined() ? y * wide(by.row_scale).reshape({-1, 1}) : y;
    y = by.offset.defined() ? y + wide(by.offset) : y;
    return bias.defined() && !whole ? y + wide(bias) : y;
}

void store(const at::Tensor& out, const at::Tensor& value) {
    out.scalar_type() == at::kChar ? put_quantised(out, value) : put(out, value);
}

at::Tensor activated(const at::Tensor& x, int64_t kind) {
    switch (kind) {
        case 0:
            return x;
        case 1:
            return at::relu(x);
        case 2:
            return at::gelu(x, "tanh");
        case 3:
            return at::gelu(x);
        case 4:
            return x * at::sigmoid(x * 1.702);
        case 5:
            return at::silu(x);
        default:
            TORCH_CHECK(false, "activation ", kind, ", must be 0 to 5");
    }
}

struct Grouped {
    const std::vector<at::Tensor>&x, &weight, &bias, &scale, &offset, &weight_scale, &weight_offset, &row_scale;
    std::vector<int64_t> ends;  // of the groups along the split dimension; empty: one pair for each entry
    int64_t type;               // split: -1 none, 0 the rows of x, 2 what is summed over
    int64_t activation;
    const std::vector<at::Tensor>& out;
};

void multiply(const Grouped& g) {
    const int64_t stacked = g.weight.size() == 1 && g.weight[0].dim() == 3 ? g.weight[0].size(0) : 0;
    const auto experts =
        std::max<int64_t>({static_cast<int64_t>(g.weight.size()), stacked, static_cast<int64_t>(g.ends.size())});
    int64_t start = 0;
    int64_t out_row = 0;
    for (int64_t expert = 0; expert < experts; ++expert) {
        const bool split = g.x.size() == 1 && !g.ends.empty();
        const int64_t end = g.ends.empty() ? 0 : g.ends.at(expert);
        at::Tensor x = g.x.at(g.x.size() == 1 ? 0 : expert);
        at::Tensor w = g.weight.at(g.weight.size() == 1 ? 0 : expert);
        w = stacked > 0 ? w[expert] : w;
        if (split && g.type == 2) {
            x = x.slice(1, start, end);
            w = w.slice(0, start, end);
        } else if (split) {
            x = x.slice(0, start, end);
        }
        const auto index = static_cast<size_t>(expert);
        at::Tensor row_scale = g.row_scale.empty() ? at::Tensor() : g.row_scale[g.row_scale.size() == 1 ? 0 : index];
        if (row_scale.defined() && g.row_scale.size() == 1 && split) {
            row_scale = row_scale.slice(0, start, end);
        }
        const Quantisation by{of_expert(g.scale, index, experts), of_expert(g.offset, index, experts),
                              of_expert(g.weight_scale, index, experts), of_expert(g.weight_offset, index, experts),
                              row_scale};
        const at::Tensor y = activated(product(x, w, of_expert(g.bias, index, experts), by), g.activation);
        if (g.out.size() > 1 || experts == 1) {
            store(g.out.at(index), y);
        } else if (g.type == 2) {
            store(g.out[0].dim() == 3 ? g.out[0][expert] : g.out[0].narrow(0, expert * y.size(0), y.size(0)), y);
        } else {
            store(g.out[0].narrow(0, out_row, y.size(0)), y);
            out_row += y.size(0);
        }
        start = end;
    }
}

// 0: running sums, 1: counts, 2: pairs of expert and count, of which only those with rows are there.
std::vector<int64_t> ends_of(const at::Tensor& list, int64_t kind, int64_t experts) {
    if (!list.defined() || list.numel() == 0) {
        return {};
    }
    at::Tensor sums = list.to(at::kLong).contiguous();
    if (kind == 2) {
        at::Tensor counts = at::zeros({experts}, at::kLong);
        counts.index_add_(0, sums.select(1, 0), sums.select(1, 1));
        sums = counts.cumsum(0);
    } else if (kind == 1) {
        sums = sums.cumsum(0);
    }
    return {sums.data_ptr<int64_t>(), sums.data_ptr<int64_t>() + sums.numel()};
}

int64_t experts_of(const std::vector<at::Tensor>& weight) {
    return weight.size() == 1 && weight[0].dim() == 3 ? weight[0].size(0) : static_cast<int64_t>(weight.size());
}

softnpu::Cost grouped_cost(const softnpu::Plan& plan) {
    const auto& xs = std::get<softnpu::TensorListSlot>(plan.arguments[0]);
    const auto& weights = std::get<softnpu::TensorListSlot>(plan.arguments[1]);
    double flops = 0;
    for (int32_t i = 0; i < xs.count; ++i) {  // each row of x meets one expert's columns
        const aclTensor& x = plan.tensors[xs.first + i];
        const aclTensor& w = plan.tensors[weights.first + (weights.count > i ? i : 0)];
        flops += 2.0 * static_cast<double>(x.numel()) * static_cast<double>(w.sizes[w.dims - 1]);
    }
    return softnpu::cube_cost(plan, flops, plan.tensors[xs.first].dtype);
}

const std::vector<at::Tensor> kNone;

}  // namespace

#define GROUPED_HEAD \
    List(x), List(weight), List(bias), List(scale), List(offset), List(weight_scale), List(weight_offset)
#define GROUPED_TAIL                                                                                        \
    List(row_scale), In(groups), List(act_input), List(act_scale), List(act_offset), Int(split), Int(type), \
        Int(list_type), Int(activation)
#define GROUPED_RUN                                                                   \
    multiply({x, weight, bias, scale, offset, weight_scale, weight_offset, row_scale, \
              ends_of(groups, list_type, experts_of(weight)), type, activation, out})

OP_COST(aclnnGroupedMatmul, grouped_cost, GROUPED_HEAD, Ints(groups), Int(split), List(out)) {
    multiply(
        {x, weight, bias, scale, offset, weight_scale, weight_offset, kNone, groups, groups.empty() ? -1 : 0, 0, out});
}
OP_COST(aclnnGroupedMatmulV4, grouped_cost, GROUPED_HEAD, GROUPED_TAIL, List(out), List(feature), List(dynamic)) {
    GROUPED_RUN;
}
OP_COST(aclnnGroupedMatmulV5, grouped_cost, GROUPED_HEAD, GROUPED_TAIL, Ints(tuning), List(out), List(feature),
        List(dynamic)) {
    GROUPED_RUN;
}

OP_COST(aclnnGroupedMatmulWeightNz, grouped_cost, GROUPED_HEAD, GROUPED_TAIL, Ints(tuning), Int(group), List(out),
        List(feature), List(dynamic)) {
    GROUPED_RUN;
}
OP_COST(aclnnGroupedMatmulV2, grouped_cost, GROUPED_HEAD, Ints(groups), Int(split), Int(type), List(out)) {
    multiply({x, weight, bias, scale, offset, weight_scale, weight_offset, kNone, groups, type, 0, out});
}
OP_COST(aclnnGroupedMatmulV3, grouped_cost, GROUPED_HEAD, In(groups), Int(split), Int(type), List(out)) {
    multiply({x, weight, bias, scale, offset, weight_scale, weight_offset, kNone,
              ends_of(groups, 0, experts_of(weight)), type, 0, out});
}

namespace {

struct Gated {
    const at::Tensor &x, &weight, &bias, &weight_scale, &row_scale, &smooth;
    std::vector<int64_t> ends;  // running sums of each expert's rows; rows beyond the last are left alone
    const at::Tensor &out, &out_scale;
};

// Rows in groups, each times its expert's weight; then silu(left half) x right half, quantised row by row.
void multiply_gated(const Gated& g) {
    // A program that lays the cube's blocks out itself gives (experts, n / n0, k / k0, k0, n0).
    const at::Tensor weights =
        g.weight.dim() == 5
            ? g.weight.permute({0, 2, 3, 1, 4}).reshape({g.weight.size(0), g.weight.size(2) * g.weight.size(3), -1})
            : g.weight;
    int64_t start = 0;
    for (size_t expert = 0; expert < g.ends.size(); ++expert) {
        const int64_t end = g.ends[expert];
        const auto e = static_cast<int64_t>(expert);
        const auto own = [&](const at::Tensor& all) {
            return all.defined() && all.numel() != 0 ? all[e] : at::Tensor();
        };
        const Quantisation by{own(g.weight_scale), {}, {}, {}, g.row_scale.slice(0, start, end)};
        const auto halves = product(g.x.slice(0, start, end), weights[e], own(g.bias), by).chunk(2, -1);
        at::Tensor y = at::silu(halves[0]) * halves[1];
        y = g.smooth.defined() && g.smooth.numel() != 0 ? y * wide(g.smooth[e]) : y;
        constexpr double kInt8 = 127;
        const at::Tensor scale = softnpu::row_scales(y, kInt8, true).scale;
        put_quantised(g.out.slice(0, start, end), y / scale);
        put(g.out_scale.slice(0, start, end), scale);
        start = end;
    }
}

}  // namespace

OP_COST(aclnnGroupedMatmulSwigluQuant, softnpu::matmul_cost, In(x), In(weight), In(bias), In(offset), In(weight_scale),
        In(row_scale), In(groups), Out(output), Out(output_scale), Out(output_offset)) {
    multiply_gated(
        {x, weight, bias, weight_scale, row_scale, {}, ends_of(groups, 0, weight.size(0)), output, output_scale});
}
OP_COST(aclnnGroupedMatmulSwigluQuantWeightNZ, softnpu::matmul_cost, In(x), In(weight), In(bias), In(offset),
        In(weight_scale), In(row_scale), In(groups), Out(output), Out(output_scale), Out(output_offset)) {
    multiply_gated(
        {x, weight, bias, weight_scale, row_scale, {}, ends_of(groups, 0, weight.size(0)), output, output_scale});
}
// An assisting matrix belongs to weights of four bits with an offset.
OP_COST(aclnnGroupedMatmulSwigluQuantV2, softnpu::vector_cost, In(x), List(weight), List(weight_scale), List(assist),
        In(bias), In(row_scale), In(smooth), In(groups), Int(dequant), Int(type), Int(quant), Int(list_type),
        Ints(tuning), Out(output), Out(output_scale)) {
    TORCH_CHECK(assist.empty() || assist[0].numel() == 0, "weightAssistMatrix is not bound in the software NPU");
    TORCH_CHECK(weight.size() == 1, weight.size(), " weights, one for all experts is needed");
    multiply_gated({x, weight[0], bias, weight_scale.at(0), row_scale, smooth,
                    ends_of(groups, list_type, weight[0].size(0)), output, output_scale});
}
OP_COST(aclnnGroupedMatmulSwigluQuantWeightNzV2, softnpu::vector_cost, In(x), List(weight), List(weight_scale),
        List(assist), In(bias), In(row_scale), In(smooth), In(groups), Int(dequant), Int(type), Int(quant),
        Int(list_type), Ints(tuning), Out(output), Out(output_scale)) {
    aclnnGroupedMatmulSwigluQuantV2_body(x, weight, weight_scale, assist, bias, row_scale, smooth, groups, dequant,
                                         type, quant, list_type, tuning, output, output_scale);
}

OP_COST(aclnnQuantMatmulV5, softnpu::matmul_cost, In(x1), In(x2), In(x1_scale), In(x2_scale), In(y_scale),
        In(x1_offset), In(x2_offset), In(y_offset), In(bias), Flag(transpose1), Flag(transpose2), Int(group),
        Out(out)) {
    const at::Tensor left = transpose1 ? x1.transpose(-1, -2) : x1;
    const at::Tensor right = transpose2 ? x2.transpose(-1, -2) : x2;
    Quantisation by{scale_of(x2_scale), {}, {}, {}, x1_scale};
    at::Tensor y = product(left, right, bias, by);
    y = y_scale.defined() && y_scale.numel() != 0 ? y * scale_of(y_scale) : y;
    const at::Tensor& shift = y_offset.defined() && y_offset.numel() != 0 ? y_offset : x2_offset;
    store(out, shift.defined() && shift.numel() != 0 ? y + wide(shift) : y);
}
OP_COST(aclnnQuantMatmulV4, softnpu::matmul_cost, In(x1), In(x2), In(scale), In(offset), In(row_scale), In(bias),
        Flag(transpose1), Flag(transpose2), Out(out)) {
    aclnnQuantMatmulV5_body(x1, x2, row_scale, scale, {}, {}, offset, {}, bias, transpose1, transpose2, 0, out);
}
OP_COST(aclnnQuantMatmulV3, softnpu::matmul_cost, In(x1), In(x2), In(scale), In(offset), In(bias), Flag(transpose1),
        Flag(transpose2), Out(out)) {
    aclnnQuantMatmulV5_body(x1, x2, {}, scale, {}, {}, offset, {}, bias, transpose1, transpose2, 0, out);
}
OP_COST(aclnnQuantMatmulWeightNz, softnpu::matmul_cost, In(x1), In(x2), In(x1_scale), In(x2_scale), In(y_scale),
        In(x1_offset), In(x2_offset), In(y_offset), In(bias), Flag(transpose1), Flag(transpose2), Int(group),
        Out(out)) {
    aclnnQuantMatmulV5_body(x1, x2, x1_scale, x2_scale, y_scale, x1_offset, x2_offset, y_offset, bias, transpose1,
                            transpose2, group, out);
}
OP_COST(aclnnWeightQuantBatchMatmulNz, softnpu::matmul_cost, In(x), In(weight), In(weight_scale), In(weight_offset),
        In(scale), In(offset), In(bias), I32(group), Out(y)) {
    store(y, product(x, weight, bias, {scale, offset, weight_scale, weight_offset, {}}));
}
OP_COST(aclnnWeightQuantBatchMatmulV2, softnpu::matmul_cost, In(x), In(weight), In(weight_scale), In(weight_offset),
        In(scale), In(offset), In(bias), I32(group), Out(y)) {
    store(y, product(x, weight, bias, {scale, offset, weight_scale, weight_offset, {}}));
}
OP_COST(aclnnWeightQuantBatchMatmulV3, softnpu::matmul_cost, In(x), In(weight), In(weight_scale), In(weight_offset),
        In(scale), In(offset), In(bias), I32(group), I32(precise), Out(y)) {
    store(y, product(x, weight, bias, {scale, offset, weight_scale, weight_offset, {}}));
}

namespace {

at::Tensor activated(const at::Tensor& x, const std::string& name) {
    const bool gated = name == "geglu" || name == "swiglu" || name == "reglu";
    const std::string plain = name == "geglu" ? "gelu" : name == "swiglu" ? "silu" : name == "reglu" ? "relu" : name;
    const auto halves = gated ? x.chunk(2, -1) : std::vector<at::Tensor>{x};
    const int64_t kind = plain == "relu" ? 1 : plain == "gelu" ? 3 : plain == "fastgelu" ? 4 : plain == "silu" ? 5 : -1;
    const at::Tensor y = activated(halves[0], kind);
    return gated ? y * halves[1] : y;
}

}  // namespace

// y = activation(x W1 + b1) W2 + b2, of one network or of an expert for each group of rows.
OP_COST(aclnnFFNV2, softnpu::vector_cost, In(x), In(weight1), In(weight2), Ints(tokens), In(bias1), In(bias2),
        In(scale), In(offset), In(product_scale1), In(product_scale2), In(weight_scale1), In(weight_scale2),
        In(weight_offset1), In(weight_offset2), Text(activation), Int(precise), Flag(running), Out(y)) {
    const auto experts = static_cast<int64_t>(std::max<size_t>(1, tokens.size()));
    const at::Tensor rows = x.reshape({-1, x.size(-1)});
    const at::Tensor out = y.view({-1, y.size(-1)});
    const auto own = [&](const at::Tensor& all, int64_t expert, int64_t dims) {
        return all.defined() && all.numel() != 0 && all.dim() > dims ? all[expert] : all;
    };
    int64_t start = 0;
    for (int64_t expert = 0; expert < experts; ++expert) {
        const int64_t end = tokens.empty() ? rows.size(0) : running ? tokens[expert] : start + tokens[expert];
        const Quantisation first{
            own(product_scale1, expert, 1), {}, own(weight_scale1, expert, 1), own(weight_offset1, expert, 1), {}};
        const Quantisation second{
            own(product_scale2, expert, 1), {}, own(weight_scale2, expert, 1), own(weight_offset2, expert, 1), {}};
        at::Tensor middle = activated(
            product(rows.slice(0, start, end), own(weight1, expert, 2), own(bias1, expert, 1), first), activation);
        if (scale.defined() && scale.numel() != 0) {
            middle = middle * wide(own(scale, expert, 0)) + wide(own(offset, expert, 0));
            middle = at::clamp(at::round(middle), -128, 127).to(at::kChar);
        }
        store(out.slice(0, start, end), product(middle, own(weight2, expert, 2), own(bias2, expert, 1), second));
        start = end;
    }
}
OP_COST(aclnnFFN, softnpu::vector_cost, In(x), In(weight1), In(weight2), Ints(tokens), In(bias1), In(bias2), In(scale),
        In(offset), In(product_scale1), In(product_scale2), In(weight_scale1), In(weight_scale2), In(weight_offset1),
        In(weight_offset2), Text(activation), Int(precise), Out(y)) {
    aclnnFFNV2_body(x, weight1, weight2, tokens, bias1, bias2, scale, offset, product_scale1, product_scale2,
                    weight_scale1, weight_scale2, weight_offset1, weight_offset2, activation, precise, false, y);
}
OP_COST(aclnnFFNV3, softnpu::vector_cost, In(x), In(weight1), In(weight2), In(tokens), In(bias1), In(bias2), In(scale),
        In(offset), In(product_scale1), In(product_scale2), In(weight_scale1), In(weight_scale2), In(weight_offset1),
        In(weight_offset2), Text(activation), Int(precise), Flag(running), Out(y)) {
    std::vector<int64_t> counts;
    if (tokens.defined()) {
        const at::Tensor values = tokens.to(at::kLong).contiguous();
        counts.assign(values.data_ptr<int64_t>(), values.data_ptr<int64_t>() + values.numel());
    }
    aclnnFFNV2_body(x, weight1, weight2, counts, bias1, bias2, scale, offset, product_scale1, product_scale2,
                    weight_scale1, weight_scale2, weight_offset1, weight_offset2, activation, precise, running, y);
}
