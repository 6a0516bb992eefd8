// SPDX-License-Identifier: Apache-2.0
// Hails of one device, as this process gives and hears them: whoever may go before it stops it at the next launch,
// without waiting for the daemon (flexnpu/hail.h). The daemon confirms a hail by closing the turn. One that it does not
// confirm is heeded for a moment and then not any more, and for some time nor is any other.
#pragma once

#include <atomic>

#include "flexnpu/hail.h"
#include "quota.h"

namespace flexnpu {

class Hails {
  public:
    static constexpr uint64_t kHeedNs = 1'000'000;
    static constexpr uint64_t kDeafNs = 100'000'000;

    // `word`: of the device, null where it has none.
    void bind(uint64_t* word, const flexnpu_control_device* section) {
        word_ = word != nullptr ? word : &none_;
        section_ = section;
    }

    // To all others on the device.
    void hail() const {
        __atomic_store_n(word_, load_word(section_->hail, std::memory_order_relaxed), __ATOMIC_RELEASE);
    }

    // On the path of every launch within a turn. False: there is a hail for this process that was not found to be
    // nothing. Noise, which anybody may make without end, costs the print of a word.
    bool is_quiet() const {
        const uint64_t hail = load_word(*word_, std::memory_order_acquire);
        return hail == heard_.load(std::memory_order_relaxed) ||
               flexnpu_hail_print(hail) != load_word(section_->yields_to, std::memory_order_acquire);
    }

    // The rest under the gate's lock.
    // Whether this process is to stop.
    bool is_hailed(uint64_t now_ns) {
        const uint64_t hail = load_word(*word_, std::memory_order_acquire);
        const uint64_t print = load_word(section_->yields_to, std::memory_order_acquire);
        if (is_heeded(hail, print, now_ns)) return true;
        heard_.store(hail, std::memory_order_relaxed);
        return false;
    }
    // It stopped, and its turn was not closed. Not where another word came over the hail before its time.
    void was_in_vain(uint64_t now_ns) {
        if (now_ns - since_ns_ >= kHeedNs) deaf_until_ns_ = now_ns + kDeafNs;
    }

  private:
    bool is_heeded(uint64_t hail, uint64_t print, uint64_t now_ns) {
        if (print == 0 || now_ns < deaf_until_ns_ || flexnpu_hail_print(hail) != print) return false;
        if (print_ != print) since_ns_ = now_ns;
        print_ = print;
        return now_ns - since_ns_ < kHeedNs;
    }

    uint64_t* word_ = nullptr;
    const flexnpu_control_device* section_ = nullptr;
    std::atomic<uint64_t> heard_{0};
    uint64_t print_ = 0, since_ns_ = 0;  // of the hail that it heeded last, and since when
    uint64_t deaf_until_ns_ = 0;
    uint64_t none_ = 0;
};

}  // namespace flexnpu
