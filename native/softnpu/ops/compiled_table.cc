// SPDX-License-Identifier: Apache-2.0
//
// The operators that torch_npu still runs by name, where it has no aclnn call for what it needs.
#include <algorithm>

#include "ops/compiled.h"
#include "ops/overflow.h"

using softnpu::put;
using softnpu::wide;

namespace {

softnpu::Cost product_cost(const softnpu::Plan& plan) {
    const aclTensor& left = plan.tensors.front();
    const aclTensor& out = plan.tensors.back();
    const double summed = out.dims >= 2 && out.sizes[out.dims - 2] > 0
                              ? static_cast<double>(left.numel()) / static_cast<double>(out.numel()) *
                                    static_cast<double>(out.sizes[out.dims - 1])
                              : 1;
    return softnpu::cube_cost(plan, 2.0 * static_cast<double>(out.numel()) * summed, left.dtype);
}

at::Tensor turned(const at::Tensor& x, bool transpose) { return transpose ? x.transpose(-1, -2) : x; }

// Bit i of a mask says that place i of begin or end does not count.
at::Tensor strided(at::Tensor x, const std::vector<int64_t>& begin, const std::vector<int64_t>& end,
                   const std::vector<int64_t>& strides, int64_t begin_mask, int64_t end_mask, int64_t shrink) {
    int64_t dim = 0;
    for (size_t i = 0; i < begin.size(); ++i) {
        const bool open_begin = (begin_mask >> i & 1) != 0;
        const bool open_end = (end_mask >> i & 1) != 0;
        if ((shrink >> i & 1) != 0) {
            x = x.select(dim, begin[i]);
            continue;
        }
        x = x.slice(dim, open_begin ? 0 : begin[i], open_end ? x.size(dim) : end[i],
                    i < strides.size() ? strides[i] : 1);
        ++dim;
    }
    return x;
}

double number(const at::Tensor& x) { return x.reshape(-1)[0].to(at::kDouble).item<double>(); }

// Corners of boxes that are given by their middle and size, one box to a column.
std::array<at::Tensor, 4> corners(const at::Tensor& boxes, bool middle) {
    const at::Tensor all = wide(boxes);
    if (!middle) {
        return {all.select(0, 0), all.select(0, 1), all.select(0, 2), all.select(0, 3)};
    }
    const at::Tensor half_w = all.select(0, 2) / 2;
    const at::Tensor half_h = all.select(0, 3) / 2;
    return {all.select(0, 0) - half_w, all.select(0, 1) - half_h, all.select(0, 0) + half_w, all.select(0, 1) + half_h};
}

struct Overlap {
    at::Tensor iou, joined;
    std::array<at::Tensor, 4> hull;  // x1, y1, x2, y2 around both
    std::array<at::Tensor, 4> a, b;
};

// cross: every pair of a box of `first` and one of `second`; otherwise pair by pair.
Overlap overlap(const at::Tensor& first, const at::Tensor& second, bool middle, bool cross, bool over_first,
                double eps = 0) {
    Overlap o;
    o.a = corners(first, middle);
    o.b = corners(second, middle);
    if (cross) {
        for (auto& each : o.a) {
            each = each.unsqueeze(0);
        }
        for (auto& each : o.b) {
            each = each.unsqueeze(1);
        }
    }
    const at::Tensor w = at::clamp_min(at::minimum(o.a[2], o.b[2]) - at::maximum(o.a[0], o.b[0]), 0);
    const at::Tensor h = at::clamp_min(at::minimum(o.a[3], o.b[3]) - at::maximum(o.a[1], o.b[1]), 0);
    const at::Tensor area_a = (o.a[2] - o.a[0] + eps) * (o.a[3] - o.a[1] + eps);
    const at::Tensor area_b = (o.b[2] - o.b[0] + eps) * (o.b[3] - o.b[1] + eps);
    o.joined = over_first ? area_b.expand_as(w) : area_a + area_b - w * h;
    o.iou = w * h / o.joined;
    o.hull = {at::minimum(o.a[0], o.b[0]), at::minimum(o.a[1], o.b[1]), at::maximum(o.a[2], o.b[2]),
              at::maximum(o.a[3], o.b[3])};
    return o;
}

at::Tensor distance_ratio(const Overlap& o) {
    const at::Tensor dx = (o.a[0] + o.a[2] - o.b[0] - o.b[2]) / 2;
    const at::Tensor dy = (o.a[1] + o.a[3] - o.b[1] - o.b[3]) / 2;
    const at::Tensor diagonal = (o.hull[2] - o.hull[0]).square() + (o.hull[3] - o.hull[1]).square();
    return (dx.square() + dy.square()) / (diagonal + 1e-7);
}

// torch_npu says infinity with the ends of int32.
double order(double p) {
    constexpr double kEnd = 2147483647;
    return std::abs(p) >= kEnd ? std::copysign(std::numeric_limits<double>::infinity(), p) : p;
}

// The elements keep their order here, and a format's padding stays what it is.
void cast_format(const at::Tensor& from, const at::Tensor& to) {
    const int64_t count = std::min(from.numel(), to.numel());
    to.reshape(-1).slice(0, 0, count).copy_(from.reshape(-1).slice(0, 0, count));
}

void multiply(softnpu::CompiledCall& call) {
    const at::Tensor y = at::matmul(turned(wide(call.in(0)), call.flag("transpose_x1")),
                                    turned(wide(call.in(1)), call.flag("transpose_x2")));
    const at::Tensor& bias = call.in(2);
    put(call.out(0), bias.defined() && bias.numel() != 0 ? y + wide(bias) : y);
}

}  // namespace

COMPILED(Identity) { cast_format(in(0), out(0)); }
COMPILED(TransData) { cast_format(in(0), out(0)); }
COMPILED(TensorMove) { put(out(0), in(0)); }
COMPILED(Cast) { put(out(0), in(0)); }
COMPILED(Fill) { out(0).copy_(in(1).reshape({}).expand(out(0).sizes())); }
COMPILED(BroadcastTo) { put(out(0), in(0).expand(list_in(1))); }
COMPILED(Transpose) { put(out(0), in(0).permute(list_in(1))); }
COMPILED(ConfusionTransposeD) {
    const auto perm = integers("perm");
    const auto shape = integers("shape");
    put(out(0), flag("transpose_first") ? in(0).permute(perm).reshape(shape) : in(0).reshape(shape).permute(perm));
}
COMPILED(Slice) {
    const auto offsets = list_in(1);
    const auto sizes = list_in(2);
    at::Tensor x = in(0);
    for (size_t d = 0; d < offsets.size(); ++d) {
        const auto dim = static_cast<int64_t>(d);
        x = x.narrow(dim, offsets[d], sizes[d] < 0 ? x.size(dim) - offsets[d] : sizes[d]);
    }
    put(out(0), x);
}
COMPILED(StridedSlice) {
    put(out(0), strided(in(0), list_in(1), list_in(2), list_in(3), integer("begin_mask"), integer("end_mask"),
                        integer("shrink_axis_mask")));
}
COMPILED(Pad) {
    const auto pairs = list_in(1);
    std::vector<int64_t> last_first;
    for (size_t d = pairs.size() / 2; d-- > 0;) {
        last_first.push_back(pairs[2 * d]);
        last_first.push_back(pairs[2 * d + 1]);
    }
    put(out(0), at::constant_pad_nd(in(0), last_first, 0));
}
COMPILED(ConcatD) { put(out(0), at::cat(inputs(), integer("concat_dim"))); }
COMPILED(SortV2) { put(out(0), std::get<0>(at::sort(in(0), integer("axis", -1), flag("descending")))); }
COMPILED(ReduceMin) { put(out(0), at::amin(in(0), list_in(1), flag("keep_dims"))); }
COMPILED(ReduceMax) { put(out(0), at::amax(in(0), list_in(1), flag("keep_dims"))); }
COMPILED(ArgMaxWithValue) {
    const auto [values, places] = at::max(in(0), integer("dimension"), flag("keep_dims"));
    put(out(0), places);
    put(out(1), values);
}
COMPILED(ArgMinWithValue) {
    const auto [values, places] = at::min(in(0), integer("dimension"), flag("keep_dims"));
    put(out(0), places);
    put(out(1), values);
}
// The sum, largest or smallest of |x|^p; the update after it takes the root.
COMPILED(LpNormReduceV2) {
    const double p = order(real("p", 2));
    const auto axes = integers("axes");
    const at::Tensor x = wide(in(0)).abs();
    if (std::isinf(p)) {
        put(out(0), p > 0 ? at::amax(x, axes, flag("keepdim")) : at::amin(x, axes, flag("keepdim")));
        return;
    }
    const at::Tensor powers = p == 0 ? (x != 0).to(at::kFloat) : at::pow(x, p);
    put(out(0), axes.empty() ? powers.sum() : powers.sum(axes, flag("keepdim")));
}
COMPILED(LpNormUpdateV2) {
    const double p = order(real("p", 2));
    put(out(0), std::isinf(p) || p == 0 ? wide(in(0)) : at::pow(wide(in(0)), 1 / p));
}

COMPILED(OneHotD) {
    const at::Tensor places = in(0).to(at::kLong);
    const int64_t axis = integer("axis", -1);
    const at::Tensor marks = places.unsqueeze(-1) == at::arange(integer("depth"), at::kLong);
    put(out(0), at::where(marks.movedim(-1, axis), in(1).reshape({}), in(2).reshape({})));
}
COMPILED(Mish) { put(out(0), at::mish(wide(in(0)))); }
COMPILED(MishGrad) { put(out(0), at::mish_backward(wide(in(0)), wide(in(1)))); }
COMPILED(Swish) { put(out(0), wide(in(0)) * at::sigmoid(wide(in(0)) * real("scale", 1))); }
COMPILED(LogSoftmaxV2) {
    const auto axes = integers("axes");
    put(out(0), at::log_softmax(wide(in(0)), axes.empty() ? -1 : axes[0]));
}
COMPILED(SoftmaxCrossEntropyWithLogits) {
    const at::Tensor log_p = at::log_softmax(wide(in(0)), -1);
    put(out(0), -(log_p * wide(in(1))).sum(-1));
    put(out(1), at::exp(log_p) - wide(in(1)));
}
COMPILED(CdistGrad) {
    // The tensors are broadcast to every pair; the gradient of each goes to its own place of the first.
    const double given = real("p", 2);
    const double p = given < 0 ? std::numeric_limits<double>::infinity() : given;  // torch_npu's word for it is -1
    const at::Tensor gap = wide(in(1)) - wide(in(2));
    const at::Tensor distance = wide(in(3));
    at::Tensor slope = at::sign(gap);
    if (p == 0) {
        slope = at::zeros_like(gap);
    } else if (std::isinf(p)) {
        slope = slope * (gap.abs() == distance);
    } else if (p != 1) {
        slope = slope * at::pow(gap.abs() / distance, p - 1);
        slope = at::where(distance == 0, at::zeros_like(slope), slope);
    }
    at::Tensor each = slope * wide(in(0));
    if (each.numel() != out(0).numel()) {
        each = each.sum(-2);
    }
    put(out(0), each);
}
// Of x1 and x2 (n, c1, …), c1 in groups of 16 channels: so many groups of each from its offset on; channels past the
// end are 0.
COMPILED(StrideAdd) {
    constexpr int64_t kGroup = 16;
    const int64_t length = integer("c1_len") * kGroup;
    at::Tensor sum = at::zeros(out(0).sizes());
    const auto add = [&](const at::Tensor& x, int64_t offset) {
        const int64_t there = std::clamp<int64_t>(x.size(1) - offset * kGroup, 0, length);
        sum.narrow(1, 0, there).add_(wide(x).narrow(1, std::min(offset * kGroup, x.size(1)), there));
    };
    add(in(0), integer("x1_c1_offset"));
    add(in(1), integer("x2_c1_offset"));
    put(out(0), sum);
}
COMPILED(MaskedFillRange) {
    const auto start = list_in(1);
    const auto end = list_in(2);
    out(0).copy_(in(0));
    const auto axis = integer("axis", -1);
    const bool batched = in(0).dim() > 1;
    const int64_t along = axis < 0 ? axis : batched && axis > 0 ? axis - 1 : 0;
    const auto each = static_cast<int64_t>(start.size()) / (batched ? in(0).size(0) : 1);
    for (size_t i = 0; i < start.size(); ++i) {
        const at::Tensor row = batched ? out(0)[static_cast<int64_t>(i) / each] : out(0);
        row.slice(along, start[i], end[i]).fill_(in(3).reshape({}));
    }
}
COMPILED(SignBitsPack) {
    const at::Tensor signs = (wide(in(0)).reshape(-1) >= 0).to(at::kByte);
    const int64_t bytes = out(0).numel();
    at::Tensor kept = at::zeros({bytes * 8}, at::kByte);
    kept.slice(0, 0, signs.numel()).copy_(signs);
    put(out(0), softnpu::pack_bits(kept, bytes));
}
COMPILED(SignBitsUnpack) {
    const at::Tensor bits = softnpu::unpack_bits(in(0), out(0).numel());
    put(out(0), bits * 2 - 1);
}

COMPILED_COST(MatMul, product_cost) { multiply(*this); }
COMPILED_COST(MatMulV2, product_cost) { multiply(*this); }
COMPILED_COST(BatchMatMul, product_cost) {
    put(out(0), at::matmul(turned(wide(in(0)), flag("adj_x1")), turned(wide(in(1)), flag("adj_x2"))));
}
COMPILED_COST(Conv3D, product_cost) {
    const auto strides = integers("strides");
    const auto pads = integers("pads");
    const auto dilations = integers("dilations");
    const at::Tensor& bias = in(2);
    put(out(0), at::conv3d(wide(in(0)), wide(in(1)), bias.defined() ? std::optional(wide(bias)) : std::nullopt,
                           at::IntArrayRef(strides).slice(2), {pads.at(0), pads.at(2), pads.at(4)},
                           at::IntArrayRef(dilations).slice(2), integer("groups", 1)));
}

COMPILED(ApplyAdamD) {
    const double beta1 = number(in(6));
    const double beta2 = number(in(7));
    const double rate = number(in(5)) * std::sqrt(1 - number(in(4))) / (1 - number(in(3)));
    const at::Tensor grad = wide(in(9));
    const at::Tensor m = wide(in(1)) * beta1 + grad * (1 - beta1);
    const at::Tensor v = wide(in(2)) * beta2 + grad.square() * (1 - beta2);
    const at::Tensor next = wide(in(0)) - rate * m / (v.sqrt() + number(in(8)));
    out(0).copy_(next);
    out(1).copy_(m);
    out(2).copy_(v);
}
COMPILED(ApplyAdamW) {
    const double lr = number(in(5));
    const double beta1 = number(in(7));
    const double beta2 = number(in(8));
    const at::Tensor grad = flag("maximize") ? -wide(in(10)) : wide(in(10));
    const at::Tensor m = wide(in(1)) * beta1 + grad * (1 - beta1);
    const at::Tensor v = wide(in(2)) * beta2 + grad.square() * (1 - beta2);
    const at::Tensor spread = flag("amsgrad") && in(11).defined() ? at::maximum(wide(in(11)), v) : v;
    // The powers are those before this step.
    const at::Tensor scale = (spread / (1 - number(in(4)) * beta2)).sqrt() + number(in(9));
    const at::Tensor next = wide(in(0)) * (1 - lr * number(in(6))) - (lr / (1 - number(in(3)) * beta1)) * m / scale;
    out(0).copy_(next);
    out(1).copy_(m);
    out(2).copy_(v);
}
COMPILED(ApplyAdamV2) {
    const double most = number(in(8));
    const double global = number(in(9));
    at::Tensor grad = wide(in(7));
    if (most > 0 && global > most) {
        grad = grad * (most / global);
    }
    const double beta1 = number(in(4));
    const double beta2 = number(in(5));
    const at::Tensor m = wide(in(1)) * beta1 + grad * (1 - beta1);
    const at::Tensor v = wide(in(2)) * beta2 + grad.square() * (1 - beta2);
    const at::Tensor step = m / (v.sqrt() + number(in(6))) + wide(in(0)) * number(in(10));
    const at::Tensor next = wide(in(0)) - step * number(in(3));
    out(1).copy_(m);
    out(2).copy_(v);
    out(0).copy_(next);
}

COMPILED(Iou) {
    const Overlap o = overlap(in(0).t(), in(1).t(), false, true, text("mode") == "iof", real("eps", 0.01));
    put(out(0), o.iou);
}
COMPILED(GIoU) {
    const Overlap o = overlap(in(0), in(1), flag("trans"), flag("is_cross", true), text("mode") == "iof");
    const at::Tensor hull = (o.hull[2] - o.hull[0]) * (o.hull[3] - o.hull[1]);
    put(out(0), o.iou - (hull - o.joined) / hull);
}
COMPILED(DIoU) {
    const Overlap o = overlap(in(0), in(1), flag("trans"), flag("is_cross", true), text("mode") == "iof");
    put(out(0), o.iou - distance_ratio(o));
}
COMPILED(BoundingBoxEncode) {
    const auto means = reals("means");
    const auto stds = reals("stds");
    const at::Tensor a = wide(in(0));
    const at::Tensor b = wide(in(1));
    const auto size = [](const at::Tensor& x, int64_t d) { return x.select(1, d + 2) - x.select(1, d) + 1; };
    const auto middle = [](const at::Tensor& x, int64_t d) { return (x.select(1, d + 2) + x.select(1, d)) * 0.5; };
    const std::array<at::Tensor, 4> deltas{(middle(b, 0) - middle(a, 0)) / size(a, 0),
                                           (middle(b, 1) - middle(a, 1)) / size(a, 1), at::log(size(b, 0) / size(a, 0)),
                                           at::log(size(b, 1) / size(a, 1))};
    for (int64_t i = 0; i < 4; ++i) {
        const auto d = static_cast<size_t>(i);
        out(0).select(1, i).copy_((deltas[d] - means.at(d)) / stds.at(d));
    }
}
COMPILED(BoundingBoxDecode) {
    const auto means = reals("means");
    const auto stds = reals("stds");
    const auto limits = integers("max_shape");
    const double clip = std::abs(std::log(real("wh_ratio_clip", 0.016)));
    const at::Tensor a = wide(in(0));
    std::array<at::Tensor, 4> d;
    for (size_t i = 0; i < 4; ++i) {
        d[i] = wide(in(1)).select(1, static_cast<int64_t>(i)) * stds.at(i) + means.at(i);
    }
    for (int64_t axis = 0; axis < 2; ++axis) {
        const auto i = static_cast<size_t>(axis);
        const at::Tensor size = a.select(1, axis + 2) - a.select(1, axis) + 1;
        const at::Tensor middle = (a.select(1, axis + 2) + a.select(1, axis)) * 0.5 + d[i] * size;
        const at::Tensor half = (size * at::exp(at::clamp(d[i + 2], -clip, clip)) - 1) * 0.5;
        const double limit = limits.size() == 2 ? static_cast<double>(limits[1 - i]) - 1 : 1e30;
        out(0).select(1, axis).copy_(at::clamp(middle - half, 0, limit));
        out(0).select(1, axis + 2).copy_(at::clamp(middle + half, 0, limit));
    }
}

COMPILED(DropOutGenMaskV3) {
    const auto random = softnpu::generator(integer("seed"), integer("seed2"));
    softnpu::draw_mask(c10::multiply_integers(list_in(0)), number(in(1)), random, out(0));
}
COMPILED(DropOutDoMaskV3) {
    const at::Tensor bits = softnpu::unpack_bits(in(1), in(0).numel()).reshape(in(0).sizes());
    put(out(0), wide(in(0)) * bits / number(in(2)));
}

// Whether a result was saturated since the status was cleared: in the first of eight numbers. The first version of the
// operators writes to the tensor that it is given, too.
static at::Tensor float_status(const at::Tensor& like) {
    at::Tensor status = at::zeros_like(like);
    status.reshape(-1)[0] = softnpu::overflow_seen.load() ? 1 : 0;
    return status;
}
COMPILED(NPUAllocFloatStatus) { out(0).zero_(); }
COMPILED(NPUGetFloatStatus) {
    out(0).copy_(float_status(out(0)));
    in(0).copy_(out(0));
}
COMPILED(NPUGetFloatStatusV2) { out(0).copy_(float_status(out(0))); }
COMPILED(NPUGetFloatDebugStatus) { out(0).copy_(float_status(out(0))); }
COMPILED(NPUClearFloatStatus) {
    softnpu::overflow_seen.store(false);
    out(0).zero_();
    in(0).zero_();
}
COMPILED(NPUClearFloatStatusV2) { softnpu::overflow_seen.store(false); }
COMPILED(NPUClearFloatDebugStatus) { softnpu::overflow_seen.store(false); }
