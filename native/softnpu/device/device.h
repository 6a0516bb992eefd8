// SPDX-License-Identifier: Apache-2.0
//
// One device, as one process uses it together with all others on it: memory, device time, and lanes on which tasks take
// place.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "device/model.h"
#include "device/state.h"

namespace softnpu {

struct DeviceOptions {
    const Soc* soc = nullptr;
    uint32_t index = 0;
    bool paced = false;
    bool skip_math = false;
    double scale = 1.0;
    std::string state_path;  // file that the processes on the device share; empty: private to this process
};

// Thread-safe. Clock, math and scale are those of whoever made the state first.
class Device {
  public:
    // nullptr with one line in `error`.
    static std::unique_ptr<Device> open(const DeviceOptions& options, std::string* error);
    ~Device();
    Device(const Device&) = delete;
    Device& operator=(const Device&) = delete;

    const Soc& soc() const { return soc_; }
    bool paced() const { return state_->paced != 0; }
    bool skip_math() const { return state_->skip_math != 0; }
    double scale() const { return state_->scale.load(std::memory_order_relaxed); }

    bool reserve(uint64_t bytes);  // false: would pass the end of the device's HBM, all processes together
    void release(uint64_t bytes);
    uint64_t memory_used() const;  // all processes
    uint64_t memory_total() const { return state_->memory_total; }

    uint32_t cores_held() const;  // cube cores that tasks of all processes hold now, as a paced device knows

    int64_t now_ns() const { return device_ns(wall_now_ns()); }
    // Between this device's time and the host's, as the scale is now.
    int64_t device_ns(int64_t wall) const { return device_time_ns(*state_, wall); }
    int64_t wall_ns(int64_t device) const { return wall_time_ns(*state_, device); }

  private:
    friend class Lane;
    Device(const Soc& soc, State* state, uint32_t process) : soc_(soc), state_(state), process_(process) {}

    const Soc& soc_;
    State* const state_;
    const uint32_t process_;
};

// What another lane has placed.
struct Neighbour {
    uint32_t cores;
    int64_t end_ns;
    double bytes_per_s;
    double demand;
};

// Device time.
struct Interval {
    int64_t start_ns;
    int64_t end_ns;
};

// The device time line of one in-order queue. Used by one thread at a time.
//
// A task is placed at the earliest device time at which its queue has come to it and enough cores are free, given what
// the other lanes have placed; from then on its end is known. Nobody waits for anybody's release, so a holder that is
// killed or stopped delays the others no longer than its task was to take.
class Lane {
  public:
    explicit Lane(Device& device) : device_(device) {}
    ~Lane();
    Lane(const Lane&) = delete;
    Lane& operator=(const Lane&) = delete;

    // Paced: places the task and returns when it takes place, at about its end: the caller may run ahead of it by
    // kSlack, so that short tasks do not pay a wake-up each. A caller that wakes late loses nothing: the next task
    // starts where this one ended. Free clock: it ends now. `blocks` is clamped to the device's cores; DMA takes none.
    // What of `touched` lies in the L2 does not come from the HBM, in that part of the task's bytes.
    Interval run(const Cost& cost, uint32_t blocks, int64_t not_before_ns, std::span<const Touched> touched = {});
    int64_t horizon_ns() const { return horizon_ns_.load(std::memory_order_relaxed); }

  private:
    static constexpr int64_t kSlackNs = 200'000;  // wall

    bool claim_slot();
    int64_t place(Cost cost, uint32_t cores, int64_t ready_ns, std::span<const Touched> touched);
    double from_l2(std::span<const Touched> touched) const;
    void pace(int64_t end_ns) const;

    Device& device_;
    std::vector<Neighbour> others_;  // kept, so that placing a task allocates nothing
    uint32_t slot_ = kNobody;
    std::atomic<int64_t> horizon_ns_{0};
};

}  // namespace softnpu
