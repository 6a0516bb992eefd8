// SPDX-License-Identifier: Apache-2.0
//
// A way to run iterations. A device has one at a time and changes it when nothing is in flight.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>

#include "simulator/plan.h"
#include "simulator/request.h"

namespace flexnpu::simulator {

// Cores at work on prompts, on decode, on both.
struct BusyCores {
    uint32_t prefill = 0, decode = 0, both = 0;
};

// Seconds of iterations one after another become their ends. Each takes `least` at least, and `launch` more.
inline void chain(std::span<double> seconds, double now, double least, double launch = 0.0) {
    double sum = 0.0;
    for (double& each : seconds) {
        sum += std::max(each, least) + launch;
        each = sum + now;
    }
}

// The host's part of an iteration with prompts. While it launches, a request that is taken in holds it up; in all by no
// more than twice what the launch takes, as both have the host by turns. The iteration takes as much longer, also where
// the launch is short beside it: the device waits in between. Both as measured (docs/experiments.md).
class Launch {
  public:
    void begin(double now, double seconds) {
        over_ = now + seconds;
        room_ = 2.0 * seconds;
    }
    // A request has been taken in, in so many seconds. Gives by how many of them the launch is over later.
    double held_up(double now, double seconds) {
        if (now >= over_) return 0.0;
        const double held = std::min(seconds, room_);
        over_ += held;
        room_ -= held;
        return held;
    }

  private:
    double over_ = 0.0, room_ = 0.0;
};

class Runner {
  public:
    virtual ~Runner() = default;
    // When it is to be called again; infinite when nothing runs.
    double next_seconds() const { return next_seconds_; }
    // Starts the work that the plan wants.
    virtual void begin(double now, const Plan& plan) = 0;
    // Books what is over at `now`; true: nothing is in flight any more, so `begin` is next.
    virtual bool turn(double now) = 0;
    // A request has been queued while work is in flight.
    virtual void arrived(double now) = 0;
    // The host has taken in a request meanwhile, in so many seconds.
    virtual void took_in(double now, double seconds) = 0;
    // Blocks of the steps that have begun by now and are not booked yet.
    virtual int64_t owed(double now) const = 0;
    // Somebody else is about to take blocks: what has been projected beyond the step under way may not hold.
    virtual void cut(double now) = 0;
    virtual BusyCores busy_cores() const = 0;

  protected:
    double next_seconds_ = kInfinite;
};

}  // namespace flexnpu::simulator
