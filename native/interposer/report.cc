// SPDX-License-Identifier: Apache-2.0
#include "report.h"

#include <limits.h>
#include <time.h>

#include "futex.h"

namespace flexnpu {

void Report::applied(uint64_t revision) {
    timespec now{};
    clock_gettime(CLOCK_MONOTONIC, &now);
    const uint64_t ns = static_cast<uint64_t>(now.tv_sec) * 1'000'000'000u + static_cast<uint64_t>(now.tv_nsec);
    __atomic_store_n(&page_->applied_ns, ns, __ATOMIC_RELAXED);
    __atomic_store_n(&page_->applied_revision, revision, __ATOMIC_RELEASE);
    static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the low word comes first");
    futex_wake(reinterpret_cast<uint32_t*>(&page_->applied_revision), INT_MAX);
}

}  // namespace flexnpu
