// SPDX-License-Identifier: Apache-2.0
//
// A time-shared vNPU over several devices: its ranks meet in collectives, so its turns are the same moments on all of
// them. One device leads: there the vNPU competes by its share; on the others its turn begins and ends with the
// leader's, before whoever else holds one. The leader is the device of the lowest number, so that no two gangs wait for
// each other in a ring.
// Shared by the arbiters of the devices: each writes its own bits and wakes the others.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "arbiter/futex.h"

namespace flexnpu {

// What an arbiter's thread sleeps on.
using WakeWord = std::atomic<uint32_t>;
inline void wake_up(WakeWord& word) {
    ++word;
    futex_wake_shared(reinterpret_cast<const uint32_t*>(&word));
}

class Gang : public std::enable_shared_from_this<Gang> {
  public:
    explicit Gang(uint32_t leader) : leader_(leader) {}

    bool leads(uint32_t ordinal) const { return ordinal == leader_; }
    void join(std::shared_ptr<WakeWord> arbiter) {
        const std::lock_guard lock(mutex_);
        arbiters_.push_back(std::move(arbiter));
    }

    // The leader's device gives it turns. While it does not, as it may do before or after the others when a quota
    // changes, each of these does so by itself.
    void set_led(bool led) {
        if (led_.exchange(led) != led) wake_all();
    }
    bool is_led() const { return led_; }

    // The leader's turn is open.
    void set_open(bool open) {
        if (open_.exchange(open) != open) wake_all();
    }
    bool is_open() const { return open_; }

    // Of a follower: somebody waits at the gate there; its turn is not over; somebody in it has not drained.
    void tell(uint32_t ordinal, bool waits, bool holds, bool uses) {
        const bool changed = set(waiting_, ordinal, waits) | set(holding_, ordinal, holds) | set(using_, ordinal, uses);
        if (changed) wake_all();
    }
    bool anyone_waits() const { return waiting_ != 0; }
    bool anyone_holds() const { return holding_ != 0; }
    bool anyone_uses() const { return using_ != 0; }

  private:
    static bool set(std::atomic<uint32_t>& bits, uint32_t ordinal, bool value) {
        const uint32_t bit = 1u << ordinal;
        const uint32_t before = value ? bits.fetch_or(bit) : bits.fetch_and(~bit);
        return ((before & bit) != 0) != value;
    }
    void wake_all() {
        const std::lock_guard lock(mutex_);
        for (const auto& arbiter : arbiters_) wake_up(*arbiter);
    }

    const uint32_t leader_;
    std::atomic<bool> led_ = false, open_ = false;
    std::atomic<uint32_t> waiting_ = 0, holding_ = 0, using_ = 0;
    std::mutex mutex_;  // of the list alone; taken inside the arbiters' locks, and takes none
    std::vector<std::shared_ptr<WakeWord>> arbiters_;
};

}  // namespace flexnpu
