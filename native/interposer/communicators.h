// SPDX-License-Identifier: Apache-2.0
// Communicators: the buffers that each is charged for when it is made, and which ranks this machine has of it.
//
// HCCL takes its two buffers by aclrtMallocWithCfg, some at once and some at the first collective. So a communicator
// pays for both when it is made, what HCCL allocates in a call of that communicator is paid already, and all is
// refunded when it is destroyed.
#pragma once

#include <stdint.h>

#include "flexnpu_abi/hccl.h"

namespace flexnpu {

// One that is being made, on the device of the ordinal. `name` tells communicators apart (two ranks of one communicator
// have the same); 0: not known.
class Membership {
  public:
    // The one that the handle stands for, which is nobody's until it is kept again.
    static Membership of(HcclComm comm);

    // False: refused with the reason in one line, `why` is what HCCL would say.
    bool join(uint32_t ordinal, uint64_t name, uint64_t bytes, HcclResult* why);
    // From here on what HCCL allocates on this thread is paid by it.
    void make_here() const;
    // What becomes of it: HCCL has made it (or not destroyed it), or it is gone.
    void keep(HcclComm comm);
    void drop();

  private:
    uint32_t index_ = 0;
};

// The two buffers of a communicator, in bytes. `config_mb`: what its configuration says, or not_configured.
constexpr uint32_t not_configured = 0xffffffff;
uint64_t buffer_bytes(uint32_t config_mb);

// Of this thread.
extern __thread HcclComm inside_communicator __attribute__((tls_model("initial-exec")));

// Around HCCL's own function: what it allocates is paid by this communicator.
class InCommunicator {
  public:
    explicit InCommunicator(HcclComm comm) { inside_communicator = comm; }
    ~InCommunicator() { inside_communicator = nullptr; }
    InCommunicator(const InCommunicator&) = delete;
    InCommunicator& operator=(const InCommunicator&) = delete;
};

uint64_t name_of(HcclComm comm);

// False: this thread is not inside a communicator's call, or its buffers are there already.
bool spend_reserve(uint64_t bytes);
void unspend_reserve(uint64_t bytes);

void forget_communicators_in_child();

}  // namespace flexnpu
