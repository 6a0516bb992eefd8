// SPDX-License-Identifier: Apache-2.0
#include "simulator/mixed.h"

#include <algorithm>

#include "simulator/device.h"

namespace flexnpu::simulator {
void Mixed::begin(double now, const Plan& plan) {
    const Decoding& decoding = device_.decoding;
    cores_ = plan.split.decode;
    now += device_.planning.switch_wait(plan);
    const bool short_of_blocks = decoding.sequences() > 0 && device_.secure(now);
    taken_ = decoding.blocks(1);  // before chunks may have what is left
    device_.kv.grow(taken_);
    chunks_ = device_.chunks(plan.budget - decoding.sequences(), !short_of_blocks);
    if (!chunks_.parts.empty()) {
        mix(now, plan);
    } else if (decoding.sequences() > 0) {
        decode(now);
    } else {
        next_seconds_ = kInfinite;
        return;
    }
    next_seconds_ = ends_.back();
}

void Mixed::mix(double now, const Plan& plan) {
    const Settings& settings = device_.settings;
    launch_.begin(now, settings.dispatch_seconds);
    const double first = seconds(0.0);
    const int64_t count = alike(now, plan, first);
    if (count == 1) {
        ends_.assign(1, now + std::max(first, settings.dispatch_seconds) + settings.launch_seconds);
        return;
    }
    // Both contexts grow evenly, and the time with them: between first and last it is taken as a straight line.
    const auto places = static_cast<double>(count - 1);
    const double last = seconds(places), slope = (last - first) / places;
    ends_.resize(static_cast<std::size_t>(count));
    for (std::size_t i = 0; i < ends_.size(); ++i) ends_[i] = static_cast<double>(i) * slope + first;
    ends_.back() = last;
    chain(ends_, now, settings.dispatch_seconds, settings.launch_seconds);
}

// Of the iteration that is so many after the next.
double Mixed::seconds(double later) const {
    const Decoding& decoding = device_.decoding;
    const Load& load = chunks_.load;
    const double grown = later * load.prefill_tokens, sequences = static_cast<double>(decoding.sequences());
    return device_.times.seconds(
        cores_, {load.prefill_tokens, load.prefill_sequences, load.prefill_pairs + grown * load.prefill_tokens,
                 load.prefill_seen + grown, sequences, static_cast<double>(decoding.seen()) + later * sequences,
                 load.logits + sequences});
}

// How many iterations are the same but for their contexts.
int64_t Mixed::alike(double now, const Plan& plan, double seconds) const {
    if (device_.settings.intake_seconds > 0.0) return 1;  // each is launched by itself, and may be held up
    Decoding& decoding = device_.decoding;
    const auto& [request, fresh] = chunks_.parts.front();
    if (chunks_.parts.size() > 1 || fresh < plan.budget - decoding.sequences()) return 1;
    const int64_t whole = (request->target - request->computed) / fresh;
    const int64_t count = std::min(whole, device_.planning.patience(now, seconds));
    if (count <= 1 || decoding.sequences() == 0) return count;
    return decoding.affordable(device_.kv.free() + taken_, std::min(count, decoding.until_finish()));
}

void Mixed::decode(double now) {
    Decoding& decoding = device_.decoding;
    // A policy that holds prompts back is asked again after each step.
    const bool alone = !device_.prompted() && !device_.joins();
    const int64_t count = alone ? decoding.affordable(device_.kv.free() + taken_, decoding.until_finish()) : int64_t{1};
    device_.decode_steps(cores_, count, ends_);
    chain(ends_, now, device_.decode_floor(cores_), device_.settings.launch_seconds);
}

bool Mixed::turn(double now) {
    Decoding& decoding = device_.decoding;
    const auto count = static_cast<int64_t>(ends_.size());
    if (decoding.sequences() > 0) {
        device_.counters.steps += count;
        device_.kv.grow(decoding.blocks(count) - taken_);
        decoding.advance(ends_);
        device_.decodes_ran();
    }
    if (!chunks_.parts.empty()) {
        device_.counters.mixed += count;
        device_.prompts_ran(chunks_, count, now);
    }
    next_seconds_ = kInfinite;
    return true;
}

void Mixed::arrived(double now) {
    if (ends_.size() == 1) return;
    if (!device_.joins()) {
        if (static_cast<int64_t>(device_.admitted.size()) >= device_.settings.max_running) return;
        // Beside a prompt that fills the budget, and behind others in the queue, who arrives changes nothing.
        const bool behind = !chunks_.parts.empty() || device_.prompts.waiting().size() > 1;
        if (behind && !device_.planning.minds_arrivals()) return;
    }
    shorten(now);
}

void Mixed::took_in(double now, double seconds) {
    if (chunks_.parts.empty()) return;
    ends_.back() += launch_.held_up(now, seconds);  // one iteration, where it takes any time to take in a request
    next_seconds_ = ends_.back();
}

void Mixed::shorten(double now) {
    ends_.resize(std::min(ends_.size(), static_cast<std::size_t>(begun(now))));
    next_seconds_ = ends_.back();
}

// Iterations that have begun; one that ends at this very moment is the last of them.
int64_t Mixed::begun(double now) const { return std::lower_bound(ends_.begin(), ends_.end(), now) - ends_.begin() + 1; }

int64_t Mixed::owed(double now) const { return device_.decoding.blocks(begun(now)) - taken_; }

void Mixed::cut(double now) {
    const int64_t blocks = owed(now);
    device_.kv.grow(blocks);
    taken_ += blocks;
    shorten(now);
}

BusyCores Mixed::busy_cores() const {
    if (chunks_.parts.empty()) return {0, cores_, 0};
    return device_.decoding.sequences() > 0 ? BusyCores{0, 0, cores_} : BusyCores{cores_, 0, 0};
}

}  // namespace flexnpu::simulator
