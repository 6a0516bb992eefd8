// SPDX-License-Identifier: Apache-2.0
// A tenant that launches, allocates and frees without end, and says what it has in a file that outlives it:
//
//     restless STATUS SEED
//
// STATUS is a file of one page, mapped by who started it, too.
#include <fcntl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <vector>

#include "flexnpu_abi/acl_rt.h"
#include "softnpu/runtime/kernel.h"

namespace {

// In the order in which tests/multiproc/test_chaos.py reads it.
struct Status {
    uint64_t held;         // bytes, exact while paused
    uint64_t operators;    // that are over
    uint64_t longest_ns;   // that a batch waited beyond its operators, since it was last forgotten
    uint64_t paused;       // as asked
    uint64_t pause;        // asked by the other side: allocate, free and launch nothing
    uint64_t forget;       // asked: the longest wait
    uint64_t refused;      // allocations
    uint64_t failed;       // calls that ought to succeed
    uint64_t buckets[20];  // waits: under 2^i * 0.1 ms
};

template <typename T>
void say(T& field, T value) {
    __atomic_store_n(&field, value, __ATOMIC_SEQ_CST);
}
uint64_t read(const uint64_t& field) { return __atomic_load_n(&field, __ATOMIC_SEQ_CST); }

int64_t now_ns() {
    timespec now{};
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * int64_t{1'000'000'000} + now.tv_nsec;
}

softnpu::Kernel make_kernel() {
    softnpu::Kernel kernel;
    kernel.name = "restless";
    kernel.drop = [](void*) {};
    return kernel;
}
const softnpu::Kernel kernel = make_kernel();

class Restless {
  public:
    Restless(Status& status, unsigned seed) : status_(status), random_(seed) {}

    bool open() {
        return aclInit(nullptr) == ACL_SUCCESS && aclrtSetDevice(0) == ACL_SUCCESS &&
               aclrtCreateStream(&stream_) == ACL_SUCCESS;
    }

    void go_on() {
        while (read(status_.pause) != 0) {
            say(status_.paused, uint64_t{1});
            usleep(1000);
        }
        say(status_.paused, uint64_t{0});
        if (blocks_.size() < 8 && random_() % 2 == 0) allocate();
        if (!blocks_.empty() && random_() % 2 == 0) release();
        batch();
    }

  private:
    static constexpr size_t kGrain = size_t{2} << 20;

    void allocate() {
        const size_t bytes = kGrain * (1 + random_() % 32);
        void* block = nullptr;
        if (aclrtMalloc(&block, bytes, ACL_MEM_MALLOC_HUGE_FIRST) != ACL_SUCCESS) {
            say(status_.refused, status_.refused + 1);
            return;
        }
        blocks_.push_back({block, bytes});
        say(status_.held, status_.held + bytes);
    }

    void release() {
        std::swap(blocks_[random_() % blocks_.size()], blocks_.back());
        if (aclrtFree(blocks_.back().at) != ACL_SUCCESS) say(status_.failed, status_.failed + 1);
        say(status_.held, status_.held - blocks_.back().bytes);
        blocks_.pop_back();
    }

    void batch() {
        const int64_t began = now_ns();
        int64_t work_ns = 0;
        const unsigned count = 1 + random_() % 8;
        for (unsigned i = 0; i < count; ++i) work_ns += launch();
        if (aclrtSynchronizeStream(stream_) != ACL_SUCCESS) say(status_.failed, status_.failed + 1);
        note(std::max<int64_t>(0, now_ns() - began - work_ns));
        say(status_.operators, status_.operators + count);
    }

    int64_t launch() {
        const int64_t duration_ns = 50'000 + static_cast<int64_t>(random_() % 450'000);
        softnpu::KernelArgs args{};
        args.cost.unit = softnpu::Unit::cube;
        args.cost.fixed_s = static_cast<double>(duration_ns) * 1e-9;
        args.cost.cube_rate = 1;
        if (aclrtLaunchKernelWithHostArgs(const_cast<softnpu::Kernel*>(&kernel), 4, stream_, nullptr, &args,
                                          sizeof args, nullptr, 0) != ACL_SUCCESS) {
            say(status_.failed, status_.failed + 1);
        }
        return duration_ns;
    }

    void note(int64_t waited_ns) {
        if (__atomic_exchange_n(&status_.forget, 0, __ATOMIC_SEQ_CST) != 0) return say(status_.longest_ns, uint64_t{0});
        const auto waited = static_cast<uint64_t>(waited_ns);
        if (waited > status_.longest_ns) say(status_.longest_ns, waited);
        size_t bucket = 0;
        while (bucket + 1 < std::size(status_.buckets) && waited >= uint64_t{100'000} << bucket) ++bucket;
        say(status_.buckets[bucket], status_.buckets[bucket] + 1);
    }

    struct Block {
        void* at;
        size_t bytes;
    };
    Status& status_;
    std::mt19937 random_;
    aclrtStream stream_ = nullptr;
    std::vector<Block> blocks_;
};

}  // namespace

int main(int argc, char** argv) {
    if (argc != 3) {
        std::fprintf(stderr, "usage: %s STATUS SEED\n", argv[0]);
        return 2;
    }
    const int file = open(argv[1], O_RDWR | O_CLOEXEC);
    void* page = mmap(nullptr, sizeof(Status), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (page == MAP_FAILED) return 1;
    Restless restless(*static_cast<Status*>(page), static_cast<unsigned>(std::atoi(argv[2])));
    if (!restless.open()) return 1;
    for (;;) restless.go_on();
}
