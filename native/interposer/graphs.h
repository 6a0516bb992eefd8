// SPDX-License-Identifier: Apache-2.0
// Captured graphs: at how many cores each was captured, which it keeps, and how often it was replayed. What the report
// page has room for is listed there.
#pragma once

#include <atomic>

#include "flexnpu/page.h"
#include "lock.h"
#include "pointer_map.h"

namespace flexnpu {

class Graphs {
  public:
    void bind(flexnpu_report_page* page) { page_ = page; }

    // `counts`: the quota word's cores under which a stream begins to capture.
    void begin(void* stream, uint32_t counts);
    // True: the stream was capturing. `graph` is null when no graph came of it.
    bool end(void* stream, void* graph, uint32_t ordinal);
    // Counts a replay, gives the counts of the capture; 0: not known.
    uint32_t replay(void* graph);
    void destroyed(void* graph);

    void reset_in_child();

  private:
    // Graphs at hand: a replay finds its own without a lock. Whoever changes the map changes these, under the lock.
    struct Recent {
        std::atomic<uint64_t> key{}, value{};
    };
    Recent& recent(uint64_t key) { return recent_[key * 0x9e3779b97f4a7c15ull >> 58]; }
    void remember(uint64_t key, uint64_t value);
    uint64_t look_up(uint64_t key);

    uint32_t list(uint32_t counts, uint32_t ordinal);

    flexnpu_report_page* page_ = nullptr;
    Lock lock_;
    Recent recent_[64]{};
    PointerMap known_{};  // stream (while capturing) or graph, to its place in the list + 1 (high half) and its counts
};

}  // namespace flexnpu
