// SPDX-License-Identifier: Apache-2.0
//
// Memory, events and notifies that two processes use, through the public calls. The other process is forked before this
// one opens a device, so each opens it by itself.
#include <flexnpu_abi/acl_rt.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <string>

namespace {

constexpr size_t kBytes = 3 << 20;
constexpr size_t kKey = 65;

struct Letter {
    char key[kKey];
    aclrtIpcEventHandle event;
    uint64_t physical;
    char notify[kKey];
};

void open_device() {
    const aclError error = aclInit(nullptr);
    EXPECT_TRUE(error == ACL_SUCCESS || error == ACL_ERROR_REPEAT_INITIALIZE);
    EXPECT_EQ(aclrtSetDevice(0), ACL_SUCCESS);
}

std::string message() {
    const char* const text = aclGetRecentErrMsg();
    return text == nullptr ? "" : text;
}

// The process that owns what is shared: fills it with 7, sends the handles, and does what single letters tell it.
class Owner {
  public:
    Owner() {
        EXPECT_EQ(pipe(orders_), 0);
        EXPECT_EQ(pipe(letters_), 0);
        pid_ = fork();
        if (pid_ == 0) {
            _exit(serve());
        }
        EXPECT_EQ(read(letters_[0], &letter, sizeof letter), static_cast<ssize_t>(sizeof letter));
    }
    ~Owner() {
        kill(pid_, SIGKILL);
        waitpid(pid_, nullptr, 0);
    }
    // 'f' free the memory, 'c' close its key, 'r' record the event, 'n' the notify. Returns when it is done.
    void tell(char order) {
        EXPECT_EQ(write(orders_[1], &order, 1), 1);
        char done = 0;
        EXPECT_EQ(read(letters_[0], &done, 1), 1);
        EXPECT_EQ(done, order);
    }
    void die() {
        kill(pid_, SIGKILL);
        waitpid(pid_, nullptr, 0);
    }

    Letter letter{};

  private:
    int serve() {
        open_device();
        void* memory = nullptr;
        aclrtEvent event = nullptr;
        aclrtNotify notify = nullptr;
        aclrtStream stream = nullptr;
        aclrtDrvMemHandle physical = nullptr;
        aclrtPhysicalMemProp prop{};
        Letter mine{};
        bool good = aclrtCreateStream(&stream) == ACL_SUCCESS;
        good = good && aclrtMalloc(&memory, kBytes, ACL_MEM_MALLOC_HUGE_FIRST) == ACL_SUCCESS;
        good = good && aclrtMemset(memory, kBytes, 7, kBytes) == ACL_SUCCESS;
        good = good && aclrtIpcMemGetExportKey(memory, kBytes, mine.key, kKey, 0) == ACL_SUCCESS;
        good = good && aclrtCreateEventExWithFlag(&event, ACL_EVENT_IPC) == ACL_SUCCESS;
        good = good && aclrtIpcGetEventHandle(event, &mine.event) == ACL_SUCCESS;
        good = good && aclrtMallocPhysical(&physical, kBytes, &prop, 0) == ACL_SUCCESS;
        good = good && aclrtMemExportToShareableHandle(physical, ACL_MEM_HANDLE_TYPE_NONE, 0, &mine.physical) == 0;
        good = good && aclrtCreateNotify(&notify, 0) == ACL_SUCCESS;
        good = good && aclrtNotifyGetExportKey(notify, mine.notify, kKey, 0) == ACL_SUCCESS;
        if (!good || write(letters_[1], &mine, sizeof mine) < 0) {
            return 1;
        }
        for (char order = 0; read(orders_[0], &order, 1) == 1;) {
            good = order == 'f'   ? aclrtFree(memory) == ACL_SUCCESS
                   : order == 'c' ? aclrtIpcMemClose(mine.key) == ACL_SUCCESS
                   : order == 'n' ? aclrtRecordNotify(notify, stream) == ACL_SUCCESS
                                  : aclrtRecordEvent(event, stream) == ACL_SUCCESS;
            if (!good || write(letters_[1], &order, 1) != 1) {
                return 1;
            }
        }
        return 0;
    }

    int orders_[2];
    int letters_[2];
    pid_t pid_ = 0;
};

}  // namespace

TEST(Sharing, memory_by_key_is_the_same_memory) {
    Owner owner;
    open_device();
    void* memory = nullptr;
    ASSERT_EQ(aclrtIpcMemImportByKey(&memory, owner.letter.key, 0), ACL_SUCCESS) << message();
    char byte = 0;
    const auto* last = static_cast<const char*>(memory) + kBytes - 1;
    EXPECT_EQ(aclrtMemcpy(&byte, 1, last, 1, ACL_MEMCPY_DEVICE_TO_HOST), ACL_SUCCESS) << message();
    EXPECT_EQ(byte, 7);
    EXPECT_EQ(aclrtIpcMemClose(owner.letter.key), ACL_SUCCESS);
    EXPECT_NE(aclrtMemcpy(&byte, 1, last, 1, ACL_MEMCPY_DEVICE_TO_HOST), ACL_SUCCESS);
}

TEST(Sharing, memory_stays_with_who_has_it_when_its_owner_dies) {
    Owner owner;
    open_device();
    void* memory = nullptr;
    ASSERT_EQ(aclrtIpcMemImportByKey(&memory, owner.letter.key, 0), ACL_SUCCESS) << message();
    owner.die();
    char byte = 0;
    EXPECT_EQ(aclrtMemcpy(&byte, 1, memory, 1, ACL_MEMCPY_DEVICE_TO_HOST), ACL_SUCCESS) << message();
    EXPECT_EQ(byte, 7);
}

TEST(Sharing, a_key_leads_nowhere_when_it_is_closed_or_the_memory_freed_or_the_owner_dead) {
    for (const char order : {'c', 'f'}) {
        Owner owner;
        owner.tell(order);
        open_device();
        void* memory = nullptr;
        EXPECT_EQ(aclrtIpcMemImportByKey(&memory, owner.letter.key, 0), ACL_ERROR_RT_PARAM_INVALID) << order;
        EXPECT_NE(message().find("no longer"), std::string::npos);
        owner.die();
        EXPECT_EQ(aclrtIpcMemImportByKey(&memory, owner.letter.key, 0), ACL_ERROR_RT_PARAM_INVALID);
        EXPECT_NE(message().find("is gone"), std::string::npos);
    }
}

TEST(Sharing, physical_memory_is_mapped_where_the_importer_wants_it) {
    Owner owner;
    open_device();
    aclrtDrvMemHandle physical = nullptr;
    ASSERT_EQ(aclrtMemImportFromShareableHandle(owner.letter.physical, 0, &physical), ACL_SUCCESS) << message();
    uint64_t again = 0;
    EXPECT_EQ(aclrtMemExportToShareableHandle(physical, ACL_MEM_HANDLE_TYPE_NONE, 0, &again),
              ACL_ERROR_RT_PARAM_INVALID);
    void* address = nullptr;
    ASSERT_EQ(aclrtReserveMemAddress(&address, kBytes, 0, nullptr, 0), ACL_SUCCESS);
    ASSERT_EQ(aclrtMapMem(address, kBytes, 0, physical, 0), ACL_SUCCESS) << message();
    EXPECT_EQ(aclrtMemset(address, kBytes, 3, kBytes), ACL_SUCCESS) << message();
    EXPECT_EQ(aclrtUnmapMem(address), ACL_SUCCESS);
    EXPECT_EQ(aclrtFreePhysical(physical), ACL_SUCCESS);
    EXPECT_EQ(aclrtReleaseMemAddress(address), ACL_SUCCESS);
}

TEST(Sharing, an_event_tells_the_other_process_that_work_is_over) {
    Owner owner;
    open_device();
    aclrtEvent event = nullptr;
    ASSERT_EQ(aclrtIpcOpenEventHandle(owner.letter.event, &event), ACL_SUCCESS) << message();
    owner.tell('r');
    EXPECT_EQ(aclrtSynchronizeEvent(event), ACL_SUCCESS);
    aclrtStream stream = nullptr;
    ASSERT_EQ(aclrtCreateStream(&stream), ACL_SUCCESS);
    EXPECT_EQ(aclrtStreamWaitEvent(stream, event), ACL_SUCCESS);
    EXPECT_EQ(aclrtSynchronizeStream(stream), ACL_SUCCESS);
    owner.die();
    EXPECT_EQ(aclrtDestroyEvent(event), ACL_SUCCESS);
    EXPECT_EQ(aclrtIpcOpenEventHandle(owner.letter.event, &event), ACL_ERROR_RT_PARAM_INVALID);
}

TEST(Sharing, a_notify_of_another_process_lets_a_stream_go_on) {
    Owner owner;
    open_device();
    aclrtNotify notify = nullptr;
    ASSERT_EQ(aclrtNotifyImportByKey(&notify, owner.letter.notify, 0), ACL_SUCCESS) << message();
    aclrtStream stream = nullptr;
    ASSERT_EQ(aclrtCreateStream(&stream), ACL_SUCCESS);
    ASSERT_EQ(aclrtWaitAndResetNotify(notify, stream, 0), ACL_SUCCESS);
    aclrtStreamStatus status = ACL_STREAM_STATUS_COMPLETE;
    EXPECT_EQ(aclrtStreamQuery(stream, &status), ACL_SUCCESS);
    EXPECT_EQ(status, ACL_STREAM_STATUS_NOT_READY);
    owner.tell('n');
    EXPECT_EQ(aclrtSynchronizeStream(stream), ACL_SUCCESS) << message();
    EXPECT_EQ(aclrtDestroyNotify(notify), ACL_SUCCESS);
}

TEST(Sharing, what_was_not_made_to_be_shared_is_refused_by_name) {
    open_device();
    aclrtEvent event = nullptr;
    aclrtIpcEventHandle handle{};
    ASSERT_EQ(aclrtCreateEvent(&event), ACL_SUCCESS);
    EXPECT_EQ(aclrtIpcGetEventHandle(event, &handle), ACL_ERROR_RT_PARAM_INVALID);
    EXPECT_NE(message().find("ACL_EVENT_IPC"), std::string::npos);
    aclrtDestroyEvent(event);
    char key[kKey] = {};
    void* memory = nullptr;
    ASSERT_EQ(aclrtMalloc(&memory, kBytes, ACL_MEM_MALLOC_HUGE_FIRST), ACL_SUCCESS);
    EXPECT_EQ(aclrtIpcMemGetExportKey(static_cast<char*>(memory) + 512, 512, key, kKey, 0), ACL_ERROR_RT_PARAM_INVALID);
    EXPECT_EQ(aclrtIpcMemGetExportKey(memory, kBytes, key, 64, 0), ACL_ERROR_RT_PARAM_INVALID);
    EXPECT_EQ(aclrtIpcMemImportByKey(&memory, "softnpu-ipc:elephant", 0), ACL_ERROR_RT_PARAM_INVALID);
    EXPECT_NE(message().find("elephant"), std::string::npos);
}
