// SPDX-License-Identifier: Apache-2.0
//
// An event: a point on a stream's device time line that hosts and other streams wait for.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>

namespace softnpu {

// Counted: a program may destroy an event while a stream still has to record it or wait for it.
class Event {
  public:
    void retain() { references_.fetch_add(1, std::memory_order_relaxed); }
    void release() {
        if (references_.fetch_sub(1, std::memory_order_acq_rel) == 1) {
            delete this;
        }
    }

    explicit Event(bool external = false) : external_(external) {}

    // An external event is a flag: records set it, a reset clears it, and a captured graph awaits it when it runs.
    bool external() const { return external_; }
    int64_t await() const;
    void reset();
    // The capture that it was recorded in, 0 for none: who waits for it then takes part in the capture.
    std::atomic<uint32_t> capture{0};

    // A record was put on a stream: returns its number, to be passed to complete().
    uint64_t expect();
    void complete(uint64_t number, int64_t device_ns);

    // Number of the newest record; 0 when never recorded.
    uint64_t newest() const;
    bool is_complete(uint64_t number, int64_t* device_ns) const;
    // Blocks until record `number` is complete; returns its device time.
    int64_t wait(uint64_t number) const;

  private:
    const bool external_;
    std::atomic<uint32_t> references_{1};
    mutable std::mutex mutex_;
    mutable std::condition_variable done_;
    uint64_t expected_ = 0;
    uint64_t completed_ = 0;
    int64_t device_ns_ = 0;
    bool set_ = false;
};

}  // namespace softnpu
