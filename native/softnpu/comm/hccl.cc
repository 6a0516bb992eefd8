// SPDX-License-Identifier: Apache-2.0
//
// HCCL's entries: each checks its arguments, lays the collective out and puts it on the stream as one kernel.
#include <flexnpu_abi/acl_rt.h>
#include <flexnpu_abi/hccl.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cinttypes>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <numeric>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "comm/collective.h"
#include "comm/reduce.h"
#include "runtime/status.h"

using softnpu::Collective;
using softnpu::CollectiveKind;
using softnpu::Communicator;
using softnpu::fail;

namespace {

constexpr char kRootMark[] = "softnpu-hccl-1:";
constexpr double kConnectTimeout = 120;   // s, HCCL's own
constexpr double kExecuteTimeout = 1836;  // s, HCCL's own

template <typename... Values>
HcclResult refuse(HcclResult code, const char* format, Values... values) {
    fail(ACL_ERROR_RT_PARAM_INVALID, format, values...);
    return code;
}

#define SOFTNPU_HCCL_NEED(pointer)                                           \
    do {                                                                     \
        if ((pointer) == nullptr) {                                          \
            return refuse(HCCL_E_PTR, "%s: %s is null", __func__, #pointer); \
        }                                                                    \
    } while (false)

HcclResult seconds(const char* variable, double fallback, double* out) {
    const char* text = std::getenv(variable);
    *out = fallback;
    if (text == nullptr || *text == '\0') {
        return HCCL_SUCCESS;
    }
    char* end = nullptr;
    *out = std::strtod(text, &end);
    if (*end != '\0' || !(*out >= 0 && *out <= 2147483647.0)) {
        return refuse(HCCL_E_PARA, "%s=%s: must be seconds, 0 to 2147483647", variable, text);
    }
    *out = *out == 0 ? 1e12 : *out;  // 0: for ever
    return HCCL_SUCCESS;
}

HcclResult join(const std::string& path, uint32_t ranks, uint32_t rank, const HcclCommConfig* config, HcclComm* comm) {
    if (ranks == 0 || ranks > softnpu::kMaxRanks || rank >= ranks) {
        return refuse(HCCL_E_PARA, "rank %u of %u: a communicator of the software NPU has 1 to %u ranks", rank, ranks,
                      softnpu::kMaxRanks);
    }
    Communicator::Settings settings{};
    HcclResult result = seconds("HCCL_CONNECT_TIMEOUT", kConnectTimeout, &settings.connect_timeout_s);
    if (result == HCCL_SUCCESS) {
        result = seconds("HCCL_EXEC_TIMEOUT", kExecuteTimeout, &settings.execute_timeout_s);
    }
    if (result != HCCL_SUCCESS) {
        return result;
    }
    if (config != nullptr && config->hcclExecTimeOut > 0) {
        settings.execute_timeout_s = config->hcclExecTimeOut;
    }
    const bool named = config != nullptr && config->hcclCommName[0] != '\0';
    settings.name = named ? std::string(config->hcclCommName, strnlen(config->hcclCommName, COMM_NAME_MAX_LENGTH - 1))
                          : path.substr(path.rfind('/') + 1);
    Communicator* made = Communicator::join(path, ranks, rank, std::move(settings), &result);
    *comm = made;
    return result;
}

// --- a group of calls: what goes from rank to rank is put on its stream as one when the group ends ---

struct Grouped {
    Communicator* communicator;
    aclrtStream stream;
    std::unique_ptr<Collective> batch;
};

thread_local uint32_t group_depth = 0;
thread_local std::vector<Grouped> grouped;

HcclResult launch(std::unique_ptr<Collective> collective, aclrtStream stream) {
    const softnpu::Kernel& kernel = kernel_of(collective->kind());
    if (collective->has_null_buffer()) {
        return refuse(HCCL_E_PTR, "%s: a buffer is null", kernel.name);
    }
    softnpu::KernelArgs args{collective->cost(), collective.get()};
    // A function handle is opaque to the program; the launch reads the kernel and never writes it.
    const aclError error = aclrtLaunchKernelWithHostArgs(const_cast<softnpu::Kernel*>(&kernel), 1, stream, nullptr,
                                                         &args, sizeof args, nullptr, 0);
    if (error != ACL_SUCCESS) {
        return HCCL_E_RUNTIME;
    }
    collective.release();  // its kernel's drop
    return HCCL_SUCCESS;
}

Collective& grouped_batch(Communicator& communicator, aclrtStream stream) {
    for (const Grouped& each : grouped) {
        if (each.communicator == &communicator && each.stream == stream) {
            return *each.batch;
        }
    }
    grouped.push_back({&communicator, stream, std::make_unique<Collective>(CollectiveKind::batch, communicator)});
    return *grouped.back().batch;
}

HcclResult flush_group() {
    HcclResult first = HCCL_SUCCESS;
    for (Grouped& each : std::exchange(grouped, {})) {
        const HcclResult result = launch(std::move(each.batch), each.stream);
        first = first == HCCL_SUCCESS ? result : first;
    }
    return first;
}

// --- laying out ---

struct Call {
    Communicator* communicator;
    uint64_t size;  // of an element
};

HcclResult check(const char* name, HcclComm comm, HcclDataType type, Call* call) {
    if (comm == nullptr) {
        return refuse(HCCL_E_PTR, "%s: comm is null", name);
    }
    call->communicator = static_cast<Communicator*>(comm);
    call->size = softnpu::element_bytes(type);
    if (call->size == 0) {
        return refuse(HCCL_E_PARA, "%s: data type %d is unknown", name, static_cast<int>(type));
    }
    if (const HcclResult error = call->communicator->async_error(); error != HCCL_SUCCESS) {
        return refuse(error, "%s: communicator %s has failed (%s)", name, call->communicator->settings().name.c_str(),
                      HcclGetErrorString(error));
    }
    return HCCL_SUCCESS;
}

HcclResult check_rank(const char* name, const Call& call, const char* what, uint32_t rank) {
    return rank < call.communicator->ranks() ? HCCL_SUCCESS
                                             : refuse(HCCL_E_PARA, "%s: %s %u, the communicator has ranks 0 to %u",
                                                      name, what, rank, call.communicator->ranks() - 1);
}

HcclResult check_reduction(const char* name, HcclDataType type, HcclReduceOp op) {
    if (!softnpu::can_reduce(type)) {
        return refuse(HCCL_E_NOT_SUPPORT, "%s: data type %d cannot be reduced", name, static_cast<int>(type));
    }
    return op >= HCCL_REDUCE_SUM && op <= HCCL_REDUCE_MIN
               ? HCCL_SUCCESS
               : refuse(HCCL_E_PARA, "%s: reduction %d, must be %d (sum) to %d (min)", name, static_cast<int>(op),
                        HCCL_REDUCE_SUM, HCCL_REDUCE_MIN);
}

char* at(const void* base, uint64_t bytes) { return static_cast<char*>(const_cast<void*>(base)) + bytes; }

// Counts and displacements cross the interface as arrays of 64-bit numbers behind void pointers.
std::vector<uint64_t> numbers(const void* array, uint64_t count) {
    const auto* values = static_cast<const uint64_t*>(array);
    return {values, values + count};
}

std::vector<uint64_t> offsets_of(const std::vector<uint64_t>& counts) {
    std::vector<uint64_t> offsets(counts.size());
    std::exclusive_scan(counts.begin(), counts.end(), offsets.begin(), uint64_t{0});
    return offsets;
}

// `total` elements in as many parts as there are ranks.
std::vector<uint64_t> even_parts(uint64_t total, uint32_t ranks) {
    std::vector<uint64_t> counts(ranks);
    for (uint32_t rank = 0; rank < ranks; ++rank) {
        counts[rank] = total * (rank + 1) / ranks - total * rank / ranks;
    }
    return counts;
}

// Every rank's part, at its offset in `out`, to all.
void gather_all(Collective& collective, const Call& call, const void* own, void* out,
                const std::vector<uint64_t>& counts, const std::vector<uint64_t>& offsets) {
    const uint32_t rank = call.communicator->rank();
    for (uint32_t peer = 0; peer < call.communicator->ranks(); ++peer) {
        collective.send(peer, own, counts[rank] * call.size);
        collective.receive(peer, at(out, offsets[peer] * call.size), counts[peer] * call.size);
    }
}

HcclResult point_to_point(const char* name, bool sending, void* buffer, uint64_t count, HcclDataType type,
                          uint32_t peer, HcclComm comm, aclrtStream stream) {
    Call call{};
    HcclResult result = check(name, comm, type, &call);
    result = result == HCCL_SUCCESS ? check_rank(name, call, "peer", peer) : result;
    if (result != HCCL_SUCCESS) {
        return result;
    }
    auto single =
        std::make_unique<Collective>(sending ? CollectiveKind::send : CollectiveKind::receive, *call.communicator);
    Collective& collective = group_depth > 0 ? grouped_batch(*call.communicator, stream) : *single;
    if (sending) {
        collective.send(peer, buffer, count * call.size);
    } else {
        collective.receive(peer, buffer, count * call.size);
    }
    return group_depth > 0 ? HCCL_SUCCESS : launch(std::move(single), stream);
}

}  // namespace

// Declares `call`, checked, or returns the error.
#define SOFTNPU_HCCL_CALL(call, comm, type)                                                         \
    Call call{};                                                                                    \
    if (const HcclResult checked = check(__func__, comm, type, &(call)); checked != HCCL_SUCCESS) { \
        return checked;                                                                             \
    }
#define SOFTNPU_HCCL_TRY(expression)                                        \
    if (const HcclResult checked = (expression); checked != HCCL_SUCCESS) { \
        return checked;                                                     \
    }

extern "C" {

// --- communicators ---

HcclResult HcclGetRootInfo(HcclRootInfo* rootInfo) {
    SOFTNPU_HCCL_NEED(rootInfo);
    const char* shared = std::getenv("FLEXNPU_SOFTNPU_STATE");
    const std::string path = softnpu::Segment::fresh_path(shared != nullptr && *shared != '\0' ? shared : "/dev/shm");
    const std::string text = kRootMark + path;
    if (text.size() >= sizeof rootInfo->internal) {
        return refuse(HCCL_E_PARA, "FLEXNPU_SOFTNPU_STATE=%s is too long", shared);
    }
    std::memset(rootInfo->internal, 0, sizeof rootInfo->internal);
    std::memcpy(rootInfo->internal, text.data(), text.size());
    return HCCL_SUCCESS;
}

HcclResult HcclGetRootInfoScalable(HcclRootInfo* rootInfo) { return HcclGetRootInfo(rootInfo); }

HcclResult HcclCommInitRootInfoConfig(uint32_t nRanks, const HcclRootInfo* rootInfo, uint32_t rank,
                                      const HcclCommConfig* config, HcclComm* comm) {
    SOFTNPU_HCCL_NEED(rootInfo);
    SOFTNPU_HCCL_NEED(comm);
    const std::string text(rootInfo->internal, strnlen(rootInfo->internal, sizeof rootInfo->internal));
    if (!text.starts_with(kRootMark)) {
        return refuse(HCCL_E_PARA, "%s: the root information did not come from HcclGetRootInfo of the software NPU",
                      __func__);
    }
    return join(text.substr(std::strlen(kRootMark)), nRanks, rank, config, comm);
}

HcclResult HcclCommInitRootInfo(uint32_t nRanks, const HcclRootInfo* rootInfo, uint32_t rank, HcclComm* comm) {
    return HcclCommInitRootInfoConfig(nRanks, rootInfo, rank, nullptr, comm);
}

HcclResult HcclCommInitRootInfoScalable(uint32_t nRanks, uint32_t nRoot, const HcclRootInfo* rootInfoList,
                                        uint32_t rank, uint32_t /*nExtRoot*/, const HcclCommConfig* config,
                                        HcclComm* comm) {
    if (nRoot == 0) {
        return refuse(HCCL_E_PARA, "%s: nRoot is 0, must be at least 1", __func__);
    }
    return HcclCommInitRootInfoConfig(nRanks, rootInfoList, rank, config, comm);
}

HcclResult HcclCommInitClusterInfoConfig(const char* clusterInfo, uint32_t /*rank*/, HcclCommConfig* /*config*/,
                                         HcclComm* /*comm*/) {
    return refuse(HCCL_E_NOT_SUPPORT, "rank table %s: the software NPU makes communicators from root information only",
                  clusterInfo != nullptr ? clusterInfo : "null");
}

HcclResult HcclCommInitClusterInfo(const char* clusterInfo, uint32_t rank, HcclComm* comm) {
    return HcclCommInitClusterInfoConfig(clusterInfo, rank, nullptr, comm);
}

// One process with a rank per device: the ranks wait for each other, so they come from a thread each.
HcclResult HcclCommInitAll(uint32_t ndev, int32_t* /*devices*/, HcclComm* comms) {
    SOFTNPU_HCCL_NEED(comms);
    HcclRootInfo root{};
    SOFTNPU_HCCL_TRY(HcclGetRootInfo(&root));
    std::vector<HcclResult> results(ndev, HCCL_SUCCESS);
    std::vector<std::thread> threads;
    for (uint32_t rank = 0; rank < ndev; ++rank) {
        threads.emplace_back([&, rank] { results[rank] = HcclCommInitRootInfo(ndev, &root, rank, &comms[rank]); });
    }
    for (std::thread& thread : threads) {
        thread.join();
    }
    const auto bad = std::find_if(results.begin(), results.end(), [](HcclResult each) { return each != HCCL_SUCCESS; });
    return bad == results.end() ? HCCL_SUCCESS : *bad;
}

HcclResult HcclCreateSubCommConfig(HcclComm* comm, uint32_t rankNum, uint32_t* rankIds, uint64_t subCommId,
                                   uint32_t subCommRankId, HcclCommConfig* config, HcclComm* subComm) {
    SOFTNPU_HCCL_NEED(comm);
    SOFTNPU_HCCL_NEED(*comm);
    SOFTNPU_HCCL_NEED(subComm);
    *subComm = nullptr;
    if (rankIds == nullptr) {
        return HCCL_SUCCESS;  // this rank is not in the group
    }
    const auto& parent = *static_cast<Communicator*>(*comm);
    return join(parent.path() + "-" + std::to_string(subCommId), rankNum, subCommRankId, config, subComm);
}

HcclResult HcclCommDestroy(HcclComm comm) {
    SOFTNPU_HCCL_NEED(comm);
    auto* communicator = static_cast<Communicator*>(comm);
    communicator->close();
    communicator->release();
    return HCCL_SUCCESS;
}

HcclResult HcclGetRankSize(HcclComm comm, uint32_t* rankSize) {
    SOFTNPU_HCCL_NEED(comm);
    SOFTNPU_HCCL_NEED(rankSize);
    *rankSize = static_cast<Communicator*>(comm)->ranks();
    return HCCL_SUCCESS;
}

HcclResult HcclGetRankId(HcclComm comm, uint32_t* rank) {
    SOFTNPU_HCCL_NEED(comm);
    SOFTNPU_HCCL_NEED(rank);
    *rank = static_cast<Communicator*>(comm)->rank();
    return HCCL_SUCCESS;
}

// `commName` has room for COMM_NAME_MAX_LENGTH characters.
HcclResult HcclGetCommName(HcclComm comm, char* commName) {
    SOFTNPU_HCCL_NEED(comm);
    SOFTNPU_HCCL_NEED(commName);
    const std::string& name = static_cast<Communicator*>(comm)->settings().name;
    const size_t length = std::min<size_t>(name.size(), COMM_NAME_MAX_LENGTH - 1);
    std::memcpy(commName, name.data(), length);
    commName[length] = '\0';
    return HCCL_SUCCESS;
}

HcclResult HcclGetCommAsyncError(HcclComm comm, HcclResult* asyncError) {
    SOFTNPU_HCCL_NEED(comm);
    SOFTNPU_HCCL_NEED(asyncError);
    *asyncError = static_cast<Communicator*>(comm)->async_error();
    return HCCL_SUCCESS;
}

const char* HcclGetErrorString(HcclResult code) {
    static constexpr std::array kNames = {
        "success",          "parameter error",    "null pointer",         "memory error",        "internal error",
        "not supported",    "not found",          "resource unavailable", "system call failed",  "timeout",
        "cannot open file", "tcp connect failed", "roce connect failed",  "tcp transfer failed", "roce transfer failed",
        "runtime failed",   "driver failed",      "profiling failed",     "cce failed",          "network failed",
        "try again",        "remote rank failed", "suspending",           "retry failed",        "out of memory"};
    const auto index = static_cast<size_t>(code);
    return index < kNames.size() ? kNames[index] : "unknown";
}

uint32_t HcclGetCommConfigCapability() { return 12; }  // every field of HcclCommConfig that the header knows

// Results are always deterministic; the setting is kept and read back.
namespace {
std::atomic<int32_t> settings_kept[HCCL_CONFIG_RESERVED];
}

HcclResult HcclSetConfig(HcclConfig config, union HcclConfigValue configValue) {
    if (config < 0 || config >= HCCL_CONFIG_RESERVED) {
        return refuse(HCCL_E_PARA, "HcclSetConfig: setting %d, must be 0 to %d", static_cast<int>(config),
                      HCCL_CONFIG_RESERVED - 1);
    }
    settings_kept[config].store(configValue.value);
    return HCCL_SUCCESS;
}

HcclResult HcclGetConfig(HcclConfig config, union HcclConfigValue* configValue) {
    SOFTNPU_HCCL_NEED(configValue);
    if (config < 0 || config >= HCCL_CONFIG_RESERVED) {
        return refuse(HCCL_E_PARA, "HcclGetConfig: setting %d, must be 0 to %d", static_cast<int>(config),
                      HCCL_CONFIG_RESERVED - 1);
    }
    configValue->value = settings_kept[config].load();
    return HCCL_SUCCESS;
}

HcclResult HcclCommSuspend(HcclComm /*comm*/) {
    return refuse(HCCL_E_NOT_SUPPORT, "HcclCommSuspend: the software NPU has no links to mend");
}
HcclResult HcclCommResume(HcclComm /*comm*/) {
    return refuse(HCCL_E_NOT_SUPPORT, "HcclCommResume: the software NPU has no links to mend");
}
HcclResult HcclCommWorkingDevNicSet(HcclComm /*comm*/, uint32_t* /*ranks*/, bool* /*useBackup*/, uint32_t /*nRanks*/) {
    return refuse(HCCL_E_NOT_SUPPORT, "HcclCommWorkingDevNicSet: the software NPU has no network cards");
}

HcclResult HcclGroupStart() {
    ++group_depth;
    return HCCL_SUCCESS;
}

HcclResult HcclGroupEnd() {
    if (group_depth == 0) {
        return refuse(HCCL_E_PARA, "HcclGroupEnd without HcclGroupStart");
    }
    return --group_depth == 0 ? flush_group() : HCCL_SUCCESS;
}

// --- communicator memory: all of a process's memory can be sent from and received into, nothing has to be named ---

HcclResult HcclCommSetMemoryRange(HcclComm /*comm*/, void* /*baseVirPtr*/, size_t /*size*/, size_t /*alignment*/,
                                  uint64_t /*flags*/) {
    return HCCL_SUCCESS;
}
HcclResult HcclCommUnsetMemoryRange(HcclComm /*comm*/, void* /*baseVirPtr*/) { return HCCL_SUCCESS; }
HcclResult HcclCommActivateCommMemory(HcclComm /*comm*/, void* /*virPtr*/, size_t /*size*/, size_t /*offset*/,
                                      aclrtDrvMemHandle /*handle*/, uint64_t /*flags*/) {
    return HCCL_SUCCESS;
}
HcclResult HcclCommDeactivateCommMemory(HcclComm /*comm*/, void* /*virPtr*/) { return HCCL_SUCCESS; }

HcclResult HcclCommRegister(HcclComm /*comm*/, void* /*addr*/, uint64_t /*size*/, void** /*handle*/,
                            uint32_t /*flag*/) {
    return refuse(HCCL_E_NOT_SUPPORT, "HcclCommRegister: the software NPU has no windows into other ranks' memory");
}
HcclResult HcclCommDeregister(HcclComm /*comm*/, void* /*handle*/) {
    return refuse(HCCL_E_NOT_SUPPORT, "HcclCommDeregister: the software NPU has no windows into other ranks' memory");
}
HcclResult HcclCommExchangeMem(HcclComm /*comm*/, void* /*windowHandle*/, uint32_t* /*peerRanks*/,
                               uint32_t /*peerRankNum*/) {
    return refuse(HCCL_E_NOT_SUPPORT, "HcclCommExchangeMem: the software NPU has no windows into other ranks' memory");
}

// --- collectives ---

HcclResult HcclAllReduce(void* sendBuf, void* recvBuf, uint64_t count, HcclDataType dataType, HcclReduceOp op,
                         HcclComm comm, aclrtStream stream) {
    SOFTNPU_HCCL_CALL(call, comm, dataType);
    SOFTNPU_HCCL_TRY(check_reduction(__func__, dataType, op));
    const uint32_t rank = call.communicator->rank();
    const std::vector<uint64_t> counts = even_parts(count, call.communicator->ranks());
    const std::vector<uint64_t> offsets = offsets_of(counts);
    char* const own = at(recvBuf, offsets[rank] * call.size);
    auto collective = std::make_unique<Collective>(CollectiveKind::all_reduce, *call.communicator);
    collective->agree(dataType, op, 0, count);
    collective->reduce(dataType, op, sendBuf, counts, offsets, own);
    gather_all(*collective, call, own, recvBuf, counts, offsets);
    return launch(std::move(collective), stream);
}

HcclResult HcclBroadcast(void* buf, uint64_t count, HcclDataType dataType, uint32_t root, HcclComm comm,
                         aclrtStream stream) {
    SOFTNPU_HCCL_CALL(call, comm, dataType);
    SOFTNPU_HCCL_TRY(check_rank(__func__, call, "root", root));
    auto collective = std::make_unique<Collective>(CollectiveKind::broadcast, *call.communicator);
    collective->agree(dataType, HCCL_REDUCE_RESERVED, root, count);
    if (call.communicator->rank() != root) {
        collective->receive(root, buf, count * call.size);
    } else {
        for (uint32_t peer = 0; peer < call.communicator->ranks(); ++peer) {
            if (peer != root) {
                collective->send(peer, buf, count * call.size);
            }
        }
    }
    return launch(std::move(collective), stream);
}

HcclResult HcclReduceScatter(void* sendBuf, void* recvBuf, uint64_t recvCount, HcclDataType dataType, HcclReduceOp op,
                             HcclComm comm, aclrtStream stream) {
    SOFTNPU_HCCL_CALL(call, comm, dataType);
    SOFTNPU_HCCL_TRY(check_reduction(__func__, dataType, op));
    const std::vector<uint64_t> counts(call.communicator->ranks(), recvCount);
    auto collective = std::make_unique<Collective>(CollectiveKind::reduce_scatter, *call.communicator);
    collective->agree(dataType, op, 0, recvCount);
    collective->reduce(dataType, op, sendBuf, counts, offsets_of(counts), recvBuf);
    return launch(std::move(collective), stream);
}

HcclResult HcclReduceScatterV(void* sendBuf, const void* sendCounts, const void* sendDispls, void* recvBuf,
                              uint64_t recvCount, HcclDataType dataType, HcclReduceOp op, HcclComm comm,
                              aclrtStream stream) {
    SOFTNPU_HCCL_NEED(sendCounts);
    SOFTNPU_HCCL_NEED(sendDispls);
    SOFTNPU_HCCL_CALL(call, comm, dataType);
    SOFTNPU_HCCL_TRY(check_reduction(__func__, dataType, op));
    const std::vector<uint64_t> counts = numbers(sendCounts, call.communicator->ranks());
    if (counts[call.communicator->rank()] != recvCount) {
        return refuse(HCCL_E_PARA, "%s: recvCount is %" PRIu64 ", sendCounts of this rank %" PRIu64, __func__,
                      recvCount, counts[call.communicator->rank()]);
    }
    auto collective = std::make_unique<Collective>(CollectiveKind::reduce_scatter_v, *call.communicator);
    collective->agree(dataType, op, 0, std::accumulate(counts.begin(), counts.end(), uint64_t{0}));
    collective->reduce(dataType, op, sendBuf, counts, numbers(sendDispls, counts.size()), recvBuf);
    return launch(std::move(collective), stream);
}

HcclResult HcclReduce(void* sendBuf, void* recvBuf, uint64_t count, HcclDataType dataType, HcclReduceOp op,
                      uint32_t root, HcclComm comm, aclrtStream stream) {
    SOFTNPU_HCCL_CALL(call, comm, dataType);
    SOFTNPU_HCCL_TRY(check_rank(__func__, call, "root", root));
    SOFTNPU_HCCL_TRY(check_reduction(__func__, dataType, op));
    std::vector<uint64_t> counts(call.communicator->ranks(), 0);
    counts[root] = count;
    auto collective = std::make_unique<Collective>(CollectiveKind::reduce, *call.communicator);
    collective->agree(dataType, op, root, count);
    collective->reduce(dataType, op, sendBuf, counts, std::vector<uint64_t>(counts.size(), 0), recvBuf);
    return launch(std::move(collective), stream);
}

HcclResult HcclScatter(void* sendBuf, void* recvBuf, uint64_t recvCount, HcclDataType dataType, uint32_t root,
                       HcclComm comm, aclrtStream stream) {
    SOFTNPU_HCCL_CALL(call, comm, dataType);
    SOFTNPU_HCCL_TRY(check_rank(__func__, call, "root", root));
    const uint64_t bytes = recvCount * call.size;
    auto collective = std::make_unique<Collective>(CollectiveKind::scatter, *call.communicator);
    collective->agree(dataType, HCCL_REDUCE_RESERVED, root, recvCount);
    for (uint32_t peer = 0; call.communicator->rank() == root && peer < call.communicator->ranks(); ++peer) {
        collective->send(peer, at(sendBuf, peer * bytes), bytes);
    }
    collective->receive(root, recvBuf, bytes);
    return launch(std::move(collective), stream);
}

HcclResult HcclAllGather(void* sendBuf, void* recvBuf, uint64_t sendCount, HcclDataType dataType, HcclComm comm,
                         aclrtStream stream) {
    SOFTNPU_HCCL_CALL(call, comm, dataType);
    const std::vector<uint64_t> counts(call.communicator->ranks(), sendCount);
    auto collective = std::make_unique<Collective>(CollectiveKind::all_gather, *call.communicator);
    collective->agree(dataType, HCCL_REDUCE_RESERVED, 0, sendCount);
    gather_all(*collective, call, sendBuf, recvBuf, counts, offsets_of(counts));
    return launch(std::move(collective), stream);
}

HcclResult HcclAllGatherV(void* sendBuf, uint64_t sendCount, void* recvBuf, const void* recvCounts,
                          const void* recvDispls, HcclDataType dataType, HcclComm comm, aclrtStream stream) {
    SOFTNPU_HCCL_NEED(recvCounts);
    SOFTNPU_HCCL_NEED(recvDispls);
    SOFTNPU_HCCL_CALL(call, comm, dataType);
    const std::vector<uint64_t> counts = numbers(recvCounts, call.communicator->ranks());
    if (counts[call.communicator->rank()] != sendCount) {
        return refuse(HCCL_E_PARA, "%s: sendCount is %" PRIu64 ", recvCounts of this rank %" PRIu64, __func__,
                      sendCount, counts[call.communicator->rank()]);
    }
    auto collective = std::make_unique<Collective>(CollectiveKind::all_gather_v, *call.communicator);
    collective->agree(dataType, HCCL_REDUCE_RESERVED, 0, std::accumulate(counts.begin(), counts.end(), uint64_t{0}));
    gather_all(*collective, call, sendBuf, recvBuf, counts, numbers(recvDispls, counts.size()));
    return launch(std::move(collective), stream);
}

HcclResult HcclBarrier(HcclComm comm, aclrtStream stream) {
    SOFTNPU_HCCL_CALL(call, comm, HCCL_DATA_TYPE_INT8);
    return launch(std::make_unique<Collective>(CollectiveKind::barrier, *call.communicator), stream);
}

HcclResult HcclSend(void* sendBuf, uint64_t count, HcclDataType dataType, uint32_t destRank, HcclComm comm,
                    aclrtStream stream) {
    return point_to_point(__func__, true, sendBuf, count, dataType, destRank, comm, stream);
}

HcclResult HcclRecv(void* recvBuf, uint64_t count, HcclDataType dataType, uint32_t srcRank, HcclComm comm,
                    aclrtStream stream) {
    return point_to_point(__func__, false, recvBuf, count, dataType, srcRank, comm, stream);
}

HcclResult HcclBatchSendRecv(HcclSendRecvItem* sendRecvInfo, uint32_t itemNum, HcclComm comm, aclrtStream stream) {
    SOFTNPU_HCCL_NEED(sendRecvInfo);
    SOFTNPU_HCCL_NEED(comm);
    auto collective = std::make_unique<Collective>(CollectiveKind::batch, *static_cast<Communicator*>(comm));
    for (uint32_t i = 0; i < itemNum; ++i) {
        const HcclSendRecvItem& item = sendRecvInfo[i];
        SOFTNPU_HCCL_CALL(call, comm, item.dataType);
        SOFTNPU_HCCL_TRY(check_rank(__func__, call, "peer", item.remoteRank));
        if (item.sendRecvType == HCCL_SEND) {
            collective->send(item.remoteRank, item.buf, item.count * call.size);
        } else {
            collective->receive(item.remoteRank, item.buf, item.count * call.size);
        }
    }
    return launch(std::move(collective), stream);
}

HcclResult HcclAlltoAll(const void* sendBuf, uint64_t sendCount, HcclDataType sendType, const void* recvBuf,
                        uint64_t recvCount, HcclDataType recvType, HcclComm comm, aclrtStream stream) {
    SOFTNPU_HCCL_CALL(call, comm, sendType);
    const uint64_t bytes = sendCount * call.size;
    const uint64_t received = recvCount * softnpu::element_bytes(recvType);
    if (bytes != received) {
        return refuse(HCCL_E_PARA, "%s: %" PRIu64 " bytes sent to each rank, %" PRIu64 " received", __func__, bytes,
                      received);
    }
    auto collective = std::make_unique<Collective>(CollectiveKind::all_to_all, *call.communicator);
    collective->agree(sendType, HCCL_REDUCE_RESERVED, 0, sendCount);
    for (uint32_t peer = 0; peer < call.communicator->ranks(); ++peer) {
        collective->send(peer, at(sendBuf, peer * bytes), bytes);
        collective->receive(peer, at(recvBuf, peer * bytes), bytes);
    }
    return launch(std::move(collective), stream);
}

HcclResult HcclAlltoAllV(const void* sendBuf, const void* sendCounts, const void* sdispls, HcclDataType sendType,
                         const void* recvBuf, const void* recvCounts, const void* rdispls, HcclDataType recvType,
                         HcclComm comm, aclrtStream stream) {
    SOFTNPU_HCCL_NEED(sendCounts);
    SOFTNPU_HCCL_NEED(sdispls);
    SOFTNPU_HCCL_NEED(recvCounts);
    SOFTNPU_HCCL_NEED(rdispls);
    SOFTNPU_HCCL_CALL(call, comm, sendType);
    const uint32_t ranks = call.communicator->ranks();
    const uint64_t received = softnpu::element_bytes(recvType);
    const std::vector<uint64_t> out = numbers(sendCounts, ranks);
    const std::vector<uint64_t> out_at = numbers(sdispls, ranks);
    const std::vector<uint64_t> in = numbers(recvCounts, ranks);
    const std::vector<uint64_t> in_at = numbers(rdispls, ranks);
    auto collective = std::make_unique<Collective>(CollectiveKind::all_to_all_v, *call.communicator);
    collective->agree(sendType, HCCL_REDUCE_RESERVED, 0, 0);
    for (uint32_t peer = 0; peer < ranks; ++peer) {
        collective->send(peer, at(sendBuf, out_at[peer] * call.size), out[peer] * call.size);
        collective->receive(peer, at(recvBuf, in_at[peer] * received), in[peer] * received);
    }
    return launch(std::move(collective), stream);
}

// `sendCountMatrix`[i][j]: how many elements rank i sends to rank j; parts follow each other without gaps.
HcclResult HcclAlltoAllVC(const void* sendBuf, const void* sendCountMatrix, HcclDataType sendType, const void* recvBuf,
                          HcclDataType recvType, HcclComm comm, aclrtStream stream) {
    SOFTNPU_HCCL_NEED(sendCountMatrix);
    SOFTNPU_HCCL_CALL(call, comm, sendType);
    const uint64_t ranks = call.communicator->ranks();
    const uint64_t rank = call.communicator->rank();
    const std::vector<uint64_t> matrix = numbers(sendCountMatrix, ranks * ranks);
    std::vector<uint64_t> out(ranks);
    std::vector<uint64_t> in(ranks);
    for (uint64_t peer = 0; peer < ranks; ++peer) {
        out[peer] = matrix[rank * ranks + peer];
        in[peer] = matrix[peer * ranks + rank];
    }
    const std::vector<uint64_t> out_at = offsets_of(out);
    const std::vector<uint64_t> in_at = offsets_of(in);
    return HcclAlltoAllV(sendBuf, out.data(), out_at.data(), sendType, recvBuf, in.data(), in_at.data(), recvType, comm,
                         stream);
}

}  // extern "C"
