// SPDX-License-Identifier: Apache-2.0
// What was launched under an older grant still runs after the last of it was launched. An event behind it, on each of
// the streams that this process used lately, tells when the device is clear of it.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "device_calls.h"

namespace flexnpu {

class Clearance {
  public:
    // On the path of every launch: one store. Streams that meet in one place are told apart by nobody, and the newest
    // counts.
    void launched_on(aclrtStream stream) { place_of(stream).stream.store(name_of(stream), std::memory_order_relaxed); }
    // By a thread of the program: where it uses the device.
    void used_in(aclrtContext context) { context_.store(context, std::memory_order_relaxed); }

    // The rest under the gate's lock.
    // From now on it is waited for what those streams have in flight. Open: what the runtime does not let us follow,
    // and all while something is captured, counts as over.
    void mark();
    bool is_clear();

    void forget(aclrtStream stream);
    void forget_context(aclrtContext context);
    void forget_all();

  private:
    struct Place {
        std::atomic<uint64_t> stream{0};  // its handle + 1; 0: none
        aclrtEvent behind = nullptr;      // kept for the next time
        bool pending = false;
    };
    static uint64_t name_of(aclrtStream stream) { return reinterpret_cast<uint64_t>(stream) + 1; }
    Place& place_of(aclrtStream stream) {
        return places_[reinterpret_cast<uint64_t>(stream) * 0x9e3779b97f4a7c15ull >> 61];
    }

    static constexpr size_t kPlaces = 8;
    Place places_[kPlaces];
    std::atomic<aclrtContext> context_{nullptr};
    aclrtContext marked_in_ = nullptr;
};

}  // namespace flexnpu
