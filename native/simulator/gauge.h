// SPDX-License-Identifier: Apache-2.0
//
// A coarse measure of how long an iteration takes on the whole device, linear and quick, to tell states apart. No time
// is taken from it.
#pragma once

#include <cstdint>

#include "simulator/times.h"

namespace flexnpu::simulator {

// Seconds: a constant and slopes.
struct Gauge {
    double step;  // a decode step of one short request
    double per_sequence, per_key;
    double launch;  // a prefill iteration of two tokens, as good as none
    double per_token, per_pair;

    double decode(int64_t sequences, int64_t seen) const {
        return step + per_sequence * static_cast<double>(sequences) + per_key * static_cast<double>(seen);
    }
    double prefill(int64_t tokens, double pairs) const {
        return launch + per_token * static_cast<double>(tokens) + per_pair * pairs;
    }
};

inline Gauge gauge_of(Times& times, uint32_t cores, int64_t token_budget) {
    // Sequences and keys that the slopes are taken between.
    constexpr double kMany = 64, kLong = 1 << 17;
    const auto decode = [&](double sequences, double seen) {
        return times.seconds(cores, {0.0, 0.0, 0.0, 0.0, sequences, seen, sequences});
    };
    const auto prefill = [&](double fresh, double cached) {
        const double pairs = fresh * cached + fresh * (fresh + 1.0) / 2.0;
        return times.seconds(cores, {fresh, 1.0, pairs, fresh + cached, 0.0, 0.0, 1.0});
    };
    const auto budget = static_cast<double>(token_budget);
    const double step = decode(1.0, 1.0), many = decode(kMany, kMany), far = decode(kMany, kLong);
    const double launch = prefill(2.0, 0.0), whole = prefill(budget, 0.0), late = prefill(budget, kLong);
    return {step,   (many - step) / kMany,     (far - many) / kLong,
            launch, (whole - launch) / budget, (late - whole) / (budget * kLong)};
}

}  // namespace flexnpu::simulator
