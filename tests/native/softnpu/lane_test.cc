// SPDX-License-Identifier: Apache-2.0
//
// Where tasks come to lie on the device time line. Nothing here depends on how fast the host is: times are those of the
// model.
#include <cmath>

#include "fixture.h"

using namespace softnpu;
using softnpu::test::cube_task;
using softnpu::test::memory_task;

namespace {

int64_t nanoseconds(double seconds) { return std::llround(seconds * 1e9); }

class Lanes : public ::testing::Test {
  protected:
    Lanes() {
        DeviceOptions options;
        options.soc = find_soc("Ascend910B2");
        options.paced = true;
        options.scale = 1e-3;  // a device second in a millisecond
        std::string error;
        device_ = Device::open(options, &error);
    }
    int64_t model(const Cost& cost, uint32_t cores) const {
        return nanoseconds(modelled_seconds(device_->soc(), cost, cores));
    }

    std::unique_ptr<Device> device_;
    const int64_t start_ = 20'000'000'000;  // ahead of the clock, so that no task is late
};

}  // namespace

TEST_F(Lanes, tasks_one_after_another_add_up_exactly) {
    Lane lane(*device_);
    constexpr int kTasks = 200;
    for (int i = 0; i < kTasks; ++i) {
        lane.run(cube_task(20e-6), 24, i == 0 ? start_ : 0);
    }
    EXPECT_EQ(lane.horizon_ns(), start_ + kTasks * model(cube_task(20e-6), 24));
}

TEST_F(Lanes, a_task_that_comes_late_starts_late) {
    Lane lane(*device_);
    lane.run(cube_task(1e-3), 24, start_);
    const int64_t later = start_ + nanoseconds(5e-3);
    EXPECT_EQ(lane.run(cube_task(1e-3), 24, later).end_ns, later + model(cube_task(1e-3), 24));
}

TEST_F(Lanes, two_halves_of_the_device_work_side_by_side) {
    Lane left(*device_);
    Lane right(*device_);
    EXPECT_EQ(left.run(cube_task(1e-3), 12, start_).end_ns, right.run(cube_task(1e-3), 12, start_).end_ns);
}

TEST_F(Lanes, two_whole_devices_take_turns) {
    Lane left(*device_);
    Lane right(*device_);
    const int64_t one = model(cube_task(1e-3), 24);
    EXPECT_EQ(left.run(cube_task(1e-3), 24, start_).end_ns, start_ + one);
    EXPECT_EQ(right.run(cube_task(1e-3), 24, start_).end_ns, start_ + 2 * one);
    EXPECT_EQ(left.run(cube_task(1e-3), 24, start_).end_ns, start_ + 3 * one);
    EXPECT_EQ(right.run(cube_task(1e-3), 24, start_).end_ns, start_ + 4 * one);
}

TEST_F(Lanes, a_task_waits_for_as_many_cores_as_it_needs) {
    Lane left(*device_);
    Lane right(*device_);
    const int64_t end = left.run(cube_task(1e-3), 16, start_).end_ns;
    EXPECT_EQ(right.run(cube_task(1e-3), 8, start_).end_ns, start_ + model(cube_task(1e-3), 8)) << "8 of 24 are free";
    Lane third(*device_);
    EXPECT_EQ(third.run(cube_task(1e-3), 16, start_).end_ns,
              std::min(end, right.horizon_ns()) == end ? end + model(cube_task(1e-3), 16) : third.horizon_ns());
    EXPECT_GE(third.horizon_ns(), end + model(cube_task(1e-3), 16));
}

TEST_F(Lanes, memory_bound_neighbours_share_the_bandwidth_and_never_pass_it) {
    Lane left(*device_);
    Lane right(*device_);
    const Cost task = memory_task(1e-3);
    constexpr int kTasks = 50;
    for (int i = 0; i < kTasks; ++i) {  // whoever is behind goes next, as two workers would
        Lane& next = left.horizon_ns() <= right.horizon_ns() ? left : right;
        next.run(task, 12, start_);
    }
    const double span = static_cast<double>(std::max(left.horizon_ns(), right.horizon_ns()) - start_) * 1e-9;
    const double rate = kTasks * task.hbm_bytes / span;
    EXPECT_LE(rate, total_bandwidth(device_->soc()) * 1.001);
    EXPECT_GE(rate, total_bandwidth(device_->soc()) * 0.9) << "the bandwidth is used";
    const double ahead = static_cast<double>(std::abs(left.horizon_ns() - right.horizon_ns())) * 1e-9;
    EXPECT_LE(ahead, 4e-3) << "neither starves";
}

TEST_F(Lanes, a_computing_neighbour_leaves_the_bandwidth) {
    Lane computing(*device_);
    Lane moving(*device_);
    computing.run(cube_task(5e-3), 12, start_);
    EXPECT_EQ(moving.run(memory_task(1e-3), 12, start_).end_ns, start_ + model(memory_task(1e-3), 12));
}

TEST_F(Lanes, a_copy_takes_no_cores) {
    Lane computing(*device_);
    Lane copying(*device_);
    computing.run(cube_task(5e-3), 24, start_);
    Cost copy{};
    copy.unit = Unit::copy;
    copy.cube_rate = 1.0;
    copy.link_bytes = 32e6;
    EXPECT_EQ(copying.run(copy, 0, start_).end_ns, start_ + model(copy, 1));
}

TEST_F(Lanes, what_the_l2_holds_is_read_faster) {
    Lane lane(*device_);
    const Cost task = memory_task(20e-6);
    const Touched operand{1 << 20, static_cast<uint64_t>(task.hbm_bytes)};
    const int64_t cold = lane.run(task, 24, start_, {&operand, 1}).end_ns - start_;
    EXPECT_EQ(cold, model(task, 24));
    const Interval warm = lane.run(task, 24, start_, {&operand, 1});
    EXPECT_NEAR(static_cast<double>(cold) / static_cast<double>(warm.end_ns - warm.start_ns), 3.5, 0.01);
}

TEST_F(Lanes, what_passes_through_the_l2_is_read_from_memory_each_time) {
    Lane lane(*device_);
    const Touched weights{1 << 20, device_->soc().l2_bytes + 1};
    const Touched activations{1ULL << 40, 1 << 20};
    Cost task = memory_task(0);
    task.hbm_bytes = static_cast<double>(weights.bytes);
    lane.run(memory_task(1e-6), 24, start_, {&activations, 1});
    for (int i = 0; i < 3; ++i) {
        const Interval pass = lane.run(task, 24, start_, {&weights, 1});
        EXPECT_EQ(pass.end_ns - pass.start_ns, model(task, 24));
    }
    const Interval after = lane.run(memory_task(1e-6), 24, start_, {&activations, 1});
    EXPECT_EQ(after.end_ns - after.start_ns, model(memory_task(1e-6), 24)) << "they pushed everything else out";
}

TEST(FreeClock, returns_at_once) {
    DeviceOptions options;
    options.soc = find_soc("Ascend910B2");
    std::string error;
    auto device = Device::open(options, &error);
    Lane lane(*device);
    const int64_t end = lane.run(cube_task(3600.0), 24, 0).end_ns;
    EXPECT_LE(end, device->now_ns());
}
