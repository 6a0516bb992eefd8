// SPDX-License-Identifier: Apache-2.0
// An engine as libflexnpu.so sees it, on the null device: forward passes that begin with an embedding and have an
// attention call per layer, spread over the time that a pass is to take.
//
//     steps --step NS [--layers N] [--requests N] [--always CONTEXT]
//
// With --always it decodes, a token of each request after another, until its standard input ends. Without, it says
// {"ready": true}, and of each line of standard input, a number of tokens, it makes a prompt's pass and answers with
// its beginning (CLOCK_MONOTONIC, ns) and with when it was told which cores meanwhile: at once, not when it next tiles.
#include <getopt.h>

#include <atomic>
#include <cstdlib>
#include <thread>

#include "changes.h"
#include "null/device.h"

namespace {

constexpr int64_t kHeads = 28, kHeadSize = 128;
constexpr int64_t kAskEveryNs = 50'000;

struct Settings {
    int64_t step_ns = 0, layers = 28, requests = 1, context = 0;
};

std::atomic<bool> stopping;

void stop_with_input() {
    while (std::getchar() != EOF) {
    }
    stopping = true;
}

void sleep_until(int64_t time) {
    const timespec at{time / 1'000'000'000, time % 1'000'000'000};
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, nullptr);
}

class Tensor {
  public:
    Tensor(int64_t batch, int64_t tokens) {
        const int64_t dims[] = {batch, kHeads, tokens, kHeadSize};
        made_ = aclCreateTensor(dims, 4, ACL_FLOAT16, nullptr, 0, ACL_FORMAT_ND, dims, 4, nullptr);
    }
    ~Tensor() { aclDestroyTensor(made_); }
    Tensor(const Tensor&) = delete;
    Tensor& operator=(const Tensor&) = delete;
    const aclTensor* get() const { return made_; }

  private:
    aclTensor* made_;
};

class Engine {
  public:
    explicit Engine(const Settings& settings) : settings_(settings) {}

    bool open() {
        return aclInit(nullptr) == ACL_SUCCESS && aclrtSetDevice(0) == ACL_SUCCESS &&
               aclrtCreateStream(&stream_) == ACL_SUCCESS;
    }

    void decode() {
        std::thread listener(stop_with_input);
        // A request that has grown by a quarter makes room for a new one, so that the work stays about what it is.
        for (int64_t grown = 0; !stopping; grown = (grown + 1) % (settings_.context / 4 + 1)) {
            pass(settings_.requests, 1, settings_.context + grown, nullptr);
        }
        listener.join();
    }

    void answer_prompts() {
        for (long long tokens = 0; std::scanf("%lld", &tokens) == 1;) {
            CoreChanges changes;
            changes.ask();
            const int64_t began = now_ns();
            pass(settings_.requests, tokens, tokens, &changes);
            std::printf("{\"began_ns\": %lld, \"cores\": [", static_cast<long long>(began));
            changes.print(stdout);
            std::puts("]}");
            std::fflush(stdout);
        }
    }

  private:
    void pass(int64_t requests, int64_t tokens, int64_t context, CoreChanges* changes) {
        const int64_t begin = now_ns();
        const Tensor query(requests, tokens), key(requests, context);
        embed();
        for (int64_t layer = 1; layer <= settings_.layers; ++layer) {
            attend(query.get(), key.get());
            const int64_t due = begin + settings_.step_ns * layer / settings_.layers;
            while (changes != nullptr && now_ns() + kAskEveryNs < due) {
                changes->ask();
                sleep_until(now_ns() + kAskEveryNs);
            }
            sleep_until(due);
        }
    }

    void embed() {
        uint64_t size = 0;
        aclOpExecutor* executor = nullptr;
        aclnnEmbeddingGetWorkspaceSize(nullptr, nullptr, nullptr, &size, &executor);
        aclnnEmbedding(nullptr, size, executor, stream_);
    }

    void attend(const aclTensor* query, const aclTensor* key) {
        uint64_t size = 0;
        aclOpExecutor* executor = nullptr;
        aclnnFlashAttentionScoreGetWorkspaceSize(query, key, key, nullptr, nullptr, nullptr, nullptr, nullptr, 1.0, 1.0,
                                                 INT32_MAX, INT32_MAX, kHeads, layout_, 0, 0, nullptr, nullptr, nullptr,
                                                 nullptr, &size, &executor);
        aclnnFlashAttentionScore(nullptr, size, executor, stream_);
    }

    const Settings& settings_;
    aclrtStream stream_ = nullptr;
    char layout_[5] = "BNSD";
};

bool read_settings(int argc, char** argv, Settings& settings) {
    static const option known[] = {{"step", 1, nullptr, 's'},
                                   {"layers", 1, nullptr, 'l'},
                                   {"requests", 1, nullptr, 'r'},
                                   {"always", 1, nullptr, 'a'},
                                   {nullptr, 0, nullptr, 0}};
    for (int flag = 0; (flag = getopt_long(argc, argv, "", known, nullptr)) != -1;) {
        int64_t* into = flag == 's'   ? &settings.step_ns
                        : flag == 'l' ? &settings.layers
                        : flag == 'r' ? &settings.requests
                        : flag == 'a' ? &settings.context
                                      : nullptr;
        if (into == nullptr || (*into = std::atoll(optarg)) <= 0) return false;
    }
    return settings.step_ns > 0;
}

}  // namespace

int main(int argc, char** argv) {
    Settings settings;
    if (!read_settings(argc, argv, settings)) {
        std::fprintf(stderr, "usage: %s --step NS [--layers N] [--requests N] [--always CONTEXT]\n", argv[0]);
        return 2;
    }
    Engine engine(settings);
    if (!engine.open()) return 1;
    std::puts("{\"ready\": true}");
    std::fflush(stdout);
    if (settings.context > 0) {
        engine.decode();
    } else {
        engine.answer_prompts();
    }
    return 0;
}
