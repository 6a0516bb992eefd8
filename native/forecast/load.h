// SPDX-License-Identifier: Apache-2.0
//
// What one iteration runs, as sums over its requests; flexnpu/forecast/load.py says what each is.
#pragma once

#include <cstddef>
#include <optional>

namespace flexnpu {

struct Load {
    double prefill_tokens = 0, prefill_sequences = 0, prefill_pairs = 0, prefill_seen = 0;
    double decode_sequences = 0, decode_seen = 0;
    double logits = 0;

    double tokens() const { return prefill_tokens + decode_sequences; }
    // Requests that are charged as running ones: all but one prompt.
    double readers() const { return decode_sequences + (prefill_sequences > 1.0 ? prefill_sequences - 1.0 : 0.0); }
};

// `copies` requests that each run `fresh` tokens after `cached` ones.
struct Request {
    double fresh, cached, copies;
};

// Adds a request's sums; attention looks back at most `window` tokens.
void add(Load& load, const Request& request, std::optional<double> window);

}  // namespace flexnpu
