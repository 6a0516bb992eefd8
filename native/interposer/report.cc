// SPDX-License-Identifier: Apache-2.0
#include "report.h"

#include <limits.h>

#include "clock.h"
#include "futex.h"

namespace flexnpu {

void Report::iteration(const flexnpu_iteration& step) {
    flexnpu_iteration& to = page_->iteration;
    const uint64_t before = __atomic_load_n(&to.sequence, __ATOMIC_RELAXED) & ~uint64_t{1};
    __atomic_store_n(&to.sequence, before + 1, __ATOMIC_RELAXED);
    __atomic_thread_fence(__ATOMIC_RELEASE);
    __atomic_store_n(&to.phase, step.phase, __ATOMIC_RELAXED);
    __atomic_store_n(&to.requests, step.requests, __ATOMIC_RELAXED);
    __atomic_store_n(&to.new_tokens, step.new_tokens, __ATOMIC_RELAXED);
    __atomic_store_n(&to.context_sum, step.context_sum, __ATOMIC_RELAXED);
    __atomic_store_n(&to.context_most, step.context_most, __ATOMIC_RELAXED);
    __atomic_store_n(&to.graph, step.graph, __ATOMIC_RELAXED);
    __atomic_store_n(&to.ended_ns, step.ended_ns, __ATOMIC_RELAXED);
    __atomic_store_n(&to.sequence, before + 2, __ATOMIC_RELEASE);
    if (step.phase >= FLEXNPU_PHASE_PREFILL && step.phase <= FLEXNPU_PHASE_MIXED) {
        count(page_->totals[step.phase - FLEXNPU_PHASE_PREFILL]);
    }
}

void DeviceReport::seen(uint64_t grant) {
    uint64_t now = __atomic_load_n(&section_->seen_grant, __ATOMIC_RELAXED);
    while (now < grant &&
           !__atomic_compare_exchange_n(&section_->seen_grant, &now, grant, true, __ATOMIC_RELEASE, __ATOMIC_RELAXED)) {
    }
}

void DeviceReport::applied(uint64_t grant) {
    __atomic_store_n(&section_->applied_ns, now_ns(), __ATOMIC_RELAXED);
    __atomic_store_n(&section_->applied_grant, grant, __ATOMIC_RELEASE);
    ring();
}

void DeviceReport::forget_applied() {
    __atomic_store_n(&section_->seen_grant, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&section_->applied_grant, 0, __ATOMIC_RELEASE);
}

void DeviceReport::ring() {
    __atomic_fetch_add(&section_->bell, 1, __ATOMIC_RELEASE);
    futex_wake(&section_->bell, INT_MAX);
}

}  // namespace flexnpu
