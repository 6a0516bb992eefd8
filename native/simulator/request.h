// SPDX-License-Identifier: Apache-2.0
//
// A request inside an engine: one object from arrival to finish. Times are seconds of the simulation's clock.
#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <vector>

namespace flexnpu::simulator {

constexpr double kInfinite = std::numeric_limits<double>::infinity();
constexpr double kNever = std::numeric_limits<double>::quiet_NaN();

// Of the gaps between a request's tokens; 0 for a single token.
struct Slowest {
    double p99 = 0;  // nearest rank
    double longest = 0;
};

struct Request {
    // `blocks`: hash ids of its full prompt blocks. An id stands for all before it, so none comes twice; where one
    // does, it and those that follow are left out, and not shared.
    Request(int64_t index, double arrival, int64_t prompt, int64_t output, std::vector<int64_t> blocks);

    const int64_t index;  // place in the trace
    const double arrival;
    const int64_t prompt, output;  // tokens
    const std::vector<int64_t> blocks;

    double since;  // it waits
    int64_t
        target;  // tokens to compute before it decodes: the prompt, and after a preemption what it had generated too
    int64_t computed = 0;  // of them
    int64_t generated = 0;
    double first_token = kNever, last_token = kNever;
    int64_t cached = -1;  // tokens found in the cache when it was first admitted; before that -1
    int64_t preemptions = 0;
    int64_t flying = 0;  // tokens of its prompt that a lane has in flight

    int64_t held = 0;             // private KV blocks
    std::vector<int64_t> shared;  // hash ids of the blocks that it references
    int64_t registered = 0;       // leading blocks that were looked up or entered in the prefix cache

    // While it decodes (decoding.h).
    int64_t join_step = 0, finish_step = 0, length = 0;
    int64_t residue = 0;
    std::size_t slot = 0;

    std::vector<double> gaps;  // between its tokens

    // A token that came with the end of a prompt: the first one, or the one that a preemption had put off.
    void token(double now);
    Slowest slowest() const;
    double mean_tpot() const;
};

using RequestPtr = std::shared_ptr<Request>;

}  // namespace flexnpu::simulator
