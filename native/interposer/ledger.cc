// SPDX-License-Identifier: Apache-2.0
#include "ledger.h"

#include "log.h"

namespace flexnpu {

bool Ledger::charge(uint64_t bytes, uint64_t limit) {
    uint64_t used = used_.load(std::memory_order_relaxed);
    do {
        if (used > limit || bytes > limit - used) return false;
    } while (!used_.compare_exchange_weak(used, used + bytes, std::memory_order_relaxed));
    report_->memory(static_cast<int64_t>(bytes));
    report_->peak(used + bytes);
    return true;
}

void Ledger::refund(uint64_t bytes) {
    used_.fetch_sub(bytes, std::memory_order_relaxed);
    report_->memory(-static_cast<int64_t>(bytes));
}

void Ledger::remember(const void* block, uint64_t bytes) {
    if (bytes == 0) return;
    if (!blocks_.put(reinterpret_cast<uint64_t>(block), bytes)) {
        log(Level::warn, "no host memory to remember block %p: its %llu bytes stay charged until the program ends",
            block, static_cast<unsigned long long>(bytes));
    }
}

uint64_t Ledger::forget(const void* block) {
    return block == nullptr ? 0 : blocks_.take(reinterpret_cast<uint64_t>(block));
}

void Ledger::reset_in_child() {
    used_.store(0, std::memory_order_relaxed);
    blocks_.forget();
}

}  // namespace flexnpu
