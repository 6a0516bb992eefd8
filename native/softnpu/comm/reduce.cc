// SPDX-License-Identifier: Apache-2.0
#include "comm/reduce.h"

#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>

#include <algorithm>

namespace softnpu {
namespace {

// Calls `use` with a value of the element's type and one of the type it is summed in; false: no arithmetic on it.
template <typename Use>
bool with_type(HcclDataType type, Use use) {
    switch (type) {
        case HCCL_DATA_TYPE_INT8:
            use(int8_t{}, int8_t{});
            return true;
        case HCCL_DATA_TYPE_INT16:
            use(int16_t{}, int16_t{});
            return true;
        case HCCL_DATA_TYPE_INT32:
            use(int32_t{}, int32_t{});
            return true;
        case HCCL_DATA_TYPE_INT64:
            use(int64_t{}, int64_t{});
            return true;
        case HCCL_DATA_TYPE_UINT8:
            use(uint8_t{}, uint8_t{});
            return true;
        case HCCL_DATA_TYPE_UINT16:
            use(uint16_t{}, uint16_t{});
            return true;
        case HCCL_DATA_TYPE_UINT32:
            use(uint32_t{}, uint32_t{});
            return true;
        case HCCL_DATA_TYPE_UINT64:
            use(uint64_t{}, uint64_t{});
            return true;
        case HCCL_DATA_TYPE_FP16:
            use(c10::Half{}, float{});
            return true;
        case HCCL_DATA_TYPE_BFP16:
            use(c10::BFloat16{}, float{});
            return true;
        case HCCL_DATA_TYPE_FP32:
            use(float{}, float{});
            return true;
        case HCCL_DATA_TYPE_FP64:
            use(double{}, double{});
            return true;
        default:
            return false;
    }
}

// Integers wrap, as they do on the device; unsigned arithmetic says so without undefined behaviour.
template <typename Sum, typename Wrap>
Sum wrapped(Sum a, Sum b, Wrap op) {
    if constexpr (std::is_integral_v<Sum>) {
        return static_cast<Sum>(op(static_cast<uint64_t>(a), static_cast<uint64_t>(b)));
    } else {
        return op(a, b);
    }
}

template <typename Sum>
Sum combine(HcclReduceOp op, Sum a, Sum b) {
    switch (op) {
        case HCCL_REDUCE_PROD:
            return wrapped(a, b, [](auto x, auto y) { return x * y; });
        case HCCL_REDUCE_MAX:
            return std::max(a, b);
        case HCCL_REDUCE_MIN:
            return std::min(a, b);
        default:
            return wrapped(a, b, [](auto x, auto y) { return x + y; });
    }
}

template <typename Element, typename Sum>
void reduce_as(HcclReduceOp op, std::span<const void* const> sources, uint64_t count, void* result) {
    for (uint64_t i = 0; i < count; ++i) {
        auto sum = static_cast<Sum>(static_cast<const Element*>(sources[0])[i]);
        for (const void* source : sources.subspan(1)) {
            sum = combine(op, sum, static_cast<Sum>(static_cast<const Element*>(source)[i]));
        }
        static_cast<Element*>(result)[i] = static_cast<Element>(sum);
    }
}

}  // namespace

uint32_t element_bytes(HcclDataType type) {
    uint32_t bytes = 0;
    if (with_type(type, [&](auto element, auto /*sum*/) { bytes = sizeof element; })) {
        return bytes;
    }
    switch (type) {
        case HCCL_DATA_TYPE_INT128:
            return 16;
        case HCCL_DATA_TYPE_HIF8:
        case HCCL_DATA_TYPE_FP8E4M3:
        case HCCL_DATA_TYPE_FP8E5M2:
        case HCCL_DATA_TYPE_FP8E8M0:
            return 1;
        default:
            return 0;
    }
}

bool can_reduce(HcclDataType type) {
    return with_type(type, [](auto /*element*/, auto /*sum*/) {});
}

void reduce(HcclDataType type, HcclReduceOp op, std::span<const void* const> sources, uint64_t count, void* result) {
    with_type(type,
              [&](auto element, auto sum) { reduce_as<decltype(element), decltype(sum)>(op, sources, count, result); });
}

}  // namespace softnpu
