// SPDX-License-Identifier: Apache-2.0
#include "device/model.h"

#include <gtest/gtest.h>

#include "fixture.h"

using namespace softnpu;
using softnpu::test::cube_task;
using softnpu::test::memory_task;

TEST(Model, half_the_cores_cost_a_memory_bound_task_1_23_to_1_57_times) {
    const Soc& soc = *find_soc("Ascend910B2");
    const double ratio = modelled_seconds(soc, memory_task(1e-3), 12) / modelled_seconds(soc, memory_task(1e-3), 24);
    EXPECT_GE(ratio, 1.23);
    EXPECT_LE(ratio, 1.57);
}

TEST(Model, a_cube_bound_task_slows_as_measured_on_a_910b) {
    const Soc& soc = *find_soc("Ascend910B2");
    const double whole = modelled_seconds(soc, cube_task(1e-3), 24);
    EXPECT_NEAR(modelled_seconds(soc, cube_task(1e-3), 6) / whole, 3.49, 0.05);
    EXPECT_NEAR(modelled_seconds(soc, cube_task(1e-3), 12) / whole, 1.83, 0.05);
    EXPECT_NEAR(modelled_seconds(soc, cube_task(1e-3), 18) / whole, 1.27, 0.05);
}

TEST(Model, a_large_fp16_gemm_reaches_77_percent_of_peak) {
    const Soc& soc = *find_soc("Ascend910B2");
    Cost gemm{};
    gemm.unit = Unit::cube;
    gemm.cube_rate = 1.0;
    gemm.cube_flops = 2.0 * 8192 * 8192 * 8192;
    gemm.hbm_bytes = 3.0 * 2 * 8192 * 8192;
    gemm.fixed_s = 5e-6;
    EXPECT_NEAR(gemm.cube_flops / modelled_seconds(soc, gemm, 24) / soc.cube_flops_per_s, 0.77, 0.01);
}

TEST(Model, more_cores_never_take_longer) {
    for (const Soc& soc : all_socs()) {
        for (uint32_t cores = 1; cores < soc.cube_cores; ++cores) {
            EXPECT_GE(modelled_seconds(soc, cube_task(1e-3), cores), modelled_seconds(soc, cube_task(1e-3), cores + 1));
            EXPECT_GE(modelled_seconds(soc, memory_task(1e-3), cores),
                      modelled_seconds(soc, memory_task(1e-3), cores + 1));
        }
    }
}

TEST(Soc, an_unknown_name_is_no_soc) { EXPECT_EQ(find_soc("Ascend9000"), nullptr); }
