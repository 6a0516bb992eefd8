// SPDX-License-Identifier: Apache-2.0
// Every launch passes here once, whatever layer it came by. One relaxed load and one compare on the granted path; a
// share of time would be taken from its credit at this place. Nothing is throttled yet: all launches are granted.
#pragma once

#include "quota.h"
#include "report.h"

namespace flexnpu {

class Gate {
  public:
    void bind(const Quota* quota, DeviceReport* report) {
        quota_ = quota;
        report_ = report;
    }

    void pass(flexnpu_launch_kind kind) {
        const uint64_t word = quota_->word();
        if (word != last_.load(std::memory_order_relaxed)) note(word);
        report_->launch(kind);
    }

  private:
    // The first launch after a change tells the daemon that the new grant is in use.
    __attribute__((noinline)) void note(uint64_t word) {
        last_.store(word, std::memory_order_relaxed);
        report_->seen(flexnpu_quota_grant(word));
    }

    const Quota* quota_ = nullptr;
    DeviceReport* report_ = nullptr;
    std::atomic<uint64_t> last_{0};
};

}  // namespace flexnpu
