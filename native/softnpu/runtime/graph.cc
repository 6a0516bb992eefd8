// SPDX-License-Identifier: Apache-2.0
#include "runtime/graph.h"

#include <map>

#include "runtime/status.h"

namespace softnpu {
namespace {

// Gives back what a task holds, when the last of the graph and its replays lets go of it.
std::shared_ptr<Task> keep(const Task& task) {
    return {new Task(task), [](Task* node) {
                hand_back(*node);
                delete node;
            }};
}

std::mutex& captures_mutex() {
    static auto* mutex = new std::mutex();
    return *mutex;
}

std::map<uint32_t, Graph*>& captures() {
    static auto* all = new std::map<uint32_t, Graph*>();
    return *all;
}

}  // namespace

Graph* capture_of(uint32_t id) {
    if (id == 0) {
        return nullptr;  // as nearly always: no lock
    }
    const std::lock_guard lock(captures_mutex());
    const auto found = captures().find(id);
    return found == captures().end() ? nullptr : found->second;
}

Graph* begin_capture(Stream& stream) {
    static std::atomic<uint32_t> next{1};
    auto* graph = new Graph(next.fetch_add(1));
    {
        const std::lock_guard lock(captures_mutex());
        captures()[graph->id()] = graph;
    }
    graph->join(stream);
    return graph;
}

void end_capture(Graph& graph) {
    {
        const std::lock_guard lock(captures_mutex());
        captures().erase(graph.id());
    }
    graph.finish();
}

void Graph::release() {
    if (references_.fetch_sub(1, std::memory_order_acq_rel) == 1) {
        delete this;
    }
}

void Graph::append(const Task& task) {
    const std::lock_guard lock(mutex_);
    nodes_.push_back(keep(task));
}

void Graph::join(Stream& stream) {
    const std::lock_guard lock(mutex_);
    streams_.push_back(&stream);
    stream.capture.store(this);
}

void Graph::finish() {
    const std::lock_guard lock(mutex_);
    for (Stream* stream : streams_) {
        stream->capture.store(nullptr);
    }
    streams_.clear();
}

std::string Graph::describe() {
    constexpr const char* kKinds[] = {"kernel", "copy", "fill", "record", "wait", "host", "await", "reset", "graph"};
    const std::lock_guard lock(mutex_);
    std::string text = "{\"id\": " + std::to_string(id_) + ", \"nodes\": [";
    const char* comma = "";
    for (const auto& node : nodes_) {
        text += comma + std::string("\n  {\"kind\": \"") + kKinds[static_cast<size_t>(node->kind)] + "\"";
        if (node->kind == TaskKind::kernel) {
            text +=
                std::string(", \"name\": \"") + node->kernel->name + "\", \"blocks\": " + std::to_string(node->blocks);
        }
        text += "}";
        comma = ",";
    }
    return text + "\n]}\n";
}

void Graph::begin_group() {
    const std::lock_guard lock(mutex_);
    groups_.push_back(std::make_unique<TaskGroup>(TaskGroup{this, nodes_.size()}));
    open_ = groups_.back().get();
}

aclError Graph::end_group(TaskGroup** group) {
    const std::lock_guard lock(mutex_);
    if (open_ == nullptr) {
        return fail(ACL_ERROR_RT_STREAM_CAPTURE_UNMATCHED, "aclmdlRICaptureTaskGrpEnd without a begin");
    }
    open_->count = nodes_.size() - open_->first;
    *group = open_;
    open_ = nullptr;
    return ACL_SUCCESS;
}

void Graph::replace(TaskGroup& group, size_t index, const Task& task) {
    std::shared_ptr<Task> node = keep(task);
    const std::lock_guard lock(mutex_);
    nodes_[group.first + index].swap(node);
}

}  // namespace softnpu
