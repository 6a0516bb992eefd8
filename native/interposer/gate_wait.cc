// SPDX-License-Identifier: Apache-2.0
// The gate as a launch meets it that is not let through at once: how it enters a turn, or opens one, and what it waits
// for.
#include <algorithm>
#include <utility>

#include "clock.h"
#include "futex.h"
#include "gate.h"
#include "handshake.h"
#include "log.h"
#include "spin.h"
#include "tenant.h"

namespace flexnpu {
namespace {

constexpr uint64_t kLookNs = 20'000'000;   // how often who waits at a closed gate looks for the daemon
constexpr uint64_t kNapNs = 1'000'000;     // where the kernel does not let it sleep on the turn's word
constexpr uint64_t kHailLookNs = 200'000;  // how often who was hailed looks whether it still is
constexpr uint64_t kAwakeNs = 1'000'000;   // who asks for its place back: where slices are short, it comes by then

constinit std::atomic<int> daemon_socket{-1};
constinit std::atomic<uint32_t> connections{0};

bool daemon_lives() { return peer_is_there(daemon_socket.load(std::memory_order_acquire)); }

}  // namespace

void Gate::connect(int socket) {
    daemon_socket.store(socket, std::memory_order_release);
    connections.fetch_add(1, std::memory_order_release);
}

// A launch finds the gate closed.
void Gate::come_back() {
    const Held held(lock_);
    if (const uint64_t since = std::exchange(given_up_ns_, 0)) patience_.came_back(now_ns() - since);
}

// Under the lock.
bool Gate::may_enter(uint64_t turn) {
    const uint32_t now = connections.load(std::memory_order_acquire);
    if (now != connection_) left_ = 0;
    connection_ = now;
    return lets_in(turn) && flexnpu_turn_number(turn) != left_;
}

bool Gate::enter(uint64_t now) {
    bool opens = false, inside = false;
    {
        const Held held(lock_);
        if (!may_enter(now)) return false;
        const uint64_t number = flexnpu_turn_number(now);
        if (entered_.load(std::memory_order_relaxed) != number) {
            // First the others stop; whoever reads that this process has entered closes their turn.
            opens = has_flags(now, FLEXNPU_TURN_STANDBY);
            if (opens) hails_.hail();
            // What was launched while it was not time-shared has no events behind it.
            if (free_.exchange(kNone, std::memory_order_relaxed) != kNone) windows_->untracked.store(true);
            entered_.store(number, std::memory_order_seq_cst);
            const uint64_t since = std::exchange(given_up_ns_, 0);
            // Who opens its turn itself would have found the gate closed.
            if (opens && since != 0) patience_.came_back(now_ns() - since);
            report_->entered(number);
            windows_->enter_turn(has_flags(now, FLEXNPU_TURN_BEHIND));
            wake_meter();
        }
        const uint64_t again = turn();
        inside = is_inside(again);
        if (inside && windows_->debts.load(std::memory_order_seq_cst) == 0) {
            passed_.store(again, std::memory_order_seq_cst);
        }
    }
    if (opens) report_->ring();
    return inside;
}

bool Gate::is_inside(uint64_t turn) const {
    return lets_in(turn) && flexnpu_turn_number(turn) == entered_.load(std::memory_order_seq_cst);
}

// `before`: the turn that it could not enter.
void Gate::wait_for_turn(uint64_t before) {
    const uint64_t begin_ns = now_ns();
    uint64_t awake_until_ns = begin_ns + brevity_.ns();
    for (;;) {
        const uint64_t now = turn();
        if (now == FLEXNPU_TURN_FREE) return;  // it is not time-shared any more
        {
            const Held held(lock_);
            if (may_enter(now)) return brevity_.waited(now_ns() - begin_ns);
        }
        // Asleep it might be woken too late again.
        if (std::exchange(before, now) != now && is_late(flexnpu_turn_number(now))) {
            report_->ring();
            awake_until_ns = now_ns() + kAwakeNs;
        }
        if (!daemon_lives()) return open_without_daemon(now);
        spin_until(awake_until_ns, [&] { return turn() == now; });
        sleep_while(now, kLookNs);  // not at all where the word has changed
    }
}

// A turn was opened and closed before this thread ran. The arbiter is to be told, once, that it would come now.
bool Gate::is_late(uint64_t number) {
    return number > entered_.load(std::memory_order_relaxed) && late_.exchange(number) != number;
}

bool Gate::is_hailed() {
    if (hails_.is_quiet()) return false;
    const Held held(lock_);
    return hails_.is_hailed(now_ns());
}

// Until the daemon closes the turn, as it does for who has hailed; or no longer than it is worth.
void Gate::wait_for_close(uint64_t turn) {
    for (;;) {
        {
            const Held held(lock_);
            // The turn last: the daemon takes the print back after it has closed it.
            const bool hailed = hails_.is_hailed(now_ns());
            if (this->turn() != turn) return;
            if (!hailed) return hails_.was_in_vain(now_ns());
        }
        sleep_while(turn, kHailLookNs);
    }
}

// Open: nobody would ever open a turn.
void Gate::open_without_daemon(uint64_t turn) {
    const Held held(lock_);
    free_.store(turn, std::memory_order_relaxed);
    if (!orphaned_.exchange(true)) {
        tenant.report.ungoverned();
        log(Level::warn, "the daemon is gone: shares of time are not enforced until there is one again");
    }
    wake_meter();
}

void Gate::look_for_daemon() {
    if (!daemon_lives()) return;
    const Held held(lock_);
    free_.store(kNone, std::memory_order_relaxed);
    orphaned_.store(false);
}

// A daemon that has started anew puts another page in this one's place, and wakes nobody who sleeps on the old one.
void Gate::sleep_in_turn(uint64_t turn) const { sleep_while(turn, kLookNs); }

void Gate::sleep_while(uint64_t turn, uint64_t most_ns) const {
    const timespec most = as_timespec(most_ns);
    const bool slept = futex_wait(low_word(section_->turn), static_cast<uint32_t>(turn), &most);
    if (!slept) nap(std::min(most_ns, kNapNs));
}

}  // namespace flexnpu
