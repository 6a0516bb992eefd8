// SPDX-License-Identifier: Apache-2.0
//
// Operators whose tensors do not go together: phase one says so, with CANN's code, and the next call is none the worse.
#include <flexnpu_abi/acl_rt.h>
#include <flexnpu_abi/aclnn.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

extern "C" {
aclnnStatus aclnnAddGetWorkspaceSize(const aclTensor*, const aclTensor*, const aclScalar*, const aclTensor*, uint64_t*,
                                     aclOpExecutor**);
aclnnStatus aclnnInplaceMulGetWorkspaceSize(const aclTensor*, const aclTensor*, uint64_t*, aclOpExecutor**);
aclnnStatus aclnnMmGetWorkspaceSize(const aclTensor*, const aclTensor*, const aclTensor*, int8_t, uint64_t*,
                                    aclOpExecutor**);
aclnnStatus aclnnMm(void*, uint64_t, aclOpExecutor*, aclrtStream);
}

namespace {

constexpr aclnnStatus kInvalid = 161002;

class Refusals : public ::testing::Test {
  protected:
    Refusals() {
        EXPECT_EQ(aclrtSetDevice(0), ACL_SUCCESS);
        EXPECT_EQ(aclrtMalloc(&memory_, 4096, ACL_MEM_MALLOC_HUGE_FIRST), ACL_SUCCESS);
        aclGetRecentErrMsg();
    }
    ~Refusals() override {
        for (const aclTensor* tensor : made_) {
            aclDestroyTensor(tensor);
        }
        aclrtFree(memory_);
    }
    aclTensor* tensor(std::vector<int64_t> sizes, aclDataType dtype = ACL_FLOAT) {
        std::vector<int64_t> strides(sizes.size(), 1);
        for (size_t d = sizes.size(); d-- > 1;) {
            strides[d - 1] = strides[d] * sizes[d];
        }
        made_.push_back(aclCreateTensor(sizes.data(), sizes.size(), dtype, strides.data(), 0, ACL_FORMAT_ND,
                                        sizes.data(), sizes.size(), memory_));
        return made_.back();
    }
    static std::string message() {
        const char* text = aclGetRecentErrMsg();
        return text != nullptr ? text : "";
    }

    void* memory_ = nullptr;
    std::vector<aclTensor*> made_;
    uint64_t workspace_ = 0;
    aclOpExecutor* executor_ = nullptr;
};

}  // namespace

TEST_F(Refusals, sizes_that_cannot_be_broadcast_are_named) {
    float one = 1;
    aclScalar* alpha = aclCreateScalar(&one, ACL_FLOAT);
    EXPECT_EQ(aclnnAddGetWorkspaceSize(tensor({2, 3}), tensor({4}), alpha, tensor({2, 3}), &workspace_, &executor_),
              kInvalid);
    EXPECT_EQ(message(), "aclnnAdd: an input of sizes (4) cannot be broadcast to the result's (2, 3)");
    aclDestroyScalar(alpha);
}

TEST_F(Refusals, a_type_that_the_result_cannot_hold_is_named) {
    EXPECT_EQ(aclnnInplaceMulGetWorkspaceSize(tensor({4}, ACL_INT32), tensor({4}), &workspace_, &executor_), kInvalid);
    EXPECT_NE(message().find("real numbers can't be cast"), std::string::npos);
}

TEST_F(Refusals, matrices_that_cannot_be_multiplied_are_named_and_the_device_goes_on) {
    EXPECT_EQ(aclnnMmGetWorkspaceSize(tensor({2, 3}), tensor({4, 5}), tensor({2, 5}), 0, &workspace_, &executor_),
              kInvalid);
    EXPECT_EQ(message(), "aclnnMm: the sizes (2, 3) and (4, 5) cannot be multiplied");
    EXPECT_EQ(aclnnMmGetWorkspaceSize(tensor({2, 3}), tensor({3, 5}), tensor({2, 4}), 0, &workspace_, &executor_),
              kInvalid);
    EXPECT_NE(message().find("cannot hold the product"), std::string::npos);
    ASSERT_EQ(aclnnMmGetWorkspaceSize(tensor({2, 3}), tensor({3, 5}), tensor({2, 5}), 0, &workspace_, &executor_), 0);
    EXPECT_EQ(aclnnMm(nullptr, 0, executor_, nullptr), 0);
    EXPECT_EQ(aclrtSynchronizeDevice(), ACL_SUCCESS);
}
