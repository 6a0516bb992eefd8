// SPDX-License-Identifier: Apache-2.0
#include "arbiter/phases.h"

#include <algorithm>

namespace flexnpu {
namespace {

constexpr int64_t kStep = 500;          // of a share at a time
constexpr double kDeadBand = 0.05;      // waiting that differs by less moves nothing
constexpr double kMuchPressure = 0.15;  // a sixth slower: half of the worst contention that is reported, 0.3
constexpr int64_t kForgetting = 64;     // the best step is forgotten by this part of itself in each window

int64_t step_ns(const PhaseUse& use) { return use.steps == 0 ? 0 : use.used_ns / static_cast<int64_t>(use.steps); }

bool is_idle(const PhaseUse& use) { return use.waited_ns + use.used_ns <= 0; }

// Of the time in which the phase wanted the device, the part that it waited for it.
double waiting(const PhaseUse& use) {
    return static_cast<double>(use.waited_ns) / static_cast<double>(use.waited_ns + use.used_ns);
}

int64_t next_best(int64_t best, int64_t step) {
    if (step == 0) return best;
    // Steps grow with contexts and batches, so that an old best must not stand for ever.
    return best == 0 ? step : std::min(step, best + best / kForgetting + 1);
}

}  // namespace

double bandwidth_pressure(const PhaseShares& before, const PhaseUse& decode) {
    const int64_t step = step_ns(decode);
    if (step == 0 || before.best_step_ns == 0 || step <= before.best_step_ns) return 0.0;
    return static_cast<double>(step) / static_cast<double>(before.best_step_ns) - 1.0;
}

PhaseShares divide(const PhaseShares& before, const PhaseWindow& window) {
    PhaseShares after = before;
    after.best_step_ns = next_best(before.best_step_ns, step_ns(window.decode));
    if (is_idle(window.prefill) || is_idle(window.decode)) return after;
    const double lead = waiting(window.decode) - waiting(window.prefill);
    int64_t decode = before.decode;
    if (lead > kDeadBand && bandwidth_pressure(before, window.decode) < kMuchPressure) decode += kStep;
    if (lead < -kDeadBand) decode -= kStep;
    after.decode =
        static_cast<uint32_t>(std::clamp<int64_t>(decode, kLeastPhaseShare, int64_t{10'000} - kLeastPhaseShare));
    return after;
}

}  // namespace flexnpu
