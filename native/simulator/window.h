// SPDX-License-Identifier: Apache-2.0
//
// Latencies since the last window closed, for who plans by feedback.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <optional>
#include <utility>
#include <vector>

#include "simulator/plan.h"
#include "simulator/request.h"
#include "simulator/settings.h"

namespace flexnpu::simulator {

// The first multiple of so many seconds after `now`.
inline double next_multiple(double now, double seconds) {
    return (std::round((now - std::fmod(now, seconds)) / seconds) + 1.0) * seconds;
}

class Window {
  public:
    // open: it collects; who looks at no feedback collects none.
    Window(const Settings& settings, bool open) : settings_(settings), open_(open), end_(settings.feedback_seconds) {}

    double end() const { return end_; }

    void first_token(const Request& request) {
        if (open_) ttft_.push_back(request.first_token - request.arrival);
    }

    void finished(const Request& request) {
        if (!open_ || request.generated <= 1) return;
        itl_.push_back(settings_.each ? request.slowest().p99 : request.mean_tpot());
    }

    // What it has seen; the next one begins.
    Feedback closed(double now) {
        end_ = next_multiple(now, settings_.feedback_seconds);
        return {percentile(std::exchange(ttft_, {})), percentile(std::exchange(itl_, {}))};
    }

  private:
    // Nearest rank.
    std::optional<double> percentile(std::vector<double> values) const {
        if (values.empty()) return {};
        const auto rank = static_cast<std::size_t>(settings_.feedback_part * static_cast<double>(values.size()));
        const auto at = values.begin() + static_cast<std::ptrdiff_t>(std::min(values.size() - 1, rank));
        std::nth_element(values.begin(), at, values.end());
        return *at;
    }

    const Settings& settings_;
    const bool open_;
    double end_;
    std::vector<double> ttft_, itl_;
};

}  // namespace flexnpu::simulator
