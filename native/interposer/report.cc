// SPDX-License-Identifier: Apache-2.0
#include "report.h"

#include <limits.h>

#include "clock.h"
#include "futex.h"

namespace flexnpu {

namespace {

void write(flexnpu_iteration& to, const flexnpu_iteration& step, uint64_t* number_at = nullptr, uint64_t number = 0) {
    const uint64_t before = __atomic_load_n(&to.sequence, __ATOMIC_RELAXED) & ~uint64_t{1};
    __atomic_store_n(&to.sequence, before + 1, __ATOMIC_RELAXED);
    __atomic_thread_fence(__ATOMIC_RELEASE);
    __atomic_store_n(&to.phase, step.phase, __ATOMIC_RELAXED);
    __atomic_store_n(&to.requests, step.requests, __ATOMIC_RELAXED);
    __atomic_store_n(&to.new_tokens, step.new_tokens, __ATOMIC_RELAXED);
    __atomic_store_n(&to.context_sum, step.context_sum, __ATOMIC_RELAXED);
    __atomic_store_n(&to.context_most, step.context_most, __ATOMIC_RELAXED);
    __atomic_store_n(&to.graph, step.graph, __ATOMIC_RELAXED);
    __atomic_store_n(&to.at_ns, step.at_ns, __ATOMIC_RELAXED);
    if (number_at != nullptr) __atomic_store_n(number_at, number, __ATOMIC_RELAXED);
    __atomic_store_n(&to.sequence, before + 2, __ATOMIC_RELEASE);
}

void ring_bell(uint32_t* bell) {
    __atomic_fetch_add(bell, 1, __ATOMIC_RELEASE);
    futex_wake(bell, INT_MAX);
}

}  // namespace

void Report::iteration(const flexnpu_iteration& step) {
    write(page_->iteration, step);
    if (step.phase >= FLEXNPU_PHASE_PREFILL && step.phase <= FLEXNPU_PHASE_MIXED) {
        count(page_->totals[step.phase - FLEXNPU_PHASE_PREFILL]);
    }
}

void Report::begun(const flexnpu_iteration& step, bool rings) {
    const uint64_t ended = __atomic_load_n(&page_->iteration.sequence, __ATOMIC_RELAXED) / 2;
    write(page_->begun, step, &page_->begun_number, ended + 1);
    if (rings) ring_bell(&page_->devices[0].bell);
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
    __atomic_store_n(&section_->cleared_grant, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&section_->seen_grant, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&section_->applied_grant, 0, __ATOMIC_RELEASE);
}

void DeviceReport::ring() { ring_bell(&section_->bell); }

}  // namespace flexnpu
