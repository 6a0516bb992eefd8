// SPDX-License-Identifier: Apache-2.0
// What this tenant tells the daemon. Counters are relaxed: each is right by itself, no two of them are one moment.
#pragma once

#include "flexnpu/page.h"

namespace flexnpu {

inline void count(uint64_t& counter) { __atomic_fetch_add(&counter, 1, __ATOMIC_RELAXED); }

// Of the process as a whole.
class Report {
  public:
    void bind(flexnpu_report_page* page) { page_ = page; }

    void tiled() { count(page_->tiled); }
    void launched() { count(page_->launched); }
    void ungoverned() { count(page_->ungoverned); }
    void waited(uint64_t ns) { count(page_->waits[flexnpu_wait_bucket(ns)]); }
    // One step more; its sequence is set here. One caller at a time, as of the next.
    void iteration(const flexnpu_iteration& step);
    // What is known of the step that runs. `rings`: to whoever follows them.
    void begun(const flexnpu_iteration& step, bool rings);

  private:
    flexnpu_report_page* page_ = nullptr;
};

// Of what it does on one device.
class DeviceReport {
  public:
    void bind(flexnpu_report_device* section) { section_ = section; }

    void launch(flexnpu_launch_kind kind) { count(section_->launches[kind]); }
    void denied() { count(section_->memory_denied); }
    void seen(uint64_t grant);

    void cleared(uint64_t grant) { __atomic_store_n(&section_->cleared_grant, grant, __ATOMIC_RELEASE); }
    // Wakes the daemon's arbiter.
    void applied(uint64_t grant);
    // For one that returns to a new daemon: it has applied nothing of what it will be granted.
    void forget_applied();

    // The gate's side of turns. Whoever changes one of these rings afterwards.
    void entered(uint64_t turn) { __atomic_store_n(&section_->turn_entered, turn, __ATOMIC_SEQ_CST); }
    void drained(uint64_t turn) { __atomic_store_n(&section_->turn_drained, turn, __ATOMIC_RELEASE); }
    void waiting(int change) {
        __atomic_fetch_add(&section_->waiting, static_cast<uint32_t>(change), __ATOMIC_SEQ_CST);
    }
    void ring();
    void waited(uint64_t ns) { __atomic_fetch_add(&section_->waited_ns, ns, __ATOMIC_RELAXED); }
    void busy(uint64_t ns) { __atomic_fetch_add(&section_->busy_ns, ns, __ATOMIC_RELAXED); }

  private:
    flexnpu_report_device* section_ = nullptr;
};

}  // namespace flexnpu
