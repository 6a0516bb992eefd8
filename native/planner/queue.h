// SPDX-License-Identifier: Apache-2.0
//
// Prompts that wait, in order of arrival: how long they take, who can be on time, and what the first tokens of them
// bring to an iteration. flexnpu/planner/queue.py has the words.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "forecast/load.h"

namespace flexnpu {

struct Prompt {
    double fresh, cached;
    double work;     // seconds of the whole device
    double slack;    // seconds left until its deadline
    uint32_t entry;  // what of the snapshot it is, or is one of; those of one entry are neighbours, entries go up
};

// A prompt's seconds on the whole device: by token, and by query-key pair.
struct PromptCost {
    double token, pair;
};

using Prompts = std::vector<Prompt>;
using Places = std::vector<uint32_t>;

// Whose prompt is run first. kept: who is on time, by deadline. late: who is put off, by deadline too, then who is
// lost.
struct Order {
    Places kept, late;
};

// Prompts in one order. A plan asks what several numbers of tokens bring, so sums are kept as far as they go.
class Line {
  public:
    Line(std::shared_ptr<const Prompts> prompts, Places places);
    // What the first `tokens` bring to an iteration, and how many of them there are.
    std::pair<Load, double> take(double tokens);

  private:
    // Of so many prompts from the first on.
    struct Sums {
        double tokens = 0, pairs = 0, seen = 0;
    };

    std::shared_ptr<const Prompts> prompts_;
    Places places_;
    std::vector<Sums> sums_{Sums{}};
};

class Queue {
  public:
    explicit Queue(Prompts prompts);

    std::size_t size() const { return prompts_->size(); }
    double work() const;
    // Whether everybody is, in the order of the queue, `guard` seconds before the deadline; work takes 1 / pace as long
    // as on the device alone.
    bool on_time(double pace, double guard) const;
    // Moore and Hodgson (1968) over the first `look` of those who can be on time at all; the others follow.
    Order order(double pace, double guard, std::size_t look) const;
    // Entries of the snapshot in that order, each once.
    Places entries(const Order& order) const;
    // As an engine runs them: all that an entry stands for, one after the other. Entries that nobody is of are out of
    // range.
    Line line(const Places& entries) const;
    Line line() const;

  private:
    std::shared_ptr<const Prompts> prompts_;
    bool plain_;  // an entry is the one prompt at its place
};

// How many of the first prompts, one after the other, `tokens` reach, and how much of the last one where that is not
// all of it (else 0).
struct Reach {
    std::size_t count;
    double part;
};

template <typename Column>
Reach reach(const Column& fresh, double tokens) {
    double left = std::floor(tokens);
    std::size_t count = 0;
    for (; count < fresh.size() && left >= 1.0; ++count) {
        if (fresh[count] > left) return {count + 1, left};
        left -= fresh[count];
    }
    return {count, 0.0};
}

}  // namespace flexnpu
