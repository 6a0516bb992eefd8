// SPDX-License-Identifier: Apache-2.0
// What a tenant can and cannot do with the descriptors it is handed.
#include "arbiter/pages.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <limits>
#include <stdexcept>

namespace flexnpu {
namespace {

void* map(int fd, int protection) { return mmap(nullptr, FLEXNPU_PAGE_SIZE, protection, MAP_SHARED, fd, 0); }

TEST(ControlPage, a_tenant_reads_what_the_daemon_publishes) {
    ControlPage page("prefill", {3});
    const auto* seen = static_cast<const flexnpu_control_page*>(map(page.fd(), PROT_READ));
    ASSERT_NE(seen, MAP_FAILED);
    page.publish(0, 7, 12, 24, uint64_t{8} << 30);
    EXPECT_EQ(seen->magic, FLEXNPU_PAGE_MAGIC);
    EXPECT_EQ(seen->devices[0].physical, 3u);
    EXPECT_STREQ(seen->vnpu, "prefill");
    EXPECT_EQ(seen->devices[0].quota, flexnpu_pack_quota(7, 12, 24));
    EXPECT_EQ(seen->devices[0].memory_bytes, uint64_t{8} << 30);
    EXPECT_EQ(seen->bell, 1u);
}

TEST(ControlPage, a_tenant_has_no_way_to_write) {
    ControlPage page("prefill", {0});
    EXPECT_EQ(map(page.fd(), PROT_READ | PROT_WRITE), MAP_FAILED);
    void* seen = map(page.fd(), PROT_READ);
    ASSERT_NE(seen, MAP_FAILED);
    EXPECT_NE(mprotect(seen, FLEXNPU_PAGE_SIZE, PROT_READ | PROT_WRITE), 0);
    EXPECT_LT(pwrite(page.fd(), "x", 1, 0), 0);
    EXPECT_NE(ftruncate(page.fd(), 0), 0);
    EXPECT_NE(fallocate(page.fd(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, FLEXNPU_PAGE_SIZE), 0);
    const std::string path = "/proc/self/fd/" + std::to_string(page.fd());
    const int reopened = open(path.c_str(), O_RDWR | O_CLOEXEC);
    EXPECT_TRUE(reopened < 0 || map(reopened, PROT_READ | PROT_WRITE) == MAP_FAILED);
    close(reopened);
}

TEST(ControlPage, a_name_that_does_not_fit_is_refused) {
    EXPECT_THROW(ControlPage(std::string(FLEXNPU_NAME_SIZE, 'x'), {0}), std::invalid_argument);
    EXPECT_THROW(ControlPage("", {0}), std::invalid_argument);
}

TEST(HailPage, a_tenant_writes_a_word_of_a_device_and_cannot_take_the_page_away) {
    HailPage page;
    auto* own = static_cast<flexnpu_hail_page*>(map(page.fd(), PROT_READ | PROT_WRITE));
    ASSERT_NE(own, MAP_FAILED);
    EXPECT_NE(ftruncate(page.fd(), 0), 0);
    own->devices[2].hail = 7;
    EXPECT_EQ(page.hail(2), 7u);
    EXPECT_EQ(page.hail(1), 0u);
    EXPECT_EQ(page.hail(FLEXNPU_HAILS), 0u);
}

TEST(ReportPage, a_tenant_cannot_take_the_page_away_and_its_numbers_are_clamped) {
    ReportPage page(42);
    auto* own = static_cast<flexnpu_report_page*>(map(page.fd(), PROT_READ | PROT_WRITE));
    ASSERT_NE(own, MAP_FAILED);
    EXPECT_NE(ftruncate(page.fd(), 0), 0);
    own->devices[0].applied_grant = own->devices[0].busy_ns = own->tiled = std::numeric_limits<uint64_t>::max();
    own->devices[0].launches[FLEXNPU_LAUNCH_KERNEL] = 5;
    own->size = 0;
    const ReportSnapshot seen = page.read();
    const DeviceReport device = page.read(0);
    EXPECT_EQ(device.applied_grant, std::numeric_limits<uint32_t>::max());
    EXPECT_EQ(device.busy_ns, (uint64_t{1} << 53) - 1);
    EXPECT_EQ(seen.tiled, (uint64_t{1} << 53) - 1);
    EXPECT_EQ(device.launches[FLEXNPU_LAUNCH_KERNEL], 5u);
}

}  // namespace
}  // namespace flexnpu
