// SPDX-License-Identifier: Apache-2.0
#include "ops/plan.h"

#include <ATen/Parallel.h>
#include <c10/core/InferenceMode.h>
#include <flexnpu_abi/acl_rt.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <exception>

#include "ops/cache.h"
#include "ops/cost.h"
#include "ops/errors.h"
#include "ops/overflow.h"
#include "runtime/status.h"

namespace softnpu {
namespace {

// Bytes that a vector operator gives one block at least: less work is not cut further.
constexpr double kBytesPerBlock = 64.0 * 1024.0;

// Cuts the operator into blocks the way CANN's tiling does: by the core counts that the runtime names for this thread.
aclError tile(Plan& plan) {
    const bool vector_only = plan.cost.unit == Unit::vector;
    uint32_t cores = 0;
    const aclError error =
        aclrtGetResInCurrentThread(vector_only ? ACL_RT_DEV_RES_VECTOR_CORE : ACL_RT_DEV_RES_CUBE_CORE, &cores);
    if (error != ACL_SUCCESS) {
        return error;
    }
    if (vector_only) {
        cores = std::max(1u, cores / 2);  // a block runs on a cube core's two vector cores
        const double wanted = std::ceil(plan.cost.hbm_bytes / kBytesPerBlock);
        cores = static_cast<uint32_t>(std::clamp(wanted, 1.0, static_cast<double>(cores)));
    }
    plan.blocks = std::max(1u, cores);
    return ACL_SUCCESS;
}

}  // namespace

PlanBuilder::PlanBuilder(const Operator& op) : plan_(std::make_shared<Plan>()) {
    plan_->op = &op;
    plan_->tensors.reserve(8);
    plan_->arguments.reserve(12);
}

int32_t PlanBuilder::add(const aclTensor& tensor) {
    if (element_size(tensor.dtype) == 0 && problem_.empty()) {
        problem_ = "data type " + std::to_string(tensor.dtype) + " of argument " +
                   std::to_string(plan_->arguments.size()) + " is not known to the software NPU";
    }
    plan_->tensors.push_back(tensor);
    return static_cast<int32_t>(plan_->tensors.size()) - 1;
}

void PlanBuilder::tensor(const aclTensor* tensor) {
    plan_->arguments.emplace_back(TensorSlot{tensor != nullptr ? add(*tensor) : -1});
}

void PlanBuilder::result(const aclTensor* tensor) {
    plan_->arguments.emplace_back(TensorSlot{tensor != nullptr ? add(*tensor) : -1, true});
}

void PlanBuilder::sized(const aclTensor* result) {
    if (result != nullptr) {
        result->run_sizes = std::make_shared<RunSizes>();
    }
    plan_->cacheable = false;  // a kept plan would tell its sizes to the handle of its first call
    tensor(result);
}

void PlanBuilder::tensors(const aclTensorList* list) {
    TensorListSlot slot{static_cast<int32_t>(plan_->tensors.size()), 0};
    if (list != nullptr) {
        for (const aclTensor* tensor : list->tensors) {
            add(tensor != nullptr ? *tensor : aclTensor{});
            ++slot.count;
        }
    }
    plan_->arguments.emplace_back(slot);
}

void PlanBuilder::scalar(const aclScalar* scalar) {
    scalar != nullptr ? void(plan_->arguments.emplace_back(*scalar)) : void(plan_->arguments.emplace_back());
}

void PlanBuilder::scalars(const aclScalarList* list) {
    std::vector<aclScalar> values;
    if (list != nullptr) {
        for (const aclScalar* scalar : list->scalars) {
            values.push_back(*scalar);
        }
    }
    plan_->arguments.emplace_back(std::move(values));
}

void PlanBuilder::integers(const aclIntArray* array) {
    array != nullptr ? void(plan_->arguments.emplace_back(array->values)) : void(plan_->arguments.emplace_back());
}

void PlanBuilder::floats(const aclFloatArray* array) {
    array != nullptr ? void(plan_->arguments.emplace_back(array->values)) : void(plan_->arguments.emplace_back());
}

void PlanBuilder::bools(const aclBoolArray* array) {
    array != nullptr ? void(plan_->arguments.emplace_back(array->values)) : void(plan_->arguments.emplace_back());
}

void PlanBuilder::integer(int64_t value) { plan_->arguments.emplace_back(value); }

void PlanBuilder::real(double value) { plan_->arguments.emplace_back(value); }

void PlanBuilder::text(const char* value) { plan_->arguments.emplace_back(std::string(value != nullptr ? value : "")); }

void PlanBuilder::extras(std::shared_ptr<const CompiledExtras> value) {
    plan_->extras = std::move(value);
    plan_->cacheable = false;
}

aclnnStatus PlanBuilder::finish(uint64_t* workspace_size, aclOpExecutor** executor) {
    if (workspace_size == nullptr || executor == nullptr) {
        return fail(ACLNN_ERR_PARAM_NULLPTR, "%s: workspaceSize or executor is null", plan_->op->name);
    }
    if (problem_.empty() && plan_->op->check != nullptr) {
        problem_ = plan_->op->check(*plan_);
    }
    if (!problem_.empty()) {
        return fail(ACLNN_ERR_PARAM_INVALID, "%s: %s", plan_->op->name, problem_.c_str());
    }
    plan_->cost = plan_->op->cost(*plan_);
    const aclError error = tile(*plan_);
    if (error != ACL_SUCCESS) {
        return error;
    }
    auto* made = new aclOpExecutor();
    made->addresses.reserve(plan_->tensors.size());
    for (const aclTensor& tensor : plan_->tensors) {
        made->addresses.push_back(tensor.data);
    }
    made->plan = plan_;
    if (plan_->cacheable) {
        cache_store(*made);
    }
    *workspace_size = 0;
    *executor = made;
    return ACL_SUCCESS;
}

aclnnStatus launch(const Operator& op, aclOpExecutor* executor, aclrtStream stream) {
    if (executor == nullptr) {
        return fail(ACLNN_ERR_PARAM_NULLPTR, "%s: executor is null", op.name);
    }
    KernelArgs args{executor->plan->cost, executor};
    // A function handle is opaque to the program; the launch reads the kernel and never writes it.
    const aclError error = aclrtLaunchKernelWithHostArgs(const_cast<Kernel*>(&op.kernel), executor->plan->blocks,
                                                         stream, nullptr, &args, sizeof args, nullptr, 0);
    if (error != ACL_SUCCESS) {
        drop_kernel(executor);  // phase two uses an executor up, whatever comes of it
    }
    return error;
}

bool run_kernel(void* executor, char* error, uint32_t size) {
    const auto* call = static_cast<const aclOpExecutor*>(executor);
    try {
        const c10::InferenceMode mode;
        call->plan->op->run(*call);
        saturate(*call);
        return true;
    } catch (const c10::Error& problem) {
        std::snprintf(error, size, "%s", problem.what_without_backtrace());
    } catch (const std::exception& problem) {
        std::snprintf(error, size, "%s", problem.what());
    } catch (...) {
        std::snprintf(error, size, "an exception of unknown type");
    }
    return false;
}

void drop_kernel(void* executor) { delete static_cast<aclOpExecutor*>(executor); }

uint32_t touched_by_kernel(const void* executor, Touched* list, uint32_t room) {
    const auto* call = static_cast<const aclOpExecutor*>(executor);
    uint32_t count = 0;
    for (size_t i = 0; i < call->addresses.size() && count < room; ++i) {
        const aclTensor& tensor = call->plan->tensors[i];
        const auto item = static_cast<int64_t>(element_size(tensor.dtype));
        if (!tensor.on_host && call->addresses[i] != nullptr) {
            const auto address = reinterpret_cast<uint64_t>(call->addresses[i]);
            list[count++] = {address + static_cast<uint64_t>(tensor.offset * item),
                             static_cast<uint64_t>(view_bytes(tensor))};
        }
    }
    return count;
}

}  // namespace softnpu
