// SPDX-License-Identifier: Apache-2.0
//
// What each vNPU that shares the device in time is to have now: its own share and priority, or, where the device is
// dispatched by phase and has both prefill and decode, what these two are given. Used under the arbiter's lock.
#pragma once

#include <cstdint>
#include <vector>

#include "arbiter/phases.h"
#include "arbiter/vnpu.h"

namespace flexnpu {

enum class DispatchMode : uint8_t { fair, phase };

class Dispatch {
  public:
    explicit Dispatch(DispatchMode mode) : mode_(mode) {}
    // Sets VNpu::share, priority and phase. Needs no timeout: it is called whenever something happens.
    void step(const std::vector<VNpu*>& vnpus, int64_t now_ns);

  private:
    // The shares that prefill and decode have of their own, together.
    struct Own {
        uint32_t prefill = 0, decode = 0;
        bool both() const { return prefill != 0 && decode != 0; }
        bool operator==(const Own&) const = default;
    };
    void look(const std::vector<VNpu*>& vnpus, int64_t now_ns);
    void begin_anew(const std::vector<VNpu*>& vnpus, const Own& own, int64_t now_ns);
    static Own own(const std::vector<VNpu*>& vnpus);

    const DispatchMode mode_;
    int64_t looked_ns_ = 0;
    Own own_;
    PhaseShares shares_;
};

}  // namespace flexnpu
