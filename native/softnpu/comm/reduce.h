// SPDX-License-Identifier: Apache-2.0
//
// Element-wise reduction of buffers in one order, so that every run gives the same bits. Sixteen-bit floating types are
// summed in fp32 and rounded once.
#pragma once

#include <flexnpu_abi/hccl.h>

#include <cstdint>
#include <span>

namespace softnpu {

uint32_t element_bytes(HcclDataType type);  // 0: unknown
bool can_reduce(HcclDataType type);
// `result` may be one of the sources. All hold `count` elements of a type that can_reduce.
void reduce(HcclDataType type, HcclReduceOp op, std::span<const void* const> sources, uint64_t count, void* result);

}  // namespace softnpu
