// SPDX-License-Identifier: Apache-2.0
//
// One rank's end of a communicator: moves bytes to and from the other ranks, and says why when it cannot.
#pragma once

#include <flexnpu_abi/hccl.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>

#include "comm/segment.h"

namespace softnpu {

// What a rank says when it comes to a collective; `ready_ns` is wall time.
struct Arrival {
    uint32_t kind;
    uint32_t type;
    uint32_t op;
    uint32_t root;
    uint64_t count;
    int64_t ready_ns;
};

// Bytes to or from one peer. Transfers of one peer and direction take place in their order, all others side by side.
struct Transfer {
    uint32_t peer;
    bool sending;
    char* data;
    uint64_t bytes;
    uint64_t payload = 0;  // of an Arrival that is received: the count that it must announce; 0: any
    uint64_t done = 0;
};

class Communicator {
  public:
    struct Settings {
        std::string name;
        double connect_timeout_s;
        double execute_timeout_s;
    };

    // Waits for all ranks. nullptr with the thread's error set and the code in `result`.
    static Communicator* join(const std::string& path, uint32_t ranks, uint32_t rank, Settings settings,
                              HcclResult* result);

    // Counted: what is queued or captured outlives the program's handle.
    void retain() { references_.fetch_add(1, std::memory_order_relaxed); }
    void release();

    uint32_t ranks() const { return segment_->ranks(); }
    uint32_t rank() const { return segment_->rank(); }
    const Settings& settings() const { return settings_; }
    const std::string& path() const { return path_; }
    HcclResult async_error() const { return async_error_.load(); }

    // The program has destroyed its handle: gives what is under way 2 s to end, then ends it. What is queued still
    // takes place, unless that had to be ended.
    void close();

    // One collective of this rank at a time.
    std::mutex turn;
    // Under `turn`. Both fail with one line in `error`, and leave the communicator broken.
    bool exchange(std::span<Transfer> transfers, std::string* error);
    // Tells all ranks of `own` and hears of them; false too when they are in another collective. On return `own` has
    // the time at which the last rank came.
    bool meet(Arrival& own, std::string* error);
    bool fail_with(HcclResult code, std::string* error, const std::string& why);

  private:
    Communicator(std::unique_ptr<Segment> segment, std::string path, Settings settings)
        : segment_(std::move(segment)), path_(std::move(path)), settings_(std::move(settings)) {}
    ~Communicator() { segment_->leave(); }
    bool announces(const Transfer& header, std::string* error);
    bool look_around(std::span<const Transfer> transfers, std::string* error);

    const std::unique_ptr<Segment> segment_;
    const std::string path_;  // that it had before all ranks had joined; names of sub-groups grow from it
    const Settings settings_;
    std::atomic<uint32_t> references_{1};
    std::atomic<HcclResult> async_error_{HCCL_SUCCESS};
    std::atomic<bool> aborted_{false};
};

const char* kind_name(uint32_t kind);

}  // namespace softnpu
