// SPDX-License-Identifier: Apache-2.0
#include "forecast/rows.h"

#include <cmath>
#include <stdexcept>
#include <utility>

namespace flexnpu {
namespace {

bool power_of_two(double number) {
    int exponent = 0;
    return number >= 1.0 && std::frexp(number, &exponent) == 0.5;
}

double between(double below, double above, double part) { return below * (1.0 - part) + above * part; }

}  // namespace

Rows::Rows(Fill fill, uint32_t cores, Grid grid) : fill_(std::move(fill)), cores_(cores), grid_(grid) {
    const bool row = std::isinf(grid.last) || std::fmod(grid.last, step(grid.last)) == 0.0;
    if (!power_of_two(grid.exact) || grid.fine < 0 || !(grid.last > 0.0) || !row) {
        throw std::invalid_argument("a grid is exact up to a power of two, and its last row is one of it");
    }
    nodes_.emplace(0.0, Row(cores + 1));
}

Single Rows::single(double tokens, uint32_t cores) {
    const auto [below, above, part, scale] = place(tokens);
    const Single low{below->alone.at(cores), below->held[cores], below->traffic, below->links};
    if (!above) {
        return {low.alone * scale, low.held * scale, low.traffic * scale, low.links * scale};
    }
    return {between(low.alone, above->alone[cores], part), between(low.held, above->held[cores], part),
            between(low.traffic, above->traffic, part), between(low.links, above->links, part)};
}

void Rows::add(double tokens, Row& sum) {
    const auto [below, above, part, scale] = place(tokens);
    const std::size_t counts = cores_ + 1;
    if (!above) {
        for (std::size_t i = 0; i < counts; ++i) {
            sum.alone[i] += below->alone[i] * scale;
            sum.held[i] += below->held[i] * scale;
        }
        sum.traffic += below->traffic * scale;
        sum.links += below->links * scale;
        return;
    }
    for (std::size_t i = 0; i < counts; ++i) {
        sum.alone[i] += between(below->alone[i], above->alone[i], part);
        sum.held[i] += between(below->held[i], above->held[i], part);
    }
    sum.traffic += between(below->traffic, above->traffic, part);
    sum.links += between(below->links, above->links, part);
}

Rows::Place Rows::place(double tokens) {
    if (!(tokens >= 0.0) || std::isinf(tokens)) throw std::invalid_argument("a number of tokens is not 0 or more");
    if (tokens > grid_.last) return {&node(grid_.last, step(grid_.last)), nullptr, 0.0, tokens / grid_.last};
    const double step = this->step(tokens);
    const double low = std::floor(tokens / step) * step;
    const Row& below = node(low, step);
    if (low == tokens) return {&below, nullptr, 0.0, 1.0};
    return {&below, &node(low + step, step), (tokens - low) / step, 1.0};
}

// From one row to the next.
double Rows::step(double tokens) const {
    if (tokens < grid_.exact) return 1.0;
    int exponent = 0;
    std::frexp(tokens, &exponent);
    return std::ldexp(1.0, exponent - 1 - grid_.fine);
}

const Row& Rows::node(double tokens, double step) {
    const auto found = nodes_.find(tokens);
    if (found != nodes_.end()) return found->second;
    fill_(tokens, step, [this](double each, Row row) {
        if (row.alone.size() != cores_ + 1 || row.held.size() != cores_ + 1) {
            throw std::invalid_argument("a row has an entry for no cores and for each number of them");
        }
        nodes_.try_emplace(each, std::move(row));
    });
    return nodes_.at(tokens);
}

}  // namespace flexnpu
