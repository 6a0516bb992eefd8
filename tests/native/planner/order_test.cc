// SPDX-License-Identifier: Apache-2.0
// Who is on time, against a search of all choices.
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <stdexcept>

#include "drawn_queue.h"

namespace flexnpu {
namespace {

struct Rules {
    double pace, guard;
};

Rules drawn_rules(Draw& draw) {
    return {std::exp2(static_cast<double>(draw.whole(-2, 1))), static_cast<double>(draw.whole(0, 3))};
}

bool in_time(const Prompt& prompt, double finished, const Rules& rules) {
    return finished / rules.pace <= prompt.slack - rules.guard;
}

// One after the other as they are named.
bool all_in_time(const Prompts& prompts, const Places& places, const Rules& rules) {
    double clock = 0;
    for (const uint32_t place : places) {
        clock += prompts[place].work;
        if (!in_time(prompts[place], clock, rules)) return false;
    }
    return true;
}

Places every(size_t count) {
    Places places(count);
    std::iota(places.begin(), places.end(), 0);
    return places;
}

Places sorted(Places places) {
    std::sort(places.begin(), places.end());
    return places;
}

Places by_deadline(const Prompts& prompts, Places places) {
    std::stable_sort(places.begin(), places.end(),
                     [&](uint32_t one, uint32_t two) { return prompts[one].slack < prompts[two].slack; });
    return places;
}

// The most of `candidates` that are on time in some order: every choice of them, in every order.
size_t most_in_any_order(const Prompts& prompts, const Places& candidates, const Rules& rules) {
    size_t most = 0;
    for (uint32_t choice = 0; choice < 1u << candidates.size(); ++choice) {
        Places some;
        for (size_t i = 0; i < candidates.size(); ++i) {
            if (choice >> i & 1) some.push_back(candidates[i]);
        }
        if (some.size() <= most) continue;
        std::sort(some.begin(), some.end());
        do {
            if (all_in_time(prompts, some, rules)) most = some.size();
        } while (most < some.size() && std::next_permutation(some.begin(), some.end()));
    }
    return most;
}

// The same for more candidates: of one choice, nobody is later by deadline than in any other order.
size_t most_by_deadline(const Prompts& prompts, const Places& candidates, const Rules& rules) {
    size_t most = 0;
    const Places line = by_deadline(prompts, sorted(candidates));
    for (uint32_t choice = 0; choice < 1u << line.size(); ++choice) {
        Places some;
        for (size_t i = 0; i < line.size(); ++i) {
            if (choice >> i & 1) some.push_back(line[i]);
        }
        if (some.size() > most && all_in_time(prompts, some, rules)) most = some.size();
    }
    return most;
}

TEST(Order, no_choice_in_any_order_has_more_on_time) {
    for_seeds(400, [](Draw& draw) {
        const Prompts prompts = drawn_prompts(draw, draw.whole(0, 6));
        const Rules rules = drawn_rules(draw);
        const Order order = Queue(prompts).order(rules.pace, rules.guard, 64);
        EXPECT_TRUE(all_in_time(prompts, order.kept, rules));
        EXPECT_EQ(order.kept.size(), most_in_any_order(prompts, every(prompts.size()), rules));
    });
}

TEST(Order, no_choice_of_more_prompts_has_more_on_time) {
    for_seeds(200, [](Draw& draw) {
        const Prompts prompts = drawn_prompts(draw, draw.whole(4, 10), 2);
        const Rules rules = drawn_rules(draw);
        const Order order = Queue(prompts).order(rules.pace, rules.guard, 64);
        EXPECT_TRUE(all_in_time(prompts, order.kept, rules));
        if (prompts.size() > 14) return;
        EXPECT_EQ(order.kept.size(), most_by_deadline(prompts, every(prompts.size()), rules));
    });
}

TEST(Order, looks_at_the_first_of_those_who_can_be_on_time_at_all) {
    for_seeds(400, [](Draw& draw) {
        const Prompts prompts = drawn_prompts(draw, draw.whole(0, 12));
        const Rules rules = drawn_rules(draw);
        const auto look = static_cast<size_t>(draw.whole(0, 12));
        Places chances;
        for (const uint32_t place : by_deadline(prompts, every(prompts.size()))) {
            if (in_time(prompts[place], prompts[place].work, rules)) chances.push_back(place);
        }
        const size_t seen = std::min(look, chances.size());
        const auto middle = chances.begin() + static_cast<std::ptrdiff_t>(seen);
        const Order order = Queue(prompts).order(rules.pace, rules.guard, look);
        const Places rest(middle, chances.end());
        ASSERT_GE(order.kept.size(), rest.size());
        const auto kept = order.kept.end() - static_cast<std::ptrdiff_t>(rest.size());
        EXPECT_EQ(Places(kept, order.kept.end()), rest) << "the others follow";
        EXPECT_EQ(order.kept.size() - rest.size(), most_by_deadline(prompts, {chances.begin(), middle}, rules));
    });
}

TEST(Order, names_every_place_once_and_goes_by_deadline) {
    for_seeds(500, [](Draw& draw) {
        const Prompts prompts = drawn_prompts(draw, draw.whole(0, 40), 3);
        const Rules rules = drawn_rules(draw);
        const Order order = Queue(prompts).order(rules.pace, rules.guard, static_cast<size_t>(draw.whole(0, 60)));
        Places all = order.kept, put_off, lost;
        all.insert(all.end(), order.late.begin(), order.late.end());
        EXPECT_EQ(sorted(all), every(prompts.size()));
        EXPECT_EQ(order.kept, by_deadline(prompts, sorted(order.kept))) << "alike: as they came";
        for (const uint32_t place : by_deadline(prompts, sorted(order.late))) {
            (in_time(prompts[place], prompts[place].work, rules) ? put_off : lost).push_back(place);
        }
        put_off.insert(put_off.end(), lost.begin(), lost.end());
        EXPECT_EQ(order.late, put_off) << "who could have been on time before who could not";
    });
}

TEST(Order, of_two_alike_the_later_one_is_put_off) {
    const Prompt one{.fresh = 1, .cached = 0, .work = 2, .slack = 3, .entry = 0};
    Prompt two = one, three = one;
    two.entry = 1, three.entry = 2;
    const Order order = Queue({one, two, three}).order(1, 0, 64);
    EXPECT_EQ(order.kept, Places{0});
    EXPECT_EQ(order.late, (Places{1, 2}));
}

TEST(Order, of_nobody_is_empty) {
    const Queue queue(Prompts{});
    const Order order = queue.order(1, 0, 64);
    EXPECT_TRUE(order.kept.empty());
    EXPECT_TRUE(order.late.empty());
    EXPECT_TRUE(queue.entries(order).empty());
    EXPECT_TRUE(queue.on_time(1, 0));
    EXPECT_EQ(queue.work(), 0);
    EXPECT_EQ(queue.size(), 0u);
}

TEST(Queue, is_on_time_when_each_is_in_the_order_in_which_they_came) {
    for_seeds(500, [](Draw& draw) {
        const Prompts prompts = drawn_prompts(draw, draw.whole(0, 4), 2);
        const Rules rules = drawn_rules(draw);
        const Queue queue(prompts);
        EXPECT_EQ(queue.on_time(rules.pace, rules.guard), all_in_time(prompts, every(prompts.size()), rules));
        double work = 0;
        for (const Prompt& each : prompts) work += each.work;
        EXPECT_EQ(queue.work(), work);
        EXPECT_EQ(queue.size(), prompts.size());
    });
}

TEST(Queue, names_each_entry_once_where_the_first_of_it_comes) {
    for_seeds(300, [](Draw& draw) {
        const int64_t copies = draw.whole(1, 3);
        const Prompts prompts = drawn_prompts(draw, draw.whole(0, 12), copies);
        const Queue queue(prompts);
        const Order order = queue.order(1, 0, 64);
        Places once;
        for (const Places& part : {order.kept, order.late}) {
            for (const uint32_t place : part) {
                const uint32_t entry = prompts[place].entry;
                if (std::count(once.begin(), once.end(), entry) == 0) once.push_back(entry);
            }
        }
        EXPECT_EQ(queue.entries(order), once);
    });
}

TEST(Queue, names_entries_also_where_some_stand_for_nobody) {
    const Queue queue({{.fresh = 2, .cached = 0, .work = 1, .slack = 9, .entry = 1},
                       {.fresh = 3, .cached = 0, .work = 1, .slack = 5, .entry = 4}});
    const Places entries = queue.entries(queue.order(1, 0, 64));
    EXPECT_EQ(entries, (Places{4, 1}));
    EXPECT_EQ(queue.line(entries).take(3).first.prefill_tokens, 3);
    EXPECT_EQ(queue.line(entries).take(3).first.logits, 1) << "the whole of entry 4";
}

TEST(Queue, refuses_entries_that_are_not_in_order) {
    const Prompt one{.fresh = 2, .cached = 0, .work = 1, .slack = 9, .entry = 1};
    Prompt two = one;
    two.entry = 0;
    EXPECT_THROW(Queue({one, two}), std::invalid_argument);
    EXPECT_THROW(Queue({one, two, one}), std::invalid_argument);
}

}  // namespace
}  // namespace flexnpu
