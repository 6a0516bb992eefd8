// SPDX-License-Identifier: Apache-2.0
#include "daemon.h"

#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <stdexcept>

#include "flexnpu/ledger.h"

namespace {

template <typename Page>
Page* make_page(int* fd) {
    *fd = memfd_create("flexnpu-test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (*fd < 0 || ftruncate(*fd, sizeof(Page)) != 0) throw std::runtime_error("memfd");
    void* page = mmap(nullptr, sizeof(Page), PROT_READ | PROT_WRITE, MAP_SHARED, *fd, 0);
    if (page == MAP_FAILED) throw std::runtime_error("mmap");
    return static_cast<Page*>(page);
}

template <typename Page>
void set_head(Page* page, uint32_t version) {
    page->magic = FLEXNPU_PAGE_MAGIC;
    page->version = version;
    page->size = sizeof(Page);
}

}  // namespace

Daemon::Daemon(Terms terms) : terms_(std::move(terms)) {
    char directory[] = "/tmp/flexnpu-test-XXXXXX";
    if (mkdtemp(directory) == nullptr) throw std::runtime_error("mkdtemp");
    directory_ = directory;
    path_ = directory_ + "/attach.sock";
    ledger_ = make_page<flexnpu_ledger_page>(&ledger_fd_);
    set_head(ledger_, terms_.page_version);
    ledger_->device_count = static_cast<uint32_t>(terms_.devices.size());
    make_control();
    setenv("FLEXNPU_SOCKET", path_.c_str(), 1);
    setenv("FLEXNPU_VNPU", "test", 1);
    listen_at_path();
}

Daemon::~Daemon() {
    die();
    close(ledger_fd_);
    rmdir(directory_.c_str());
}

void Daemon::make_control() {
    hails_ = make_page<flexnpu_hail_page>(&hail_fd_);
    set_head(hails_, terms_.page_version);
    control_ = make_page<flexnpu_control_page>(&control_fd_);
    set_head(control_, terms_.page_version);
    control_->device_count = terms_.device_count.value_or(static_cast<uint32_t>(terms_.devices.size()));
    strcpy(control_->vnpu, "test");
    for (uint32_t i = 0; i < terms_.devices.size(); ++i) {
        control_->devices[i].physical = terms_.devices[i];
        control_->devices[i].turn = terms_.turn;
        control_->devices[i].in_flight_ns = terms_.in_flight_ns;
        limit_memory(terms_.memory_bytes, i);
        publish(1, terms_.cube, terms_.vector, i);
    }
    if (terms_.empty_control && ftruncate(control_fd_, 0) != 0) throw std::runtime_error("ftruncate");
    fcntl(control_fd_, F_ADD_SEALS, F_SEAL_FUTURE_WRITE | F_SEAL_SHRINK | F_SEAL_GROW);
}

void Daemon::listen_at_path() {
    listener_ = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path_.copy(address.sun_path, sizeof address.sun_path - 1);
    if (bind(listener_, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 || listen(listener_, 8) != 0) {
        throw std::runtime_error("listen");
    }
    server_ = std::thread([this] { serve(); });
}

void Daemon::die() {
    if (listener_ < 0) return;
    shutdown(listener_, SHUT_RDWR);
    server_.join();
    close(listener_);
    listener_ = -1;
    for (const int connection : connections_) close(connection);
    connections_.clear();
    close(control_fd_);
    close(hail_fd_);
    unlink(path_.c_str());
}

void Daemon::come_back(Terms terms) {
    terms_ = std::move(terms);
    {
        const std::lock_guard<std::mutex> held(guard_);
        reports_.clear();
        returned_ = 0;
    }
    make_control();
    listen_at_path();
}

size_t Daemon::returned() {
    const std::lock_guard<std::mutex> held(guard_);
    return returned_;
}

void Daemon::publish(uint32_t grant, uint32_t cube, uint32_t vector, uint32_t ordinal) {
    __atomic_store_n(&control_->devices[ordinal].quota, flexnpu_pack_quota(grant, cube, vector), __ATOMIC_RELEASE);
    __atomic_fetch_add(&control_->bell, 1, __ATOMIC_RELEASE);
    syscall(SYS_futex, &control_->bell, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}

void Daemon::turn(uint64_t word, uint32_t ordinal) {
    uint64_t* place = &control_->devices[ordinal].turn;
    __atomic_store_n(place, word, __ATOMIC_SEQ_CST);
    syscall(SYS_futex, place, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}

void Daemon::yields_to(uint64_t print, uint32_t ordinal) {
    __atomic_store_n(&control_->devices[ordinal].yields_to, print, __ATOMIC_RELEASE);
}

void Daemon::may_hail(uint64_t hail, uint32_t ordinal) {
    __atomic_store_n(&control_->devices[ordinal].hail, hail, __ATOMIC_RELAXED);
}

void Daemon::hail(uint64_t word, uint32_t device) {
    __atomic_store_n(&hails_->devices[device].hail, word, __ATOMIC_RELEASE);
}

void Daemon::scribble_on_hails() { memset(hails_, 0xa5, sizeof *hails_); }

uint64_t Daemon::hailed(uint32_t device) const {
    return __atomic_load_n(&hails_->devices[device].hail, __ATOMIC_ACQUIRE);
}

void Daemon::declare(flexnpu_phase phase) { __atomic_store_n(&control_->phase, phase, __ATOMIC_RELAXED); }

void Daemon::watch() { __atomic_store_n(&control_->watched, 1u, __ATOMIC_RELAXED); }

void Daemon::limit_memory(uint64_t bytes, uint32_t ordinal) {
    __atomic_store_n(&control_->devices[ordinal].memory_bytes, bytes, __ATOMIC_RELEASE);
}

uint64_t Daemon::memory_used(uint32_t ordinal) const { return flexnpu_ledger_used(&ledger(ordinal)); }

const flexnpu_report_page& Daemon::page(size_t tenant) {
    const std::lock_guard<std::mutex> held(guard_);
    return *reports_.at(tenant);
}

size_t Daemon::tenants() {
    const std::lock_guard<std::mutex> held(guard_);
    return reports_.size();
}

bool Daemon::applied_within(uint32_t grant, double seconds) {
    return eventually([&] { return __atomic_load_n(&report().applied_grant, __ATOMIC_ACQUIRE) == grant; }, seconds);
}

void Daemon::serve() {
    for (int connection = 0; (connection = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC)) >= 0;) {
        welcome(connection);
        connections_.push_back(connection);
    }
}

namespace {

bool hear_hello(int connection, flexnpu_hello* hello, std::vector<int>* brought) {
    iovec body{hello, sizeof *hello};
    alignas(cmsghdr) char control[CMSG_SPACE(4 * sizeof(int))];
    msghdr message{};
    message.msg_iov = &body;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    if (recvmsg(connection, &message, MSG_CMSG_CLOEXEC) != static_cast<ssize_t>(sizeof *hello)) return false;
    if (const cmsghdr* part = CMSG_FIRSTHDR(&message); part != nullptr) {
        brought->resize((part->cmsg_len - CMSG_LEN(0)) / sizeof(int));
        memcpy(brought->data(), CMSG_DATA(part), brought->size() * sizeof(int));
    }
    return true;
}

void send_welcome(int connection, flexnpu_welcome answer, const std::vector<int>& fds) {
    iovec body{&answer, sizeof answer};
    alignas(cmsghdr) char control[CMSG_SPACE(4 * sizeof(int))] = {};
    msghdr message{};
    message.msg_iov = &body;
    message.msg_iovlen = 1;
    if (!fds.empty()) {
        message.msg_control = control;
        message.msg_controllen = sizeof control;
        cmsghdr* part = CMSG_FIRSTHDR(&message);
        part->cmsg_level = SOL_SOCKET;
        part->cmsg_type = SCM_RIGHTS;
        part->cmsg_len = CMSG_LEN(fds.size() * sizeof(int));
        memcpy(CMSG_DATA(part), fds.data(), fds.size() * sizeof(int));
    }
    sendmsg(connection, &message, MSG_NOSIGNAL);
}

}  // namespace

// The report page of one that returns is the one it brought.
int Daemon::report_for(const flexnpu_hello& hello, const std::vector<int>& brought, uint32_t* slot) {
    int fd = -1;
    flexnpu_report_page* report = nullptr;
    const std::lock_guard<std::mutex> held(guard_);
    *slot = static_cast<uint32_t>(reports_.size());
    if ((hello.flags & FLEXNPU_HELLO_RETURNING) != 0 && brought.size() == 2) {
        fd = dup(brought[0]);
        report =
            static_cast<flexnpu_report_page*>(mmap(nullptr, sizeof *report, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
        *slot = hello.slot;
        ++returned_;
    } else {
        report = make_page<flexnpu_report_page>(&fd);
        set_head(report, terms_.page_version);
    }
    reports_.push_back(report);
    return fd;
}

void Daemon::welcome(int connection) {
    flexnpu_hello hello{};
    std::vector<int> brought;
    if (!hear_hello(connection, &hello, &brought)) return;
    if (!terms_.nonsense.empty()) {
        send(connection, terms_.nonsense.data(), terms_.nonsense.size(), MSG_NOSIGNAL);
        return;
    }
    flexnpu_welcome answer{};
    const int report_fd = report_for(hello, brought, &answer.slot);
    answer.slot = terms_.slot.value_or(answer.slot);
    answer.magic = FLEXNPU_PAGE_MAGIC;
    answer.version = terms_.welcome_version;
    answer.size = sizeof answer;
    answer.status = terms_.status;
    terms_.message.copy(answer.message, sizeof answer.message - 1);
    int ledger_fd = dup(brought.size() == 2 ? brought[1] : ledger_fd_);
    if (terms_.another_ledger) {
        close(ledger_fd);
        set_head(make_page<flexnpu_ledger_page>(&ledger_fd), terms_.page_version);
    }
    const bool with_pages = terms_.status == FLEXNPU_OK && terms_.pages;
    send_welcome(connection, answer,
                 with_pages ? std::vector<int>{control_fd_, report_fd, ledger_fd, hail_fd_} : std::vector<int>{});
    close(report_fd);
    close(ledger_fd);
    for (const int fd : brought) close(fd);
}

bool eventually(const std::function<bool()>& holds, double seconds) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
    while (!holds()) {
        if (std::chrono::steady_clock::now() > end) return false;
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    return true;
}
