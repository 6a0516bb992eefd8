// SPDX-License-Identifier: Apache-2.0
// Calls about a stream are made in the context that it was used in; the thread's own is put back.
#pragma once

#include "device_calls.h"

namespace flexnpu {

class InContext {
  public:
    explicit InContext(aclrtContext wanted) {
        const DeviceCalls* calls = DeviceCalls::get();
        if (calls->get_context(&own_) != ACL_SUCCESS) own_ = nullptr;
        changed_ = own_ != wanted && wanted != nullptr;
        if (changed_) calls->set_context(wanted);
    }
    ~InContext() {
        if (changed_ && own_ != nullptr) DeviceCalls::get()->set_context(own_);
    }
    InContext(const InContext&) = delete;
    InContext& operator=(const InContext&) = delete;

  private:
    aclrtContext own_ = nullptr;
    bool changed_ = false;
};

}  // namespace flexnpu
