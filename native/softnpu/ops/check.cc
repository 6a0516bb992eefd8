// SPDX-License-Identifier: Apache-2.0
#include "ops/check.h"

#include <algorithm>
#include <array>

namespace softnpu {
namespace {

struct Operands {
    std::array<const aclTensor*, 8> inputs{};
    size_t count = 0;
    const aclTensor* result = nullptr;

    explicit Operands(const Plan& plan) {
        for (const Argument& argument : plan.arguments) {
            const auto* slot = std::get_if<TensorSlot>(&argument);
            if (slot == nullptr || slot->index < 0) {
                continue;
            }
            const aclTensor& tensor = plan.tensors[slot->index];
            if (slot->result) {
                result = &tensor;
            } else if (count < inputs.size()) {
                inputs[count++] = &tensor;
            }
        }
    }
};

std::string sizes_of(const aclTensor& tensor) {
    std::string text = "(";
    for (uint32_t d = 0; d < tensor.dims; ++d) {
        text += (d > 0 ? ", " : "") + std::to_string(tensor.sizes[d]);
    }
    return text + ")";
}

// Size of the d-th dimension from the last; 1 beyond the first.
int64_t from_end(const aclTensor& tensor, uint32_t d) {
    return d < tensor.dims ? tensor.sizes[tensor.dims - 1 - d] : 1;
}

bool goes_with(int64_t left, int64_t right) { return left == right || left == 1 || right == 1; }

std::string check_sizes(const Operands& operands) {
    for (size_t i = 0; i < operands.count; ++i) {
        const aclTensor& input = *operands.inputs[i];
        for (uint32_t d = 0; d < input.dims; ++d) {
            const int64_t size = from_end(input, d);
            if (size != 1 && (d >= operands.result->dims || size != from_end(*operands.result, d))) {
                return "an input of sizes " + sizes_of(input) + " cannot be broadcast to the result's " +
                       sizes_of(*operands.result);
            }
        }
    }
    return {};
}

// As types are promoted: truth, whole numbers, real numbers, complex numbers.
int rank_of(aclDataType dtype) {
    switch (dtype) {
        case ACL_BOOL:
            return 0;
        case ACL_INT8:
        case ACL_UINT8:
        case ACL_INT16:
        case ACL_UINT16:
        case ACL_INT32:
        case ACL_UINT32:
        case ACL_INT64:
        case ACL_UINT64:
            return 1;
        case ACL_COMPLEX32:
        case ACL_COMPLEX64:
        case ACL_COMPLEX128:
            return 3;
        default:
            return 2;
    }
}

constexpr std::array kRanks = {"truth values", "whole numbers", "real numbers", "complex numbers"};

}  // namespace

std::string check_broadcast(const Plan& plan) {
    const Operands operands(plan);
    return operands.result == nullptr ? std::string() : check_sizes(operands);
}

std::string check_elementwise(const Plan& plan) {
    const Operands operands(plan);
    if (operands.result == nullptr) {
        return {};
    }
    for (size_t i = 0; i < operands.count; ++i) {
        const int from = rank_of(operands.inputs[i]->dtype);
        const int to = rank_of(operands.result->dtype);
        if (from > to) {
            return std::string("a result of ") + kRanks[from] +
                   " can't be cast to the desired output type, which is of " + kRanks[to];
        }
    }
    return check_sizes(operands);
}

std::string check_factors(const Plan& plan) {
    const Operands operands(plan);
    if (operands.count < 2) {
        return {};
    }
    const aclTensor& left = *operands.inputs[operands.count - 2];
    const aclTensor& right = *operands.inputs[operands.count - 1];
    if (left.dims == 0 || right.dims == 0) {
        return "a factor has no dimension: " + sizes_of(left) + " x " + sizes_of(right);
    }
    bool fits = from_end(left, 0) == from_end(right, right.dims == 1 ? 0 : 1);
    for (uint32_t d = 2; d < std::max(left.dims, right.dims); ++d) {
        fits = fits && goes_with(from_end(left, d), from_end(right, d));
    }
    return fits ? std::string() : "the sizes " + sizes_of(left) + " and " + sizes_of(right) + " cannot be multiplied";
}

std::string check_product(const Plan& plan) {
    const std::string problem = check_factors(plan);
    const Operands operands(plan);
    if (!problem.empty() || operands.count < 2 || operands.result == nullptr) {
        return problem;
    }
    const aclTensor& left = *operands.inputs[operands.count - 2];
    const aclTensor& right = *operands.inputs[operands.count - 1];
    if (left.dims < 2 || right.dims < 2) {
        return {};
    }
    const aclTensor& result = *operands.result;
    return from_end(result, 0) == from_end(right, 0) && from_end(result, 1) == from_end(left, 1)
               ? std::string()
               : "a result of sizes " + sizes_of(result) + " cannot hold the product of " + sizes_of(left) + " and " +
                     sizes_of(right);
}

}  // namespace softnpu
