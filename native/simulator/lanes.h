// SPDX-License-Identifier: Apache-2.0
//
// Two lanes that run freely: on parted cores, or on all cores with the time shared out by weight. They stop, one after
// the other, when a plan wants another runner.
//
// Work in flight is kept as the part of it that is left, so that it goes on at another rate when the neighbour starts,
// ends or changes. Decode's steps are projected up to its next finish or shortage of blocks; what is over is booked
// when an event cuts the projection, and a step that was cut goes on where it was.
#pragma once

#include <utility>
#include <vector>

#include "simulator/prompts.h"
#include "simulator/runner.h"
#include "simulator/settings.h"

namespace flexnpu::simulator {

class Lanes final : public Runner {
  public:
    explicit Lanes(Device& device) : device_(device) {}
    void begin(double now, const Plan& plan) override;
    bool turn(double now) override;
    void took_in(double now, double seconds) override;
    void arrived(double now) override;
    int64_t owed(double now) const override;
    void cut(double now) override;
    BusyCores busy_cores() const override;

  private:
    // The iteration in flight, if any.
    struct Prefill {
        bool running = false;
        Chunks chunks;
        uint32_t cores = 0;
        uint32_t wanted = 0;  // cores of what is not launched yet,
        double until = 0.0;   // which is so much of the iteration
        double left = 1.0;    // part of the iteration
        double full = 0.0;    // seconds that all of it takes at the present rate
        double extra = 0.0;   // seconds of them that a change of cores costs
        double end = kInfinite;
        Launch launch;
    };
    // Projected steps, of which the first may be under way.
    struct Decode {
        bool running = false;
        uint32_t cores = 0;
        std::vector<double> ends;
        std::vector<double> full;  // seconds of each step, had it begun at the present rate
        double left = 1.0;         // part of the step under way
        int64_t taken = 0;         // blocks that were taken for it
        double extra = 0.0;
    };

    void settle_decode(double now);
    void settle_prefill(double now);
    void follow(const Plan& plan);
    void start(double now, double wait);
    void start_decode(double wait);
    void start_prefill(double wait, bool admit);
    void give();
    void take();
    void change(uint32_t cores);
    double changes_at() const;
    uint32_t left_by(uint32_t other, uint32_t wanted) const;
    double changed(uint32_t before, uint32_t cores);
    bool shares() const;
    void project(double now, bool drain = false);
    void find_next();
    void project_steps(double now, double step, int64_t count);
    int64_t projected(double now, double step);
    std::pair<double, double> beside(const Load* load) const;
    Phases launch_seconds() const;

    Device& device_;
    Prefill prefill_;
    Decode decode_;
    Plan plan_;
    double weight_ = 0.5;  // of the plan that shared time last
};

}  // namespace flexnpu::simulator
