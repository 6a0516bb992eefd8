// SPDX-License-Identifier: Apache-2.0
#include "simulator/rounds.h"

#include <algorithm>

#include "simulator/device.h"

namespace flexnpu::simulator {

void Rounds::begin(double now, const Plan& plan) {
    Decoding& decoding = device_.decoding;
    now += device_.planning.switch_wait(plan);
    const bool short_of_blocks = decoding.sequences() > 0 && device_.secure(now);
    int64_t count = 0;
    if (decoding.sequences() > 0) {
        count = std::max<int64_t>(1, decoding.affordable(device_.kv.free(), plan.steps));
        device_.kv.grow(decoding.blocks(count));
    }
    chunks_ = device_.chunks(plan.budget, !short_of_blocks);
    const bool running = !chunks_.parts.empty();
    cores_ = {running ? plan.split.prefill : 0, count > 0 ? plan.split.decode : 0, 0};
    if (count == 0 && !running) {
        next_seconds_ = kInfinite;
        return;
    }
    time(now, count);
    find_next();
}

void Rounds::find_next() {
    const double over = std::max(prompt_end_, ends_.empty() ? 0.0 : ends_.back());
    next_seconds_ = over + device_.settings.launch_seconds;
}

void Rounds::took_in(double now, double seconds) {
    if (chunks_.parts.empty()) return;
    prompt_end_ += launch_.held_up(now, seconds);
    find_next();
}

// Ends of both lanes: beside each other first, then whichever is left alone.
void Rounds::time(double now, int64_t count) {
    const Settings& settings = device_.settings;
    ends_.clear();
    if (count > 0) device_.decode_steps(cores_.decode, count, ends_);
    const double floor = device_.decode_floor(cores_.decode);
    if (chunks_.parts.empty()) {
        prompt_end_ = now;
        chain(ends_, now, floor);
        return;
    }
    // The host launches the graphs first, then the prompt's kernels, which the device works off meanwhile.
    const double begins = now + static_cast<double>(count) * settings.graph_seconds;
    launch_.begin(begins, settings.dispatch_seconds);
    if (count == 0) {
        const double seconds = device_.times.seconds(cores_.prefill, chunks_.load);
        prompt_end_ = begins + std::max(seconds, settings.dispatch_seconds);
        return;
    }
    contend(now, begins, floor);
}

// Beside the prompt, which begins at `begins`: `ends_` has seconds of steps alone, and gets their ends.
void Rounds::contend(double now, double begins, double floor) {
    Times& times = device_.times;
    const auto [prompt, step] = times.beside(cores_.prefill, chunks_.load, cores_.decode, device_.decoding.load());
    const double slower = step / ends_.front();
    for (double& each : ends_) each *= slower;
    chain(ends_, now, floor);
    prompt_end_ = begins + prompt;
    const double last = ends_.back();
    if (prompt_end_ < last) {
        for (double& end : ends_) {
            if (end > prompt_end_) end = prompt_end_ + (end - prompt_end_) / slower;
        }
    } else {
        const double alone = times.seconds(cores_.prefill, chunks_.load);
        prompt_end_ = last + (prompt_end_ - last) * alone / prompt;
    }
    prompt_end_ = std::max(prompt_end_, begins + device_.settings.dispatch_seconds);
}

bool Rounds::turn(double) {
    if (!ends_.empty()) {
        device_.counters.steps += static_cast<int64_t>(ends_.size());
        device_.decoding.advance(ends_);
        device_.decodes_ran();
    }
    if (!chunks_.parts.empty()) {
        device_.counters.prefills += 1;
        device_.prompts_ran(chunks_, 1, prompt_end_);
    }
    next_seconds_ = kInfinite;
    return true;
}

}  // namespace flexnpu::simulator
