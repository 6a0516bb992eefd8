// SPDX-License-Identifier: Apache-2.0
//
// How an engine is set; flexnpu/simulator/config.py says what each means.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

namespace flexnpu::simulator {

// A number for each phase.
struct Phases {
    double prefill, decode;
};

struct Settings {
    uint32_t cores = 0;        // of the device
    double ttft = 0, itl = 0;  // targets
    bool each = false;         // the ITL target is held against a request's 99th percentile, not its mean
    int64_t token_budget = 0;
    int64_t max_running = 0;
    std::optional<int64_t> max_decoding, joins_per_step;
    bool whole_prompts = false;
    int64_t blocks = 0;
    int64_t block_tokens = 0, hash_tokens = 0;
    bool prefix_caching = false;
    double intake_seconds = 0, launch_seconds = 0, dispatch_seconds = 0, graph_seconds = 0, switch_seconds = 0;
    double look_seconds = 0, launched_part = 1;
    Phases beside{1, 1}, turns{1, 1}, turn_seconds{0, 0};
    std::vector<uint32_t> graphs;
    int64_t look_ahead = 0;
    double feedback_seconds = 0, feedback_part = 0;
};

}  // namespace flexnpu::simulator
