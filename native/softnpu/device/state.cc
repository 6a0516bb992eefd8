// SPDX-License-Identifier: Apache-2.0
#include "device/state.h"

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>

namespace softnpu {

StateLock::StateLock(State& state) : state_(state) {
    if (pthread_mutex_lock(&state_.mutex) == EOWNERDEAD) {
        pthread_mutex_consistent(&state_.mutex);
        reap(state_);
    }
}

StateLock::~StateLock() { pthread_mutex_unlock(&state_.mutex); }

uint64_t start_time_of(uint32_t pid) {
    char path[64];
    std::snprintf(path, sizeof path, "/proc/%u/stat", pid);
    std::FILE* file = std::fopen(path, "re");
    if (file == nullptr) {
        return 0;
    }
    char text[1024];
    const size_t length = std::fread(text, 1, sizeof text - 1, file);
    std::fclose(file);
    text[length] = '\0';
    // The name in parentheses may hold anything; the fields after it are numbers, the start time the 22nd of all.
    const char* field = std::strrchr(text, ')');
    constexpr int kFieldsAfterName = 20;
    for (int i = 0; field != nullptr && i < kFieldsAfterName; ++i) {
        field = std::strchr(field + 1, ' ');
    }
    const bool zombie = length > 0 && std::strstr(text, ") Z ") != nullptr;
    return field == nullptr || zombie ? 0 : std::strtoull(field + 1, nullptr, 10);
}

int64_t wall_now_ns() {
    timespec now{};
    clock_gettime(CLOCK_MONOTONIC, &now);
    return static_cast<int64_t>(now.tv_sec) * 1'000'000'000 + now.tv_nsec;
}

namespace {

// Calls `convert` with the clock's scale and its two origins, which belong together.
template <typename Convert>
int64_t by_clock(const State& state, Convert convert) {
    for (;;) {
        const uint64_t before = state.clock_sequence.load(std::memory_order_acquire);
        // Acquire, so that the sequence is read again after them; a fence would do too, but TSan knows none.
        const double scale = state.scale.load(std::memory_order_acquire);
        const int64_t wall_origin = state.wall_origin_ns.load(std::memory_order_acquire);
        const int64_t device_origin = state.device_origin_ns.load(std::memory_order_acquire);
        if (before % 2 == 0 && state.clock_sequence.load(std::memory_order_relaxed) == before) {
            return convert(scale, wall_origin, device_origin);
        }
    }
}

}  // namespace

int64_t device_time_ns(const State& state, int64_t wall_ns) {
    return by_clock(state, [&](double scale, int64_t wall_origin, int64_t device_origin) {
        return device_origin + static_cast<int64_t>(static_cast<double>(wall_ns - wall_origin) / scale);
    });
}

int64_t wall_time_ns(const State& state, int64_t device_ns) {
    return by_clock(state, [&](double scale, int64_t wall_origin, int64_t device_origin) {
        return wall_origin + static_cast<int64_t>(static_cast<double>(device_ns - device_origin) * scale);
    });
}

void reap(State& state) {
    for (uint32_t index = 0; index < kProcesses; ++index) {
        ProcessSlot& slot = state.processes[index];
        if (slot.pid == 0 || start_time_of(slot.pid) == slot.start_time) {
            continue;
        }
        for (LaneSlot& lane : state.lanes) {
            if (lane.process == index) {
                lane.process = kNobody;
            }
        }
        forget(state.l2, index);
        slot.memory_used = 0;
        slot.pid = 0;
    }
    total_memory(state);
}

uint64_t total_memory(State& state) {
    uint64_t sum = 0;
    for (const ProcessSlot& slot : state.processes) {
        sum += slot.pid != 0 ? slot.memory_used : 0;
    }
    state.memory_used.store(sum, std::memory_order_relaxed);
    return sum;
}

}  // namespace softnpu
