// SPDX-License-Identifier: Apache-2.0
// A recording of tests/data/phase, played into a phase detector, and held against what the program really did.
#pragma once

#include <fstream>
#include <map>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <string>
#include <variant>
#include <vector>

#include "phase.h"

namespace recorded {

struct Truth {
    std::string phase;
    uint64_t requests, tokens;
    std::optional<uint64_t> context, longest;  // none: no operator says it
    bool graph;
};

// A step as it was detected, by the truth's number in which its first attention was; none between two truths.
struct Seen {
    std::optional<size_t> truth;
    flexnpu::Step step;
};

struct Result {
    std::vector<Truth> truths;
    std::vector<Seen> seen;
};

using Shape = std::variant<flexnpu::Attention, flexnpu::Product>;

inline flexnpu::Attention read_attention(std::istream& from) {
    flexnpu::Attention call;
    for (std::string each; from >> each;) {
        unsigned tokens = 0, context = 0, times = 1;
        if (std::sscanf(each.c_str(), "%u/%u*%u", &tokens, &context, &times) < 2) throw std::runtime_error(each);
        for (unsigned i = 0; i < times; ++i) call.add(tokens, context);
    }
    return call;
}

class Player {
  public:
    explicit Player(const std::string& path) : file_(path) {
        if (!file_) throw std::runtime_error(path + " cannot be read");
        detector_.tell(ended, nullptr, this);
    }

    Result play() {
        for (std::string line; std::getline(file_, line);) {
            size_t times = 1;
            if (const size_t at = line.rfind(" x"); at != std::string::npos) {
                times = std::stoul(line.substr(at + 2));
                line.resize(at);
            }
            for (size_t i = 0; i < times; ++i) one(line);
        }
        detector_.begin();  // so that the last step is told
        return std::move(result_);
    }

  private:
    static void ended(void* self, const flexnpu::Step& step) {
        auto* player = static_cast<Player*>(self);
        // A step that is told at the beginning of the next one belongs to where its last launch was.
        player->result_.seen.push_back({step.late ? player->last_launch_ : player->within_, step});
    }

    void one(const std::string& line) {
        std::istringstream words(line);
        std::string kind;
        words >> kind;
        if (kind == "shape") return read_shape(words);
        if (kind == "step") return read_truth(words);
        if (kind == "end") return within_.reset();
        if (kind == "begin") {
            detector_.begin();
        } else if (kind == "launch") {
            launch(words);
        } else if (kind == "captured") {
            captured(words);
        } else if (kind == "replay") {
            detector_.replay(graph(words));
        } else if (kind == "update") {
            const uint64_t key = graph(words);
            detector_.update(key, std::get<flexnpu::Attention>(shape(words)));
        } else if (kind == "destroyed") {
            detector_.forget(graph(words));
        } else {
            throw std::runtime_error("what is '" + line + "'?");
        }
        last_launch_ = within_;
    }

    void read_shape(std::istream& words) {
        size_t number = 0;
        std::string kind;
        words >> number >> kind;
        if (kind == "attention") {
            shapes_[number] = read_attention(words);
        } else {
            flexnpu::Product product{};
            words >> product.batch >> product.rows >> product.inner >> product.columns;
            shapes_[number] = product;
        }
    }

    void read_truth(std::istream& words) {
        Truth truth{};
        std::string context, longest;
        words >> truth.phase >> truth.requests >> truth.tokens >> context >> longest >> truth.graph;
        if (context != "-") truth.context = std::stoull(context);
        if (longest != "-") truth.longest = std::stoull(longest);
        within_ = result_.truths.size();
        result_.truths.push_back(truth);
    }

    void launch(std::istream& words) {
        const Shape& what = shape(words);
        if (const auto* call = std::get_if<flexnpu::Attention>(&what)) return detector_.attention(*call);
        if (detector_.wants_products()) detector_.product(std::get<flexnpu::Product>(what));
    }

    void captured(std::istream& words) {
        const uint64_t key = graph(words);
        std::string what;
        words >> what;
        if (what == "begin") return detector_.captured_begin(key);
        if (what == "group") return detector_.captured_group(key);
        const Shape& launched = shape(words);
        if (const auto* call = std::get_if<flexnpu::Attention>(&launched)) detector_.captured_attention(key, *call);
    }

    const Shape& shape(std::istream& words) {
        size_t number = 0;
        words >> number;
        return shapes_.at(number);
    }

    static uint64_t graph(std::istream& words) {
        std::string name;
        words >> name;
        return std::stoull(name.substr(1)) + 1;
    }

    std::ifstream file_;
    flexnpu::PhaseDetector detector_{};
    Result result_;
    std::map<size_t, Shape> shapes_;
    std::optional<size_t> within_, last_launch_;
};

}  // namespace recorded
