// SPDX-License-Identifier: Apache-2.0
// What interposition costs per call, over a device that does nothing: `interposer_bench --preload libflexnpu.so
// [--json]` runs itself with and without the library and gives nanoseconds per call for both. Medians of several
// rounds.
#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "daemon.h"
#include "nullacl.h"

namespace {

constexpr int kRounds = 15;
constexpr int kCalls = 200'000;

template <typename Call>
double nanoseconds(Call call) {
    std::array<double, kRounds> rounds{};
    for (double& round : rounds) {
        const auto start = std::chrono::steady_clock::now();
        for (int i = 0; i < kCalls; ++i) call();
        round = std::chrono::duration<double, std::nano>(std::chrono::steady_clock::now() - start).count() / kCalls;
    }
    std::nth_element(rounds.begin(), rounds.begin() + kRounds / 2, rounds.end());
    return rounds[kRounds / 2];
}

void launch() { aclrtLaunchKernelWithHostArgs(nullptr, 8, nullptr, nullptr, nullptr, 0, nullptr, 0); }

void malloc_free() {
    void* block = nullptr;
    aclrtMalloc(&block, 64, ACL_MEM_MALLOC_HUGE_FIRST);
    aclrtFree(block);
}

void both_phases() {
    uint64_t size = 0;
    aclOpExecutor* executor = nullptr;
    aclnnAddGetWorkspaceSize(nullptr, nullptr, nullptr, nullptr, &size, &executor);
    aclnnAdd(nullptr, size, executor, nullptr);
}

// One decode step's attention over 16 sequences: what the phase detector costs is in it.
void attention() {
    static const int64_t query[] = {16, 8, 1, 128};
    static const int64_t key[] = {16, 8, 2048, 128};
    static char layout[] = "BNSD";
    static aclTensor* const q = aclCreateTensor(query, 4, ACL_FLOAT16, nullptr, 0, ACL_FORMAT_ND, query, 4, nullptr);
    static aclTensor* const k = aclCreateTensor(key, 4, ACL_FLOAT16, nullptr, 0, ACL_FORMAT_ND, key, 4, nullptr);
    uint64_t size = 0;
    aclOpExecutor* executor = nullptr;
    aclnnFlashAttentionScoreGetWorkspaceSize(q, k, k, nullptr, nullptr, nullptr, nullptr, nullptr, 0.125, 1.0, 65535,
                                             65535, 8, layout, 0, 0, nullptr, nullptr, nullptr, nullptr, &size,
                                             &executor);
    aclnnFlashAttentionScore(nullptr, size, executor, nullptr);
}

void core_count() {
    uint32_t cores = 0;
    aclrtGetResInCurrentThread(ACL_RT_DEV_RES_CUBE_CORE, &cores);
}

struct Row {
    const char* name;
    void (*call)();
};
constexpr Row kTable[] = {
    {"launch", launch},       {"malloc_free", malloc_free}, {"operator", both_phases},
    {"attention", attention}, {"core_count", core_count},
};

int measure() {
    Daemon daemon;
    const auto start = std::chrono::steady_clock::now();
    if (aclInit(nullptr) != ACL_SUCCESS) return 1;
    std::fprintf(stderr, "first call %.0f us\n",
                 std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - start).count());
    for (const Row& row : kTable) std::printf("%.2f\n", nanoseconds(row.call));
    return 0;
}

bool run_self(const std::string& self, const std::string& preload, double (&values)[std::size(kTable)]) {
    const std::string command = (preload.empty() ? "" : "LD_PRELOAD='" + preload + "' ") + "'" + self + "' --measure";
    FILE* out = popen(command.c_str(), "r");
    if (out == nullptr) return false;
    bool whole = true;
    for (double& value : values) whole = whole && std::fscanf(out, "%lf", &value) == 1;
    return pclose(out) == 0 && whole;
}

}  // namespace

int main(int argc, char** argv) {
    std::string preload;
    bool json = false;
    for (int i = 1; i < argc; ++i) {
        if (strcmp(argv[i], "--measure") == 0) return measure();
        if (strcmp(argv[i], "--json") == 0) json = true;
        if (strcmp(argv[i], "--preload") == 0 && i + 1 < argc) preload = argv[++i];
    }
    double direct[std::size(kTable)];
    double with[std::size(kTable)];
    if (preload.empty() || !run_self(argv[0], "", direct) || !run_self(argv[0], preload, with)) {
        std::fprintf(stderr, "usage: %s --preload PATH/libflexnpu.so [--json]\n", argv[0]);
        return 1;
    }
    if (json) std::printf("{");
    for (size_t i = 0; i < std::size(kTable); ++i) {
        const char* format = json ? "%s\"%s\": {\"direct_ns\": %.2f, \"interposed_ns\": %.2f, \"added_ns\": %.2f}"
                                  : "%s%-12s direct %8.2f ns  interposed %8.2f ns  added %8.2f ns\n";
        std::printf(format, json && i > 0 ? ", " : "", kTable[i].name, direct[i], with[i], with[i] - direct[i]);
    }
    if (json) std::printf("}\n");
    return 0;
}
