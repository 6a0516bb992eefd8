// SPDX-License-Identifier: Apache-2.0
//
// What a policy is asked and answers; flexnpu/planner/plan.py says what each means.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

namespace flexnpu::simulator {

class Device;

enum class Mode : uint8_t { aggregated, split, shared };

struct Split {
    uint32_t prefill = 0, decode = 0;
    bool operator==(const Split&) const = default;
};

struct Plan {
    Mode mode = Mode::aggregated;
    Split split;
    int64_t budget = 0;
    int64_t steps = 0;
    double weight = 0.5;
};

struct Answer {
    Plan plan;
    std::optional<std::vector<uint32_t>> order;
};

// Latencies of a window, where it saw any.
struct Feedback {
    std::optional<double> ttft, itl;
};

class Policy {
  public:
    virtual ~Policy() = default;
    // The device in its present state, its prompts as view.h shows them.
    virtual Answer plan(const Device& device, double now, const std::optional<Feedback>& feedback) = 0;
};

// How much of the state decides a policy's answer.
enum class Looks : uint8_t { nothing, window, batch, load, wait, split, queue, all };

}  // namespace flexnpu::simulator
