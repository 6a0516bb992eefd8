// SPDX-License-Identifier: Apache-2.0
// Device memory of the vNPU on one device: bytes are charged before the device is asked and given back when it has
// freed them. The count is shared by all processes of the vNPU (flexnpu/ledger.h); which block was charged how much is
// this process's own (blocks.h).
#pragma once

#include "flexnpu/ledger.h"

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

  private:
    flexnpu_ledger_device* shared_ = nullptr;
    uint32_t slot_ = 0;
};

}  // namespace flexnpu
