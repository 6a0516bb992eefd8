// SPDX-License-Identifier: Apache-2.0
//
// What a profiler writes down: one line per task of a device, with the launch that it came from.
// profile/msprof.py makes a time line and tables of it.
#pragma once

#include <flexnpu_abi/acl_types.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <mutex>
#include <string>

namespace softnpu {

// Times are ns of CLOCK_MONOTONIC_RAW, torch_npu's own clock.
struct TaskRecord {
    const char* name;
    const char* type;  // as CANN's profiler names it: AI_CORE, AI_VECTOR_CORE, …
    uint32_t device;
    uint32_t stream;
    uint32_t blocks;
    uint32_t thread;
    int64_t launched_ns;
    int64_t started_ns;
    int64_t ended_ns;
    int64_t device_ns;  // how long it took in device time
};

// What a program says about itself: a moment (both times the same) or a range, on a thread of the host or, when a
// stream was named, as the device came to it.
struct MarkRecord {
    std::string message;
    std::string domain;
    int64_t started_ns;
    int64_t ended_ns;
    uint32_t row;         // the thread's number, or the stream's
    int32_t device = -1;  // < 0: on the host
};

int64_t raw_now_ns();
// What that clock is ahead of the one that device time is tied to.
int64_t raw_ahead_ns();
// Told anew by a reading of the one between two of the other: as before, where that is possible, since a thread may be
// put off between any two.
constexpr int64_t follow_clocks(int64_t ahead, int64_t wall_before, int64_t raw, int64_t wall_after) {
    return std::clamp(ahead, raw - wall_after, raw - wall_before);
}
uint32_t thread_number();  // the kernel's number of the calling thread

class Profile {
  public:
    // Lives until the process ends.
    static Profile& get();

    // A relaxed load: is asked at every launch.
    static bool on() { return on_.load(std::memory_order_relaxed); }

    // Folders PROF_… are made in `directory`, one for each start.
    aclError init(const std::string& directory);
    aclError start(uint64_t devices);  // one bit each
    aclError stop();
    aclError finalize();

    void note(const TaskRecord& task);
    void note(const MarkRecord& mark);

  private:
    struct Close {
        void operator()(std::FILE* file) const { std::fclose(file); }
    };
    using File = std::unique_ptr<std::FILE, Close>;

    aclError make_folder(uint64_t devices);

    static std::atomic<bool> on_;
    std::mutex mutex_;
    bool ready_ = false;
    uint32_t started_ = 0;
    std::string directory_;
    std::string folder_;
    std::array<File, 16> tasks_;
    File marks_;
};

}  // namespace softnpu
