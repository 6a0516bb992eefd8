// SPDX-License-Identifier: Apache-2.0
//
// The whole device as one lane: iterations that mix decode and chunks of prompts.
//
// Many are taken at once where they are alike: decode alone, up to its next finish or shortage of blocks; and chunks of
// one prompt that each fill the budget, for as long as the plan may hold. An arrival that can change anything cuts them
// at the end of the iteration under way.
#pragma once

#include <vector>

#include "simulator/prompts.h"
#include "simulator/runner.h"

namespace flexnpu::simulator {

class Mixed final : public Runner {
  public:
    explicit Mixed(Device& device) : device_(device) {}
    void begin(double now, const Plan& plan) override;
    bool turn(double now) override;
    void took_in(double now, double seconds) override;
    void arrived(double now) override;
    int64_t owed(double now) const override;
    void cut(double now) override;
    BusyCores busy_cores() const override;

  private:
    void mix(double now, const Plan& plan);
    void decode(double now);
    double seconds(double later) const;
    int64_t alike(double now, const Plan& plan, double seconds) const;
    int64_t begun(double now) const;
    void shorten(double now);

    Device& device_;
    Chunks chunks_;             // the same in each iteration: of the one prompt, one after the other
    std::vector<double> ends_;  // of the iterations
    uint32_t cores_ = 0;
    Launch launch_;
    int64_t taken_ = 0;  // decode's blocks that are taken already
};

}  // namespace flexnpu::simulator
