// SPDX-License-Identifier: Apache-2.0
// What the daemon grants, read from the control page. The daemon alone writes it; one word holds a count with its
// revision, so that no reader mixes two quotas.
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
    void bind(const flexnpu_control_page* page) { page_ = page; }

    uint64_t word(std::memory_order order = std::memory_order_relaxed) const { return load_word(page_->quota, order); }
    uint32_t revision() const { return flexnpu_quota_revision(word()); }
    uint32_t cube() const { return flexnpu_quota_cube(word()); }
    uint32_t vector() const { return flexnpu_quota_vector(word()); }
    uint64_t memory_bytes() const { return load_word(page_->memory_bytes, std::memory_order_relaxed); }
    int32_t device() const { return static_cast<int32_t>(page_->device); }

    const uint32_t* doorbell() const { return &page_->revision_futex; }

  private:
    const flexnpu_control_page* page_ = nullptr;
};

}  // namespace flexnpu
