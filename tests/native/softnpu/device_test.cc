// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>

#include "fixture.h"

using namespace softnpu;
using softnpu::test::SharedDevice;

TEST_F(SharedDevice, memory_ends_at_the_hbm_of_the_soc) {
    auto device = open();
    const uint64_t all = device->memory_total();
    EXPECT_TRUE(device->reserve(all - 1));
    EXPECT_FALSE(device->reserve(2));
    EXPECT_TRUE(device->reserve(1));
    EXPECT_FALSE(device->reserve(UINT64_MAX));
    device->release(all);
    EXPECT_EQ(device->memory_used(), 0u);
}

TEST_F(SharedDevice, a_state_of_another_version_is_refused_by_name) {
    open();
    const int fd = ::open(options_.state_path.c_str(), O_RDWR);
    const uint32_t other = kStateVersion + 41;
    ASSERT_EQ(pwrite(fd, &other, sizeof other, offsetof(State, version)), static_cast<ssize_t>(sizeof other));
    close(fd);
    std::string error;
    EXPECT_EQ(Device::open(options_, &error), nullptr);
    EXPECT_NE(error.find("version " + std::to_string(other)), std::string::npos) << error;
    EXPECT_NE(error.find("version " + std::to_string(kStateVersion)), std::string::npos) << error;
}

TEST_F(SharedDevice, another_soc_on_the_same_state_is_refused) {
    auto device = open();
    options_.soc = find_soc("Ascend910B4");
    std::string error;
    EXPECT_EQ(Device::open(options_, &error), nullptr);
    EXPECT_NE(error.find("Ascend910B2"), std::string::npos) << error;
}

TEST_F(SharedDevice, a_state_path_that_cannot_be_made_is_named) {
    options_.state_path = "/nonexistent/device0";
    std::string error;
    EXPECT_EQ(Device::open(options_, &error), nullptr);
    EXPECT_NE(error.find("/nonexistent/device0"), std::string::npos) << error;
}
