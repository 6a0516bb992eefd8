// SPDX-License-Identifier: Apache-2.0
#include "device/device.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>

namespace softnpu {
namespace {

void initialise(State& state, const DeviceOptions& options) {
    std::memset(static_cast<void*>(&state), 0, sizeof state);
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    pthread_mutex_init(&state.mutex, &attributes);
    pthread_mutexattr_destroy(&attributes);
    std::snprintf(state.soc, sizeof state.soc, "%s", options.soc->name);
    state.scale.store(options.scale);
    state.wall_origin_ns.store(wall_now_ns());
    state.paced = options.paced ? 1 : 0;
    state.skip_math = options.skip_math ? 1 : 0;
    state.memory_total = options.soc->hbm_bytes;
    state.cube_cores = options.soc->cube_cores;
    state.vector_cores = options.soc->vector_cores;
    state.processes_offset = offsetof(State, processes);
    state.lanes_offset = offsetof(State, lanes);
    for (LaneSlot& lane : state.lanes) {
        lane.process = kNobody;
    }
    state.size = sizeof(State);
    state.version = kStateVersion;
    state.magic = kStateMagic;
}

// What is wrong with an existing state for these options; empty when nothing is.
std::string mismatch(const State& state, const DeviceOptions& options) {
    if (state.magic != kStateMagic || state.version != kStateVersion || state.size != sizeof(State)) {
        return "is of version " + std::to_string(state.version) + ", this library has version " +
               std::to_string(kStateVersion) + ": stop all programs on the device and remove the file";
    }
    if (std::strcmp(state.soc, options.soc->name) != 0) {
        return std::string("is a ") + state.soc + ", " + options.soc->name + " was asked for";
    }
    return {};
}

State* map_state(int fd) {
    void* address = mmap(nullptr, sizeof(State), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    return address == MAP_FAILED ? nullptr : static_cast<State*>(address);
}

State* open_shared(const DeviceOptions& options, std::string* error) {
    const int fd = ::open(options.state_path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) {
        *error = "state file " + options.state_path + ": " + std::strerror(errno);
        return nullptr;
    }
    flock(fd, LOCK_EX);  // one process at a time makes it
    struct stat info{};
    fstat(fd, &info);
    const bool fresh = info.st_size == 0;
    State* state = nullptr;
    if (!fresh && info.st_size != static_cast<off_t>(sizeof(State))) {
        *error = "state file " + options.state_path + " has " + std::to_string(info.st_size) + " bytes, version " +
                 std::to_string(kStateVersion) + " has " + std::to_string(sizeof(State)) +
                 ": stop all programs on the device and remove the file";
    } else if ((fresh && ftruncate(fd, sizeof(State)) != 0) || (state = map_state(fd)) == nullptr) {
        *error = "state file " + options.state_path + ": " + std::strerror(errno);
    } else if (state->magic == 0) {  // new, or its maker was killed before the magic
        initialise(*state, options);
    } else if (const std::string problem = mismatch(*state, options); !problem.empty()) {
        *error = "state file " + options.state_path + " " + problem;
        munmap(state, sizeof(State));
        state = nullptr;
    }
    flock(fd, LOCK_UN);  // the mapping keeps the open file, and so the lock, beyond the descriptor
    close(fd);
    return state;
}

State* open_private(const DeviceOptions& options, std::string* error) {
    void* address = mmap(nullptr, sizeof(State), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (address == MAP_FAILED) {
        *error = std::string("no memory for the device's state: ") + std::strerror(errno);
        return nullptr;
    }
    auto* state = static_cast<State*>(address);
    initialise(*state, options);
    return state;
}

uint32_t claim_process(State& state) {
    const StateLock lock(state);
    reap(state);
    const auto pid = static_cast<uint32_t>(getpid());
    for (uint32_t index = 0; index < kProcesses; ++index) {
        ProcessSlot& slot = state.processes[index];
        if (slot.pid == 0) {
            slot.memory_used = 0;
            slot.start_time = start_time_of(pid);
            slot.pid = pid;
            return index;
        }
    }
    return kNobody;
}

}  // namespace

std::unique_ptr<Device> Device::open(const DeviceOptions& options, std::string* error) {
    State* state = options.state_path.empty() ? open_private(options, error) : open_shared(options, error);
    if (state == nullptr) {
        return nullptr;
    }
    const uint32_t process = claim_process(*state);
    if (process == kNobody) {
        munmap(state, sizeof(State));
        *error = "device " + std::to_string(options.index) + " has " + std::to_string(kProcesses) +
                 " processes, the most it takes";
        return nullptr;
    }
    return std::unique_ptr<Device>(new Device(*options.soc, state, process));
}

Device::~Device() {
    {
        const StateLock lock(*state_);
        for (LaneSlot& lane : state_->lanes) {
            if (lane.process == process_) {
                lane.process = kNobody;
            }
        }
        state_->processes[process_].memory_used = 0;
        state_->processes[process_].pid = 0;
        total_memory(*state_);
    }
    munmap(state_, sizeof(State));
}

bool Device::reserve(uint64_t bytes) {
    const StateLock lock(*state_);
    const auto fits = [&] {
        return bytes <= state_->memory_total && total_memory(*state_) <= state_->memory_total - bytes;
    };
    if (!fits()) {
        reap(*state_);
        if (!fits()) {
            return false;
        }
    }
    state_->processes[process_].memory_used += bytes;
    total_memory(*state_);
    return true;
}

void Device::release(uint64_t bytes) {
    const StateLock lock(*state_);
    state_->processes[process_].memory_used -= bytes;
    total_memory(*state_);
}

uint64_t Device::memory_used() const {
    const StateLock lock(*state_);
    reap(*state_);
    return total_memory(*state_);
}

uint32_t Device::cores_held() const {
    const StateLock lock(*state_);
    const int64_t now = now_ns();
    uint32_t held = 0;
    for (uint32_t index = 0; index < state_->lanes_used; ++index) {
        const LaneSlot& lane = state_->lanes[index];
        held += lane.process != kNobody && lane.start_ns <= now && now < lane.end_ns ? lane.cores : 0;
    }
    return std::min(held, soc_.cube_cores);
}

}  // namespace softnpu
