// SPDX-License-Identifier: Apache-2.0
#include "ops/cost.h"

#include <algorithm>

namespace softnpu {

double cube_rate(aclDataType dtype) {
    switch (dtype) {
        case ACL_INT8:
            return 2.0;
        case ACL_FLOAT16:
        case ACL_BF16:
            return 1.0;
        default:
            return 0.25;
    }
}

double view_bytes(const aclTensor& tensor) {
    double elements = 1.0;
    for (uint32_t d = 0; d < tensor.dims; ++d) {
        elements *= tensor.strides[d] == 0 ? 1.0 : static_cast<double>(tensor.sizes[d]);
    }
    return elements * element_size(tensor.dtype);
}

namespace {

Cost base(Unit unit, double constant) {
    Cost cost{};
    cost.unit = unit;
    cost.fixed_s = constant;
    cost.cube_rate = 1.0;
    return cost;
}

}  // namespace

Cost vector_cost(const Plan& plan) {
    Cost cost = base(Unit::vector, kVectorConstant);
    for (const aclTensor& tensor : plan.tensors) {
        cost.hbm_bytes += view_bytes(tensor);
        cost.vector_flops = std::max(cost.vector_flops, static_cast<double>(tensor.numel()));
    }
    return cost;
}

Cost free_cost(const Plan& /*plan*/) { return base(Unit::vector, 0.0); }

Cost cube_cost(const Plan& plan, double flops, aclDataType dtype) {
    Cost cost = base(Unit::cube, kMatmulConstant);
    for (const aclTensor& tensor : plan.tensors) {
        cost.hbm_bytes += view_bytes(tensor);
    }
    cost.cube_flops = flops;
    cost.cube_rate = cube_rate(dtype);
    return cost;
}

Cost matmul_cost(const Plan& plan) {
    const size_t count = plan.tensors.size();
    if (count < 3) {
        return cube_cost(plan, 0.0, ACL_FLOAT16);
    }
    const aclTensor& left = plan.tensors[count - 3];
    const aclTensor& out = plan.tensors[count - 1];
    const double depth = left.dims > 0 ? static_cast<double>(left.sizes[left.dims - 1]) : 1.0;
    return cube_cost(plan, 2.0 * static_cast<double>(out.numel()) * depth, left.dtype);
}

Cost gather_cost(const Plan& plan) {
    Cost cost = base(Unit::vector, kVectorConstant);
    if (!plan.tensors.empty()) {
        const aclTensor& out = plan.tensors.back();
        cost.hbm_bytes = 2.0 * view_bytes(out);
        cost.vector_flops = static_cast<double>(out.numel());
    }
    return cost;
}

Cost scatter_cost(const Plan& plan) {
    // The smallest floating or equal-typed tensor beside the destination is what is written.
    Cost cost = base(Unit::vector, kVectorConstant);
    double least = 0.0;
    for (const aclTensor& tensor : plan.tensors) {
        if (!plan.tensors.empty() && tensor.dtype == plan.tensors.front().dtype) {
            const double bytes = view_bytes(tensor);
            least = least == 0.0 ? bytes : std::min(least, bytes);
        }
    }
    cost.hbm_bytes = 2.0 * least;
    cost.vector_flops = least;
    return cost;
}

}  // namespace softnpu
