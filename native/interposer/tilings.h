// SPDX-License-Identifier: Apache-2.0
// Operators that are being tiled or wait for their launch, in the order of their tilings: who launches finds its own
// where it looked last. No lock, and no line of memory that both sides write but the operator's own place: a thread
// tiles while another launches, all the time. What finds no place is the caller's to keep elsewhere.
#pragma once

#include <stdint.h>

#include <atomic>

namespace flexnpu {

// A launch under way; false when it is none that anybody waits for.
struct Ticket {
    uint32_t generation = 0;
    uint32_t place = 0;  // 0: not among the tilings
    uint64_t note = 0;   // that was left with its tiling
    explicit operator bool() const { return generation != 0; }
};

// A tiling under way.
struct Tiling {
    uint32_t generation = 0;  // 0: none, or nothing is left to be done for it
    uint32_t place = 0;       // 0: not among the tilings
};

class Tilings {
  public:
    // Takes a place for what this thread is about to tile; 0 where it finds none.
    uint32_t begin(uint32_t generation) {
        uint64_t none = 0;
        if (__builtin_expect(place(next).word.compare_exchange_strong(none, word(kTiling, generation)), true)) {
            return next % kPlaces + 1;
        }
        return begin_elsewhere(generation);
    }

    // Is tiled, and waits for its launch. False: no such executor can be kept, and the place is as it was.
    bool keep(Tiling tiling, uint64_t executor, uint64_t note) {
        if (executor > kExecutor) return false;
        // Nobody looks for this executor before the program has it.
        Place& mine = place(tiling.place - 1);
        mine.note.store(note, std::memory_order_relaxed);
        mine.word.store(word(executor, tiling.generation), std::memory_order_release);
        // Whoever launches wrote to the next place last: fetched now, it is here when the next operator is tiled.
        ++next;
        __builtin_prefetch(&place(next), 1);
        return true;
    }

    // Nothing came of it. A fork's child has cleared its place before.
    void drop(Tiling tiling) {
        uint64_t mine = word(kTiling, tiling.generation);
        place(tiling.place - 1).word.compare_exchange_strong(mine, 0, std::memory_order_seq_cst);
    }

    // `expected`: the generation that it most likely is of.
    Ticket take(uint64_t executor, uint32_t expected) {
        const uint32_t at = newest_taken + 1;
        uint64_t likely = word(executor, expected);
        Place& mine = place(at);
        if (mine.word.compare_exchange_strong(likely, word(kLaunching, expected), std::memory_order_seq_cst)) {
            newest_taken = at;
            return {expected, at % kPlaces + 1, mine.note.load(std::memory_order_relaxed)};
        }
        return search(executor, expected);
    }

    void end(Ticket ticket) {
        uint64_t launching = word(kLaunching, ticket.generation);
        place(ticket.place - 1).word.compare_exchange_strong(launching, 0, std::memory_order_seq_cst);
    }

    // How many of that generation are being tiled, and how many wait or are being launched.
    struct Count {
        uint32_t tiling = 0, waiting = 0;
        uint32_t all() const { return tiling + waiting; }
    };
    Count count(uint32_t generation) const;
    // How many waited or were being launched. Their launches may still come, and find nothing.
    uint32_t forget(uint32_t generation);

    void clear();

  private:
    static constexpr uint32_t kPlaces = 512;
    static constexpr uint32_t kInLine = 4;
    static constexpr uint32_t kLines = kPlaces / kInLine;
    struct Place {
        std::atomic<uint64_t> word{0};  // 0: free
        std::atomic<uint64_t> note{0};
    };
    // An executor's address, or an odd number for an operator of unknown signature; above it the generation.
    static constexpr uint64_t kExecutor = (uint64_t{1} << 48) - 1;
    static constexpr uint64_t kTiling = 2, kLaunching = 4;

    static uint64_t word(uint64_t executor, uint32_t generation) { return executor | uint64_t{generation} << 48; }
    // Neighbours lie in lines of their own, so that who tiles the next one does not wait for who launches this one.
    Place& place(uint32_t at) { return places_[at % kLines * kInLine + at / kLines % kInLine]; }
    uint32_t begin_elsewhere(uint32_t generation);
    Ticket search(uint64_t executor, uint32_t expected);

    static bool is_of(uint64_t word, uint32_t generation) {
        return word != 0 && word >> 48 == static_cast<uint16_t>(generation);
    }

    // By this thread: where it tiles next, and where what it launches next most likely is behind.
    static __thread uint32_t next, newest_taken;

    alignas(64) Place places_[kPlaces]{};
};

}  // namespace flexnpu
