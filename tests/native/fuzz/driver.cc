// SPDX-License-Identifier: Apache-2.0
//
//     fuzz_TARGET [--seconds N] [--runs N] [--seed N] [--from N]
//
// Runs inputs until the time or their number is over. Input i of a seed is always the same: one of the target's own
// inputs, changed at random, so that what failed is run again by --seed S --from I --runs 1.
#include <getopt.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <random>

#include "fuzz.h"

namespace {

struct Settings {
    double seconds = 1e9;
    uint64_t runs = UINT64_MAX, seed = 1, from = 0;
};

Settings settings;
uint64_t running = 0;

class Mutator {
  public:
    Mutator(uint64_t seed, uint64_t index) : random_(seed * 0x9e3779b97f4a7c15u + index) {}

    std::string input(const std::vector<std::string>& seeds) {
        std::string bytes = seeds[below(seeds.size())];
        if (below(4) == 0) bytes = noise(below(512));
        for (size_t changes = below(12); changes > 0; --changes) change(bytes, seeds);
        return bytes;
    }

  private:
    size_t below(size_t bound) { return random_() % bound; }

    std::string noise(size_t size) {
        std::string bytes(size, '\0');
        for (char& each : bytes) each = static_cast<char>(random_());
        return bytes;
    }

    void change(std::string& bytes, const std::vector<std::string>& seeds) {
        static constexpr uint64_t edges[] = {0, 1, 0x7f, 0xff, 0xffff, 0x7fffffff, 0xffffffff, INT64_MAX, UINT64_MAX};
        const size_t at = below(bytes.size() + 1);
        switch (below(6)) {
            case 0:
                if (at < bytes.size()) bytes[at] = static_cast<char>(random_());
                break;
            case 1:
                if (at < bytes.size()) bytes[at] = static_cast<char>(bytes[at] ^ (1 << below(8)));
                break;
            case 2:
                bytes.resize(at);
                break;
            case 3:
                bytes.insert(at, noise(below(64)));
                break;
            case 4:
                bytes += seeds[below(seeds.size())].substr(0, below(256));
                break;
            default: {
                const uint64_t edge = edges[below(std::size(edges))];
                bytes.replace(at, std::min(sizeof edge, bytes.size() - at), reinterpret_cast<const char*>(&edge), 8);
            }
        }
    }

    std::mt19937_64 random_;
};

constexpr unsigned kLongestSeconds = 30;  // of one input: milliseconds are usual

// Of a failure, also one that a sanitizer makes or one that does not end: which input it was.
void tell(int signal_number) {
    char line[160];
    const int length =
        std::snprintf(line, sizeof line, "input %llu %s: --seed %llu --from %llu --runs 1\n",
                      static_cast<unsigned long long>(running), signal_number == SIGALRM ? "did not end" : "failed",
                      static_cast<unsigned long long>(settings.seed), static_cast<unsigned long long>(running));
    if (write(STDERR_FILENO, line, static_cast<size_t>(length)) < 0) _exit(2);
    signal(SIGABRT, SIG_DFL);
    raise(SIGABRT);
}

bool read_settings(int argc, char** argv) {
    static const option known[] = {{"seconds", 1, nullptr, 's'},
                                   {"runs", 1, nullptr, 'r'},
                                   {"seed", 1, nullptr, 'x'},
                                   {"from", 1, nullptr, 'f'},
                                   {nullptr, 0, nullptr, 0}};
    for (int flag = 0; (flag = getopt_long(argc, argv, "", known, nullptr)) != -1;) {
        if (flag == '?') return false;
        if (flag == 's') settings.seconds = std::atof(optarg);
        if (flag == 'r') settings.runs = std::strtoull(optarg, nullptr, 10);
        if (flag == 'x') settings.seed = std::strtoull(optarg, nullptr, 10);
        if (flag == 'f') settings.from = std::strtoull(optarg, nullptr, 10);
    }
    return optind == argc && settings.seconds > 0 && settings.runs > 0;
}

}  // namespace

// A sanitizer ends the process by SIGABRT, so that one handler tells of everything.
extern "C" const char* __asan_default_options();
extern "C" const char* __ubsan_default_options();
extern "C" const char* __asan_default_options() { return "abort_on_error=1:detect_leaks=1"; }
extern "C" const char* __ubsan_default_options() { return "halt_on_error=1:abort_on_error=1:print_stacktrace=1"; }

int main(int argc, char** argv) {
    if (!read_settings(argc, argv)) {
        std::fprintf(stderr, "usage: %s [--seconds N] [--runs N] [--seed N] [--from N]\n", argv[0]);
        return 2;
    }
    signal(SIGABRT, tell);
    signal(SIGALRM, tell);
    const std::vector<std::string> seeds = fuzz_seeds();
    const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(settings.seconds);
    uint64_t done = 0;
    for (; done < settings.runs && std::chrono::steady_clock::now() < end; ++done) {
        running = settings.from + done;
        alarm(kLongestSeconds);
        const std::string input = Mutator(settings.seed, running).input(seeds);
        // A copy of just its size, so that a read beyond it is seen.
        const std::vector<uint8_t> bytes(input.begin(), input.end());
        LLVMFuzzerTestOneInput(bytes.data(), bytes.size());
    }
    std::printf("%llu inputs of seed %llu\n", static_cast<unsigned long long>(done),
                static_cast<unsigned long long>(settings.seed));
    return 0;
}
