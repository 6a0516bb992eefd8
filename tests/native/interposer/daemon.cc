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
    control_ = make_page<flexnpu_control_page>(&control_fd_);
    set_head(control_, terms_.page_version);
    control_->device_count = static_cast<uint32_t>(terms_.devices.size());
    strcpy(control_->vnpu, "test");
    ledger_ = make_page<flexnpu_ledger_page>(&ledger_fd_);
    set_head(ledger_, terms_.page_version);
    ledger_->device_count = control_->device_count;
    for (uint32_t i = 0; i < terms_.devices.size(); ++i) {
        control_->devices[i].physical = terms_.devices[i];
        control_->devices[i].turn = FLEXNPU_TURN_FREE;
        limit_memory(terms_.memory_bytes, i);
        publish(1, terms_.cube, terms_.vector, i);
    }
    fcntl(control_fd_, F_ADD_SEALS, F_SEAL_FUTURE_WRITE | F_SEAL_SHRINK | F_SEAL_GROW);
    listener_ = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path_.copy(address.sun_path, sizeof address.sun_path - 1);
    if (bind(listener_, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 || listen(listener_, 8) != 0) {
        throw std::runtime_error("listen");
    }
    setenv("FLEXNPU_SOCKET", path_.c_str(), 1);
    setenv("FLEXNPU_VNPU", "test", 1);
    server_ = std::thread([this] { serve(); });
}

Daemon::~Daemon() {
    shutdown(listener_, SHUT_RDWR);
    server_.join();
    close(listener_);
    for (const int connection : connections_) close(connection);
    close(control_fd_);
    close(ledger_fd_);
    unlink(path_.c_str());
    rmdir(directory_.c_str());
}

void Daemon::publish(uint32_t grant, uint32_t cube, uint32_t vector, uint32_t ordinal) {
    __atomic_store_n(&control_->devices[ordinal].quota, flexnpu_pack_quota(grant, cube, vector), __ATOMIC_RELEASE);
    __atomic_fetch_add(&control_->bell, 1, __ATOMIC_RELEASE);
    syscall(SYS_futex, &control_->bell, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}

void Daemon::declare(flexnpu_phase phase) { __atomic_store_n(&control_->phase, phase, __ATOMIC_RELAXED); }

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

void Daemon::welcome(int connection) {
    flexnpu_hello hello{};
    if (recv(connection, &hello, sizeof hello, 0) != static_cast<ssize_t>(sizeof hello)) return;
    flexnpu_welcome answer{};
    int report_fd = -1;
    auto* report = make_page<flexnpu_report_page>(&report_fd);
    set_head(report, terms_.page_version);
    {
        const std::lock_guard<std::mutex> held(guard_);
        answer.slot = static_cast<uint32_t>(reports_.size());
        reports_.push_back(report);
    }
    answer.magic = FLEXNPU_PAGE_MAGIC;
    answer.version = terms_.welcome_version;
    answer.size = sizeof answer;
    answer.status = terms_.status;
    terms_.message.copy(answer.message, sizeof answer.message - 1);
    iovec body{&answer, sizeof answer};
    alignas(cmsghdr) char control[CMSG_SPACE(3 * sizeof(int))] = {};
    msghdr message{};
    message.msg_iov = &body;
    message.msg_iovlen = 1;
    if (terms_.status == FLEXNPU_OK) {
        message.msg_control = control;
        message.msg_controllen = sizeof control;
        cmsghdr* part = CMSG_FIRSTHDR(&message);
        part->cmsg_level = SOL_SOCKET;
        part->cmsg_type = SCM_RIGHTS;
        part->cmsg_len = CMSG_LEN(3 * sizeof(int));
        const int fds[3] = {control_fd_, report_fd, ledger_fd_};
        memcpy(CMSG_DATA(part), fds, sizeof fds);
    }
    sendmsg(connection, &message, MSG_NOSIGNAL);
    close(report_fd);
}

bool eventually(const std::function<bool()>& holds, double seconds) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
    while (!holds()) {
        if (std::chrono::steady_clock::now() > end) return false;
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    return true;
}
