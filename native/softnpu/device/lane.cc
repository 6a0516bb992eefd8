// SPDX-License-Identifier: Apache-2.0
//
// Placing a task: cores first, then bandwidth, on the time line that the lanes of all processes make.
#include <sys/prctl.h>

#include <algorithm>
#include <cmath>
#include <ctime>
#include <vector>

#include "device/device.h"

namespace softnpu {
namespace {

using Neighbours = std::vector<Neighbour>;

// What other lanes have placed that is not over at `time`, by end.
void find_neighbours(const State& state, uint32_t own, int64_t time, Neighbours& found) {
    found.clear();
    for (uint32_t index = 0; index < state.lanes_used; ++index) {
        const LaneSlot& lane = state.lanes[index];
        if (lane.process != kNobody && index != own && lane.end_ns > time) {
            found.push_back({lane.cores, lane.end_ns, lane.bytes_per_s, lane.demand});
        }
    }
    std::sort(found.begin(), found.end(), [](const Neighbour& a, const Neighbour& b) { return a.end_ns < b.end_ns; });
}

// Earliest time, from `ready` on, at which `cores` of `total` are free. Neighbours are sorted by end.
int64_t earliest_start(const Neighbours& others, uint32_t cores, uint32_t total, int64_t ready) {
    uint32_t held = 0;
    for (const Neighbour& other : others) {
        held += other.cores;
    }
    int64_t start = ready;
    for (const Neighbour& other : others) {
        if (cores == 0 || held + cores <= total) {
            break;
        }
        held -= other.cores;
        start = other.end_ns;
    }
    return start;
}

// The level of max-min fairness: whoever asks for less than it gets what it asks for, everybody else gets the level.
double fair_level(const Neighbours& others, double demand, double total) {
    double level = total;
    for (size_t round = 0; round <= others.size(); ++round) {  // each round settles one claimant at least
        double left = total - (demand < level ? demand : 0.0);
        size_t unsettled = demand < level ? 0 : 1;
        for (const Neighbour& other : others) {
            left -= other.demand < level ? other.demand : 0.0;
            unsettled += other.demand < level ? 0 : 1;
        }
        const double next = unsettled == 0 ? total : left / static_cast<double>(unsettled);
        if (unsettled == 0 || next == level) {
            break;
        }
        level = next;
    }
    return level;
}

// Seconds to move `bytes` from `start` on at most at `rate`: while a neighbour's task lasts, what it was given is gone;
// after it, the neighbour is taken to go on with its fair part.
double moving_seconds(const Neighbours& others, int64_t start, double bytes, double rate, double level, double total) {
    double given = 0;
    for (const Neighbour& other : others) {
        given += other.bytes_per_s;
    }
    double seconds = 0;
    int64_t time = start;
    for (const Neighbour& other : others) {
        const double span = static_cast<double>(other.end_ns - time) * 1e-9;
        const double now = std::min(rate, std::max(0.0, total - given));
        if (bytes <= now * span) {
            return seconds + bytes / now;
        }
        bytes -= now * span;
        seconds += span;
        time = other.end_ns;
        given += std::min(other.demand, level) - other.bytes_per_s;
    }
    return seconds + bytes / rate;
}

}  // namespace

Lane::~Lane() {
    if (slot_ != kNobody) {
        const StateLock lock(*device_.state_);
        device_.state_->lanes[slot_].process = kNobody;
    }
}

bool Lane::claim_slot() {
    State& state = *device_.state_;
    for (uint32_t attempt = 0; attempt < 2; ++attempt) {
        for (uint32_t index = 0; index < kLanes; ++index) {
            if (state.lanes[index].process == kNobody) {
                state.lanes[index] = {device_.process_, 0, 0, 0, 0.0, 0.0};
                slot_ = index;
                state.lanes_used = std::max(state.lanes_used, index + 1);
                prctl(PR_SET_TIMERSLACK, 1UL);  // of this thread: waits end when they should
                return true;
            }
        }
        reap(state);
    }
    return false;
}

// Which part of them lies in the L2, where all of them lie afterwards.
double Lane::from_l2(std::span<const Touched> touched) const {
    uint64_t bytes = 0;
    for (const Touched& piece : touched) {
        bytes += piece.bytes;
    }
    const uint64_t found = use(device_.state_->l2, device_.soc_.l2_bytes, device_.process_, touched);
    return bytes == 0 ? 0.0 : static_cast<double>(found) / static_cast<double>(bytes);
}

// Its start.
int64_t Lane::place(Cost cost, uint32_t cores, int64_t ready_ns, std::span<const Touched> touched) {
    const Soc& soc = device_.soc_;
    const double total = total_bandwidth(soc);
    const StateLock lock(*device_.state_);
    const double hit = cost.hbm_bytes * from_l2(touched);
    const double compute = std::max(compute_seconds(soc, cost, cores), hit / l2_bandwidth(soc, cost, cores));
    cost.hbm_bytes -= hit;
    const double alone = std::max(compute, cost.hbm_bytes / bandwidth(soc, cost, cores)) + cost.fixed_s;
    const double demand = alone > 0 ? cost.hbm_bytes / alone : 0.0;
    if (slot_ == kNobody && !claim_slot()) {
        horizon_ns_.store(ready_ns + std::llround(alone * 1e9));  // more lanes than slots: modelled alone
        return ready_ns;
    }
    State& state = *device_.state_;
    find_neighbours(state, slot_, ready_ns, others_);
    const uint32_t held = cost.unit == Unit::copy ? 0 : cores;
    const int64_t start = earliest_start(others_, held, soc.cube_cores, ready_ns);
    std::erase_if(others_, [&](const Neighbour& other) { return other.end_ns <= start; });
    const double peak = bandwidth(soc, cost, cores);
    const double level = fair_level(others_, peak, total);
    const double rate = std::min(peak, level);
    const double moving = cost.hbm_bytes > 0 ? moving_seconds(others_, start, cost.hbm_bytes, rate, level, total) : 0.0;
    const double seconds = std::max(compute, moving) + cost.fixed_s;
    LaneSlot& slot = state.lanes[slot_];
    slot.cores = held;
    slot.start_ns = start;
    // The most that it moves at any time, so that the sum over lanes never passes the device's bandwidth.
    slot.bytes_per_s = std::min(rate, demand);
    slot.demand = demand;
    slot.end_ns = start + std::llround(seconds * 1e9);
    horizon_ns_.store(slot.end_ns);
    return start;
}

void Lane::pace(int64_t end_ns) const {
    for (;;) {
        const double ahead = static_cast<double>(end_ns - device_.now_ns()) * device_.scale();  // wall ns
        if (ahead <= static_cast<double>(kSlackNs)) {
            return;
        }
        // The scale may change meanwhile, so at most 50 ms at a time.
        const timespec pause{0, static_cast<long>(std::min(ahead - static_cast<double>(kSlackNs) / 2, 50e6))};
        nanosleep(&pause, nullptr);
    }
}

Interval Lane::run(const Cost& cost, uint32_t blocks, int64_t not_before_ns, std::span<const Touched> touched) {
    const int64_t ready = std::max(not_before_ns, horizon_ns());
    if (!device_.paced()) {
        horizon_ns_.store(device_.now_ns());
        return {ready, horizon_ns()};
    }
    const uint32_t cores = std::clamp(blocks, 1u, device_.soc_.cube_cores);
    const int64_t start = place(cost, cores, ready, touched);
    pace(horizon_ns());
    return {start, horizon_ns()};
}

}  // namespace softnpu
