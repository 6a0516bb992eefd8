// SPDX-License-Identifier: Apache-2.0
#include "handshake.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

namespace flexnpu {
namespace {

using Why = char[512];
constexpr time_t kPatienceS = 5;

// In the order of the welcome's descriptors.
enum Part { control_part, report_part, ledger_part, hail_part, part_count };
using Fds = int[part_count];

void close_all(Fds& fds) {
    for (int& fd : fds) {
        if (fd >= 0) close(fd);
        fd = -1;
    }
}

// Of a daemon that is not up yet, or that dies just now.
bool is_nobody(int error) { return error == ENOENT || error == ECONNREFUSED || error == ECONNRESET || error == EPIPE; }

Hands reach(const char* path, int* connection, Why& why) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (strlen(path) >= sizeof address.sun_path) {
        snprintf(why, sizeof why,
                 "FLEXNPU_SOCKET is %zu bytes long, at most %zu fit a socket's name: use a shorter one", strlen(path),
                 sizeof address.sun_path - 1);
        return Hands::refused;
    }
    memcpy(address.sun_path, path, strlen(path));
    const int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        snprintf(why, sizeof why, "no socket can be made: %s", strerror(errno));
        return Hands::refused;
    }
    const timeval patience{kPatienceS, 0};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    *connection = fd;
    if (connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) return Hands::shaken;
    const int error = errno;
    snprintf(why, sizeof why, "no daemon answers at %s (%s): is flexnpud running?", path, strerror(error));
    return is_nobody(error) ? Hands::nobody : Hands::refused;
}

// Of one that returns, with its report page and its ledger: `kept` and `slot`; of a new one neither.
Hands say_hello(int fd, const char* vnpu, const Pages* kept, Why& why) {
    flexnpu_hello hello{};
    hello.magic = FLEXNPU_PAGE_MAGIC;
    hello.version = FLEXNPU_PAGE_VERSION;
    hello.size = sizeof hello;
    if (strlen(vnpu) >= sizeof hello.vnpu) {
        snprintf(why, sizeof why, "FLEXNPU_VNPU is %zu bytes long, at most %zu are a name", strlen(vnpu),
                 sizeof hello.vnpu - 1);
        return Hands::refused;
    }
    memcpy(hello.vnpu, vnpu, strlen(vnpu));
    iovec body{&hello, sizeof hello};
    alignas(cmsghdr) char control[CMSG_SPACE(2 * sizeof(int))] = {};
    msghdr message{};
    message.msg_iov = &body;
    message.msg_iovlen = 1;
    if (kept != nullptr) {
        hello.flags = FLEXNPU_HELLO_RETURNING;
        hello.slot = kept->slot;
        const int fds[2] = {kept->report_fd, kept->ledger_fd};
        message.msg_control = control;
        message.msg_controllen = sizeof control;
        cmsghdr* part = CMSG_FIRSTHDR(&message);
        part->cmsg_level = SOL_SOCKET;
        part->cmsg_type = SCM_RIGHTS;
        part->cmsg_len = CMSG_LEN(sizeof fds);
        memcpy(CMSG_DATA(part), fds, sizeof fds);
    }
    if (sendmsg(fd, &message, MSG_NOSIGNAL) == static_cast<ssize_t>(sizeof hello)) return Hands::shaken;
    const int error = errno;
    snprintf(why, sizeof why, "the daemon took no hello: %s", strerror(error));
    return is_nobody(error) ? Hands::nobody : Hands::refused;
}

void collect_fds(msghdr& message, Fds& fds) {
    size_t count = 0;
    for (cmsghdr* part = CMSG_FIRSTHDR(&message); part != nullptr; part = CMSG_NXTHDR(&message, part)) {
        if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) continue;
        const size_t carried = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < carried; ++i) {
            int fd = -1;
            memcpy(&fd, CMSG_DATA(part) + i * sizeof fd, sizeof fd);
            if (count < part_count) {
                fds[count++] = fd;
            } else {
                close(fd);
            }
        }
    }
}

// Every refusal of the daemon's, and every answer that is not a whole welcome of our version, ends here.
Hands judge(const flexnpu_welcome& welcome, ssize_t got, const Fds& fds, Why& why) {
    if (got == 0 || (got < 0 && errno == ECONNRESET)) {
        snprintf(why, sizeof why, "the daemon hung up before its welcome: see its log");
        return Hands::nobody;
    }
    if (got < 0) {
        snprintf(why, sizeof why, "the daemon sent no welcome within %lld s: %s", static_cast<long long>(kPatienceS),
                 strerror(errno));
    } else if (got >= 8 && welcome.magic == FLEXNPU_PAGE_MAGIC && welcome.version != FLEXNPU_PAGE_VERSION) {
        snprintf(why, sizeof why,
                 "the daemon speaks page version %u, libflexnpu.so %u: install both from one FlexNPU release",
                 welcome.version, FLEXNPU_PAGE_VERSION);
    } else if (got != static_cast<ssize_t>(sizeof welcome) || welcome.magic != FLEXNPU_PAGE_MAGIC ||
               welcome.size != sizeof welcome) {
        snprintf(why, sizeof why, "what answered is not flexnpud: %zd bytes, magic %#x", got, welcome.magic);
    } else if (welcome.status != FLEXNPU_OK) {
        snprintf(why, sizeof why, "the daemon refused (status %u): %.*s", welcome.status,
                 static_cast<int>(sizeof welcome.message), welcome.message);
    } else if (fds[hail_part] < 0) {
        snprintf(why, sizeof why, "the welcome carried no four pages");
    } else {
        return Hands::shaken;
    }
    return Hands::refused;
}

Hands hear_welcome(int fd, Fds& fds, uint32_t* slot, Why& why) {
    flexnpu_welcome welcome{};
    iovec body{&welcome, sizeof welcome};
    alignas(cmsghdr) char control[CMSG_SPACE((part_count + 1) * sizeof(int))];
    msghdr message{};
    message.msg_iov = &body;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    ssize_t got = -1;
    do {
        got = recvmsg(fd, &message, MSG_CMSG_CLOEXEC);
    } while (got < 0 && errno == EINTR);
    if (got > 0) collect_fds(message, fds);
    *slot = welcome.slot;
    return judge(welcome, got, fds, why);
}

bool is_large_enough(int fd, size_t size, const char* which, Why& why) {
    struct stat facts{};
    if (fstat(fd, &facts) == 0 && facts.st_size >= static_cast<off_t>(size)) return true;
    snprintf(why, sizeof why, "the %s page is %lld bytes, %zu are needed", which, static_cast<long long>(facts.st_size),
             size);
    return false;
}

void* map_page(int fd, size_t size, int protection, const char* which, Why& why) {
    if (!is_large_enough(fd, size, which, why)) return nullptr;
    void* page = mmap(nullptr, size, protection, MAP_SHARED, fd, 0);
    if (page == MAP_FAILED) {
        snprintf(why, sizeof why, "the %s page cannot be mapped: %s", which, strerror(errno));
        return nullptr;
    }
    return page;
}

// The head that all pages begin with.
template <typename Page>
bool fits(const Page& page, const char* which, Why& why) {
    if (page.magic == FLEXNPU_PAGE_MAGIC && page.version == FLEXNPU_PAGE_VERSION && page.size == sizeof(Page))
        return true;
    snprintf(why, sizeof why,
             "the %s page has magic %#x, version %u, size %u instead of %#x, %u, %zu: install the daemon and "
             "libflexnpu.so from one FlexNPU release",
             which, page.magic, page.version, page.size, FLEXNPU_PAGE_MAGIC, FLEXNPU_PAGE_VERSION, sizeof(Page));
    return false;
}

bool map_all(const Fds& fds, Pages* pages, Why& why) {
    constexpr int both = PROT_READ | PROT_WRITE;
    pages->control = static_cast<const flexnpu_control_page*>(
        map_page(fds[control_part], sizeof *pages->control, PROT_READ, "control", why));
    if (pages->control == nullptr) return false;
    pages->report =
        static_cast<flexnpu_report_page*>(map_page(fds[report_part], sizeof *pages->report, both, "report", why));
    if (pages->report == nullptr) return false;
    pages->ledger =
        static_cast<flexnpu_ledger_page*>(map_page(fds[ledger_part], sizeof *pages->ledger, both, "ledger", why));
    if (pages->ledger == nullptr) return false;
    pages->hails = static_cast<flexnpu_hail_page*>(map_page(fds[hail_part], sizeof *pages->hails, both, "hail", why));
    if (pages->hails == nullptr) return false;
    // The page of hails is everybody's: what its head says, another vNPU may have written.
    if (!fits(*pages->control, "control", why) || !fits(*pages->report, "report", why) ||
        !fits(*pages->ledger, "ledger", why)) {
        return false;
    }
    const uint32_t devices = pages->control->device_count;
    if (devices < 1 || devices > FLEXNPU_DEVICES) {
        snprintf(why, sizeof why, "the welcome gives %u devices, 1 to %u are possible: see the daemon's log", devices,
                 FLEXNPU_DEVICES);
    } else if (pages->slot >= FLEXNPU_PROCESSES) {
        snprintf(why, sizeof why, "the welcome gives slot %u, 0 to %u are possible: see the daemon's log", pages->slot,
                 FLEXNPU_PROCESSES - 1);
    } else {
        return true;
    }
    return false;
}

ino_t inode_of(int fd) {
    struct stat facts{};
    return fstat(fd, &facts) == 0 ? facts.st_ino : 0;
}

// Under the old number, as other threads look at it; under its own where the program has closed that number and may
// have another file there.
void keep_connection(int* connecting, Pages* pages) {
    if (inode_of(pages->socket) != pages->socket_inode || dup3(*connecting, pages->socket, O_CLOEXEC) < 0) {
        pages->socket = *connecting;
        *connecting = -1;
    }
    pages->socket_inode = inode_of(pages->socket);
}

bool is_same_file(int a, int b) {
    struct stat first{};
    struct stat second{};
    return fstat(a, &first) == 0 && fstat(b, &second) == 0 && first.st_dev == second.st_dev &&
           first.st_ino == second.st_ino;
}

// The parts of a vNPU that a running program has seen already, and that no daemon can change under it.
bool is_same_vnpu(const flexnpu_control_page& fresh, const flexnpu_control_page& old, Why& why) {
    if (!fits(fresh, "control", why)) return false;
    if (fresh.device_count != old.device_count) {
        snprintf(why, sizeof why, "the vNPU has %u devices now, this program started with %u: start it again",
                 fresh.device_count, old.device_count);
        return false;
    }
    for (uint32_t i = 0; i < old.device_count; ++i) {
        if (fresh.devices[i].physical == old.devices[i].physical) continue;
        snprintf(why, sizeof why,
                 "the vNPU's device %u is on device %u now, this program started on %u: start it again", i,
                 fresh.devices[i].physical, old.devices[i].physical);
        return false;
    }
    return true;
}

bool is_ours_again(const Fds& fds, uint32_t slot, const Pages& pages, Why& why) {
    if (slot != pages.slot) {
        snprintf(why, sizeof why, "the daemon gives slot %u of the ledger, this program has slot %u", slot, pages.slot);
        return false;
    }
    if (!is_same_file(fds[report_part], pages.report_fd) || !is_same_file(fds[ledger_part], pages.ledger_fd)) {
        snprintf(why, sizeof why,
                 "the daemon has not taken over this program's report page and ledger: start it again");
        return false;
    }
    const auto* fresh = static_cast<const flexnpu_control_page*>(
        map_page(fds[control_part], sizeof(flexnpu_control_page), PROT_READ, "control", why));
    if (fresh == nullptr) return false;
    const bool same = is_same_vnpu(*fresh, *pages.control, why);
    munmap(const_cast<flexnpu_control_page*>(fresh), sizeof *fresh);
    return same && is_large_enough(fds[hail_part], sizeof(flexnpu_hail_page), "hail", why);
}

// Threads that use the page meanwhile find the old one or the new one.
bool replace(const void* page, int fd, int protection, const char* which, Why& why) {
    void* const place = const_cast<void*>(page);
    if (mmap(place, FLEXNPU_PAGE_SIZE, protection, MAP_SHARED | MAP_FIXED, fd, 0) == place) return true;
    snprintf(why, sizeof why, "the new %s page cannot be mapped: %s", which, strerror(errno));
    return false;
}

// In between, what is hailed with an earlier daemon's number is noise to everybody.
bool replace_all(const Fds& fds, const Pages& pages, Why& why) {
    return replace(pages.hails, fds[hail_part], PROT_READ | PROT_WRITE, "hail", why) &&
           replace(pages.control, fds[control_part], PROT_READ, "control", why);
}

}  // namespace

Hands shake_hands(const char* socket_path, const char* vnpu, Pages* pages, char (&why)[512]) {
    Fds fds = {-1, -1, -1, -1};
    Hands found = reach(socket_path, &pages->socket, why);
    if (found == Hands::shaken) found = say_hello(pages->socket, vnpu, nullptr, why);
    if (found == Hands::shaken) found = hear_welcome(pages->socket, fds, &pages->slot, why);
    if (found == Hands::shaken && !map_all(fds, pages, why)) found = Hands::refused;
    if (found == Hands::shaken) {
        pages->report_fd = fds[report_part];
        pages->ledger_fd = fds[ledger_part];
        fds[report_part] = fds[ledger_part] = -1;
        pages->socket_inode = inode_of(pages->socket);
    }
    close_all(fds);
    if (found != Hands::shaken) let_go(pages);
    return found;
}

Hands shake_hands_again(const char* socket_path, const char* vnpu, Pages* pages, int* connecting, char (&why)[512]) {
    Fds fds = {-1, -1, -1, -1};
    uint32_t slot = FLEXNPU_NO_SLOT;
    Hands found = reach(socket_path, connecting, why);
    if (found == Hands::shaken) found = say_hello(*connecting, vnpu, pages, why);
    if (found == Hands::shaken) found = hear_welcome(*connecting, fds, &slot, why);
    if (found == Hands::shaken) {
        const bool ours = is_ours_again(fds, slot, *pages, why) && replace_all(fds, *pages, why);
        found = ours ? Hands::shaken : Hands::refused;
    }
    if (found == Hands::shaken) keep_connection(connecting, pages);
    close_all(fds);
    if (*connecting >= 0) close(*connecting);
    *connecting = -1;
    return found;
}

bool is_hung_up(const Pages& pages) {
    return inode_of(pages.socket) != pages.socket_inode || !peer_is_there(pages.socket);
}

bool peer_is_there(int socket) {
    char byte = 0;
    const ssize_t got = recv(socket, &byte, sizeof byte, MSG_PEEK | MSG_DONTWAIT);
    return got > 0 || (got < 0 && (errno == EAGAIN || errno == EINTR));
}

void let_go(Pages* pages) {
    if (pages->control != nullptr) munmap(const_cast<flexnpu_control_page*>(pages->control), FLEXNPU_PAGE_SIZE);
    if (pages->report != nullptr) munmap(pages->report, FLEXNPU_PAGE_SIZE);
    if (pages->ledger != nullptr) munmap(pages->ledger, FLEXNPU_LEDGER_SIZE);
    if (pages->hails != nullptr) munmap(pages->hails, FLEXNPU_PAGE_SIZE);
    if (pages->socket >= 0) close(pages->socket);
    if (pages->report_fd >= 0) close(pages->report_fd);
    if (pages->ledger_fd >= 0) close(pages->ledger_fd);
    *pages = Pages{};
}

}  // namespace flexnpu
