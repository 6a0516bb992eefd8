// SPDX-License-Identifier: Apache-2.0
// A device's arbiter under tenants that write whatever they like into their pages at any moment. The input is a script.
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <optional>
#include <span>

#include "arbiter/arbiter.h"
#include "arbiter/futex.h"
#include "fuzz.h"

using namespace flexnpu;

namespace {

constexpr uint32_t kCores = 24, kVNpus = 4, kTenants = 3, kSteps = 64;
constexpr uint64_t kLargest = (uint64_t{1} << 53) - 1, kLedgerBytes = (uint64_t{1} << 48) - 1;
constexpr VNpuId kGood = 100;
constexpr uint32_t kGoodCores = 6;

// What a tenant has of a page: a mapping of its own.
class Hands {
  public:
    explicit Hands(const SharedPage& page, size_t size)
        : at_(static_cast<uint8_t*>(mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, page.fd(), 0))),
          size_(size) {
        FUZZ_CHECK(at_ != MAP_FAILED);
    }
    ~Hands() { munmap(at_, size_); }
    Hands(const Hands&) = delete;
    Hands& operator=(const Hands&) = delete;

    void scribble(size_t at, Script& script) {
        for (uint32_t left = script.byte(); left > 0; --left) at_[at++ % size_] = script.byte();
    }
    void fill(uint8_t with) { std::fill_n(at_, size_, with); }
    void put(size_t at, uint64_t word) { std::atomic_ref(*reinterpret_cast<uint64_t*>(at_ + at)).store(word); }

  private:
    uint8_t* at_;
    size_t size_;
};

struct Process {
    TenantId id;
    std::shared_ptr<ReportPage> page;
    std::unique_ptr<Hands> hands;
};

struct Guest {
    std::shared_ptr<ControlPage> page;
    std::unique_ptr<LedgerPage> ledger;
    std::unique_ptr<Hands> ledger_hands;
    std::array<std::optional<Process>, kTenants> tenants;
    std::vector<TenantId> absent;
    uint32_t ordinal = 0, revision = 1;
};

class World {
  public:
    explicit World(Script& script) : script_(script), lending_(script.below(2) == 0) {
        arbiter_.add(kGood, std::make_shared<ControlPage>("good", std::vector<uint32_t>{0}), 0,
                     {.revision = 1, .cores = kGoodCores, .burst_cores = kGoodCores, .memory_bytes = 1});
    }

    void run() {
        for (uint32_t i = 0; i < kSteps && !script_.over(); ++i) {
            step();
            check();
        }
        leave();
    }

  private:
    Guest* pick() {
        const auto found = guests_.find(script_.below(kVNpus));
        return found == guests_.end() ? nullptr : &found->second;
    }

    // Of any size that the registry would let in beside the good one; at times beyond, which must not matter either.
    Quota quota(uint32_t revision) {
        const uint32_t cores = 1 + script_.below(script_.byte() < 16 ? kCores : 4);
        return {.revision = revision,
                .cores = cores,
                .burst_cores = lending_ ? std::min(kCores, cores + script_.below(24)) : cores,
                .vector_cores = script_.below(3) == 0 ? 1 + script_.below(48) : 0,
                .memory_bytes = script_.word(),
                .share = script_.below(3) == 0 ? 0 : 1 + script_.below(255) * 39,
                .fixed = script_.below(2) == 0,
                .priority = script_.below(8)};
    }

    void step() {
        switch (script_.below(13)) {
            case 0:
                add();
                break;
            case 1:
                if (Guest* guest = pick()) change(*guest);
                break;
            case 2:
                if (guests_.size() > 1) remove(guests_.begin()->first);
                break;
            case 3:
            case 4:
                if (Guest* guest = pick()) attach(*guest);
                break;
            case 5:
                if (Guest* guest = pick()) detach(*guest, script_.below(kTenants));
                break;
            case 6:
            case 7:
                if (Process* process = tenant()) write_report(*process);
                break;
            case 8:
                if (Guest* guest = pick()) write_ledger(*guest);
                break;
            case 9:
                if (Guest* guest = pick()) settle(*guest);
                break;
            case 10:
                if (Guest* guest = pick()) hail(*guest);
                break;
            case 11:
                if (Process* process = tenant()) futex_wake_shared(process->page->bell(ordinal_));
                break;
            default:
                usleep(script_.byte());  // the arbiter's own thread goes on
        }
    }

    void add() {
        const uint32_t id = script_.below(kVNpus);
        if (guests_.contains(id)) return;
        const uint32_t left = kCores - std::min(kCores, all_held());
        Guest& guest = guests_[id];
        const uint32_t devices = 1 + script_.below(FLEXNPU_DEVICES);
        guest.page = std::make_shared<ControlPage>("bad", std::vector<uint32_t>(devices));
        guest.ordinal = script_.below(devices);
        guest.ledger = std::make_unique<LedgerPage>(devices);
        guest.ledger_hands = std::make_unique<Hands>(*guest.ledger, FLEXNPU_LEDGER_SIZE);
        const Quota first = quota(guest.revision);
        std::vector<OldGrant> older;
        const uint32_t absent = script_.below(3);
        // Of an earlier daemon, which let in no more than there is.
        if (absent > 0 && left > 0) {
            older.push_back({0, 1 + script_.below(left), first.share != 0});
        }
        guest.absent =
            arbiter_.restore(number(id), guest.page, guest.ordinal, first, older, older.empty() ? 0 : absent);
    }

    void change(Guest& guest) {
        for (const auto& [id, each] : guests_) {
            if (&each != &guest) continue;
            const Change change{number(id), quota(++guest.revision)};
            arbiter_.change(std::span(&change, 1));
        }
    }

    void remove(uint32_t id) {
        arbiter_.remove(number(id));
        Guest& guest = guests_.at(id);
        for (uint32_t i = 0; i < kTenants; ++i) detach_of(number(id), guest, i);
        for (const TenantId absent : guest.absent) arbiter_.detach(number(id), absent);
        guests_.erase(id);
        epochs_[id] += kVNpus;  // ids are never used again
    }

    void attach(Guest& guest) {
        std::optional<Process>& place = guest.tenants[script_.below(kTenants)];
        if (place) return;
        auto page = std::make_shared<ReportPage>(0);
        auto hands = std::make_unique<Hands>(*page, FLEXNPU_PAGE_SIZE);
        if (script_.below(2) == 0) hands->fill(script_.byte());
        const uint32_t pid = script_.below(2) == 0 ? 0 : static_cast<uint32_t>(getpid());
        place = Process{arbiter_.attach(id_of(guest), page, pid, script_.below(2) == 0), page, std::move(hands)};
        if (!guest.absent.empty()) {  // it was one of those
            arbiter_.detach(id_of(guest), guest.absent.back());
            guest.absent.pop_back();
        }
    }

    void detach(Guest& guest, uint32_t at) { detach_of(id_of(guest), guest, at); }

    void detach_of(VNpuId id, Guest& guest, uint32_t at) {
        if (!guest.tenants[at]) return;
        arbiter_.detach(id, guest.tenants[at]->id);
        guest.tenants[at].reset();
    }

    Process* tenant() {
        Guest* guest = pick();
        if (guest == nullptr) return nullptr;
        ordinal_ = guest->ordinal;
        std::optional<Process>& found = guest->tenants[script_.below(kTenants)];
        return found ? &*found : nullptr;
    }

    void write_report(Process& process) {
        const size_t section = offsetof(flexnpu_report_page, devices) + ordinal_ * sizeof(flexnpu_report_device);
        switch (script_.below(4)) {
            case 0:
                process.hands->fill(script_.byte());
                break;
            case 1:
                process.hands->scribble(script_.byte() * 16u, script_);
                break;
            default:  // what the arbiter looks at: small numbers and arbitrary ones
                process.hands->put(section + 8 * script_.below(17),
                                   script_.below(2) == 0 ? script_.below(8) : script_.word());
        }
    }

    void write_ledger(Guest& guest) {
        if (script_.below(3) == 0) return guest.ledger_hands->fill(script_.byte());
        if (script_.below(2) == 0) return guest.ledger_hands->scribble(script_.byte() * 128u, script_);
        const size_t device = offsetof(flexnpu_ledger_page, devices) + guest.ordinal * sizeof(flexnpu_ledger_device);
        guest.ledger_hands->put(device + 8 * script_.below(16), script_.word());
    }

    // Noise, or what it was told to hail with.
    void hail(const Guest& guest) {
        uint64_t word = script_.word();
        if (script_.below(4) != 0) {
            void* at = mmap(nullptr, FLEXNPU_PAGE_SIZE, PROT_READ, MAP_SHARED, guest.page->fd(), 0);
            FUZZ_CHECK(at != MAP_FAILED);
            const auto* section = &static_cast<flexnpu_control_page*>(at)->devices[guest.ordinal];
            word = __atomic_load_n(&section->hail, __ATOMIC_RELAXED);
            munmap(at, FLEXNPU_PAGE_SIZE);
        }
        hail_hands_.put(offsetof(flexnpu_hail_page, devices), word);
    }

    // As after a death, with nobody else in a call.
    void settle(Guest& guest) {
        const uint32_t slot = script_.below(FLEXNPU_PROCESSES);
        const uint64_t before = guest.ledger->used(guest.ordinal);
        guest.ledger->release(slot);
        FUZZ_CHECK(guest.ledger->used(guest.ordinal) <= before);
        FUZZ_CHECK(guest.ledger->charged(guest.ordinal, slot) == 0);
        guest.ledger->settle();
        if (script_.below(4) != 0) return;
        for (uint32_t each = 0; each < FLEXNPU_PROCESSES; ++each) guest.ledger->release(each);
        FUZZ_CHECK(guest.ledger->settle());
        FUZZ_CHECK(guest.ledger->used(guest.ordinal) == 0);
    }

    void check() {
        // One that has lent its cores and wakes up does not wait until they are back; without loans all is counted.
        if (!lending_) FUZZ_CHECK(arbiter_.held_cores() <= kCores);
        FUZZ_CHECK(arbiter_.state(kGood).granted_cores == kGoodCores);
        for (auto& [id, guest] : guests_) {
            check(arbiter_.state(number(id)));
            FUZZ_CHECK(guest.ledger->used(guest.ordinal) <= kLedgerBytes);
            FUZZ_CHECK(guest.ledger->peak(guest.ordinal) <= kLargest);
            for (const std::optional<Process>& each : guest.tenants) {
                if (each) check(*each->page, guest.ordinal);
                if (each) FUZZ_CHECK(arbiter_.applied_revision(number(id), each->id) <= guest.revision);
            }
        }
    }

    // Of those who share the device in time, too, all together.
    uint32_t all_held() const {
        uint32_t sum = kGoodCores;
        for (const auto& [id, guest] : guests_) sum += arbiter_.state(number(id)).held_cores;
        return sum;
    }

    static void check(const VNpuState& state) {
        FUZZ_CHECK(state.granted_cores <= state.held_cores && state.held_cores <= kCores);
        FUZZ_CHECK(state.lent_cores <= state.granted_cores);
        FUZZ_CHECK(state.applied_revision <= state.granted_revision &&
                   state.granted_revision <= state.desired_revision);
        FUZZ_CHECK(state.used_ns <= kLargest);
        FUZZ_CHECK(state.granted_vector_cores <= 0xffff);
    }

    static void check(const ReportPage& page, uint32_t ordinal) {
        const ReportSnapshot all = page.read();
        FUZZ_CHECK(std::max({all.tiled, all.launched, all.ungoverned}) <= kLargest);
        const DeviceReport device = page.read(ordinal);
        FUZZ_CHECK(std::max({device.waited_ns, device.busy_ns, device.memory_denied, device.applied_ns}) <= kLargest);
        for (const uint64_t each : device.launches) FUZZ_CHECK(each <= kLargest);
        const IterationReport step = page.iteration();
        FUZZ_CHECK(std::max({step.steps, step.requests, step.new_tokens, step.context_sum}) <= kLargest);
        const std::vector<GraphReport> graphs = page.graphs();
        FUZZ_CHECK(graphs.size() <= FLEXNPU_GRAPHS);
        for (const GraphReport& each : graphs) FUZZ_CHECK(each.ordinal < FLEXNPU_DEVICES && each.replays <= kLargest);
    }

    // All that was held by the others is free when they are gone.
    void leave() {
        while (!guests_.empty()) remove(guests_.begin()->first);
        FUZZ_CHECK(arbiter_.held_cores() == kGoodCores);
        const Change all{kGood, {.revision = 2, .cores = kCores, .burst_cores = kCores, .memory_bytes = 1}};
        arbiter_.change(std::span(&all, 1));
        FUZZ_CHECK(arbiter_.state(kGood).granted_cores == kCores);
    }

    VNpuId number(uint32_t id) const { return id + epochs_[id]; }
    VNpuId id_of(const Guest& guest) const {
        for (const auto& [id, each] : guests_) {
            if (&each == &guest) return number(id);
        }
        std::abort();
    }

    Script& script_;
    const bool lending_;
    const std::shared_ptr<HailPage> hails_ = std::make_shared<HailPage>();
    Hands hail_hands_{*hails_, FLEXNPU_PAGE_SIZE};
    Arbiter arbiter_{kCores, 2 * kCores, DispatchMode::fair, hails_};
    std::map<uint32_t, Guest> guests_;
    std::array<VNpuId, kVNpus> epochs_{1000, 1000, 1000, 1000};
    uint32_t ordinal_ = 0;
};

}  // namespace

std::vector<std::string> fuzz_seeds() {
    std::string busy;  // everybody there, some with two processes, then noise
    for (char id = 0; id < 4; ++id) busy += {0, id, 1, 0, 0};
    for (char id = 0; id < 4; ++id) busy += {3, id, 0, 1, 0, 1, 4, id, 1, 1, 0, 1};
    std::string noisy = busy;
    for (int i = 0; i < 400; ++i) noisy += static_cast<char>(i * 37 % 251);
    return {busy, noisy, std::string(300, '\6'), ""};
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    Script script(data, size);
    World(script).run();
    return 0;
}
