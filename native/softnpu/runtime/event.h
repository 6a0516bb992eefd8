// SPDX-License-Identifier: Apache-2.0
//
// An event: a point on a stream's device time line that hosts and other streams wait for.
#pragma once

#include <flexnpu_abi/acl_types.h>

#include <atomic>
#include <cstdint>
#include <optional>
#include <string>

namespace softnpu {

class PageFile;

// What processes that share an event see of it.
struct EventState {
    std::atomic<uint64_t> expected{0};   // records that were put on a stream
    std::atomic<uint64_t> completed{0};  // the newest that is over
    std::atomic<int64_t> device_ns{0};   // its device time
    std::atomic<uint32_t> set{0};        // of an external event
    std::atomic<uint32_t> bell{0};       // moves when one is over
    std::atomic<uint32_t> waiters{0};
};

// Counted: a program may destroy an event while a stream still has to record it or wait for it.
class Event {
  public:
    explicit Event(bool external = false) : external_(external), state_(&own_) {}
    ~Event();
    Event(const Event&) = delete;
    Event& operator=(const Event&) = delete;
    // An event that other processes can open, in a page of `pages`; nullptr when there is none.
    static Event* make_shared(PageFile& pages, bool external = false);
    // The event of another process; nullptr with one line in `error`.
    static Event* open(uint64_t handle, std::string* error, bool external = false);

    void retain() { references_.fetch_add(1, std::memory_order_relaxed); }
    void release() {
        if (references_.fetch_sub(1, std::memory_order_acq_rel) == 1) {
            delete this;
        }
    }

    // For Event::open in another process; 0: was not made to be shared.
    uint64_t handle();
    // The number of its page among those of its process.
    uint64_t page() const { return offset_ / 4096; }

    // An external event is a flag: records set it, a reset clears it, and a captured graph awaits it when it runs.
    bool external() const { return external_; }
    std::optional<int64_t> await(int32_t timeout_ms = -1) const;
    // As await, and clears the flag: of several that wait one gets it.
    std::optional<int64_t> take(int32_t timeout_ms = -1);
    void reset() { state_->set.store(0); }
    // The capture that it was recorded in, 0 for none: who waits for it then takes part in the capture.
    std::atomic<uint32_t> capture{0};

    // A record was put on a stream: returns its number, to be passed to complete().
    uint64_t expect() { return state_->expected.fetch_add(1) + 1; }
    void complete(uint64_t number, int64_t device_ns);

    // Number of the newest record; 0 when never recorded.
    uint64_t newest() const { return state_->expected.load(); }
    bool is_complete(uint64_t number, int64_t* device_ns) const;
    // Blocks until record `number` is complete, or the process whose event it is has ended; returns its device time,
    // nothing when `timeout_ms` (< 0: for ever) went by.
    std::optional<int64_t> wait(uint64_t number, int32_t timeout_ms = -1) const;

  private:
    template <typename Over>
    std::optional<int64_t> wait_until(Over over, int32_t timeout_ms) const;

    const bool external_ = false;
    EventState own_;
    EventState* state_;
    PageFile* pages_ = nullptr;  // where a shared one lies
    uint64_t offset_ = 0;
    uint32_t owner_ = 0;  // the process of an opened one, and when it started
    uint64_t owner_start_ = 0;
    std::atomic<uint32_t> references_{1};
};

}  // namespace softnpu
