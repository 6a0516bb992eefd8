// SPDX-License-Identifier: Apache-2.0
#include "simulator/request.h"

#include <algorithm>
#include <unordered_set>
#include <utility>

namespace flexnpu::simulator {
namespace {

// A block that a request held twice would be taken twice and given back once.
std::vector<int64_t> until_again(std::vector<int64_t> ids) {
    std::unordered_set<int64_t> seen;
    seen.reserve(ids.size());
    const auto again = std::find_if(ids.begin(), ids.end(), [&seen](int64_t id) { return !seen.insert(id).second; });
    ids.erase(again, ids.end());
    return ids;
}

}  // namespace

Request::Request(int64_t index, double arrival, int64_t prompt, int64_t output, std::vector<int64_t> blocks)
    : index(index),
      arrival(arrival),
      prompt(prompt),
      output(output),
      blocks(until_again(std::move(blocks))),
      since(arrival),
      target(prompt) {}

void Request::token(double now) {
    if (generated == 0) {
        first_token = now;
    } else {
        gaps.push_back(now - last_token);
    }
    last_token = now;
    generated += 1;
}

Slowest Request::slowest() const {
    if (gaps.empty()) return {};
    const std::size_t rank = (99 * gaps.size() + 99) / 100 - 1;
    if (rank + 1 == gaps.size()) {
        const double longest = *std::max_element(gaps.begin(), gaps.end());
        return {longest, longest};
    }
    std::vector<double> ordered = gaps;
    const auto at = ordered.begin() + static_cast<std::ptrdiff_t>(rank);
    std::nth_element(ordered.begin(), at, ordered.end());
    return {*at, *std::max_element(at, ordered.end())};
}

double Request::mean_tpot() const {
    return generated > 1 ? (last_token - first_token) / static_cast<double>(generated - 1) : 0.0;
}

}  // namespace flexnpu::simulator
