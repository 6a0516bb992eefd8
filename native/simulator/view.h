// SPDX-License-Identifier: Apache-2.0
//
// A device's prompts as its policy sees them: what runs, and what waits and can be admitted; what a lane has in flight
// counts as done. Where it looks now and then (Settings::look_seconds), all that waits, and what is in flight in full.
#pragma once

#include <cstdint>
#include <span>

#include "simulator/request.h"

namespace flexnpu::simulator {

class Device;

// Of those who wait, how many there are.
int64_t shown_waiting(const Device& device);
// How many there are in all: half-run ones, then those who wait.
int64_t shown_prompts(const Device& device);
// Of each: tokens still to run, tokens that are done, and seconds since it waits. Columns of so many entries.
void show_prompts(const Device& device, double now, std::span<double> fresh, std::span<double> cached,
                  std::span<double> waits);

// The next iteration's prompts.
struct Next {
    int64_t tokens = 0;
    double pairs = 0;  // of query and key
    const Request* first = nullptr;
};
Next next_prompts(const Device& device);

}  // namespace flexnpu::simulator
