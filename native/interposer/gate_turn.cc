// SPDX-License-Identifier: Apache-2.0
// The gate as the meter uses it: whether a turn is used, and how it ends.
#include <algorithm>

#include "clock.h"
#include "gate.h"

namespace flexnpu {
namespace {

constexpr uint64_t kLongLullNs = 1'000'000;    // how often a holder whose work the device does is looked at
constexpr uint64_t kBehindLookNs = 1'000'000;  // how often who comes after others looks at its events

}  // namespace

bool Gate::is_idle(uint64_t turn) {
    const uint64_t before = windows_->started();
    uint64_t lull_ns = 0;
    {
        const Held held(lock_);
        look_behind();
        const uint64_t least_ns = windows_->is_calling() ? Patience::kMostNs : patience_.ns();
        lull_ns = std::clamp(windows_->left_ns() / 2, least_ns, kLongLullNs);
    }
    sleep_while(turn, lull_ns);
    if (this->turn() != turn) return false;
    if (windows_->started() != before || windows_->is_calling()) return false;
    const Held held(lock_);
    windows_->close_all();
    windows_->reap();
    return windows_->is_empty() && windows_->started() == before;
}

void Gate::give_up_turn() {
    {
        const Held held(lock_);
        given_up_ns_ = now_ns();
    }
    end_turn();
}

// Under the lock.
void Gate::look_behind() {
    if (!has_flags(turn(), FLEXNPU_TURN_BEHIND)) windows_->uncover();
}

// Until the device works for this process. Where it can do so beside others, events tell that all is over.
void Gate::wait_while_behind(uint64_t number) {
    for (;;) {
        windows_->reap();
        const uint64_t now = turn();
        const bool behind = has_flags(now, FLEXNPU_TURN_BEHIND) && flexnpu_turn_number(now) == number;
        if (!behind || windows_->is_empty()) break;
        lock_.release();
        sleep_while(now, kBehindLookNs);
        lock_.acquire();
    }
    windows_->uncover();
}

void Gate::end_turn() {
    uint64_t number = 0;
    {
        const Held held(lock_);
        number = left_ = entered_.load(std::memory_order_relaxed);
        passed_.store(kNone, std::memory_order_seq_cst);
    }
    windows_->wait_for_calls();
    const Held held(lock_);
    windows_->close_all();
    wait_while_behind(number);
    while (windows_->wait_until_near(lead_ns())) {
    }
    const uint64_t rest = windows_->next();
    if (windows_->untracked.exchange(false) && !windows_->wait_for_device()) windows_->untracked.store(true);
    drained_.store(number, std::memory_order_seq_cst);
    report_->drained(number);
    report_->ring();
    windows_->wait_until_over(rest);  // so that it is measured
}

}  // namespace flexnpu
