// SPDX-License-Identifier: Apache-2.0
#include "forecast/load.h"

#include <algorithm>

namespace flexnpu {

void add(Load& load, const Request& request, std::optional<double> window) {
    const auto [fresh, cached, copies] = request;
    double seen = fresh + cached;
    double pairs = fresh * cached + 0.5 * (fresh * (fresh + 1.0));
    if (window) {
        // The last `beyond` tokens see fewer keys than all; the very last lacks `outside`, each before it one less.
        const double outside = seen - *window;
        const double beyond = std::clamp(outside, 0.0, fresh);
        pairs -= beyond * outside - 0.5 * beyond * (beyond - 1.0);
        seen = std::min(seen, *window - 1.0 + fresh);
    }
    load.logits += copies;
    if (fresh == 1.0) {
        load.decode_sequences += copies;
        load.decode_seen += copies * seen;
        return;
    }
    load.prefill_tokens += copies * fresh;
    load.prefill_sequences += copies;
    load.prefill_pairs += copies * pairs;
    load.prefill_seen += copies * seen;
}

}  // namespace flexnpu
