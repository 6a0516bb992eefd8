// SPDX-License-Identifier: Apache-2.0
//
// Attention of an iteration, for the sums of its requests. flexnpu/forecast/attention.py says what is charged and why.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "forecast/load.h"
#include "forecast/rows.h"

namespace flexnpu {

// Answers are seconds of all layers.
class Attention {
  public:
    virtual ~Attention() = default;
    // Alone on so many cores.
    virtual double seconds(const Load& load, uint32_t cores) = 0;
    virtual Single single(const Load& load, uint32_t cores) = 0;
    // By cores; what it says of none is to be ignored.
    virtual Row by_cores(const Load& load) = 0;
    // Seconds alone, by the keys that running requests read: `seen` becomes them.
    virtual void steps(const Load& load, uint32_t cores, std::span<double> seen) = 0;
};

// Of a pair of query and key in operations; of a query, and of a key and its value, in bytes.
struct PerToken {
    double pair, query, key;
};

// What heads and device fix; lists are by cores, from none on.
struct PlainConstants {
    std::vector<double> rates, bandwidth;
    double left;            // the most bandwidth beside a neighbour that takes half of the device's
    double pace;            // by how much more than their bytes running requests' keys take to read
    double queries, heads;  // of a block; of the model
    double key;             // operations of a block per key
    double bend, fixed, block;
    PerToken context, generation;
};

// Where no measurements scale it.
class PlainAttention final : public Attention {
  public:
    explicit PlainAttention(PlainConstants constants);

    double seconds(const Load& load, uint32_t cores) override;
    Single single(const Load& load, uint32_t cores) override;
    Row by_cores(const Load& load) override;
    void steps(const Load& load, uint32_t cores, std::span<double> seen) override;
    // Whether prompts compute for as long as they read.
    bool computing(const Load& load, uint32_t cores) const;

  private:
    struct Prompts;
    struct Running;
    class Hiding;
    // Seconds of a byte and of a key, keys of a second, by cores; queries that hide the reading of their prompt's keys.
    struct Reading {
        std::vector<double> moves, key, keys;
        double queries = 0;

        Reading() = default;
        Reading(const PlainConstants& constants, const std::vector<double>& slow, std::vector<double> slow_moves);
    };

    Prompts prompts(const Load& load) const;
    double spread(const Prompts& prompts, uint32_t cores) const;
    Running running(double sequences, double seen) const;

    const PlainConstants constants_;
    std::vector<double> slow_, part_;
    Reading alone_, held_;
    double share_, core_, full_;
    double quickest_;  // a key of a block on one core, at the least
    double key_;       // bytes of a key and its value
    double query_;     // bytes that a running request's query takes beyond two of a prompt's
};

}  // namespace flexnpu
