// SPDX-License-Identifier: Apache-2.0
//
// Two lanes on parted cores that join: k decode steps run ahead beside one prefill iteration (DuetServe). One round at
// a time; arrivals wait for its end.
//
// The k steps are launched as graphs without looking at what they yield, so their KV blocks are taken beforehand, and a
// request that has its last token in one of them is noticed when the lanes join: it keeps its blocks and its place
// until then. A token counts from when its iteration ended on the device.
#pragma once

#include <vector>

#include "simulator/prompts.h"
#include "simulator/runner.h"

namespace flexnpu::simulator {

class Rounds final : public Runner {
  public:
    explicit Rounds(Device& device) : device_(device) {}
    void begin(double now, const Plan& plan) override;
    bool turn(double now) override;
    void took_in(double now, double seconds) override;
    void arrived(double) override {}
    int64_t owed(double) const override { return 0; }  // all blocks are taken before the round
    void cut(double) override {}
    BusyCores busy_cores() const override { return cores_; }

  private:
    void time(double now, int64_t count);
    void find_next();
    void contend(double now, double begins, double floor);

    Device& device_;
    Chunks chunks_;
    std::vector<double> ends_;  // of decode's steps
    double prompt_end_ = 0.0;
    Launch launch_;
    BusyCores cores_;
};

}  // namespace flexnpu::simulator
