// SPDX-License-Identifier: Apache-2.0
//
// What the ranks of one communicator share: a file in memory with one byte pipe per ordered pair of ranks.
//
// A pipe has one writer and one reader, so it needs no lock; a rank that is killed leaves every pipe readable. The file
// is unlinked when the last rank has joined: after that nothing can be left behind.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>

namespace softnpu {

constexpr uint32_t kMaxRanks = 64;

// One rank. `bell` is the futex word on which it sleeps; peers ring it when a pipe of its has moved.
struct alignas(64) Member {
    std::atomic<uint32_t> pid;  // 0: has not joined
    std::atomic<uint32_t> bell;
    std::atomic<uint32_t> asleep;
    std::atomic<uint32_t> left;  // has destroyed its communicator
    uint64_t start_time;         // of the process: a reused pid is not the same process
};

// Bytes written and read since the communicator was made.
struct alignas(64) PipeEnds {
    std::atomic<uint64_t> written;
    alignas(64) std::atomic<uint64_t> read;
};

struct SegmentHeader {
    uint32_t magic;
    uint32_t version;
    uint32_t ranks;
    uint32_t pipe_bytes;
    std::atomic<uint32_t> joined;
    std::atomic<uint32_t> broken;  // 1 + the rank that gave up first; 0: whole
    Member members[kMaxRanks];
};

class Segment {
  public:
    // A path that no other communicator has, in `directory`. Removes what killed processes left there.
    static std::string fresh_path(const std::string& directory);

    // Joins as `rank` and waits for the others at most `timeout_s`. nullptr with one line in `error`, and `timed_out`
    // set when that was why.
    static Segment* join(const std::string& path, uint32_t ranks, uint32_t rank, double timeout_s, bool* timed_out,
                         std::string* error);
    ~Segment();
    Segment(const Segment&) = delete;
    Segment& operator=(const Segment&) = delete;

    uint32_t ranks() const { return header_->ranks; }
    uint32_t rank() const { return rank_; }

    // As many bytes as the pipe takes or holds now, `bytes` at most. Never block.
    uint64_t write(uint32_t to, const char* data, uint64_t bytes);
    uint64_t read(uint32_t from, char* data, uint64_t bytes);
    bool empty(uint32_t from) const;

    // Sleeps until a peer has moved one of this rank's pipes since `ticket` was taken, or for 100 ms.
    uint32_t ticket() const { return own().bell.load(std::memory_order_acquire); }
    void sleep(uint32_t ticket);

    // Whether the process of a rank is gone, or has destroyed its communicator.
    bool is_gone(uint32_t rank) const;
    bool has_left(uint32_t rank) const { return header_->members[rank].left.load() != 0; }
    uint32_t pid_of(uint32_t rank) const { return header_->members[rank].pid.load(); }

    // This rank gives up; the others see it at their next look.
    void give_up();
    void leave();
    bool is_broken(uint32_t* by) const;
    void wake_all();

  private:
    Segment(SegmentHeader* header, uint64_t bytes, uint32_t rank) : header_(header), bytes_(bytes), rank_(rank) {}
    Member& own() const { return header_->members[rank_]; }
    PipeEnds& ends(uint32_t from, uint32_t to) const;
    char* data(uint32_t from, uint32_t to) const;
    void ring(uint32_t rank);

    SegmentHeader* const header_;
    const uint64_t bytes_;
    const uint32_t rank_;
};

}  // namespace softnpu
