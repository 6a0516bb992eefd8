// SPDX-License-Identifier: Apache-2.0
#include "ledger.h"

#include "log.h"

namespace flexnpu {

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

}  // namespace flexnpu
