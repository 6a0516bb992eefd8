// SPDX-License-Identifier: Apache-2.0
//
// The state of one device, in memory that all processes on it share. The header up to kHeaderBytes is read by others
// too (flexnpu/softnpu.py mirrors it); what follows belongs to this library.
//
// Every total is derived from the slots, each of which one process writes; so a process that is killed while it holds
// the lock leaves nothing half done, and what it held ends with it.
#pragma once

#include <pthread.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>

#include "device/l2.h"

namespace softnpu {

constexpr uint32_t kStateMagic = 0x55504e53;  // "SNPU", little endian
constexpr uint32_t kStateVersion = 2;
constexpr uint32_t kProcesses = 63;  // per device on A2/A3
constexpr uint32_t kLanes = 512;
constexpr uint32_t kNobody = UINT32_MAX;

struct ProcessSlot {
    uint32_t pid;  // 0: free
    uint32_t reserved;
    uint64_t start_time;  // of the process, in clock ticks since boot: a reused pid is not the same process
    uint64_t memory_used;
};

// The task that a lane has placed on the device's time line.
struct LaneSlot {
    uint32_t process;  // index into processes; kNobody: free
    uint32_t cores;
    int64_t start_ns;
    int64_t end_ns;
    double bytes_per_s;  // most that it is given
    double demand;       // bytes per second that it would move alone
};

struct State {
    uint32_t magic;
    uint32_t version;
    uint64_t size;
    char soc[32];
    // Device time is device_origin_ns + (wall - wall_origin_ns) / scale. The three change together: odd sequence while
    // they do.
    std::atomic<uint64_t> clock_sequence;
    std::atomic<double> scale;  // wall seconds per device second
    std::atomic<int64_t> wall_origin_ns;
    std::atomic<int64_t> device_origin_ns;
    uint32_t paced;
    uint32_t skip_math;
    uint64_t memory_total;
    std::atomic<uint64_t> memory_used;  // sum over the processes
    uint32_t cube_cores;
    uint32_t vector_cores;
    uint32_t processes_offset;  // of `processes`, for readers
    uint32_t lanes_offset;
    uint32_t lanes_used;  // slots beyond have never been taken
    pthread_mutex_t mutex;
    ProcessSlot processes[kProcesses];
    LaneSlot lanes[kLanes];
    L2State l2;
};

static_assert(offsetof(State, scale) == 56 && offsetof(State, memory_total) == 88 &&
                  offsetof(State, processes_offset) == 112,
              "flexnpu/softnpu.py mirrors these");
static_assert(sizeof(ProcessSlot) == 24 && sizeof(LaneSlot) == 40);
static_assert(std::atomic<double>::is_always_lock_free && std::atomic<int64_t>::is_always_lock_free);

// Holds the state's mutex; takes it over from a process that died with it.
class StateLock {
  public:
    explicit StateLock(State& state);
    ~StateLock();
    StateLock(const StateLock&) = delete;
    StateLock& operator=(const StateLock&) = delete;

  private:
    State& state_;
};

uint64_t start_time_of(uint32_t pid);  // 0: no such process
int64_t wall_now_ns();
int64_t device_time_ns(const State& state, int64_t wall_ns);
int64_t wall_time_ns(const State& state, int64_t device_ns);

// Both under the lock.
void reap(State& state);  // frees the slots of processes that are gone
uint64_t total_memory(State& state);

}  // namespace softnpu
