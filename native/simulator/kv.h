// SPDX-License-Identifier: Apache-2.0
//
// A device's paged KV cache: counts of private blocks, and prompt blocks that requests share by hash id.
//
// Only counts are kept for private blocks, since which physical block a request has makes no difference to time. A
// shared block is hash_tokens / block_tokens blocks large, is referenced by those who use it, and stays, least recently
// used first out, when nobody does. As in vLLM: full blocks only, two requests that compute the same block at once both
// keep their own copy, and a prompt that is cached to its end still computes its last block, because its logits are
// wanted.
#pragma once

#include <cstdint>
#include <list>
#include <unordered_map>

#include "simulator/request.h"

namespace flexnpu::simulator {

class KvCache {
  public:
    KvCache(int64_t capacity, int64_t block_tokens, int64_t hash_tokens, bool caching);

    int64_t capacity() const { return capacity_; }
    int64_t block_tokens() const { return block_tokens_; }
    // Blocks that nobody references, cached ones included.
    int64_t free() const { return free_; }
    // Blocks that requests hold.
    int64_t used() const { return capacity_ - free_; }
    // Rises with what enters the cache; a look-up need not be repeated before.
    int64_t version() const { return version_; }

    // Leading full blocks of the prompt that are cached, at least one token left to compute.
    int64_t hits(const Request& request) const;
    // Whether `admit` would take it.
    bool fits(const Request& request) const;
    // Takes the blocks of all that the request is to compute; false, and nothing taken, when too few are free.
    bool admit(Request& request);
    // Blocks for new tokens of running requests; the caller knows that they are free.
    void grow(int64_t blocks);
    // Enters the full prompt blocks that are computed by now.
    void computed(Request& request);
    // Gives everything back. The prompt's tail becomes the oldest of what stays cached, as vLLM frees it.
    void release(Request& request);

  private:
    struct Block {
        int64_t references;
        std::list<int64_t>::iterator idle;  // its place among the idle ones, where nobody references it
    };

    void take(int64_t blocks);
    int64_t idle_among(const Request& request, int64_t count) const;
    int64_t blocks_of(const Request& request) const { return (request.target + block_tokens_ - 1) / block_tokens_; }

    const int64_t capacity_, block_tokens_, hash_tokens_, per_hash_;
    const bool caching_;
    int64_t free_;
    int64_t version_ = 0;
    std::unordered_map<int64_t, Block> blocks_;  // by hash id
    std::list<int64_t> idle_;                    // oldest first
};

}  // namespace flexnpu::simulator
