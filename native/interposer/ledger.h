// SPDX-License-Identifier: Apache-2.0
// Device memory of this tenant: bytes are charged before the device is asked and given back when it has freed them.
// A block is remembered by its address or handle; what was never charged here (another process's memory, blocks from
// before the attach) is not known and costs nothing.
#pragma once

#include <atomic>

#include "pointer_map.h"
#include "report.h"

namespace flexnpu {

class Ledger {
  public:
    void bind(Report* report) { report_ = report; }

    // All or nothing: two threads that race for the last byte cannot both have it.
    bool charge(uint64_t bytes, uint64_t limit);
    void refund(uint64_t bytes);

    uint64_t used() const { return used_.load(std::memory_order_relaxed); }

    // A block and its charge. Where there is no memory to remember it, its bytes stay charged (closed).
    void remember(const void* block, uint64_t bytes);
    // Gives the charge of the block, 0 when it is not known. The caller refunds after the device has freed it.
    uint64_t forget(const void* block);

    void reset_in_child();

  private:
    Report* report_ = nullptr;
    std::atomic<uint64_t> used_{0};
    PointerMap blocks_{};
};

}  // namespace flexnpu
