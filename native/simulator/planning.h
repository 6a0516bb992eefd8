// SPDX-License-Identifier: Apache-2.0
//
// When a policy is asked, and for how long its answer holds.
//
// It may be asked when nothing is in flight and, where lanes run freely, when either has ended an iteration; with
// `look_seconds`, at the multiples of that alone. Where plans are reused it is not asked again for what it has
// answered; how much of the state counts it says (`Looks`). Where the load counts, two states are taken for the same
// when they lie in one cell: the same phases have work, the next iteration's token budget is full or not, and these are
// in the same step of a logarithmic scale: a linear estimate of a decode step (16 steps per octave, 4.4 % each), that
// of the next prefill iteration and decode's requests (4 steps per octave, 19 % each); and, for who looks at them, the
// wait of the first prompt (likewise; below the TTFT target in sixteenths of it), and what waits in requests and in
// tokens (or this, decode's step and the split alone). A policy that orders the queue is asked again whenever the queue
// has changed, and one that looks at the queue alone is asked once what to do while no prompt can run. The rule looks
// at the simulated state alone, so results stay reproducible.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <unordered_map>

#include "simulator/gauge.h"
#include "simulator/plan.h"
#include "simulator/window.h"

namespace flexnpu::simulator {

// What states have in common that a policy answers alike. No two kinds of cells are compared.
struct Cell {
    std::array<int64_t, 7> steps{};
    bool operator==(const Cell&) const = default;
};

struct CellHash {
    std::size_t operator()(const Cell& cell) const;
};

// Of all devices of a pool.
using Answers = std::unordered_map<Cell, Plan, CellHash>;

class Planning {
  public:
    // looks: nothing where plans are not reused.
    Planning(Device& device, Policy& policy, std::optional<Looks> looks, std::shared_ptr<Answers> answers);

    // What to do next.
    Plan ask(double now);
    // When it is to be asked although nothing has ended.
    double look_at() const { return every_ > 0.0 ? next_look_ : kInfinite; }
    // How many iterations of so many seconds may pass before the policy is asked again, the load being alike.
    int64_t patience(double now, double seconds) const;
    // Whether the policy may want an arrival to go before others.
    bool minds_arrivals() const { return orders_ || !looks_; }
    // Seconds that the device waits because a phase runs on other cores than before.
    double switch_wait(const Plan& plan);
    // The plan in force.
    const std::optional<Plan>& plan() const { return plan_; }

    Window window;

  private:
    const Plan& remembered(double now, const Cell& cell);
    const Plan& fresh(double now, const std::optional<Feedback>& feedback);
    Plan kept(Plan plan) const;
    Cell cell(double now) const;
    Cell batch_cell() const;
    Cell split_cell() const;
    Cell load_cell(double now) const;

    Device& device_;
    Policy& policy_;
    const std::optional<Looks> looks_;
    const std::shared_ptr<Answers> answers_;
    const Gauge gauge_;
    const double every_;  // seconds between two looks; 0: at every occasion
    double next_look_ = 0.0;
    std::optional<Plan> plan_;
    std::optional<Cell> cell_;  // of that plan; nothing where no prompt could run
    std::optional<Split> ran_;  // the cores that ran last
    bool orders_ = false;       // the policy has reordered the queue before, so it may for any arrival
};

}  // namespace flexnpu::simulator
