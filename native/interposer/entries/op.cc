// SPDX-License-Identifier: Apache-2.0
// Operators: the two-phase ones (every aclnn name), torch_npu's cache of their executors, and the older one-call kind.
// Phase one tiles by the quota and leaves an executor that phase two launches, maybe on another thread; the probe
// follows each executor from one to the other.
#include <pthread.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>

#include <utility>

#include "entries/launch.h"
#include "entries/observe.h"
#include "entries/stubs.h"

static_assert(offsetof(flexnpu_phase_one, reals) == 64 && offsetof(flexnpu_phase_one, index) == 192 &&
              offsetof(flexnpu_phase_one, real) == 200 && offsetof(flexnpu_phase_one, copied) == 208 &&
              offsetof(flexnpu_phase_one, stack) == 216 && sizeof(flexnpu_phase_one) <= 256);

namespace flexnpu {

__thread TiledFor tiled_for;

namespace {

// An operator whose signature is not known is followed by its name: an odd key is no address of an executor.
uint64_t key_of_operator(uint32_t op) { return uint64_t{op} * 2 + 1; }

int refuse_operator() { return kRefused; }
int miss_operator() { return ACL_ERROR_API_NOT_SUPPORT; }

uint64_t executor_of(const flexnpu_phase_one& call) {
    const uint32_t words = operator_words(static_cast<uint32_t>(call.index));
    if (words == 0) return key_of_operator(static_cast<uint32_t>(call.index));
    const uint32_t last = words - 1;
    const uint64_t place = last < call.registers ? call.integers[last] : call.stack[last - call.registers];
    return place == 0 ? 0 : *reinterpret_cast<const uint64_t*>(place);
}

uint64_t stack_words(uint32_t op) {
    const uint32_t words = operator_words(op);
    if (words == 0) return FLEXNPU_STACK_WORDS;
    return words > flexnpu_phase_one::registers ? words - flexnpu_phase_one::registers : 0;
}

// One operator more that has a tiling and waits for its launch. `hit`: what observed_hit() gave for it.
void note_tiled(Probe& probe, uint64_t executor, Tiling& tiling, uint64_t hit) {
    tenant.report.tiled();
    if (executor == 0) return;
    if (!probe.tiled(tiling, executor, hit) && hit != 0) keep_hit(executor, hit);
}

// The core counts go into the key of torch_npu's executor cache: an executor that was tiled under other counts is not
// found, and one of the same counts is found again when cores come back. A hash of 0 and a key of no length mean "do
// not keep" and stay what they are.
uint32_t counts() { return static_cast<uint32_t>(told_word(here().quota)); }

uint64_t mix_counts(uint64_t hash, uint32_t cores) {
    if (hash == 0) return 0;
    const uint64_t mixed = hash ^ (uint64_t{cores} + 1) * 0x9e3779b97f4a7c15ull;
    return mixed != 0 ? mixed : 1;
}

// The key with the counts behind it. The library may keep the pointer until phase one, so the copy belongs to the
// thread; made at its first use, freed at its end.
constexpr size_t kKeyRoom = 16384;
pthread_key_t key_buffer;
pthread_once_t key_buffer_once = PTHREAD_ONCE_INIT;
__thread uint8_t* key_of_thread;

void free_key(void* buffer) { munmap(buffer, kKeyRoom); }
void make_key_buffer() { pthread_key_create(&key_buffer, free_key); }

struct Key {
    uint8_t* bytes;
    size_t length;
};

Key mix_counts(const uint8_t* key, size_t length, uint32_t cores) {
    if (key == nullptr || length == 0 || length > kKeyRoom - sizeof cores) return {nullptr, 0};
    if (key_of_thread == nullptr) {
        void* fresh = mmap(nullptr, kKeyRoom, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (fresh == MAP_FAILED) return {nullptr, 0};  // closed: without a key nothing is cached, and all is tiled anew
        pthread_once(&key_buffer_once, make_key_buffer);
        pthread_setspecific(key_buffer, fresh);
        key_of_thread = static_cast<uint8_t*>(fresh);
    }
    memcpy(key_of_thread, key, length);
    memcpy(key_of_thread + length, &cores, sizeof cores);
    return {key_of_thread, length + sizeof cores};
}

// The key that the thread has given for its next phase one, which is kept under it.
struct NextKey {
    decltype(&::SetPTAHashKey) set_hash;  // null where it gave none, or bytes
    decltype(&::SetPTACacheHashKey) set_bytes;
    uint64_t hash;
    size_t length;    // of the bytes, which are in the thread's buffer
    uint32_t counts;  // that it was mixed with
};
__thread NextKey next_key_of_thread;

// Inside of a tiling: where the counts have changed since, the key is given anew with those that are tiled for. Else an
// operator would be found again under counts that it was not tiled for, as soon as those come back.
void renew_key() {
    NextKey& next = next_key_of_thread;
    const uint32_t cores = counts();
    if (__builtin_expect(next.counts != cores, false)) {
        if (next.set_hash != nullptr) next.set_hash(mix_counts(next.hash, cores));
        if (next.set_bytes != nullptr) {
            memcpy(key_of_thread + next.length, &cores, sizeof cores);
            next.set_bytes(key_of_thread, next.length + sizeof cores);
        }
    }
    next.set_hash = nullptr;
    next.set_bytes = nullptr;
}

// Eight bytes at a time: it is taken at every find.
uint64_t hash_of(const uint8_t* key, size_t length) {
    uint64_t hash = length;
    for (size_t at = 0; at < length; at += 8) {
        uint64_t word = 0;
        memcpy(&word, key + at, length - at < 8 ? length - at : 8);
        hash = (hash ^ word) * 0x9e3779b97f4a7c15ull;
        hash ^= hash >> 32;
    }
    return hash != 0 ? hash : 1;
}

// A hit is a tiled operator without a phase one.
template <typename Find, typename Hash>
aclOpExecutor* find_tiled(Find find, Hash hash) {
    Probe& probe = here().probe;
    Tiling tiling = probe.enter();
    aclOpExecutor* executor = find();
    if (executor != nullptr) {
        note_tiled(probe, reinterpret_cast<uint64_t>(executor), tiling, observed_hit(hash(), executor));
    }
    probe.leave(tiling);
    return executor;
}

void on_SetPTAHashKey(decltype(&::SetPTAHashKey) real, uint64_t hash) {
    const uint32_t cores = counts();
    observe_key(hash);
    next_key_of_thread = {real, nullptr, hash, 0, cores};
    real(mix_counts(hash, cores));
}

void on_SetPTACacheHashKey(decltype(&::SetPTACacheHashKey) real, uint8_t* key, size_t length) {
    const uint32_t cores = counts();
    const Key mixed = mix_counts(key, length, cores);
    observe_key(mixed.bytes != nullptr ? hash_of(key, length) : 0);
    next_key_of_thread = {nullptr, mixed.bytes != nullptr ? real : nullptr, 0, length, cores};
    real(mixed.bytes, mixed.length);
}

aclOpExecutor* on_PTAGetExecCache(decltype(&::PTAGetExecCache) real, uint64_t hash, uint64_t* workspaceSize) {
    return find_tiled([&] { return real(mix_counts(hash, counts()), workspaceSize); }, [&] { return hash; });
}

aclOpExecutor* on_PTAFindExecCache(decltype(&::PTAFindExecCache) real, uint8_t* key, size_t length,
                                   uint64_t* workspaceSize) {
    const auto find = [&]() -> aclOpExecutor* {
        const Key mixed = mix_counts(key, length, counts());
        return mixed.bytes != nullptr ? real(mixed.bytes, mixed.length, workspaceSize) : nullptr;
    };
    return find_tiled(find, [&] { return hash_of(key, length); });
}

aclnnStatus on_aclDestroyAclOpExecutor(decltype(&::aclDestroyAclOpExecutor) real, aclOpExecutor* executor) {
    // Before the call: afterwards the address may be another executor's.
    if (executor != nullptr) here().probe.destroyed(reinterpret_cast<uint64_t>(executor));
    return real(executor);
}

// What an older call names first: an operator's name, a handle, a model's number.
uint64_t word_of(const void* which) { return reinterpret_cast<uint64_t>(which); }
uint64_t word_of(uint32_t which) { return which; }

// The older kind tiles and launches in one call: all of it is inside.
template <int stream>
constexpr auto on_legacy = [](auto real, auto which, auto... rest) {
    const uint64_t key = launch_key(word_of(which), FLEXNPU_LAUNCH_LEGACY_OP);
    const Pass pass = here().gate.pass(describe<stream>(FLEXNPU_LAUNCH_LEGACY_OP, key, which, rest...));
    Probe& probe = here().probe;  // the call may leave the thread on another device
    const Tiling tiling = probe.enter();
    const aclError status = real(which, rest...);
    probe.leave(tiling);
    return status;
};

}  // namespace

#define FLEXNPU_CACHE(ret, name, params, args, library, stream) \
    FLEXNPU_WRAP(ret, name, params, args, library, Guard::cache, on_##name)
#define FLEXNPU_LEGACY(ret, name, params, args, library, stream) \
    FLEXNPU_WRAP(ret, name, params, args, library, Guard::launch, on_legacy<stream>)
#include "functions.def"

}  // namespace flexnpu

using namespace flexnpu;

extern "C" {

void flexnpu_phase_one_begin(flexnpu_phase_one* call) {
    const uint32_t op = static_cast<uint32_t>(call->index);
    call->tiling = {};
    call->copied = 0;
    call->real = real_function(first_phase_one + op);
    if (call->real == nullptr) {
        call->real = reinterpret_cast<void*>(&miss_operator);
    } else if (!attached()) {
        call->real = reinterpret_cast<void*>(&refuse_operator);
    } else {
        call->copied = stack_words(op);
        DeviceTenant& device = here();
        call->probe = &device.probe;
        call->tiling = device.probe.enter();
        call->outer = std::exchange(tiled_for, {&device.quota, device.quota.word()});
        renew_key();
    }
}

void flexnpu_phase_one_end(flexnpu_phase_one* call, int status) {
    if (call->tiling.generation == 0) return;
    tiled_for = call->outer;
    if (status == ACL_SUCCESS) {
        const uint64_t executor = executor_of(*call);
        note_tiled(*call->probe, executor, call->tiling, 0);
        if (operator_tells[call->index] != Tells::nothing) observe_tiled(*call, executor);
    }
    call->probe->leave(call->tiling);
}

__attribute__((visibility("hidden"))) aclnnStatus flexnpu_phase_two(void* workspace, uint64_t workspaceSize,
                                                                    aclOpExecutor* executor, aclrtStream stream,
                                                                    uint32_t op) {
    auto real = reinterpret_cast<aclnnLaunch>(real_function(first_phase_two + op));
    if (real == nullptr) return ACL_ERROR_API_NOT_SUPPORT;
    if (!attached()) return kRefused;
    // An operator of unknown signature is known by its executor all the same where that came from the cache.
    Probe& probe = here().probe;
    Ticket ticket = executor != nullptr ? probe.launching(reinterpret_cast<uint64_t>(executor)) : Ticket{};
    if (!ticket && operator_words(op) == 0) ticket = probe.launching(key_of_operator(op));
    // Before the launch, after which the executor's address may be another's.
    if (operator_tells[op] != Tells::nothing) {
        observe_launch(op, {reinterpret_cast<uint64_t>(executor), ticket.note, key_of_operator(op)}, stream);
    }
    const aclnnStatus status = real(workspace, workspaceSize, executor, stream);
    if (ticket) probe.launched(ticket);
    tenant.report.launched();
    return status;
}
}
