// SPDX-License-Identifier: Apache-2.0
// The ways to ask for an iteration's seconds, held against one another and against sums over single requests.
#include "forecast/iteration.h"

#include <gtest/gtest.h>

#include <stdexcept>

#include "drawn_device.h"

namespace flexnpu {
namespace {

constexpr double kForever = std::numeric_limits<double>::infinity();

void expect_near(double one, double two, const testing::Message& where) {
    if (std::isinf(two)) {
        EXPECT_EQ(one, two) << where;
    } else {
        EXPECT_NEAR(one, two, kRounded * two) << where;
    }
}

TEST(Iteration, is_its_tables_and_attention_added_up) {
    for_seeds(200, [](Draw& draw) {
        const DrawnDevice device = drawn_device(draw, kEveryTable);
        const Load load = device.load(drawn_batch(draw));
        const double asked[] = {load.tokens(), load.logits, load.readers(), load.prefill_seen};
        for (uint32_t cores = 1; cores <= device.cores; ++cores) {
            double sum = device.attention->seconds(load, cores);
            for (size_t i = 0; i < std::size(asked); ++i) {
                sum += device.tables[i].rows->single(asked[i], cores).alone;
            }
            expect_near(device.iteration.seconds(cores, load), sum, testing::Message() << cores);
        }
    });
}

TEST(Iteration, takes_as_long_on_one_number_of_cores_as_among_all) {
    for_seeds(300, [](Draw& draw) {
        const DrawnDevice device = drawn_device(draw, kEveryTable);
        const Load load = device.load(drawn_batch(draw));
        const std::vector<double> alone = device.alone(load);
        for (uint32_t cores = 0; cores <= device.cores; ++cores) {
            expect_near(alone[cores], device.iteration.seconds(cores, load), testing::Message() << cores);
        }
        EXPECT_EQ(alone[0], kForever);
        std::vector<double> few(static_cast<size_t>(draw.whole(1, device.cores + 1)));
        device.iteration.alone(load, few);
        EXPECT_TRUE(std::equal(few.begin(), few.end(), alone.begin())) << "those that were asked for";
    });
}

TEST(Iteration, each_division_of_a_split_is_two_phases_beside_each_other) {
    for_seeds(300, [](Draw& draw) {
        const DrawnDevice device = drawn_device(draw, kEveryTable);
        const Load prefill = device.load(drawn_batch(draw)), decode = device.load(drawn_batch(draw));
        const auto on = static_cast<uint32_t>(draw.whole(0, device.cores));
        const auto [first, second] = device.split(prefill, decode, on);
        for (uint32_t cores = 0; cores <= on; ++cores) {
            const auto [one, two] = device.iteration.beside(on - cores, prefill, cores, decode);
            expect_near(first[cores], one, testing::Message() << on - cores << " cores beside " << cores);
            expect_near(second[cores], two, testing::Message() << cores << " cores beside " << on - cores);
        }
    });
}

TEST(Iteration, a_phase_without_cores_takes_for_ever_and_leaves_the_device_to_the_other) {
    for_seeds(200, [](Draw& draw) {
        const DrawnDevice device = drawn_device(draw, kEveryTable);
        const Load prefill = device.load(drawn_batch(draw)), decode = device.load(drawn_batch(draw));
        const auto [first, second] = device.split(prefill, decode, device.cores);
        EXPECT_EQ(second.front(), kForever);
        EXPECT_EQ(first.back(), kForever);
        EXPECT_EQ(first.front(), device.alone(prefill).back());
        EXPECT_EQ(second.back(), device.alone(decode).back());
        EXPECT_EQ(device.steps(0, decode, 2), std::vector<double>(2, kForever));
    });
}

TEST(Iteration, a_neighbour_makes_nobody_quicker_and_takes_half_at_most) {
    for_seeds(300, [](Draw& draw) {
        const DrawnDevice device = drawn_device(draw, kEveryTable);
        const Load prefill = device.load(drawn_batch(draw)), decode = device.load(drawn_batch(draw));
        const auto [first, second] = device.split(prefill, decode, device.cores);
        const auto one = device.alone(prefill), two = device.alone(decode);
        for (uint32_t cores = 1; cores < device.cores; ++cores) {
            const double others = one[device.cores - cores];
            EXPECT_GE(first[cores], others);
            EXPECT_LE(first[cores], 2 * others * (1 + kRounded));
            EXPECT_GE(second[cores], two[cores]);
            EXPECT_LE(second[cores], 2 * two[cores] * (1 + kRounded));
        }
    });
}

TEST(Iteration, a_neighbour_with_nothing_to_do_is_none) {
    for_seeds(50, [](Draw& draw) {
        const DrawnDevice device = drawn_device(draw, kEveryTable);
        const Load load = device.load({drawn_prompt(draw), drawn_running(draw)});
        const auto alone = device.alone(load), idle = std::vector<double>(device.cores, 0.0);
        const auto [first, nothing] = device.split(load, {}, device.cores);
        EXPECT_TRUE(std::equal(first.rbegin(), first.rend(), alone.begin()));
        EXPECT_TRUE(std::equal(idle.begin(), idle.end(), nothing.begin() + 1));
        EXPECT_EQ(device.split({}, load, device.cores).second, alone);
    });
}

// Every running request a token longer; prompts as they were.
std::vector<Request> grown(std::vector<Request> requests, double by) {
    for (Request& each : requests) each.cached += each.fresh == 1 ? by : 0.0;
    return requests;
}

TEST(Iteration, each_step_is_the_iteration_of_requests_that_have_grown) {
    for_seeds(200, [](Draw& draw) {
        DrawnDevice device = drawn_device(draw, kEveryTable);
        device.window.reset();
        const Iteration endless(device.tables, device.attention, {});
        const auto requests = drawn_batch(draw);
        const auto cores = static_cast<uint32_t>(draw.whole(1, device.cores));
        std::vector<double> steps(static_cast<size_t>(draw.whole(0, 40)));
        endless.steps(cores, device.load(requests), steps);
        for (size_t i = 0; i < steps.size(); ++i) {
            const Load then = device.load(grown(requests, static_cast<double>(i)));
            expect_near(steps[i], endless.seconds(cores, then), testing::Message() << "step " << i);
        }
    });
}

// A load has sums alone, so who has met the window goes on growing until all have: no step is too short for that.
TEST(Iteration, steps_end_growing_at_the_window_and_are_exact_where_all_meet_it_at_once) {
    for_seeds(200, [](Draw& draw) {
        DrawnDevice device = drawn_device(draw, kEveryTable);
        device.window = static_cast<double>(draw.whole(2, 60));
        const Iteration windowed(device.tables, device.attention, device.window);
        auto requests = drawn_batch(draw);
        const bool alike = draw.once_in(2);
        const double cached = static_cast<double>(draw.whole(0, 70));
        for (Request& each : requests) {
            if (each.fresh == 1) each.cached = alike ? cached : static_cast<double>(draw.whole(0, 70));
        }
        std::vector<double> steps(80);
        windowed.steps(device.cores, device.load(requests), steps);
        for (size_t i = 0; i < steps.size(); ++i) {
            const Load then = device.load(grown(requests, static_cast<double>(i)));
            const double exact = windowed.seconds(device.cores, then);
            EXPECT_GE(steps[i], exact * (1 - kRounded)) << "step " << i;
            if (alike || i >= 60) expect_near(steps[i], exact, testing::Message() << "step " << i);
        }
    });
}

TEST(Iteration, refuses_cores_that_the_device_has_not) {
    Draw draw(7);
    const DrawnDevice device = drawn_device(draw, kEveryTable);
    const uint32_t more = device.cores + 1;
    const Load running = device.load({{1, 9, 1}});
    std::vector<double> none, many(more + 1), steps(1);
    for (const Load& load : {running, Load{}}) {
        EXPECT_THROW(device.iteration.seconds(more, load), std::out_of_range);
        EXPECT_THROW(device.iteration.steps(more, load, steps), std::out_of_range);
        EXPECT_THROW(device.iteration.beside(more, load, 1, running), std::out_of_range);
        EXPECT_THROW(device.iteration.beside(1, running, more, load), std::out_of_range);
        EXPECT_THROW(device.iteration.alone(load, none), std::out_of_range);
        EXPECT_THROW(device.iteration.alone(load, many), std::out_of_range);
        EXPECT_THROW(device.iteration.split(load, running, none, none), std::out_of_range);
        EXPECT_THROW(device.iteration.split(load, running, many, many), std::out_of_range);
    }
}

TEST(Iteration, refuses_divisions_of_two_lengths) {
    Draw draw(7);
    const DrawnDevice device = drawn_device(draw, kEveryTable);
    std::vector<double> one(device.cores + 1), two(device.cores);
    EXPECT_THROW(device.iteration.split({}, {}, one, two), std::invalid_argument);
    EXPECT_THROW(device.iteration.split({}, {}, two, one), std::invalid_argument);
}

TEST(Iteration, refuses_tables_and_attention_of_two_devices) {
    Draw draw(7);
    const auto table = [](uint32_t cores) {
        const auto fill = [cores](double tokens, double, const Rows::Put& put) { put(tokens, Row(cores + 1)); };
        return std::make_shared<Rows>(fill, cores, Grid{32, 3, 4096});
    };
    const auto three = table(3), four = table(4);
    const auto attention = std::make_shared<PlainAttention>(drawn_constants(draw, 3));
    using Tables = std::vector<Table>;
    EXPECT_THROW(Iteration({}, attention, {}), std::invalid_argument);
    EXPECT_THROW(Iteration(Tables{{three, Asks::tokens}, {four, Asks::logits}}, attention, {}), std::invalid_argument);
    EXPECT_THROW(Iteration(Tables{{four, Asks::tokens}, {three, Asks::logits}}, attention, {}), std::invalid_argument);
    const Iteration uneven({{four, Asks::tokens}}, attention, {});
    std::vector<double> seconds(5);
    Load load;
    add(load, {1, 9, 1}, {});
    EXPECT_THROW(uneven.alone(load, seconds), std::invalid_argument);
    EXPECT_THROW(uneven.split(load, {}, seconds, seconds), std::invalid_argument);
}

}  // namespace
}  // namespace flexnpu
