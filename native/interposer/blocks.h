// SPDX-License-Identifier: Apache-2.0
// What this process was charged for, whatever thread or device it is freed from: every block by its address or handle,
// with its device and its bytes. What was never charged here (another process's memory, a pointer into the middle of a
// block, one that was freed already) is not known and costs nothing.
#pragma once

#include "pointer_map.h"

namespace flexnpu {

struct Block {
    uint64_t bytes = 0;
    uint32_t ordinal = 0;
    uint32_t pool = 0;  // 0: of no pool

    explicit operator bool() const { return bytes != 0; }
};

// Where there is no memory to remember a block, its bytes stay charged (closed).
void remember_block(const void* address, const Block& block);
// Before the device frees it, since afterwards another thread may own a block at the same address.
Block forget_block(const void* address);
void refund_block(const Block& block);

// An allocation that passes the limit: counted, and one line with limit, used and asked.
void tell_denied(uint32_t ordinal, uint64_t asked);

// Physical memory may have several holders: its handle as often as it was given out, and every mapping. What it costs
// is given back when the last has gone.
void remember_physical(const void* handle, const Block& block);
struct Dropped {
    uint64_t number = 0;
    Block price;  // this was the last holder
};
Dropped drop_physical(const void* handle);
void restore_physical(const void* handle, const Dropped& dropped);  // the device did not take it back
void mapped_physical(const void* address, const void* handle);
void retained_physical(const void* handle, const void* mapping);
Block drop_mapping(const void* address);

void forget_blocks_in_child();

}  // namespace flexnpu
