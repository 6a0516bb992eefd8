// SPDX-License-Identifier: Apache-2.0
//
// Streams, events and errors through the public calls, as a program makes them.
#include <flexnpu_abi/acl_rt.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cstring>
#include <string>

namespace {

class Runtime : public ::testing::Test {
  protected:
    Runtime() {
        EXPECT_EQ(aclInit(nullptr), ACL_SUCCESS);
        EXPECT_EQ(aclrtSetDevice(0), ACL_SUCCESS);
        EXPECT_EQ(aclrtCreateStream(&first_), ACL_SUCCESS);
        EXPECT_EQ(aclrtCreateStream(&second_), ACL_SUCCESS);
    }
    ~Runtime() override {
        aclrtDestroyStream(first_);
        aclrtDestroyStream(second_);
        EXPECT_EQ(aclFinalize(), ACL_SUCCESS);
    }
    aclrtStream first_ = nullptr;
    aclrtStream second_ = nullptr;
};

void count(void* argument) { static_cast<std::atomic<int>*>(argument)->fetch_add(1); }

}  // namespace

TEST_F(Runtime, an_event_may_be_destroyed_while_streams_still_use_it) {
    for (int round = 0; round < 5000; ++round) {
        aclrtEvent event = nullptr;
        ASSERT_EQ(aclrtCreateEventWithFlag(&event, 0), ACL_SUCCESS);
        ASSERT_EQ(aclrtRecordEvent(event, first_), ACL_SUCCESS);
        ASSERT_EQ(aclrtStreamWaitEvent(second_, event), ACL_SUCCESS);
        ASSERT_EQ(aclrtDestroyEvent(event), ACL_SUCCESS);
    }
    EXPECT_EQ(aclrtSynchronizeStream(second_), ACL_SUCCESS);
}

TEST_F(Runtime, many_copies_at_once_tell_which_of_them_is_refused) {
    char source[2][64] = {"one", "two"};
    char back[2][64] = {};
    void* device[2] = {};
    size_t sizes[2] = {64, 64};
    for (void*& place : device) {
        ASSERT_EQ(aclrtMalloc(&place, 64, ACL_MEM_MALLOC_HUGE_FIRST), ACL_SUCCESS);
    }
    void* from[2] = {source[0], source[1]};
    void* to[2] = {back[0], back[1]};
    size_t failed = 99;
    ASSERT_EQ(aclrtMemcpyBatch(device, sizes, from, sizes, 2, nullptr, nullptr, 0, &failed), ACL_SUCCESS);
    ASSERT_EQ(aclrtMemcpyBatchAsync(to, sizes, device, sizes, 2, nullptr, nullptr, 0, &failed, first_), ACL_SUCCESS);
    ASSERT_EQ(aclrtSynchronizeStream(first_), ACL_SUCCESS);
    EXPECT_EQ(std::memcmp(source, back, sizeof source), 0);
    size_t room[2] = {64, 8};
    EXPECT_EQ(aclrtMemcpyBatch(device, room, from, sizes, 2, nullptr, nullptr, 0, &failed), ACL_ERROR_RT_PARAM_INVALID);
    EXPECT_EQ(failed, 1U);
    for (void* place : device) {
        EXPECT_EQ(aclrtFree(place), ACL_SUCCESS);
    }
}

TEST_F(Runtime, a_prefetch_is_part_of_its_stream_and_utilisation_has_its_range) {
    void* device = nullptr;
    ASSERT_EQ(aclrtMalloc(&device, 4096, ACL_MEM_MALLOC_HUGE_FIRST), ACL_SUCCESS);
    EXPECT_EQ(aclrtCmoAsync(device, 4096, ACL_RT_CMO_TYPE_PREFETCH, first_), ACL_SUCCESS);
    EXPECT_EQ(aclrtSynchronizeStream(first_), ACL_SUCCESS);
    aclrtUtilizationInfo info{};
    ASSERT_EQ(aclrtGetDeviceUtilizationRate(0, &info), ACL_SUCCESS);
    EXPECT_EQ(info.cubeUtilization, 0) << "nothing runs";
    EXPECT_EQ(aclrtGetDeviceUtilizationRate(99, &info), ACL_ERROR_RT_INVALID_DEVICEID);
    EXPECT_EQ(aclrtFree(device), ACL_SUCCESS);
}

TEST_F(Runtime, work_on_one_stream_keeps_its_order) {
    char source[256];
    char back[256] = {};
    void* device = nullptr;
    ASSERT_EQ(aclrtMalloc(&device, sizeof source, ACL_MEM_MALLOC_HUGE_FIRST), ACL_SUCCESS);
    for (int round = 0; round < 200; ++round) {
        std::memset(source, round, sizeof source);
        ASSERT_EQ(aclrtMemsetAsync(device, sizeof source, 255 - round % 2, sizeof source, first_), ACL_SUCCESS);
        ASSERT_EQ(aclrtMemcpyAsync(device, sizeof source, source, sizeof source, ACL_MEMCPY_HOST_TO_DEVICE, first_),
                  ACL_SUCCESS);
        ASSERT_EQ(aclrtMemcpyAsync(back, sizeof back, device, sizeof back, ACL_MEMCPY_DEVICE_TO_HOST, first_),
                  ACL_SUCCESS);
        ASSERT_EQ(aclrtSynchronizeStream(first_), ACL_SUCCESS);
        ASSERT_EQ(std::memcmp(source, back, sizeof back), 0) << "round " << round;
    }
    EXPECT_EQ(aclrtFree(device), ACL_SUCCESS);
}

TEST_F(Runtime, an_abort_drops_what_is_queued_tells_it_once_and_the_streams_go_on) {
    std::atomic<bool> begun = false, go_on = false;
    std::atomic<bool>* gate[2] = {&begun, &go_on};
    const auto hold = [](void* argument) {
        auto** flags = static_cast<std::atomic<bool>**>(argument);
        flags[0]->store(true);
        flags[0]->notify_one();
        flags[1]->wait(false);
    };
    std::atomic<int> ran = 0;
    aclrtEvent event = nullptr;
    ASSERT_EQ(aclrtCreateEventWithFlag(&event, 0), ACL_SUCCESS);
    ASSERT_EQ(aclrtLaunchHostFunc(first_, hold, gate), ACL_SUCCESS);
    ASSERT_EQ(aclrtLaunchHostFunc(first_, count, &ran), ACL_SUCCESS);
    ASSERT_EQ(aclrtRecordEvent(event, first_), ACL_SUCCESS);
    ASSERT_EQ(aclrtStreamWaitEvent(second_, event), ACL_SUCCESS);
    ASSERT_EQ(aclrtLaunchHostFunc(second_, count, &ran), ACL_SUCCESS);
    begun.wait(false);
    EXPECT_EQ(aclrtDeviceTaskAbort(0, 20), ACL_ERROR_RT_STREAM_SYNC_TIMEOUT);  // what runs is finished
    go_on = true;
    go_on.notify_one();
    EXPECT_EQ(aclrtDeviceTaskAbort(0, 0), ACL_SUCCESS);
    EXPECT_EQ(ran, 0);
    EXPECT_EQ(aclrtSynchronizeEvent(event), ACL_SUCCESS);
    EXPECT_EQ(aclrtSynchronizeStream(first_), ACL_ERROR_RT_DEVICE_TASK_ABORT);
    EXPECT_NE(std::string(aclGetRecentErrMsg()).find("were aborted"), std::string::npos);
    ASSERT_EQ(aclrtLaunchHostFunc(first_, count, &ran), ACL_SUCCESS);
    EXPECT_EQ(aclrtSynchronizeStream(first_), ACL_SUCCESS);
    EXPECT_EQ(ran, 1);
    EXPECT_EQ(aclrtStreamAbort(first_), ACL_SUCCESS);
    EXPECT_EQ(aclrtSynchronizeStream(first_), ACL_SUCCESS);
    aclrtDestroyEvent(event);
}

TEST_F(Runtime, a_stream_waits_for_another_streams_event) {
    std::atomic<int> done{0};
    aclrtEvent event = nullptr;
    ASSERT_EQ(aclrtCreateEventWithFlag(&event, 0), ACL_SUCCESS);
    for (int i = 0; i < 100; ++i) {
        ASSERT_EQ(aclrtLaunchHostFunc(first_, count, &done), ACL_SUCCESS);
    }
    ASSERT_EQ(aclrtRecordEvent(event, first_), ACL_SUCCESS);
    ASSERT_EQ(aclrtStreamWaitEvent(second_, event), ACL_SUCCESS);
    ASSERT_EQ(aclrtSynchronizeStream(second_), ACL_SUCCESS);
    EXPECT_EQ(done.load(), 100);
    aclrtEventRecordedStatus status = ACL_EVENT_RECORDED_STATUS_NOT_READY;
    EXPECT_EQ(aclrtQueryEventStatus(event, &status), ACL_SUCCESS);
    EXPECT_EQ(status, ACL_EVENT_RECORDED_STATUS_COMPLETE);
    aclrtDestroyEvent(event);
}

TEST_F(Runtime, a_destroyed_stream_refuses_work_and_harms_nobody) {
    aclrtStream gone = nullptr;
    aclrtEvent event = nullptr;
    std::atomic<int> calls{0};
    ASSERT_EQ(aclrtCreateStream(&gone), ACL_SUCCESS);
    ASSERT_EQ(aclrtCreateEvent(&event), ACL_SUCCESS);
    ASSERT_EQ(aclrtLaunchHostFunc(gone, count, &calls), ACL_SUCCESS);
    ASSERT_EQ(aclrtDestroyStream(gone), ACL_SUCCESS);
    EXPECT_EQ(calls, 1) << "work that was queued is finished first";
    EXPECT_EQ(aclrtLaunchHostFunc(gone, count, &calls), ACL_ERROR_RT_STREAM_CONTEXT);
    EXPECT_EQ(aclrtRecordEvent(event, gone), ACL_ERROR_RT_STREAM_CONTEXT);
    EXPECT_EQ(aclrtSynchronizeEvent(event), ACL_SUCCESS) << "a record that failed is not waited for";
    EXPECT_EQ(aclrtSynchronizeStream(gone), ACL_SUCCESS);
    EXPECT_EQ(aclrtDestroyStream(gone), ACL_ERROR_RT_STREAM_CONTEXT);
    EXPECT_EQ(calls, 1);
    EXPECT_EQ(aclrtDestroyEvent(event), ACL_SUCCESS);
}

TEST_F(Runtime, a_captured_graph_runs_when_it_is_replayed_and_may_be_destroyed_meanwhile) {
    std::atomic<int> calls{0};
    aclrtEvent event = nullptr;
    aclmdlRI graph = nullptr;
    ASSERT_EQ(aclrtCreateEvent(&event), ACL_SUCCESS);
    ASSERT_EQ(aclmdlRICaptureBegin(first_, ACL_MODEL_RI_CAPTURE_MODE_GLOBAL), ACL_SUCCESS);
    ASSERT_EQ(aclrtLaunchHostFunc(first_, count, &calls), ACL_SUCCESS);
    ASSERT_EQ(aclrtRecordEvent(event, first_), ACL_SUCCESS);
    ASSERT_EQ(aclrtStreamWaitEvent(second_, event), ACL_SUCCESS);
    ASSERT_EQ(aclrtLaunchHostFunc(second_, count, &calls), ACL_SUCCESS);
    ASSERT_EQ(aclmdlRICaptureEnd(first_, &graph), ACL_SUCCESS);
    ASSERT_EQ(aclrtSynchronizeStream(second_), ACL_SUCCESS);
    EXPECT_EQ(calls, 0) << "a capture holds work back, on every stream that takes part";
    for (int replay = 0; replay < 100; ++replay) {
        ASSERT_EQ(aclmdlRIExecuteAsync(graph, replay % 2 == 0 ? first_ : second_), ACL_SUCCESS);
    }
    EXPECT_EQ(aclmdlRIDestroy(graph), ACL_SUCCESS);
    EXPECT_EQ(aclrtSynchronizeStream(first_), ACL_SUCCESS);
    EXPECT_EQ(aclrtSynchronizeStream(second_), ACL_SUCCESS);
    EXPECT_EQ(calls, 200);
    EXPECT_EQ(aclmdlRICaptureEnd(first_, &graph), ACL_ERROR_RT_STREAM_NOT_CAPTURED);
    EXPECT_EQ(aclrtDestroyEvent(event), ACL_SUCCESS);
}

TEST_F(Runtime, a_replay_awaits_an_external_event_and_takes_what_was_updated_until_then) {
    std::atomic<int> old_calls{0};
    std::atomic<int> new_calls{0};
    aclrtEvent event = nullptr;
    aclmdlRI graph = nullptr;
    aclrtTaskGrp group = nullptr;
    ASSERT_EQ(aclrtCreateEventWithFlag(&event, ACL_EVENT_EXTERNAL), ACL_SUCCESS);
    ASSERT_EQ(aclmdlRICaptureBegin(first_, ACL_MODEL_RI_CAPTURE_MODE_GLOBAL), ACL_SUCCESS);
    ASSERT_EQ(aclrtStreamWaitEvent(first_, event), ACL_SUCCESS);
    ASSERT_EQ(aclrtResetEvent(event, first_), ACL_SUCCESS);
    ASSERT_EQ(aclmdlRICaptureTaskGrpBegin(first_), ACL_SUCCESS);
    ASSERT_EQ(aclrtLaunchHostFunc(first_, count, &old_calls), ACL_SUCCESS);
    ASSERT_EQ(aclmdlRICaptureTaskGrpEnd(first_, &group), ACL_SUCCESS);
    ASSERT_EQ(aclmdlRICaptureEnd(first_, &graph), ACL_SUCCESS);
    ASSERT_EQ(aclmdlRIExecuteAsync(graph, first_), ACL_SUCCESS);
    ASSERT_EQ(aclmdlRICaptureTaskUpdateBegin(second_, group), ACL_SUCCESS);
    ASSERT_EQ(aclrtLaunchHostFunc(second_, count, &new_calls), ACL_SUCCESS);
    EXPECT_EQ(aclrtLaunchHostFunc(second_, count, &new_calls), ACL_ERROR_RT_STREAM_CAPTURE_UNMATCHED);
    ASSERT_EQ(aclmdlRICaptureTaskUpdateEnd(second_), ACL_SUCCESS);
    EXPECT_EQ(new_calls, 0) << "the replay waits";
    ASSERT_EQ(aclrtRecordEvent(event, second_), ACL_SUCCESS);
    ASSERT_EQ(aclrtSynchronizeStream(first_), ACL_SUCCESS);
    EXPECT_EQ(old_calls, 0);
    EXPECT_EQ(new_calls, 1);
    EXPECT_EQ(aclmdlRIDestroy(graph), ACL_SUCCESS);
    EXPECT_EQ(aclrtDestroyEvent(event), ACL_SUCCESS);
}

TEST_F(Runtime, a_foreign_pointer_is_not_freed_and_is_named) {
    int here = 0;
    EXPECT_EQ(aclrtFree(&here), ACL_ERROR_RT_PARAM_INVALID);
    const char* message = aclGetRecentErrMsg();
    ASSERT_NE(message, nullptr);
    EXPECT_NE(std::strstr(message, "aclrtFree"), nullptr) << message;
}

TEST_F(Runtime, a_device_that_is_not_there_is_named_with_the_range) {
    EXPECT_EQ(aclrtSetDevice(99), ACL_ERROR_RT_INVALID_DEVICEID);
    const char* message = aclGetRecentErrMsg();
    ASSERT_NE(message, nullptr);
    EXPECT_NE(std::strstr(message, "99"), nullptr) << message;
    EXPECT_NE(std::strstr(message, "0 to 0"), nullptr) << message;
}

TEST_F(Runtime, a_limit_on_the_cores_is_read_back_and_bounded_by_the_soc) {
    uint32_t cores = 0;
    ASSERT_EQ(aclrtGetResInCurrentThread(ACL_RT_DEV_RES_CUBE_CORE, &cores), ACL_SUCCESS);
    EXPECT_EQ(cores, 24u);
    ASSERT_EQ(aclrtSetDeviceResLimit(0, ACL_RT_DEV_RES_CUBE_CORE, 8), ACL_SUCCESS);
    ASSERT_EQ(aclrtSetStreamResLimit(first_, ACL_RT_DEV_RES_CUBE_CORE, 4), ACL_SUCCESS);
    ASSERT_EQ(aclrtUseStreamResInCurrentThread(first_), ACL_SUCCESS);
    ASSERT_EQ(aclrtGetResInCurrentThread(ACL_RT_DEV_RES_CUBE_CORE, &cores), ACL_SUCCESS);
    EXPECT_EQ(cores, 4u);
    ASSERT_EQ(aclrtUnuseStreamResInCurrentThread(first_), ACL_SUCCESS);
    ASSERT_EQ(aclrtGetResInCurrentThread(ACL_RT_DEV_RES_CUBE_CORE, &cores), ACL_SUCCESS);
    EXPECT_EQ(cores, 8u);
    EXPECT_EQ(aclrtSetDeviceResLimit(0, ACL_RT_DEV_RES_CUBE_CORE, 25), ACL_ERROR_RT_PARAM_INVALID);
    ASSERT_EQ(aclrtResetDeviceResLimit(0), ACL_SUCCESS);
}

TEST_F(Runtime, a_copy_from_freed_or_foreign_memory_is_refused_and_named) {
    char host[64] = {};
    void* device = nullptr;
    ASSERT_EQ(aclrtMalloc(&device, sizeof host, ACL_MEM_MALLOC_HUGE_FIRST), ACL_SUCCESS);
    ASSERT_EQ(aclrtFree(device), ACL_SUCCESS);
    EXPECT_EQ(aclrtMemcpy(host, sizeof host, device, sizeof host, ACL_MEMCPY_DEVICE_TO_HOST),
              ACL_ERROR_RT_PARAM_INVALID);
    EXPECT_NE(std::string(aclGetRecentErrMsg()).find("freed"), std::string::npos);
    EXPECT_EQ(aclrtMemcpyAsync(device, sizeof host, host, sizeof host, ACL_MEMCPY_HOST_TO_DEVICE, first_),
              ACL_ERROR_RT_PARAM_INVALID);
    EXPECT_EQ(aclrtMemcpy(host, sizeof host, host, sizeof host, ACL_MEMCPY_DEVICE_TO_DEVICE),
              ACL_ERROR_RT_PARAM_INVALID);
    EXPECT_EQ(aclrtMemset(host, sizeof host, 1, sizeof host), ACL_ERROR_RT_PARAM_INVALID);
    EXPECT_EQ(aclrtMemset(device, sizeof host, 1, sizeof host), ACL_ERROR_RT_PARAM_INVALID);
}

TEST_F(Runtime, a_second_initialisation_and_a_second_end_are_told) {
    EXPECT_EQ(aclInit(nullptr), ACL_ERROR_REPEAT_INITIALIZE);
    EXPECT_NE(std::string(aclGetRecentErrMsg()).find("already"), std::string::npos);
    EXPECT_EQ(aclFinalize(), ACL_SUCCESS);
    EXPECT_EQ(aclFinalize(), ACL_ERROR_REPEAT_FINALIZE);
    EXPECT_EQ(aclInit(nullptr), ACL_SUCCESS);
}

TEST_F(Runtime, a_wait_that_nobody_ends_is_an_error_when_its_time_is_over) {
    aclrtNotify notify = nullptr;
    ASSERT_EQ(aclrtCreateNotify(&notify, 0), ACL_SUCCESS);
    ASSERT_EQ(aclrtWaitAndResetNotify(notify, first_, 1), ACL_SUCCESS);
    EXPECT_EQ(aclrtSynchronizeStream(first_), ACL_ERROR_RT_TASK_TIMEOUT);
    EXPECT_NE(std::string(aclGetRecentErrMsg()).find("1000 ms"), std::string::npos);
    EXPECT_EQ(aclrtSynchronizeStream(first_), ACL_SUCCESS) << "an error is told once";

    aclrtEvent event = nullptr;
    ASSERT_EQ(aclrtCreateEventExWithFlag(&event, ACL_EVENT_EXTERNAL), ACL_SUCCESS);
    ASSERT_EQ(aclrtStreamWaitEventWithTimeout(first_, event, 200), ACL_SUCCESS);
    EXPECT_EQ(aclrtSynchronizeStream(first_), ACL_ERROR_RT_TASK_TIMEOUT);
    ASSERT_EQ(aclrtSetOpWaitTimeout(1), ACL_SUCCESS);
    ASSERT_EQ(aclrtStreamWaitEvent(first_, event), ACL_SUCCESS);
    EXPECT_EQ(aclrtSynchronizeStream(first_), ACL_ERROR_RT_TASK_TIMEOUT);
    ASSERT_EQ(aclrtSetOpWaitTimeout(0), ACL_SUCCESS);
    aclrtDestroyEvent(event);
    aclrtDestroyNotify(notify);
}

TEST_F(Runtime, a_record_of_a_notify_lets_one_wait_through) {
    std::atomic<int> passed{0};
    aclrtNotify notify = nullptr;
    ASSERT_EQ(aclrtCreateNotify(&notify, 0), ACL_SUCCESS);
    for (int round = 1; round <= 100; ++round) {
        ASSERT_EQ(aclrtWaitAndResetNotify(notify, first_, 0), ACL_SUCCESS);
        ASSERT_EQ(aclrtLaunchHostFunc(first_, count, &passed), ACL_SUCCESS);
        ASSERT_EQ(aclrtRecordNotify(notify, second_), ACL_SUCCESS);
        ASSERT_EQ(aclrtSynchronizeStream(first_), ACL_SUCCESS);
        ASSERT_EQ(passed.load(), round);
    }
    ASSERT_EQ(aclrtWaitAndResetNotify(notify, first_, 1), ACL_SUCCESS);
    EXPECT_EQ(aclrtSynchronizeStream(first_), ACL_ERROR_RT_TASK_TIMEOUT) << "the record was taken";
    aclrtDestroyNotify(notify);
}
