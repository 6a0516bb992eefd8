// SPDX-License-Identifier: Apache-2.0
#include "simulator/kv.h"

#include <algorithm>
#include <stdexcept>

namespace flexnpu::simulator {

KvCache::KvCache(int64_t capacity, int64_t block_tokens, int64_t hash_tokens, bool caching)
    : capacity_(capacity),
      block_tokens_(block_tokens),
      hash_tokens_(hash_tokens),
      per_hash_(block_tokens < 1 ? 0 : hash_tokens / block_tokens),
      caching_(caching),
      free_(capacity) {
    if (per_hash_ < 1 || hash_tokens % block_tokens != 0) {
        throw std::invalid_argument("tokens of a hash id are a multiple of a block's");
    }
}

int64_t KvCache::hits(const Request& request) const {
    if (!caching_) return 0;
    const auto blocks = static_cast<int64_t>(request.blocks.size());
    const int64_t most = std::min(blocks, (request.target - 1) / hash_tokens_);
    int64_t count = 0;
    while (count < most && blocks_.contains(request.blocks[static_cast<std::size_t>(count)])) ++count;
    return count;
}

int64_t KvCache::idle_among(const Request& request, int64_t count) const {
    return std::count_if(request.blocks.begin(), request.blocks.begin() + count,
                         [this](int64_t block) { return blocks_.at(block).references == 0; });
}

bool KvCache::fits(const Request& request) const {
    const int64_t total = blocks_of(request);
    if (total <= free_) return true;
    const int64_t found = hits(request);
    return total - (found - idle_among(request, found)) * per_hash_ <= free_;
}

bool KvCache::admit(Request& request) {
    const int64_t found = hits(request);
    // Idle ones count as free, and will not be.
    const int64_t revived = idle_among(request, found) * per_hash_;
    const int64_t own = blocks_of(request) - found * per_hash_;
    if (own + revived > free_) return false;
    request.shared.assign(request.blocks.begin(), request.blocks.begin() + found);
    for (const int64_t id : request.shared) {
        Block& block = blocks_.at(id);
        if (block.references == 0) idle_.erase(block.idle);
        block.references += 1;
    }
    free_ -= revived;
    request.registered = found;
    request.computed = found * hash_tokens_;
    request.held = own;
    take(own);
    return true;
}

void KvCache::grow(int64_t blocks) {
    if (blocks != 0) take(blocks);
}

void KvCache::take(int64_t blocks) {
    if (blocks > free_) throw std::logic_error("more blocks are taken than are free");
    free_ -= blocks;
    // Blocks that are neither referenced nor cached go first; then cached ones, least recently used first.
    while (static_cast<int64_t>(idle_.size()) * per_hash_ > free_) {
        blocks_.erase(idle_.front());
        idle_.pop_front();
    }
}

void KvCache::computed(Request& request) {
    const int64_t full = std::min(static_cast<int64_t>(request.blocks.size()), request.computed / hash_tokens_);
    if (!caching_ || full <= request.registered) return;
    for (int64_t place = request.registered; place < full; ++place) {
        const int64_t id = request.blocks[static_cast<std::size_t>(place)];
        // Where somebody was quicker, ours stays a private copy.
        if (!blocks_.try_emplace(id, Block{1, idle_.end()}).second) continue;
        request.shared.push_back(id);
        request.held -= per_hash_;
    }
    request.registered = full;
    version_ += 1;
}

void KvCache::release(Request& request) {
    free_ += request.held;
    request.held = 0;
    for (auto id = request.shared.rbegin(); id != request.shared.rend(); ++id) {
        Block& block = blocks_.at(*id);
        if (--block.references > 0) continue;
        block.idle = idle_.insert(idle_.end(), *id);
        free_ += per_hash_;
    }
    request.shared.clear();
    request.registered = 0;
}

}  // namespace flexnpu::simulator
