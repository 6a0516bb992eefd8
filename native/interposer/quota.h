// SPDX-License-Identifier: Apache-2.0
// What the daemon grants on one device, read from the control page. The daemon alone writes it; one word holds the
// counts with their number, so that no reader mixes two grants.
#pragma once

#include <atomic>

#include "flexnpu/page.h"

namespace flexnpu {

inline uint64_t load_word(const uint64_t& word, std::memory_order order) {
    return __atomic_load_n(&word, static_cast<int>(order));
}
inline uint32_t load_word(const uint32_t& word, std::memory_order order) {
    return __atomic_load_n(&word, static_cast<int>(order));
}

class Quota {
  public:
    void bind(const flexnpu_control_device* section) { section_ = section; }

    uint64_t word(std::memory_order order = std::memory_order_relaxed) const {
        return load_word(section_->quota, order);
    }
    uint32_t grant() const { return flexnpu_quota_grant(word()); }
    uint32_t cube() const { return flexnpu_quota_cube(word()); }
    uint32_t vector() const { return flexnpu_quota_vector(word()); }
    uint64_t memory_bytes() const { return load_word(section_->memory_bytes, std::memory_order_relaxed); }
    int32_t device() const { return static_cast<int32_t>(section_->physical); }

  private:
    const flexnpu_control_device* section_ = nullptr;
};

// What a thread tiles an operator for, the same from the beginning to the end of its phase one: all that this asks for,
// and the key that the executor is kept under, are of one quota. Of a tiling, quota is not null.
struct TiledFor {
    const Quota* quota;
    uint64_t word;
};
extern __thread TiledFor tiled_for;

inline uint64_t told_word(const Quota& quota) { return tiled_for.quota == &quota ? tiled_for.word : quota.word(); }

}  // namespace flexnpu
