// SPDX-License-Identifier: Apache-2.0
#include "simulator/view.h"

#include <algorithm>

#include "simulator/device.h"

namespace flexnpu::simulator {

int64_t shown_waiting(const Device& device) {
    const auto waiting = static_cast<int64_t>(device.prompts.waiting().size());
    const bool shown = waiting > 0 && (device.settings.look_seconds > 0.0 || !device.blocked());
    return shown ? std::min(waiting, device.settings.look_ahead) : 0;
}

int64_t shown_prompts(const Device& device) {
    return static_cast<int64_t>(device.prompts.shown().size()) + shown_waiting(device);
}

void show_prompts(const Device& device, double now, std::span<double> fresh, std::span<double> cached,
                  std::span<double> waits) {
    std::size_t place = 0;
    const auto show = [&](const Request& request, int64_t done) {
        fresh[place] = static_cast<double>(request.target - done);
        cached[place] = static_cast<double>(done);
        waits[place++] = now - request.since;
    };
    for (const RequestPtr& each : device.prompts.shown()) show(*each, device.prompts.done(*each));
    const auto first = device.prompts.waiting().begin();
    std::for_each(first, first + shown_waiting(device), [&](const RequestPtr& each) { show(*each, 0); });
}

Next next_prompts(const Device& device) {
    Next next;
    int64_t left = device.settings.token_budget;
    const auto take = [&](const Request& request) {
        const int64_t cached = request.computed + request.flying;
        const int64_t fresh = std::min(left, request.target - cached);
        if (fresh <= 0) return;
        if (!next.first) next.first = &request;
        left -= fresh;
        next.pairs += static_cast<double>(fresh) * (static_cast<double>(cached) + 0.5 * static_cast<double>(fresh + 1));
    };
    const bool blocked = device.blocked();
    for (const RequestPtr& each : device.prompts.half_run()) {
        if (left > 0) take(*each);
    }
    if (left > 0 && !blocked) {
        for (const RequestPtr& each : device.prompts.waiting()) {
            take(*each);
            if (left == 0) break;
        }
    }
    next.tokens = device.settings.token_budget - left;
    return next;
}

}  // namespace flexnpu::simulator
