// SPDX-License-Identifier: Apache-2.0
// Memory pools: the device memory that a pool keeps for its next blocks is the vNPU's too. A pool is charged for the
// most bytes that its blocks had since it was last trimmed.
#pragma once

#include <stdint.h>

namespace flexnpu {

// The pool's number, 0 where there are too many to follow: then its blocks are charged one by one.
uint32_t open_pool(const void* handle, uint32_t ordinal);
uint32_t find_pool(const void* handle);
uint32_t pool_ordinal(uint32_t pool);

// Charges what the block needs beyond what the pool keeps. False: over the limit, and nothing has changed.
bool take_from_pool(uint32_t pool, uint64_t bytes);
void give_to_pool(uint32_t pool, uint64_t bytes);
// The device keeps `kept` bytes at least; what is over that and over the blocks in use is refunded.
void trim_pool(uint32_t pool, uint64_t kept);
// Its blocks that are still in use stay charged until they are freed.
void close_pool(uint32_t pool);

// Refunds what the pools of a device do not keep any more, as `reserved` tells of a pool (false: not known).
void settle_pools(uint32_t ordinal, bool (*reserved)(const void* handle, uint64_t* bytes));

void forget_pools_in_child();

}  // namespace flexnpu
