// SPDX-License-Identifier: Apache-2.0
// Operators that are tiled and wait for their launch, in the order of their tilings: who launches finds its own where
// it looked last. No lock, and no line of memory that both sides write but the operator's own place: a thread tiles
// while another launches, all the time. What finds no place is the caller's to keep elsewhere.
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

class Tilings {
  public:
    // Operators are numbered in the order of their tilings.
    bool put(uint64_t executor, uint32_t generation, uint32_t number, uint64_t note) {
        if (executor > kExecutor) return false;
        Place& mine = place(number);
        uint64_t none = 0;
        if (!mine.word.compare_exchange_strong(none, word(executor, generation), std::memory_order_seq_cst)) {
            return false;
        }
        // Nobody looks for this executor before the program has it.
        mine.note.store(note, std::memory_order_relaxed);
        return true;
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

    // How many of that generation wait or are being launched.
    uint32_t count(uint32_t generation) const;
    // How many these were. Their launches may still come, and find nothing.
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
    static constexpr uint64_t kLaunching = 2;

    static uint64_t word(uint64_t executor, uint32_t generation) { return executor | uint64_t{generation} << 48; }
    // Neighbours lie in lines of their own, so that who tiles the next one does not wait for who launches this one.
    Place& place(uint32_t at) { return places_[at % kLines * kInLine + at / kLines % kInLine]; }
    Ticket search(uint64_t executor, uint32_t expected);

    static __thread uint32_t newest_taken;  // by this thread: where the next one most likely is behind

    alignas(64) Place places_[kPlaces]{};
};

}  // namespace flexnpu
