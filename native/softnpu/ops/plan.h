// SPDX-License-Identifier: Apache-2.0
//
// What phase one of an operator makes: a plan (operator, arguments, tiling, cost) without addresses, which the executor
// cache may keep, and an executor: a plan with the addresses of one call.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "device/device.h"
#include "ops/handles.h"
#include "runtime/kernel.h"

namespace softnpu {

struct Plan;
struct CompiledExtras;

// Time of one call on the device, from shapes alone.
using CostFunction = Cost (*)(const Plan& plan);
// One line that says why phase one refuses the call; empty when it does not (ops/check.h).
using CheckFunction = std::string (*)(const Plan& plan);

// One bound operator.
struct Operator {
    const char* name;
    void (*run)(const aclOpExecutor& executor);
    CostFunction cost;
    CheckFunction check;  // may be null
    Kernel kernel;
};

struct TensorSlot {
    int32_t index;  // into Plan::tensors; -1: an optional tensor that was not given
    bool result = false;
};
struct TensorListSlot {
    int32_t first;
    int32_t count;
};

using Argument =
    std::variant<std::monostate, TensorSlot, TensorListSlot, aclScalar, std::vector<aclScalar>, std::vector<int64_t>,
                 std::vector<float>, std::vector<uint8_t>, int64_t, double, std::string>;

struct Plan {
    const Operator* op;
    std::vector<aclTensor> tensors;  // in order of the arguments, lists laid out in place
    std::vector<Argument> arguments;
    Cost cost{};
    uint32_t blocks = 1;
    bool cacheable = true;
    std::shared_ptr<const CompiledExtras> extras;  // of an operator that is run by name (ops/compiled.h)
};

// Takes the arguments of a phase one in their order, then makes the executor.
class PlanBuilder {
  public:
    explicit PlanBuilder(const Operator& op);
    void tensor(const aclTensor* tensor);
    void result(const aclTensor* tensor);
    void tensors(const aclTensorList* list);
    void sized(const aclTensor* tensor);
    void scalar(const aclScalar* scalar);
    void scalars(const aclScalarList* list);
    void integers(const aclIntArray* array);
    void floats(const aclFloatArray* array);
    void bools(const aclBoolArray* array);
    void integer(int64_t value);
    void real(double value);
    void text(const char* value);
    void extras(std::shared_ptr<const CompiledExtras> value);

    aclnnStatus finish(uint64_t* workspace_size, aclOpExecutor** executor);

  private:
    int32_t add(const aclTensor& tensor);

    std::shared_ptr<Plan> plan_;
    std::string problem_;
};

// Phase two: launches through the public AscendCL call, which copies the arguments. The executor is used up.
aclnnStatus launch(const Operator& op, aclOpExecutor* executor, aclrtStream stream);

bool run_kernel(void* executor, char* error, uint32_t size);
void drop_kernel(void* executor);
uint32_t touched_by_kernel(const void* executor, Touched* list, uint32_t room);

constexpr Operator make_operator(const char* name, void (*run)(const aclOpExecutor&), CostFunction cost,
                                 CheckFunction check = nullptr) {
    return {name, run, cost, check, {kKernelMagic, name, run_kernel, drop_kernel, nullptr, touched_by_kernel}};
}

}  // namespace softnpu

struct aclOpExecutor {
    std::shared_ptr<const softnpu::Plan> plan;
    std::vector<void*> addresses;  // of the storages, one per plan->tensors
};
