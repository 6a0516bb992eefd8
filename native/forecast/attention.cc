// SPDX-License-Identifier: Apache-2.0
#include "forecast/attention.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <utility>

namespace flexnpu {
namespace {

// Of those from the second on; the first is 0.
std::vector<double> inverse(const std::vector<double>& values) {
    std::vector<double> found(values.size());
    for (std::size_t i = 1; i < values.size(); ++i) found[i] = 1.0 / values[i];
    return found;
}

std::vector<double> hypot_of(double compute, const std::vector<double>& slow, double memory,
                             const std::vector<double>& slow_moves) {
    std::vector<double> found(slow.size());
    for (std::size_t i = 0; i < slow.size(); ++i) found[i] = std::hypot(compute * slow[i], memory * slow_moves[i]);
    return found;
}

double overlapped(double squared, double memory) { return std::sqrt(squared + memory * memory); }

}  // namespace

// One prompt: operations, one core's seconds for all blocks and those of the longest one, bytes, and keys beyond those.
struct PlainAttention::Prompts {
    double operations, blocks, block, moved, surplus;
};

// Operations and bytes of one new token each; bytes count by how quickly they are read.
struct PlainAttention::Running {
    double operations, moved;
};

PlainAttention::PlainAttention(PlainConstants constants) : constants_(std::move(constants)) {
    const auto& [rates, bandwidth, left, pace, queries, heads, key, bend, fixed, block, context, generation] =
        constants_;
    if (rates.size() < 2 || rates.size() != bandwidth.size()) {
        throw std::invalid_argument("rates and bandwidth need an entry for no cores and for each number of them");
    }
    std::vector<double> counts(rates.size());
    for (std::size_t i = 0; i < counts.size(); ++i) counts[i] = static_cast<double>(i);
    full_ = bandwidth.back();
    left_ = bandwidth;
    for (double& each : left_) each = std::min(each, left);
    slow_ = inverse(rates), part_ = inverse(counts);
    slow_moves_ = inverse(bandwidth), slow_moves_held_ = inverse(left_);
    share_ = part_.back(), core_ = rates.back() * share_;
    reading_ = hypot_of(generation.pair, slow_, context.key, slow_moves_);
    reading_held_ = hypot_of(generation.pair, slow_, context.key, slow_moves_held_);
}

double PlainAttention::seconds(const Load& load, uint32_t cores) { return single(load, cores).alone; }

Single PlainAttention::single(const Load& load, uint32_t cores) {
    Single found;
    const double whole = bandwidth(cores), left = left_[cores], fixed = constants_.fixed;
    if (load.prefill_sequences > 0.0) {
        const Prompts one = prompts(load);
        const double compute = squared(one, cores);
        found.alone = overlapped(compute, one.moved / whole) + fixed + one.surplus * reading_[cores];
        found.held = overlapped(compute, one.moved / left) + fixed + one.surplus * reading_held_[cores];
        found.traffic = one.surplus * constants_.context.key + one.moved;
    }
    if (const double readers = load.readers(); readers > 0.0) {
        const Running all = running(readers, load.decode_seen);
        const double compute = all.operations / constants_.rates[cores] + constants_.block;
        found.alone += overlapped(compute * compute, all.moved / whole) + fixed;
        found.held += overlapped(compute * compute, all.moved / left) + fixed;
        found.traffic += all.moved;
    }
    found.traffic /= full_;
    return found;
}

Row PlainAttention::by_cores(const Load& load) {
    const std::size_t counts = slow_.size();
    Row found(counts);
    const double fixed = constants_.fixed;
    if (load.prefill_sequences > 0.0) {
        const auto [operations, blocks, block, moved, surplus] = prompts(load);
        const double longest = std::pow(block, 4.0);
        for (std::size_t i = 0; i < counts; ++i) {
            double compute = slow_[i] * operations + part_[i] * blocks;
            compute *= compute;
            compute = std::sqrt(compute * compute + longest);
            const double memory = slow_moves_[i] * moved, slower = slow_moves_held_[i] * moved;
            found.alone[i] = std::sqrt(memory * memory + compute);
            found.held[i] = std::sqrt(slower * slower + compute);
            if (surplus != 0.0) {
                found.alone[i] += reading_[i] * surplus;
                found.held[i] += reading_held_[i] * surplus;
            }
            found.alone[i] += fixed;
            found.held[i] += fixed;
        }
        found.traffic += (moved + surplus * constants_.context.key) / full_;
    }
    if (const double readers = load.readers(); readers > 0.0) {
        const auto [operations, moved] = running(readers, load.decode_seen);
        for (std::size_t i = 0; i < counts; ++i) {
            const double compute = slow_[i] * operations + constants_.block;
            const double memory = slow_moves_[i] * moved, slower = slow_moves_held_[i] * moved;
            found.alone[i] += overlapped(compute * compute, memory) + fixed;
            found.held[i] += overlapped(compute * compute, slower) + fixed;
        }
        found.traffic += moved / full_;
    }
    return found;
}

void PlainAttention::steps(const Load& load, uint32_t cores, std::span<double> seen) {
    double beside = 0.0;
    if (load.prefill_sequences > 0.0) {
        const Prompts one = prompts(load);
        beside = overlapped(squared(one, cores), one.moved / bandwidth(cores)) + constants_.fixed;
        beside += one.surplus * reading_[cores];
    }
    const double readers = load.readers();
    if (!(readers > 0.0)) {
        std::fill(seen.begin(), seen.end(), beside);
        return;
    }
    const PerToken& one = constants_.generation;
    const double slow = one.pair / constants_.rates.at(cores), slow_moves = constants_.pace / bandwidth(cores);
    for (double& each : seen) {
        const double compute = each * slow + constants_.block;
        const double memory = (each * one.key + readers * one.query) * slow_moves;
        each = std::hypot(compute, memory) + constants_.fixed + beside;
    }
}

bool PlainAttention::computing(const Load& load, uint32_t cores) const {
    const Prompts one = prompts(load);
    const double memory = one.moved / bandwidth(cores);
    return squared(one, cores) >= memory * memory;
}

double PlainAttention::squared(const Prompts& prompts, uint32_t cores) const {
    double spread = prompts.operations / constants_.rates.at(cores) + prompts.blocks / static_cast<double>(cores);
    spread *= spread;
    const double block = prompts.block * prompts.block;
    return std::sqrt(spread * spread + block * block);
}

PlainAttention::Prompts PlainAttention::prompts(const Load& load) const {
    const PlainConstants& c = constants_;
    const double tokens = load.prefill_tokens, pairs = load.prefill_pairs, seen = load.prefill_seen;
    const double blocks = c.heads * std::max(tokens * (1.0 / c.queries), load.prefill_sequences);
    const double share = blocks * share_;
    const double rate = share >= 1.0 ? core_ : (1.0 + c.bend * (1.0 - share)) * core_;
    const double block = std::min(std::sqrt(2.0 * pairs), seen) * c.key / rate + c.block;
    // What one prompt of so many tokens and pairs reads, computing hides; the rest it does not.
    const double first = hidden_keys(tokens, pairs, seen, c.queries);
    // No less than a running request computes, whose few heads the cube may fill up to a tile.
    const double operations =
        std::max((pairs + tokens * (c.queries / 2.0)) * c.context.pair, first * c.generation.pair);
    return {operations, blocks * c.block, block, tokens * c.context.query + first * c.context.key, seen - first};
}

PlainAttention::Running PlainAttention::running(double sequences, double seen) const {
    const PerToken& one = constants_.generation;
    return {seen * one.pair, (sequences * one.query + seen * one.key) * constants_.pace};
}

double hidden_keys(double tokens, double pairs, double seen, double queries) {
    double own = 0.5 * (std::sqrt(1.0 + 8.0 * pairs) - 1.0);
    if (tokens < own) {
        const double one = pairs / tokens + 0.5 * (tokens - 1.0);
        own = tokens >= queries ? one : own + (one - own) * (tokens * (1.0 / queries));
    }
    return std::min(own, seen);
}

}  // namespace flexnpu
