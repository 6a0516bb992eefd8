// SPDX-License-Identifier: Apache-2.0
// How long aclInit takes until its process is a tenant: `attach_herd PROCESSES VNPU...` forks so many processes for
// each vNPU, lets all begin at one moment, and says as JSON when each began and was done. Preloaded with
// libflexnpu.so, on the null device, so that nothing but the attach takes time.
#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <climits>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <vector>

#include "flexnpu_abi/acl_rt.h"

namespace {

struct Attempt {
    int64_t began_ns, ended_ns;
    int32_t status;
};

enum Signal : uint32_t { wait_for_it, begin, end };

struct Field {
    uint32_t signal;
    uint32_t ready, done;
    Attempt attempts[];
};

int64_t now_ns() {
    timespec now{};
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * int64_t{1'000'000'000} + now.tv_nsec;
}

void wait_until_over(const uint32_t* word, uint32_t value) {
    while (__atomic_load_n(word, __ATOMIC_ACQUIRE) == value) {
        syscall(SYS_futex, word, FUTEX_WAIT, value, nullptr, nullptr, 0);
    }
}

void give(Field& field, Signal signal) {
    __atomic_store_n(&field.signal, signal, __ATOMIC_RELEASE);
    syscall(SYS_futex, &field.signal, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}

void count(uint32_t& counter) {
    __atomic_fetch_add(&counter, 1, __ATOMIC_RELEASE);
    syscall(SYS_futex, &counter, FUTEX_WAKE, 1, nullptr, nullptr, 0);
}

void wait_for_all(const uint32_t& counter, uint32_t wanted) {
    for (uint32_t now = 0; (now = __atomic_load_n(&counter, __ATOMIC_ACQUIRE)) < wanted;)
        wait_until_over(&counter, now);
}

[[noreturn]] void be_tenant(Field& field, Attempt& attempt, const char* vnpu) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    setenv("FLEXNPU_VNPU", vnpu, 1);
    count(field.ready);
    wait_until_over(&field.signal, wait_for_it);
    attempt.began_ns = now_ns();
    attempt.status = aclInit(nullptr);
    attempt.ended_ns = now_ns();
    count(field.done);
    wait_until_over(&field.signal, begin);
    _exit(0);
}

}  // namespace

int main(int argc, char** argv) {
    const int processes = argc > 2 ? std::atoi(argv[1]) : 0;
    const auto vnpus = static_cast<uint32_t>(argc - 2);
    if (processes < 1) {
        std::fprintf(stderr, "usage: %s PROCESSES VNPU...\n", argv[0]);
        return 2;
    }
    const uint32_t total = vnpus * static_cast<uint32_t>(processes);
    auto* field = static_cast<Field*>(mmap(nullptr, sizeof(Field) + total * sizeof(Attempt), PROT_READ | PROT_WRITE,
                                           MAP_SHARED | MAP_ANONYMOUS, -1, 0));
    if (field == MAP_FAILED) return 1;
    for (uint32_t i = 0; i < total; ++i) {
        const pid_t child = fork();
        if (child < 0) {
            std::fprintf(stderr, "attach_herd: %u of %u processes could be started\n", i, total);
            return 1;
        }
        if (child == 0) be_tenant(*field, field->attempts[i], argv[2 + i % vnpus]);
    }
    wait_for_all(field->ready, total);
    const int64_t go = now_ns();
    give(*field, begin);
    wait_for_all(field->done, total);
    give(*field, end);
    while (wait(nullptr) > 0) {
    }
    std::printf("{\"attempts\": [");
    for (uint32_t i = 0; i < total; ++i) {
        const Attempt& one = field->attempts[i];
        std::printf("%s[%lld, %lld, %d]", i > 0 ? ", " : "", static_cast<long long>(one.began_ns - go),
                    static_cast<long long>(one.ended_ns - go), one.status);
    }
    std::printf("]}\n");
    return 0;
}
