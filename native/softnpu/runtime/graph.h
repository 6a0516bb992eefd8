// SPDX-License-Identifier: Apache-2.0
//
// A captured graph (aclmdlRI): tasks kept in the order in which the program issued them, over all streams that took
// part. That order keeps every dependency, so a replay runs them one after another on the stream it is given; what ran
// side by side when it was captured does not do so here.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "runtime/stream.h"

namespace softnpu {

// A run of nodes whose tasks a program replaces between replays (aclrtTaskGrp).
struct TaskGroup {
    Graph* graph;
    size_t first;
    size_t count = 0;
};

// Counted: a replay that is queued outlives the program's handle.
class Graph {
  public:
    explicit Graph(uint32_t id) : id_(id) {}
    uint32_t id() const { return id_; }
    void retain() { references_.fetch_add(1, std::memory_order_relaxed); }
    void release();

    // While captured. A stream that waits for an event of the capture takes part from then on.
    void append(const Task& task);
    void join(Stream& stream);
    // Lets go of all streams that took part.
    void finish();

    // A JSON object: its number and its nodes.
    std::string describe();

    void begin_group();
    // ACL_ERROR_RT_STREAM_CAPTURE_UNMATCHED without a begin.
    aclError end_group(TaskGroup** group);

    // Between begin and end, what is put on a stream takes the place of the group's tasks, one after another.
    void replace(TaskGroup& group, size_t index, const Task& task);

    // Runs every node with `run`, reading it when its turn comes: a group may change until then.
    template <typename Run>
    void replay(Run run) {
        for (size_t i = 0;; ++i) {
            std::shared_ptr<Task> node;
            {
                const std::lock_guard lock(mutex_);
                if (i >= nodes_.size()) {
                    return;
                }
                node = nodes_[i];
            }
            run(*node);
        }
    }

  private:
    const uint32_t id_;
    std::atomic<uint32_t> references_{1};
    std::mutex mutex_;
    std::vector<std::shared_ptr<Task>> nodes_;
    std::vector<Stream*> streams_;
    std::vector<std::unique_ptr<TaskGroup>> groups_;
    TaskGroup* open_ = nullptr;
};

// The capture of that number, while it goes on; nullptr otherwise, and for 0, the number of none.
Graph* capture_of(uint32_t id);
Graph* begin_capture(Stream& stream);
void end_capture(Graph& graph);

}  // namespace softnpu
