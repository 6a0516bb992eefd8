/* SPDX-License-Identifier: Apache-2.0 */
// Random devices and models as flexnpu/forecast makes them of a data sheet, and random batches.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "forecast/contention.h"
#include "forecast/iteration.h"
#include "seeds.h"

namespace flexnpu {

constexpr double kRounded = 1e-9;  // relative

// Rates by cores, from none on: concave, all of it on all cores.
inline std::vector<double> saturating(uint32_t cores, double all, double bend) {
    std::vector<double> found;
    for (uint32_t i = 0; i <= cores; ++i) {
        const double share = static_cast<double>(i) / cores;
        found.push_back(all * share * (1.0 + bend * (1.0 - share)));
    }
    return found;
}

// Operators that go by a number of tokens.
struct Products {
    double operations, moved;  // of a token
    double weights, fixed, links;

    Row row(double tokens, const PlainConstants& device) const {
        const uint32_t counts = static_cast<uint32_t>(device.rates.size());
        const double bytes = weights + moved * tokens;
        Row row(counts);
        row.alone[0] = row.held[0] = std::numeric_limits<double>::infinity();
        for (uint32_t i = 1; i < counts; ++i) {
            const double compute = operations * tokens / device.rates[i], rest = fixed + links * tokens;
            row.alone[i] = std::hypot(compute, bytes / device.bandwidth[i]) + rest;
            row.held[i] = std::hypot(compute, bytes / std::min(device.bandwidth[i], device.left)) + rest;
        }
        row.traffic = bytes / device.bandwidth.back(), row.links = links * tokens;
        return row;
    }
};

// Sizes that go together: heads are about as wide as a model's other layers, whether they share keys or not; cores are
// about as quick as those that there are.
struct DrawnModel {
    double layers, width, keys, heads, hidden, inner;

    explicit DrawnModel(Draw& draw)
        : layers(static_cast<double>(draw.whole(1, 64))),
          width(draw.once_in(2) ? 64 : 128),
          keys(static_cast<double>(draw.whole(1, 8))),
          heads(keys * static_cast<double>(draw.whole(1, 20))),
          hidden(heads * width * draw.real(0.5, 2.0)),
          inner(hidden * draw.real(2.0, 4.0)) {}

    Products products() const {
        const double mine = (heads + 2 * keys) * width, outer = heads * width;
        const double weights = layers * (hidden * (mine + outer) + 3 * hidden * inner);
        const double moved = layers * 2 * (15 * hidden + 2 * mine + outer + 5 * inner);
        return {.operations = 2 * weights, .moved = moved, .weights = 2 * weights, .fixed = layers * 3e-5, .links = 0};
    }
    PlainConstants attention(Draw& draw, uint32_t cores) const {
        const double key = 4 * keys * width, query = 4 * heads * width, rows = 16 * std::ceil(heads / keys / 16);
        const double pace = draw.real(0.7, 1.8), rate = cores * draw.real(2e12, 1e13);
        const double bandwidth = rate / draw.real(30, 400);
        return {.rates = saturating(cores, rate, draw.real(0.0, 1.0)),
                .bandwidth = saturating(cores, bandwidth, draw.real(0.0, 1.0)),
                .left = kHalf * bandwidth,
                .pace = pace,
                .queries = 128,
                .heads = heads,
                .key = layers * 128 * 4 * width,
                .bend = draw.real(0.0, 1.0),
                .fixed = layers * draw.real(1e-6, 2e-5),
                .block = layers * draw.real(1e-7, 1e-5),
                .context = {layers * 4 * width * heads, layers * query, layers * key * pace},
                .generation = {layers * 4 * width * keys * rows, layers * query, layers * key}};
    }
};

inline PlainConstants drawn_constants(Draw& draw, uint32_t cores) { return DrawnModel(draw).attention(draw, cores); }

// Sizes that have nothing to do with one another.
inline PlainConstants any_constants(Draw& draw, uint32_t cores) {
    const auto between = [&draw](double least, double most) {
        return least * std::pow(most / least, draw.real(0.0, 1.0));
    };
    const auto some = [&](double least, double most) { return draw.once_in(4) ? 0.0 : between(least, most); };
    const double bandwidth = between(1e9, 1e13);
    return {.rates = saturating(cores, between(1e9, 1e16), draw.real(0.0, 1.0)),
            .bandwidth = saturating(cores, bandwidth, draw.real(0.0, 1.0)),
            .left = kHalf * bandwidth,
            .pace = between(0.1, 10),
            .queries = between(1, 1000),
            .heads = between(1, 1000),
            .key = some(1, 1e9),
            .bend = draw.real(0.0, 1.0),
            .fixed = some(1e-9, 1e-3),
            .block = some(1e-9, 1e-3),
            .context = {between(1, 1e8), some(1, 1e8), between(1, 1e8)},
            .generation = {between(1, 1e8), some(1, 1e8), between(1, 1e8)}};
}

// Those that go by tokens are a model's layers; the others are whatever they are.
inline Products drawn_products(Draw& draw, const DrawnModel& model, Asks asks) {
    Products found{draw.real(1e8, 4e10), draw.real(1e4, 1e7), draw.real(1e6, 5e9), draw.real(0.0, 1e-3), 0};
    if (asks == Asks::tokens) found = model.products();
    if (draw.once_in(2)) found.links = draw.real(1e-8, 1e-6);
    return found;
}

struct DrawnDevice {
    uint32_t cores;
    std::optional<double> window;
    std::vector<Table> tables;
    std::shared_ptr<PlainAttention> attention;
    Iteration iteration;

    std::vector<double> alone(const Load& load) const {
        std::vector<double> found(cores + 1);
        iteration.alone(load, found);
        return found;
    }
    std::pair<std::vector<double>, std::vector<double>> split(const Load& prefill, const Load& decode,
                                                              uint32_t on) const {
        std::vector<double> first(on + 1), second(on + 1);
        iteration.split(prefill, decode, first, second);
        return {first, second};
    }
    std::vector<double> steps(uint32_t on, const Load& load, size_t count) const {
        std::vector<double> found(count);
        iteration.steps(on, load, found);
        return found;
    }
    Load load(const std::vector<Request>& requests) const {
        Load sum;
        for (const Request& each : requests) add(sum, each, window);
        return sum;
    }
};

// With tables by those counts; few rows, so that most answers lie between two.
inline DrawnDevice drawn_device(Draw& draw, const std::vector<Asks>& asks) {
    const auto cores = static_cast<uint32_t>(draw.whole(1, 24));
    const DrawnModel model(draw);
    const PlainConstants constants = model.attention(draw, cores);
    const double last = draw.once_in(2) ? std::numeric_limits<double>::infinity() : 4096.0;
    std::vector<Table> tables;
    for (const Asks each : asks) {
        const Products products = drawn_products(draw, model, each);
        auto fill = [products, constants](double tokens, double, const Rows::Put& put) {
            put(tokens, products.row(tokens, constants));
        };
        tables.push_back({std::make_shared<Rows>(fill, cores, Grid{32, 3, last}), each});
    }
    const auto window = draw.once_in(3) ? std::optional<double>(draw.whole(2, 5000)) : std::nullopt;
    auto attention = std::make_shared<PlainAttention>(constants);
    return {cores, window, tables, attention, Iteration(tables, attention, window)};
}

inline const std::vector<Asks> kEveryTable{Asks::tokens, Asks::logits, Asks::readers, Asks::keys};

inline double drawn_size(Draw& draw, int64_t least, int64_t most) {
    const int64_t limits[] = {3, 40, 200, most};
    return static_cast<double>(draw.whole(least, std::clamp(limits[draw.whole(0, 3)], least, most)));
}

inline Request drawn_running(Draw& draw) { return {1.0, drawn_size(draw, 0, 30'000), drawn_size(draw, 1, 64)}; }
inline Request drawn_prompt(Draw& draw) {
    const bool short_ones = draw.once_in(4);
    return short_ones ? Request{drawn_size(draw, 2, 8), drawn_size(draw, 0, 50), drawn_size(draw, 1, 100)}
                      : Request{drawn_size(draw, 2, 8192), drawn_size(draw, 0, 30'000), drawn_size(draw, 1, 4)};
}

// Of running requests and prompts, up to so many entries; none at times.
inline std::vector<Request> drawn_batch(Draw& draw, int64_t most = 4) {
    std::vector<Request> requests;
    for (int64_t left = draw.whole(0, most); left > 0; --left) {
        requests.push_back(draw.once_in(2) ? drawn_running(draw) : drawn_prompt(draw));
    }
    return requests;
}

}  // namespace flexnpu
