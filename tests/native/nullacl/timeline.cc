// SPDX-License-Identifier: Apache-2.0
#include "timeline.h"

#include <time.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <mutex>

#include "nullacl.h"

namespace {

std::mutex guard;
std::map<const void*, int64_t> takes;
std::atomic<bool> timed{false};  // without durations a launch costs no lock: benchmarks measure the way to it
int64_t free_at = 0;
NullStream default_stream;

void occupy(int64_t takes_ns, NullStream* stream) {
    if (stream->capturing != nullptr) {
        stream->capturing->takes_ns += takes_ns;
        return;
    }
    free_at = std::max(free_at, null_now_ns()) + takes_ns;
    stream->end_ns = free_at;
    null_record()->busy_ns += static_cast<uint64_t>(takes_ns);
}

}  // namespace

extern "C" {

int64_t null_now_ns() {
    timespec now{};
    clock_gettime(CLOCK_MONOTONIC, &now);
    return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

int64_t null_end_ns() {
    const std::lock_guard<std::mutex> held(guard);
    return free_at;
}

void null_take(const void* function, int64_t ns) {
    const std::lock_guard<std::mutex> held(guard);
    takes[function] = ns;
    timed = true;
}

NullStream* null_stream(void* handle) { return handle == nullptr ? &default_stream : static_cast<NullStream*>(handle); }

void null_queue(const void* function, void* stream) {
    if (!timed.load(std::memory_order_relaxed)) return;
    const std::lock_guard<std::mutex> held(guard);
    const auto found = takes.find(function);
    if (found != takes.end()) occupy(found->second, null_stream(stream));
}

void null_occupy(int64_t takes_ns, void* stream) {
    const std::lock_guard<std::mutex> held(guard);
    occupy(takes_ns, null_stream(stream));
}
}
