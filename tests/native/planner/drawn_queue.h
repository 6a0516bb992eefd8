/* SPDX-License-Identifier: Apache-2.0 */
// Small random queues: whole seconds, so that sums are exact.
#pragma once

#include "planner/queue.h"
#include "seeds.h"

namespace flexnpu {

// So many entries; `copies`: each stands for up to so many prompts.
inline Prompts drawn_prompts(Draw& draw, int64_t entries, int64_t copies = 1) {
    Prompts prompts;
    const int64_t late = draw.whole(0, 5), patience = draw.whole(5, 50);
    for (int64_t entry = 0; entry < entries; ++entry) {
        const Prompt one{.fresh = static_cast<double>(draw.whole(1, 30)),
                         .cached = static_cast<double>(draw.whole(0, 50)),
                         .work = static_cast<double>(draw.whole(1, 9)),
                         .slack = static_cast<double>(draw.whole(-late, patience)),
                         .entry = static_cast<uint32_t>(entry)};
        for (int64_t copy = draw.whole(1, copies); copy > 0; --copy) prompts.push_back(one);
    }
    return prompts;
}

}  // namespace flexnpu
