// SPDX-License-Identifier: Apache-2.0
// libflexnpu.so's side of the handshake against whatever answers at its socket: any welcome, any descriptors with it,
// and pages of any size and content. A program that is refused goes on; it must not fall, nor lose a descriptor.
#include <dirent.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <memory>
#include <thread>

#include "arbiter/handshake.h"
#include "arbiter/pages.h"
#include "fuzz.h"
#include "handshake.h"
#include "quota.h"

using namespace flexnpu;

namespace {

constexpr char kVNpu[] = "a";

// A socket that answers each who comes once, in the order of the answers.
class Answerer {
  public:
    Answerer() : listener_(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0)) {
        std::snprintf(address_.sun_path, sizeof address_.sun_path, "/tmp/fx-fuzz-%d.sock", getpid());
        unlink(address_.sun_path);
        const auto* at = reinterpret_cast<const sockaddr*>(&address_);
        FUZZ_CHECK(bind(listener_, at, sizeof address_) == 0 && listen(listener_, 8) == 0);
    }
    ~Answerer() {
        close(listener_);
        unlink(address_.sun_path);
    }

    const char* path() const { return address_.sun_path; }

    int answer(const std::string& bytes, const std::vector<int>& fds) const {
        const int peer = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
        char hello[256];
        FUZZ_CHECK(recv(peer, hello, sizeof hello, 0) == sizeof(flexnpu_hello));
        iovec body{const_cast<char*>(bytes.data()), bytes.size()};
        alignas(cmsghdr) char control[CMSG_SPACE(8 * sizeof(int))] = {};
        msghdr message{};
        message.msg_iov = &body;
        message.msg_iovlen = 1;
        if (!fds.empty()) {
            message.msg_control = control;
            message.msg_controllen = CMSG_SPACE(fds.size() * sizeof(int));
            cmsghdr* part = CMSG_FIRSTHDR(&message);
            part->cmsg_level = SOL_SOCKET;
            part->cmsg_type = SCM_RIGHTS;
            part->cmsg_len = CMSG_LEN(fds.size() * sizeof(int));
            std::memcpy(CMSG_DATA(part), fds.data(), fds.size() * sizeof(int));
        }
        if (bytes.empty()) {
            shutdown(peer, SHUT_RDWR);  // it hangs up
        } else {
            sendmsg(peer, &message, MSG_NOSIGNAL);
        }
        return peer;
    }

  private:
    int listener_;
    sockaddr_un address_{AF_UNIX, {}};
};

// Read once the input has been gone through: a whole welcome of four good pages, with some of it spoilt.
struct Answer {
    std::string bytes = pack_welcome(FLEXNPU_OK, "", 0);
    std::vector<int> fds;

    explicit Answer(Script& script) {
        static constexpr size_t sizes[] = {FLEXNPU_PAGE_SIZE, FLEXNPU_PAGE_SIZE, FLEXNPU_LEDGER_SIZE, FLEXNPU_PAGE_SIZE,
                                           64};
        const uint32_t count = script.below(4) != 0 ? 4 : script.below(8);
        for (uint32_t i = 0; i < count; ++i) fds.push_back(page(sizes[i % 5], script));
        if (script.below(3) == 0) spoil(bytes, script);
        if (script.below(8) == 0) bytes.resize(script.byte());
        if (script.below(8) == 0) bytes.append(script.byte(), '\7');
    }
    ~Answer() {
        for (const int fd : fds) close(fd);
    }
    Answer(const Answer&) = delete;
    Answer& operator=(const Answer&) = delete;

    static void spoil(std::string& text, Script& script) {
        for (uint32_t left = script.below(16); left > 0; --left) {
            const size_t at = (script.byte() << 4 | script.below(16)) % text.size();
            text[at] = static_cast<char>(script.byte());
        }
    }

    static int page(size_t size, Script& script) {
        std::string text(size, '\0');
        const uint32_t head[] = {FLEXNPU_PAGE_MAGIC, FLEXNPU_PAGE_VERSION, static_cast<uint32_t>(size), 1};
        std::memcpy(text.data(), head, sizeof head);
        if (script.below(2) == 0) spoil(text, script);
        if (script.below(8) == 0) text[12] = static_cast<char>(script.byte());  // devices
        if (script.below(16) == 0) text.resize(script.byte() * 16u);
        const int fd = memfd_create("page", MFD_CLOEXEC);
        FUZZ_CHECK(write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size()));
        return fd;
    }
};

int open_files() {
    int count = 0;
    const std::unique_ptr<DIR, int (*)(DIR*)> place(opendir("/proc/self/fd"), closedir);
    while (readdir(place.get()) != nullptr) ++count;
    return count;
}

// What the gate and the herald read in it, over all devices that it claims.
void read_pages(const Pages& pages) {
    FUZZ_CHECK(pages.control->device_count >= 1 && pages.control->device_count <= FLEXNPU_DEVICES);
    FUZZ_CHECK(pages.slot < FLEXNPU_PROCESSES && pages.report_fd >= 0 && pages.ledger_fd >= 0);
    for (uint32_t i = 0; i < pages.control->device_count; ++i) {
        Quota quota;
        quota.bind(&pages.control->devices[i]);
        FUZZ_CHECK(quota.cube() <= 0xffff && quota.vector() <= 0xffff);
        pages.report->devices[i].seen_grant = quota.grant();
        pages.hails->devices[i].hail += pages.control->devices[i].yields_to;
        pages.ledger->devices[i].slots[pages.slot].charged += quota.memory_bytes() != 0;
    }
}

void check_line(const char (&why)[512]) {
    const size_t length = strnlen(why, sizeof why);
    FUZZ_CHECK(length > 0 && length < sizeof why);
}

}  // namespace

std::vector<std::string> fuzz_seeds() {
    const std::string good(40, '\1');
    std::string again = good;
    again[20] = '\0';
    return {good, again, std::string(60, '\3'), std::string(200, '\5'), ""};
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    static const Answerer answerer;
    Script script(data, size);
    const int before = open_files();
    {
        const Answer first(script);
        Answer second(script);
        Pages pages;
        char why[512] = "";
        int peers[2] = {-1, -1};
        std::thread daemon([&] { peers[0] = answerer.answer(first.bytes, first.fds); });
        const bool done = shake_hands(answerer.path(), kVNpu, &pages, why) == Hands::shaken;
        daemon.join();
        if (!done) check_line(why);
        if (done) {
            read_pages(pages);
            if (script.below(2) == 0 && first.fds.size() > 2 && second.fds.size() > 2) {  // it gives them back
                dup3(first.fds[1], second.fds[1], O_CLOEXEC);
                dup3(first.fds[2], second.fds[2], O_CLOEXEC);
            }
            int connecting = -1;
            char again[512] = "";
            daemon = std::thread([&] { peers[1] = answerer.answer(second.bytes, second.fds); });
            if (shake_hands_again(answerer.path(), kVNpu, &pages, &connecting, again) != Hands::shaken)
                check_line(again);
            daemon.join();
            FUZZ_CHECK(connecting == -1);
            read_pages(pages);
            FUZZ_CHECK(!is_hung_up(pages) || again[0] != '\0');
        }
        for (const int peer : peers) {
            if (peer >= 0) close(peer);
        }
        let_go(&pages);
        FUZZ_CHECK(pages.control == nullptr && pages.socket == -1);
    }
    FUZZ_CHECK(open_files() == before);
    return 0;
}
