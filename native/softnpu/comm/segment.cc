// SPDX-License-Identifier: Apache-2.0
#include "comm/segment.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <ctime>

#include "device/futex.h"
#include "device/state.h"

namespace softnpu {
namespace {

constexpr uint32_t kMagic = 0x4d4f4353;  // "SCOM", little endian
constexpr uint32_t kVersion = 1;
constexpr const char* kPrefix = "softnpu-comm-";
constexpr uint64_t kPipeBudget = 8ULL << 20;  // of all pipes together: /dev/shm of a container has 64 MiB
constexpr uint32_t kLeastPipe = 4U << 10;
constexpr uint32_t kMostPipe = 1U << 20;

// A power of two, so that positions wrap by a mask.
uint32_t pipe_bytes_for(uint32_t ranks) {
    uint32_t bytes = kMostPipe;
    while (bytes > kLeastPipe && static_cast<uint64_t>(bytes) * ranks * ranks > kPipeBudget) {
        bytes /= 2;
    }
    return bytes;
}

uint64_t segment_bytes(uint32_t ranks) {
    const uint64_t pipes = static_cast<uint64_t>(ranks) * ranks;
    return sizeof(SegmentHeader) + pipes * sizeof(PipeEnds) + pipes * pipe_bytes_for(ranks);
}

// Files of communicators whose ranks never all came, by processes that are gone.
void sweep(const std::string& directory) {
    DIR* entries = opendir(directory.c_str());
    if (entries == nullptr) {
        return;
    }
    while (const dirent* entry = readdir(entries)) {
        unsigned pid = 0;
        if (std::strncmp(entry->d_name, kPrefix, std::strlen(kPrefix)) == 0 &&
            std::sscanf(entry->d_name + std::strlen(kPrefix), "%u-", &pid) == 1 && start_time_of(pid) == 0) {
            unlink((directory + "/" + entry->d_name).c_str());
        }
    }
    closedir(entries);
}

std::string missing_ranks(const SegmentHeader& header) {
    std::string list;
    for (uint32_t rank = 0; rank < header.ranks; ++rank) {
        if (header.members[rank].pid.load() == 0) {
            list += (list.empty() ? "" : ", ") + std::to_string(rank);
        }
    }
    return list;
}

// Under the file's lock. An error's line, or nothing.
std::string enter(SegmentHeader& header, uint32_t ranks, uint32_t rank) {
    if (header.magic == 0) {
        header.version = kVersion;
        header.ranks = ranks;
        header.pipe_bytes = pipe_bytes_for(ranks);
        header.magic = kMagic;
    }
    if (header.magic != kMagic || header.version != kVersion || header.ranks != ranks) {
        return "was made for " + std::to_string(header.ranks) + " ranks, this one asks for " + std::to_string(ranks);
    }
    Member& member = header.members[rank];
    if (member.pid.load() != 0) {
        return "rank " + std::to_string(rank) + " is taken by process " + std::to_string(member.pid.load());
    }
    const auto pid = static_cast<uint32_t>(getpid());
    member.start_time = start_time_of(pid);
    member.pid.store(pid);
    header.joined.fetch_add(1);
    futex_wake(header.joined);
    return {};
}

}  // namespace

std::string Segment::fresh_path(const std::string& directory) {
    sweep(directory);
    uint64_t random = 0;
    if (getrandom(&random, sizeof random, 0) != sizeof random) {
        random = static_cast<uint64_t>(wall_now_ns());
    }
    char name[64];
    std::snprintf(name, sizeof name, "%s%d-%016" PRIx64, kPrefix, getpid(), random);
    return directory + "/" + name;
}

Segment* Segment::join(const std::string& path, uint32_t ranks, uint32_t rank, double timeout_s, bool* timed_out,
                       std::string* error) {
    *timed_out = false;
    const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) {
        *error = path + ": " + std::strerror(errno);
        return nullptr;
    }
    const uint64_t bytes = segment_bytes(ranks);
    flock(fd, LOCK_EX);
    struct stat info{};
    fstat(fd, &info);
    void* address = MAP_FAILED;
    if (info.st_size != 0 && static_cast<uint64_t>(info.st_size) != bytes) {
        *error = path + " was made for another number of ranks than " + std::to_string(ranks);
    } else if (const int failure = posix_fallocate(fd, 0, static_cast<off_t>(bytes))) {
        *error = path + ": no room for " + std::to_string(bytes >> 20) + " MiB: " + std::strerror(failure);
    } else if ((address = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)) == MAP_FAILED) {
        *error = path + ": " + std::strerror(errno);
    } else if (const std::string problem = enter(*static_cast<SegmentHeader*>(address), ranks, rank);
               !problem.empty()) {
        *error = path + ": " + problem;
    }
    if (!error->empty() && info.st_size == 0) {
        unlink(path.c_str());
    }
    flock(fd, LOCK_UN);
    close(fd);
    if (!error->empty()) {
        if (address != MAP_FAILED) {
            munmap(address, bytes);
        }
        return nullptr;
    }
    auto* segment = new Segment(static_cast<SegmentHeader*>(address), bytes, rank);
    SegmentHeader& header = *segment->header_;
    const int64_t deadline = wall_now_ns() + static_cast<int64_t>(timeout_s * 1e9);
    for (uint32_t joined = header.joined.load(); joined < ranks; joined = header.joined.load()) {
        uint32_t by = 0;
        if (segment->is_broken(&by) || wall_now_ns() >= deadline) {
            segment->give_up();
            unlink(path.c_str());
            *timed_out = true;
            *error = "rank " + missing_ranks(header) + " of " + std::to_string(ranks) + " did not come within " +
                     std::to_string(static_cast<int64_t>(timeout_s)) + " s (HCCL_CONNECT_TIMEOUT)";
            delete segment;
            return nullptr;
        }
        futex_nap(header.joined, joined);
    }
    unlink(path.c_str());  // every rank has it mapped
    return segment;
}

Segment::~Segment() { munmap(header_, bytes_); }

PipeEnds& Segment::ends(uint32_t from, uint32_t to) const {
    auto* pipes = reinterpret_cast<PipeEnds*>(header_ + 1);
    return pipes[static_cast<uint64_t>(from) * ranks() + to];
}

char* Segment::data(uint32_t from, uint32_t to) const {
    const uint64_t pipes = static_cast<uint64_t>(ranks()) * ranks();
    const uint64_t index = static_cast<uint64_t>(from) * ranks() + to;
    return reinterpret_cast<char*>(header_ + 1) + pipes * sizeof(PipeEnds) + index * header_->pipe_bytes;
}

uint64_t Segment::write(uint32_t to, const char* source, uint64_t bytes) {
    PipeEnds& pipe = ends(rank_, to);
    const uint64_t capacity = header_->pipe_bytes;
    const uint64_t written = pipe.written.load(std::memory_order_relaxed);
    const uint64_t count = std::min(bytes, capacity - (written - pipe.read.load(std::memory_order_acquire)));
    if (count == 0) {
        return 0;
    }
    char* const ring_start = data(rank_, to);
    const uint64_t position = written & (capacity - 1);
    const uint64_t first = std::min(count, capacity - position);
    std::memcpy(ring_start + position, source, first);
    std::memcpy(ring_start, source + first, count - first);
    pipe.written.store(written + count, std::memory_order_release);
    ring(to);
    return count;
}

uint64_t Segment::read(uint32_t from, char* destination, uint64_t bytes) {
    PipeEnds& pipe = ends(from, rank_);
    const uint64_t capacity = header_->pipe_bytes;
    const uint64_t done = pipe.read.load(std::memory_order_relaxed);
    const uint64_t count = std::min(bytes, pipe.written.load(std::memory_order_acquire) - done);
    if (count == 0) {
        return 0;
    }
    const char* const ring_start = data(from, rank_);
    const uint64_t position = done & (capacity - 1);
    const uint64_t first = std::min(count, capacity - position);
    std::memcpy(destination, ring_start + position, first);
    std::memcpy(destination + first, ring_start, count - first);
    pipe.read.store(done + count, std::memory_order_release);
    ring(from);
    return count;
}

bool Segment::empty(uint32_t from) const {
    const PipeEnds& pipe = ends(from, rank_);
    return pipe.written.load(std::memory_order_acquire) == pipe.read.load(std::memory_order_relaxed);
}

void Segment::ring(uint32_t rank) {
    Member& member = header_->members[rank];
    member.bell.fetch_add(1);
    if (member.asleep.load() != 0) {
        futex_wake(member.bell);
    }
}

void Segment::sleep(uint32_t seen) {
    own().asleep.fetch_add(1);
    if (own().bell.load() == seen) {
        futex_nap(own().bell, seen);
    }
    own().asleep.fetch_sub(1);
}

bool Segment::is_gone(uint32_t rank) const {
    const Member& member = header_->members[rank];
    return start_time_of(member.pid.load()) != member.start_time;
}

void Segment::wake_all() {
    for (uint32_t rank = 0; rank < ranks(); ++rank) {
        ring(rank);
    }
}

void Segment::give_up() {
    uint32_t whole = 0;
    header_->broken.compare_exchange_strong(whole, rank_ + 1);
    wake_all();
}

void Segment::leave() {
    own().left.store(1);
    wake_all();
}

bool Segment::is_broken(uint32_t* by) const {
    const uint32_t broken = header_->broken.load();
    *by = broken - 1;
    return broken != 0;
}

}  // namespace softnpu
