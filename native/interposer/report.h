// SPDX-License-Identifier: Apache-2.0
// What this tenant tells the daemon. Counters are relaxed: each is right by itself, no two of them are one moment.
#pragma once

#include "flexnpu/page.h"

namespace flexnpu {

class Report {
  public:
    void bind(flexnpu_report_page* page) { page_ = page; }

    void launch(flexnpu_launch_kind kind) { add(page_->launches[kind]); }
    void tiled() { add(page_->tiled); }
    void launched() { add(page_->launched); }
    void denied() { add(page_->memory_denied); }
    void ungoverned() { add(page_->ungoverned); }

    // A sum of differences instead of a copy: two threads may report in another order than they charged.
    void memory(int64_t difference) {
        __atomic_fetch_add(&page_->memory_used, static_cast<uint64_t>(difference), __ATOMIC_RELAXED);
    }
    void peak(uint64_t bytes) { raise(page_->memory_peak, bytes, __ATOMIC_RELAXED); }
    void seen(uint64_t revision) { raise(page_->seen_revision, revision, __ATOMIC_RELEASE); }

    // Wakes whoever waits on the low word of applied_revision.
    void applied(uint64_t revision);

  private:
    static void add(uint64_t& counter) { __atomic_fetch_add(&counter, 1, __ATOMIC_RELAXED); }
    static void raise(uint64_t& word, uint64_t value, int order) {
        uint64_t now = __atomic_load_n(&word, __ATOMIC_RELAXED);
        while (now < value && !__atomic_compare_exchange_n(&word, &now, value, true, order, __ATOMIC_RELAXED)) {
        }
    }

    flexnpu_report_page* page_ = nullptr;
};

}  // namespace flexnpu
