// SPDX-License-Identifier: Apache-2.0
#include "arbiter/pages.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <limits>
#include <stdexcept>
#include <system_error>

#include "arbiter/futex.h"
#include "flexnpu/ledger.h"

namespace flexnpu {
namespace {

constexpr uint64_t kLargest = (uint64_t{1} << 53) - 1;

[[noreturn]] void fail(const char* what) { throw std::system_error(errno, std::generic_category(), what); }

uint64_t load(uint64_t& field, std::memory_order order = std::memory_order_relaxed) {
    return std::min(std::atomic_ref(field).load(order), kLargest);
}

uint32_t load_grant(uint64_t& field) {
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

SharedPage::SharedPage(int fd, size_t size) : fd_(fd), size_(size) {
    constexpr int kNeeded = F_SEAL_SHRINK | F_SEAL_GROW;
    struct stat facts{};
    const int seals = fcntl(fd, F_GET_SEALS);
    if (fstat(fd, &facts) == 0 && facts.st_size == static_cast<off_t>(size) && seals >= 0 &&
        (seals & kNeeded) == kNeeded) {
        map_ = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (map_ != MAP_FAILED) return;
    }
    close(fd);
    throw std::invalid_argument("what was handed back is not a page of this version");
}

namespace {

template <typename Page>
void set_head(Page* page) {
    page->magic = FLEXNPU_PAGE_MAGIC;
    page->version = FLEXNPU_PAGE_VERSION;
    page->size = sizeof(Page);
}

uint32_t checked(size_t devices) {
    if (devices >= 1 && devices <= FLEXNPU_DEVICES) return static_cast<uint32_t>(devices);
    throw std::invalid_argument("a vNPU must have 1 to " + std::to_string(FLEXNPU_DEVICES) + " devices");
}

}  // namespace

ControlPage::ControlPage(std::string_view vnpu, const std::vector<uint32_t>& devices)
    : SharedPage("flexnpu-control", sizeof(flexnpu_control_page)) {
    if (vnpu.empty() || vnpu.size() >= FLEXNPU_NAME_SIZE) {
        throw std::invalid_argument("a vNPU's name must have 1 to " + std::to_string(FLEXNPU_NAME_SIZE - 1) + " bytes");
    }
    set_head(page());
    page()->device_count = checked(devices.size());
    for (size_t i = 0; i < devices.size(); ++i) {
        page()->devices[i].physical = devices[i];
        page()->devices[i].turn = FLEXNPU_TURN_FREE;
    }
    std::memcpy(page()->vnpu, vnpu.data(), vnpu.size());
    // FUTURE_WRITE leaves this mapping writable and refuses every later one, and writes through the descriptor.
    seal(F_SEAL_FUTURE_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
}

void ControlPage::publish(uint32_t ordinal, uint32_t grant, uint32_t cube, uint32_t vector, uint64_t memory_bytes) {
    flexnpu_control_device& section = page()->devices[ordinal];
    std::atomic_ref(section.memory_bytes).store(memory_bytes, std::memory_order_release);
    std::atomic_ref(section.quota).store(flexnpu_pack_quota(grant, cube, vector), std::memory_order_release);
    std::atomic_ref(page()->bell).fetch_add(1, std::memory_order_release);
    futex_wake_shared(&page()->bell);
}

void ControlPage::set_turn(uint32_t ordinal, uint64_t turn) {
    uint64_t& word = page()->devices[ordinal].turn;
    std::atomic_ref(word).store(turn, std::memory_order_seq_cst);
    futex_wake_shared(reinterpret_cast<const uint32_t*>(&word));  // its low half: little endian
}

void ControlPage::set_in_flight(uint32_t ordinal, uint64_t ns) {
    std::atomic_ref(page()->devices[ordinal].in_flight_ns).store(ns, std::memory_order_relaxed);
}

void ControlPage::set_hail(uint32_t ordinal, uint64_t hail) {
    std::atomic_ref(page()->devices[ordinal].hail).store(hail, std::memory_order_relaxed);
}

void ControlPage::set_yields_to(uint32_t ordinal, uint64_t print) {
    std::atomic_ref(page()->devices[ordinal].yields_to).store(print, std::memory_order_release);
}

void ControlPage::set_phase(uint32_t phase) { std::atomic_ref(page()->phase).store(phase, std::memory_order_relaxed); }

void ControlPage::set_watched(bool watched) {
    std::atomic_ref(page()->watched).store(watched ? 1u : 0u, std::memory_order_relaxed);
}

uint32_t ControlPage::grant(uint32_t ordinal) const {
    return static_cast<uint32_t>(std::atomic_ref(page()->devices[ordinal].quota).load(std::memory_order_relaxed) >> 32);
}

HailPage::HailPage() : SharedPage("flexnpu-hails", sizeof(flexnpu_hail_page)) {
    set_head(page());
    seal(F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
}

uint64_t HailPage::hail(uint32_t device) const {
    if (device >= FLEXNPU_HAILS) return 0;
    return std::atomic_ref(page()->devices[device].hail).load(std::memory_order_acquire);
}

ReportPage::ReportPage(uint32_t pid) : SharedPage("flexnpu-report", sizeof(flexnpu_report_page)) {
    set_head(page());
    page()->pid = pid;
    // Its size is fixed, so that no tenant can take the page away under the daemon (SIGBUS).
    seal(F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
}

ReportPage::ReportPage(int fd, uint32_t pid) : SharedPage(fd, sizeof(flexnpu_report_page)) {
    set_head(page());
    page()->pid = pid;
}

ReportSnapshot ReportPage::read() const {
    flexnpu_report_page& from = *page();
    ReportSnapshot to{.tiled = load(from.tiled), .launched = load(from.launched), .ungoverned = load(from.ungoverned)};
    for (size_t i = 0; i < FLEXNPU_WAITS; ++i) to.waits[i] = load(from.waits[i]);
    return to;
}

DeviceReport ReportPage::read(uint32_t ordinal) const {
    flexnpu_report_device& from = page()->devices[ordinal];
    DeviceReport to;
    to.applied_grant = load_grant(from.applied_grant);
    to.seen_grant = load_grant(from.seen_grant);
    to.applied_ns = load(from.applied_ns);
    to.waited_ns = load(from.waited_ns);
    to.busy_ns = load(from.busy_ns);
    to.memory_denied = load(from.memory_denied);
    for (size_t i = 0; i < std::size(to.launches); ++i) to.launches[i] = load(from.launches[i]);
    return to;
}

IterationReport ReportPage::iteration() const { return read_step(page()->iteration); }

IterationReport ReportPage::begun() const { return read_step(page()->begun, &page()->begun_number); }

uint64_t ReportPage::begun_tellings() const {
    return std::atomic_ref(page()->begun.sequence).load(std::memory_order_relaxed);
}

IterationReport ReportPage::read_step(flexnpu_iteration& from, uint64_t* number) {
    constexpr int kTries = 4;
    for (int i = 0; i < kTries; ++i) {
        const uint64_t before = std::atomic_ref(from.sequence).load(std::memory_order_acquire);
        const IterationReport read{.steps = number != nullptr ? load(*number) : std::min(before / 2, kLargest),
                                   .phase = load(from.phase),
                                   .requests = load(from.requests),
                                   .new_tokens = load(from.new_tokens),
                                   .context_sum = load(from.context_sum),
                                   .context_most = load(from.context_most),
                                   .graph = load(from.graph),
                                   .at_ns = std::atomic_ref(from.at_ns).load(std::memory_order_relaxed)};
        std::atomic_thread_fence(std::memory_order_acquire);
        if (before % 2 == 0 && before == std::atomic_ref(from.sequence).load(std::memory_order_relaxed)) return read;
    }
    return {};
}

StepCounts ReportPage::steps() const {
    uint64_t* totals = page()->totals;
    return {load(totals[0]), load(totals[1]), load(totals[2])};
}

std::vector<GraphReport> ReportPage::graphs() const {
    std::vector<GraphReport> all;
    for (flexnpu_graph& from : page()->graphs) {
        const uint64_t captured = std::atomic_ref(from.captured).load(std::memory_order_acquire);
        const uint64_t place = captured >> 32;
        if (place < 1 || place > FLEXNPU_DEVICES) continue;
        all.push_back({.ordinal = static_cast<uint32_t>(place - 1),
                       .cube = static_cast<uint32_t>(captured & 0xffff),
                       .vector = static_cast<uint32_t>(captured >> 16 & 0xffff),
                       .replays = load(from.replays)});
    }
    return all;
}

uint32_t ReportPage::applied_grant(uint32_t ordinal) const {
    return load_grant(page()->devices[ordinal].applied_grant);
}

uint32_t ReportPage::cleared_grant(uint32_t ordinal) const {
    return load_grant(page()->devices[ordinal].cleared_grant);
}

uint64_t ReportPage::turn_entered(uint32_t ordinal) const {
    return std::atomic_ref(page()->devices[ordinal].turn_entered).load(std::memory_order_seq_cst);
}

uint64_t ReportPage::turn_drained(uint32_t ordinal) const {
    return std::atomic_ref(page()->devices[ordinal].turn_drained).load(std::memory_order_seq_cst);
}

uint32_t ReportPage::waiting(uint32_t ordinal) const {
    return std::atomic_ref(page()->devices[ordinal].waiting).load(std::memory_order_seq_cst);
}

uint64_t ReportPage::launches(uint32_t ordinal) const {
    uint64_t sum = 0;
    for (uint64_t& each : page()->devices[ordinal].launches) sum += load(each);
    return sum;
}

uint64_t ReportPage::busy_ns(uint32_t ordinal) const { return load(page()->devices[ordinal].busy_ns); }

uint64_t ReportPage::waited_ns(uint32_t ordinal) const { return load(page()->devices[ordinal].waited_ns); }

const uint32_t* ReportPage::bell(uint32_t ordinal) const { return &page()->devices[ordinal].bell; }

uint32_t ReportPage::bell_count(uint32_t ordinal) const {
    return std::atomic_ref(page()->devices[ordinal].bell).load(std::memory_order_acquire);
}

LedgerPage::LedgerPage(uint32_t device_count) : SharedPage("flexnpu-ledger", sizeof(flexnpu_ledger_page)) {
    set_head(page());
    page()->device_count = checked(device_count);
    seal(F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
}

LedgerPage::LedgerPage(int fd, uint32_t device_count) : SharedPage(fd, sizeof(flexnpu_ledger_page)) {
    set_head(page());
    page()->device_count = checked(device_count);
}

flexnpu_ledger_device& LedgerPage::device(uint32_t ordinal) const { return page()->devices[ordinal]; }

uint64_t LedgerPage::used(uint32_t ordinal) const { return flexnpu_ledger_used(&device(ordinal)); }

uint64_t LedgerPage::peak(uint32_t ordinal) const { return load(device(ordinal).peak); }

uint64_t LedgerPage::charged(uint32_t ordinal, uint32_t slot) const {
    return load(device(ordinal).slots[slot].charged);
}

bool LedgerPage::release(uint32_t slot) {
    bool exact = true;
    for (flexnpu_ledger_device& each : page()->devices) exact = flexnpu_ledger_release(&each, slot) != 0 && exact;
    return exact;
}

bool LedgerPage::settle() {
    bool exact = true;
    for (flexnpu_ledger_device& each : page()->devices) exact = flexnpu_ledger_settle(&each) != 0 && exact;
    return exact;
}

bool LedgerPage::is(int fd) const {
    struct stat mine{};
    struct stat other{};
    return fstat(this->fd(), &mine) == 0 && fstat(fd, &other) == 0 && mine.st_dev == other.st_dev &&
           mine.st_ino == other.st_ino;
}

}  // namespace flexnpu
