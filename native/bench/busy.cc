// SPDX-License-Identifier: Apache-2.0
// A program that launches operators as fast as it can on the null device: no moment at which none is between its
// phases. Says "ready", runs until its standard input ends, and then says as JSON when it was told other core counts.
#include <atomic>
#include <thread>

#include "changes.h"
#include "null/device.h"

namespace {

std::atomic<bool> stopping;

void stop_with_input() {
    while (std::getchar() != EOF) {
    }
    stopping = true;
}

}  // namespace

int main() {
    aclrtStream stream = nullptr;
    if (aclInit(nullptr) != ACL_SUCCESS || aclrtSetDevice(0) != ACL_SUCCESS) return 1;
    aclrtCreateStream(&stream);
    CoreChanges changes;
    std::thread listener(stop_with_input);
    std::puts("{\"ready\": true}");
    std::fflush(stdout);
    uint64_t operators = 0;
    for (; !stopping.load(std::memory_order_relaxed); ++operators) {
        uint64_t size = 0;
        aclOpExecutor* executor = nullptr;
        aclnnAddGetWorkspaceSize(nullptr, nullptr, nullptr, nullptr, &size, &executor);
        changes.ask();
        aclnnAdd(nullptr, size, executor, stream);
    }
    listener.join();
    std::printf("{\"operators\": %llu, \"cores\": [", static_cast<unsigned long long>(operators));
    changes.print(stdout);
    std::puts("]}");
    return 0;
}
