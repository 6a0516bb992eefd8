// SPDX-License-Identifier: Apache-2.0
// Device memory of the vNPU on one device: bytes are charged before the device is asked and given back when it has
// freed them. The count is shared by all processes of the vNPU (flexnpu/ledger.h); which block was charged how much is
// this process's own: a block is remembered by its address or handle, and what was never charged here (another
// process's memory, blocks from before the attach) is not known and costs nothing.
#pragma once

#include <atomic>

#include "flexnpu/ledger.h"
#include "pointer_map.h"

namespace flexnpu {

class Ledger {
  public:
    void bind(flexnpu_ledger_device* shared, uint32_t slot) {
        shared_ = shared;
        slot_ = slot;
    }

    // All or nothing: two threads, or two processes, that race for the last byte cannot both have it.
    bool charge(uint64_t bytes, uint64_t limit) { return flexnpu_ledger_charge(shared_, slot_, bytes, limit) != 0; }
    void refund(uint64_t bytes) { flexnpu_ledger_refund(shared_, slot_, bytes); }

    uint64_t used() const { return flexnpu_ledger_used(shared_); }

    // A block and its charge. Where there is no memory to remember it, its bytes stay charged (closed).
    void remember(const void* block, uint64_t bytes);
    // Gives the charge of the block, 0 when it is not known. The caller refunds after the device has freed it.
    uint64_t forget(const void* block);

    void reset_in_child() { blocks_.forget(); }

  private:
    flexnpu_ledger_device* shared_ = nullptr;
    uint32_t slot_ = 0;
    PointerMap blocks_{};
};

}  // namespace flexnpu
