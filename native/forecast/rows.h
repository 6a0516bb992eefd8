// SPDX-License-Identifier: Apache-2.0
//
// Seconds of token-level operators by number of tokens, for all core counts, worked out by `Fill` when first asked for.
// Counts under `exact` have rows of their own; beyond there are 2^fine per doubling and straight lines between them, so
// that what rises at the rows rises everywhere; past `last` they grow in proportion.
#pragma once

#include <cstdint>
#include <functional>
#include <unordered_map>
#include <vector>

namespace flexnpu {

// One number of cores: seconds alone, with half of the device's bandwidth left, and seconds of all of the bandwidth and
// of the links to other devices.
struct Single {
    double alone = 0, held = 0, traffic = 0, links = 0;
};

// The same by cores, from none on.
struct Row {
    std::vector<double> alone, held;
    double traffic = 0, links = 0;

    explicit Row(std::size_t counts) : alone(counts), held(counts) {}
};

// `exact` is a power of two, and `last` a row or infinite: else a line could fall where its rows rise.
struct Grid {
    double exact;
    int fine;
    double last;
};

class Rows {
  public:
    // Rows of several numbers of tokens, the asked one (with `step` to the next) among them, by what `put` is given.
    using Put = std::function<void(double tokens, Row row)>;
    using Fill = std::function<void(double tokens, double step, const Put& put)>;

    Rows(Fill fill, uint32_t cores, Grid grid);

    Single single(double tokens, uint32_t cores);
    // Adds the row of so many tokens.
    void add(double tokens, Row& sum);
    uint32_t cores() const { return cores_; }

  private:
    // A number's rows below and above and where between them it lies; `scale` is 1 up to the last row.
    struct Place {
        const Row* below;
        const Row* above;
        double part;
        double scale;
    };

    Place place(double tokens);
    double step(double tokens) const;
    const Row& node(double tokens, double step);

    Fill fill_;
    uint32_t cores_;
    Grid grid_;
    std::unordered_map<double, Row> nodes_;
};

}  // namespace flexnpu
