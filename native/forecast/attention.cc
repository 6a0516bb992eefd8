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

double overlapped(double squared, double memory) { return std::sqrt(squared + memory * memory); }

// Prompts read a key no quicker than running requests do.
double bytes_of_a_key(const PlainConstants& constants) {
    return std::max(constants.context.key, constants.generation.key * constants.pace);
}

// The square of the 4-norm.
double squared(double one, double other) {
    one *= one, other *= other;
    return std::sqrt(one * one + other * other);
}

// The 4-norm of x and y, x at least twice y, grows by (16/17)^(3/4) of what x does, or more.
constexpr double kTwice = 2.0, kGrows = 0.9555;

}  // namespace

// Operations; one core's seconds for all blocks and those of the longest one; bytes of queries and of keys; sums of the
// load; keys of the longest block, and half a key. Of keys: half a one for each token, all but the first; all others.
struct PlainAttention::Prompts {
    double operations, blocks, block, moved, read;
    double tokens, pairs, root, own, others;
};

// Operations and bytes of one new token each; bytes count by how quickly they are read.
struct PlainAttention::Running {
    double operations, moved;
};

// Prompts at one rate of reading, on any cores. docs/forecast.md has the proof that no more of them take less time:
// there all blocks on all cores, `spread`, are A, and the longest one B; what `hidden` answers is X.
class PlainAttention::Hiding {
  public:
    Hiding(const Prompts& prompts, const Reading& reading, double core)
        : part_(1.0 / std::max(prompts.tokens, reading.queries)),
          pairs_(prompts.pairs * part_),
          turn_(core / part_),
          core_(core),
          root_(prompts.root),
          block_(kTwice * prompts.block),
          moved_(prompts.moved),
          own_(prompts.own),
          others_(prompts.others) {}

    // Seconds of reading that so long a computing hides; `key` takes a key, `keys` are read in a second.
    double hidden(double spread, double key, double keys) const {
        const double turn = std::min(root_, std::max(turn_ * keys, 0.5));
        const double longest = key * (0.5 * part_) * (turn * turn - 0.25) + core_ * (root_ - turn);
        return std::max(longest, std::min(key * pairs_, kGrows * std::max(spread - block_, 0.0)));
    }
    // Of reading that computing overlaps with: by the bytes of a second, and of what is hidden.
    double memory(double hidden, double moves, double key) const { return moved_ * moves + own_ * key + hidden; }
    double seconds(double spread, double squared, double moves, double key, double keys) const {
        const double hides = hidden(spread, key, keys);
        return overlapped(squared, memory(hides, moves, key)) + (others_ * key - hides);
    }

  private:
    const double part_, pairs_, turn_, core_, root_, block_, moved_, own_, others_;
};

PlainAttention::Reading::Reading(const PlainConstants& constants, const std::vector<double>& slow,
                                 std::vector<double> slow_moves)
    : moves(std::move(slow_moves)), key(moves.size()), keys(moves.size()), queries(constants.queries) {
    const double bytes = bytes_of_a_key(constants);
    for (std::size_t i = 1; i < moves.size(); ++i) {
        key[i] = std::hypot(constants.generation.pair * slow[i], bytes * moves[i]);
        keys[i] = 1.0 / key[i];
        queries = std::max(queries, key[i] / (kGrows * constants.context.pair * slow[i]));
    }
}

PlainAttention::PlainAttention(PlainConstants constants) : constants_(std::move(constants)) {
    const auto& [rates, bandwidth, left, pace, queries, heads, key, bend, fixed, block, context, generation] =
        constants_;
    if (rates.size() < 2 || rates.size() != bandwidth.size()) {
        throw std::invalid_argument("rates and bandwidth need an entry for no cores and for each number of them");
    }
    std::vector<double> counts(rates.size()), held = bandwidth;
    for (std::size_t i = 0; i < counts.size(); ++i) counts[i] = static_cast<double>(i);
    for (double& each : held) each = std::min(each, left);
    full_ = bandwidth.back();
    slow_ = inverse(rates), part_ = inverse(counts);
    alone_ = Reading(constants_, slow_, inverse(bandwidth)), held_ = Reading(constants_, slow_, inverse(held));
    share_ = part_.back(), core_ = rates.back() * share_;
    quickest_ = key / ((1.0 + bend) * core_);
    key_ = bytes_of_a_key(constants_);
    query_ = std::max(generation.query * pace - 2.0 * context.query, 0.0);
}

double PlainAttention::seconds(const Load& load, uint32_t cores) { return single(load, cores).alone; }

Single PlainAttention::single(const Load& load, uint32_t cores) {
    Single found;
    const double fixed = constants_.fixed, slow = slow_.at(cores);
    const double moves = alone_.moves[cores], slower = held_.moves[cores];
    if (load.prefill_sequences > 0.0) {
        const Prompts all = prompts(load);
        const double spread = this->spread(all, cores), compute = squared(spread, all.block);
        const Hiding alone(all, alone_, quickest_), held(all, held_, quickest_);
        found.alone = alone.seconds(spread, compute, moves, alone_.key[cores], alone_.keys[cores]) + fixed;
        found.held = held.seconds(spread, compute, slower, held_.key[cores], held_.keys[cores]) + fixed;
        found.traffic = all.moved + all.read;
    }
    if (const double readers = load.readers(); readers > 0.0) {
        const Running all = running(readers, load.decode_seen);
        const double compute = all.operations * slow + constants_.block;
        found.alone += overlapped(compute * compute, all.moved * moves) + fixed;
        found.held += overlapped(compute * compute, all.moved * slower) + fixed;
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
        const Prompts all = prompts(load);
        const Hiding alone(all, alone_, quickest_), held(all, held_, quickest_);
        for (std::size_t i = 0; i < counts; ++i) {
            const double spread = slow_[i] * all.operations + part_[i] * all.blocks;
            const double compute = squared(spread, all.block);
            found.alone[i] = alone.seconds(spread, compute, alone_.moves[i], alone_.key[i], alone_.keys[i]) + fixed;
            found.held[i] = held.seconds(spread, compute, held_.moves[i], held_.key[i], held_.keys[i]) + fixed;
        }
        found.traffic += (all.moved + all.read) / full_;
    }
    if (const double readers = load.readers(); readers > 0.0) {
        const auto [operations, moved] = running(readers, load.decode_seen);
        for (std::size_t i = 0; i < counts; ++i) {
            const double compute = slow_[i] * operations + constants_.block;
            const double memory = alone_.moves[i] * moved, slower = held_.moves[i] * moved;
            found.alone[i] += overlapped(compute * compute, memory) + fixed;
            found.held[i] += overlapped(compute * compute, slower) + fixed;
        }
        found.traffic += moved / full_;
    }
    return found;
}

void PlainAttention::steps(const Load& load, uint32_t cores, std::span<double> seen) {
    double beside = 0.0;
    const double slow = slow_.at(cores), moves = alone_.moves[cores];
    if (load.prefill_sequences > 0.0) {
        const Prompts all = prompts(load);
        const double spread = this->spread(all, cores), compute = squared(spread, all.block);
        const Hiding alone(all, alone_, quickest_);
        beside = alone.seconds(spread, compute, moves, alone_.key[cores], alone_.keys[cores]) + constants_.fixed;
    }
    const double readers = load.readers();
    if (!(readers > 0.0)) {
        std::fill(seen.begin(), seen.end(), beside);
        return;
    }
    const PerToken& one = constants_.generation;
    const double slow_pair = one.pair * slow, slow_moves = constants_.pace * moves;
    for (double& each : seen) {
        const double compute = each * slow_pair + constants_.block;
        const double memory = (each * one.key + readers * one.query) * slow_moves;
        each = std::hypot(compute, memory) + constants_.fixed + beside;
    }
}

bool PlainAttention::computing(const Load& load, uint32_t cores) const {
    const Prompts all = prompts(load);
    const double spread = this->spread(all, cores), key = alone_.key[cores];
    const Hiding alone(all, alone_, quickest_);
    const double memory = alone.memory(alone.hidden(spread, key, alone_.keys[cores]), alone_.moves[cores], key);
    return squared(spread, all.block) >= memory * memory;
}

double PlainAttention::spread(const Prompts& prompts, uint32_t cores) const {
    return slow_.at(cores) * prompts.operations + part_[cores] * prompts.blocks;
}

PlainAttention::Prompts PlainAttention::prompts(const Load& load) const {
    const PlainConstants& c = constants_;
    const double tokens = load.prefill_tokens, pairs = load.prefill_pairs, seen = load.prefill_seen;
    const double blocks = c.heads * std::max(tokens * (1.0 / c.queries), load.prefill_sequences);
    const double share = blocks * share_;
    const double rate = share >= 1.0 ? core_ : (1.0 + c.bend * (1.0 - share)) * core_;
    const double root = std::sqrt(2.0 * pairs + 0.25), own = 0.5 * (tokens - 1.0);
    return {.operations = (pairs + tokens * (c.queries / 2.0)) * c.context.pair,
            .blocks = blocks * c.block,
            .block = (root - 0.5) * c.key / rate + c.block,
            .moved = tokens * c.context.query + query_,
            .read = seen * key_,
            .tokens = tokens,
            .pairs = pairs,
            .root = root,
            .own = own,
            .others = seen - own};
}

PlainAttention::Running PlainAttention::running(double sequences, double seen) const {
    const PerToken& one = constants_.generation;
    return {seen * one.pair, (sequences * one.query + seen * one.key) * constants_.pace};
}

}  // namespace flexnpu
