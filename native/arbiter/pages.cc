// SPDX-License-Identifier: Apache-2.0
#include "arbiter/pages.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <limits>
#include <stdexcept>
#include <system_error>

#include "arbiter/futex.h"

namespace flexnpu {
namespace {

constexpr uint64_t kLargest = (uint64_t{1} << 53) - 1;

[[noreturn]] void fail(const char* what) { throw std::system_error(errno, std::generic_category(), what); }

uint64_t load(uint64_t& field, std::memory_order order = std::memory_order_relaxed) {
    return std::min(std::atomic_ref(field).load(order), kLargest);
}

uint32_t load_revision(uint64_t& field) {
    constexpr uint64_t most = std::numeric_limits<uint32_t>::max();
    return static_cast<uint32_t>(std::min(std::atomic_ref(field).load(std::memory_order_acquire), most));
}

}  // namespace

SharedPage::SharedPage(const char* label, size_t size) : size_(size) {
    fd_ = memfd_create(label, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd_ < 0) fail("memfd_create");
    if (ftruncate(fd_, static_cast<off_t>(size)) == 0) {
        map_ = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd_, 0);
        if (map_ != MAP_FAILED) return;
    }
    const int error = errno;
    close(fd_);
    throw std::system_error(error, std::generic_category(), "memory for a shared page");
}

SharedPage::~SharedPage() {
    munmap(map_, size_);
    close_fd();
}

void SharedPage::close_fd() {
    if (fd_ >= 0) close(fd_);
    fd_ = -1;
}

void SharedPage::seal(int seals) {
    if (fcntl(fd_, F_ADD_SEALS, seals) != 0) fail("F_ADD_SEALS");
}

ControlPage::ControlPage(std::string_view vnpu, uint32_t device)
    : SharedPage("flexnpu-control", sizeof(flexnpu_control_page)) {
    if (vnpu.empty() || vnpu.size() >= FLEXNPU_NAME_SIZE) {
        throw std::invalid_argument("a vNPU's name must have 1 to " + std::to_string(FLEXNPU_NAME_SIZE - 1) + " bytes");
    }
    page()->magic = FLEXNPU_PAGE_MAGIC;
    page()->version = FLEXNPU_PAGE_VERSION;
    page()->size = sizeof(flexnpu_control_page);
    page()->device = device;
    std::memcpy(page()->vnpu, vnpu.data(), vnpu.size());
    // FUTURE_WRITE leaves this mapping writable and refuses every later one, and writes through the descriptor.
    seal(F_SEAL_FUTURE_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
}

void ControlPage::publish(uint32_t revision, uint32_t cube, uint32_t vector, uint64_t memory_bytes) {
    std::atomic_ref(page()->quota).store(flexnpu_pack_quota(revision, cube, vector), std::memory_order_release);
    std::atomic_ref(page()->memory_bytes).store(memory_bytes, std::memory_order_release);
    std::atomic_ref(page()->revision_futex).store(revision, std::memory_order_release);
    futex_wake_shared(&page()->revision_futex);
}

ReportPage::ReportPage(uint32_t pid) : SharedPage("flexnpu-report", sizeof(flexnpu_report_page)) {
    page()->magic = FLEXNPU_PAGE_MAGIC;
    page()->version = FLEXNPU_PAGE_VERSION;
    page()->size = sizeof(flexnpu_report_page);
    page()->pid = pid;
    // Its size is fixed, so that no tenant can take the page away under the daemon (SIGBUS).
    seal(F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
}

ReportSnapshot ReportPage::read() const {
    flexnpu_report_page& from = *page();
    ReportSnapshot to;
    to.applied_revision = load_revision(from.applied_revision);
    to.seen_revision = load_revision(from.seen_revision);
    to.applied_ns = load(from.applied_ns);
    to.memory_used = load(from.memory_used);
    to.memory_peak = load(from.memory_peak);
    to.memory_denied = load(from.memory_denied);
    to.tiled = load(from.tiled);
    to.launched = load(from.launched);
    to.ungoverned = load(from.ungoverned);
    for (size_t i = 0; i < std::size(to.launches); ++i) to.launches[i] = load(from.launches[i]);
    return to;
}

uint32_t ReportPage::applied_revision() const { return load_revision(page()->applied_revision); }

const uint32_t* ReportPage::applied_word() const {
    const auto* words = reinterpret_cast<const uint32_t*>(&page()->applied_revision);
    return words + (std::endian::native == std::endian::little ? 0 : 1);
}

}  // namespace flexnpu
