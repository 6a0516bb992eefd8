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

namespace flexnpu {

class Probe {
  public:
    // Around everything that tiles. The generation that enter() gives goes to the calls after it.
    uint32_t enter() {
        for (;;) {
            const uint32_t generation = generation_.load(std::memory_order_relaxed);
            inside_[generation & 1].fetch_add(1, std::memory_order_seq_cst);
            std::atomic_thread_fence(std::memory_order_seq_cst);
            // A turn in between may have looked before we were counted: nobody would wait for us there.
            if (generation_.load(std::memory_order_seq_cst) == generation) return generation;
            leave(generation);
        }
    }
    void leave(uint32_t generation) {
        if (inside_[generation & 1].fetch_sub(1, std::memory_order_seq_cst) == 1) ring();
    }

    // An executor (any non-zero key) was tiled and waits to be launched; one executor may wait several times.
    void tiled(uint64_t executor, uint32_t generation);
    // Takes one waiting launch of the executor; 0 when none is known. To be closed by launched() once it is submitted.
    uint32_t launching(uint64_t executor);
    void launched(uint32_t generation);
    // The executor is gone: none of its launches will come.
    void destroyed(uint64_t executor);

    // For the herald, after it has read the new quota: begins a generation and returns when the one before is over.
    // Gives how many tiled operators were given up because no launch of that generation came for a while.
    uint32_t turn();

    void reset_in_child();

  private:
    void ring() {
        if (waiting_.load(std::memory_order_seq_cst)) wake();
    }
    void wake();
    void sleep(uint32_t bell);
    void wait_for_inside(uint32_t generation);
    uint32_t wait_for_launches(uint32_t generation);
    std::atomic<uint64_t>& slot(uint32_t generation) { return pending_[generation % 4]; }

    std::atomic<uint32_t> generation_{1};
    std::atomic<int32_t> inside_[2]{};
    // Launches to come: generation in the high half, count in the low one. A generation that was given up keeps no
    // slot, so a launch that comes after all finds another generation there and changes nothing.
    std::atomic<uint64_t> pending_[4]{};
    // Executor to generation (high half) and launches to come (low half).
    PointerMap executors_{};
    std::atomic<bool> waiting_{false};
    std::atomic<uint32_t> bell_{0};
};

}  // namespace flexnpu
