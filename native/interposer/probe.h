// SPDX-License-Identifier: Apache-2.0
// Which operators may still be launched with an old tiling. Tilings are made in generations; a change of quota begins a
// new one, and the old one is over when no phase one that began in it is running and every executor that it left behind
// has been launched, destroyed or given up.
//
// Order: a thread counts itself inside before it reads the quota, the herald reads the quota before it looks who is
// inside (both sequentially consistent). So whoever the herald does not see inside tiles under the new quota.
#pragma once

#include <atomic>

#include "pointer_map.h"
#include "tilings.h"

namespace flexnpu {

class Probe {
  public:
    // Around everything that tiles. What enter() gives goes to the calls after it.
    Tiling enter() {
        for (;;) {
            const uint32_t generation = current(std::memory_order_relaxed);
            const Tiling tiling{generation, tilings_.begin(generation)};
            if (__builtin_expect(tiling.place == 0, false)) {
                inside_[generation & 1].fetch_add(1, std::memory_order_seq_cst);
            }
            before_reads();
            // A turn in between may have looked before we were counted: nobody would wait for us there.
            if (current(std::memory_order_seq_cst) == generation) return tiling;
            leave(tiling);
        }
    }
    void leave(Tiling tiling) {
        if (tiling.generation != 0) left(tiling);
    }

    // An executor (any non-zero key) was tiled and waits to be launched; one executor may wait several times.
    // The note comes back with its ticket; false where it does not: so many wait that this one was put aside, under a
    // lock.
    bool tiled(Tiling& tiling, uint64_t executor, uint64_t note = 0) {
        if (__builtin_expect(tiling.place != 0 && tilings_.keep(tiling, executor, note), true)) {
            tiling = {};
            return true;
        }
        put_aside(executor, tiling.generation);
        return false;
    }
    // Takes one waiting launch of the executor, if one is known. To be closed by launched() once it is submitted.
    Ticket launching(uint64_t executor) {
        if (__builtin_expect(aside_.load(std::memory_order_relaxed) > 0, false)) {
            if (const Ticket found = take_aside(executor)) return found;
        }
        return tilings_.take(executor, current(std::memory_order_relaxed));
    }
    void launched(Ticket ticket) {
        if (__builtin_expect(ticket.place == 0, false)) return launched_aside(ticket.generation);
        tilings_.end(ticket);
        if (__builtin_expect(waiting_.load(std::memory_order_seq_cst), false)) ended(ticket.generation);
    }
    // The executor is gone: none of its launches will come.
    void destroyed(uint64_t executor);

    // For the herald, after it has read the new quota: begins a generation and returns when the one before is over.
    // Gives how many tiled operators were given up because no launch of that generation came for a while.
    uint32_t turn();

    void reset_in_child();

  private:
    // Counts from 1, and all is zero at first, so that it takes no room in the library's file.
    uint32_t current(std::memory_order order) const { return turns_.load(order) + 1; }
    // What was changed with an atomic operation is seen before what is read after this.
    static void before_reads() {
#if defined(__x86_64__)
        std::atomic_signal_fence(std::memory_order_seq_cst);  // the operation is a barrier by itself
#else
        std::atomic_thread_fence(std::memory_order_seq_cst);
#endif
    }
    void left(Tiling tiling);
    void ring() {
        if (__builtin_expect(waiting_.load(std::memory_order_seq_cst), false)) wake();
    }
    void wake();
    void sleep(uint32_t bell);
    void ended(uint32_t generation);
    uint32_t wait_for(uint32_t generation);
    Tilings::Count count(uint32_t generation) const;
    uint32_t give_up(uint32_t generation);

    void put_aside(uint64_t executor, uint32_t generation);
    Ticket take_aside(uint64_t executor);
    void launched_aside(uint32_t generation);
    std::atomic<uint64_t>& slot(uint32_t generation) { return pending_[generation % 4]; }

    // In lines by who writes them: the herald; whoever tiles and finds no place. The others write to the tilings.
    alignas(64) std::atomic<uint32_t> turns_{0};
    std::atomic<bool> waiting_{false};
    std::atomic<uint32_t> bell_{0};
    std::atomic<int32_t> aside_{0};                 // executors that found no place among the tilings
    alignas(64) std::atomic<int32_t> inside_[2]{};  // that found no place among the tilings
    Tilings tilings_{};

    Lock aside_lock_;
    // Those aside. Launches to come: generation in the high half, count in the low one. A generation that was given up
    // keeps no slot, so a launch that comes after all finds another generation there and changes nothing.
    std::atomic<uint64_t> pending_[4]{};
    // Executor to generation (high half) and launches to come (low half).
    PointerMap executors_{};
};

}  // namespace flexnpu
