// SPDX-License-Identifier: Apache-2.0
// Order: objects are walked inside dl_iterate_phdr, whose lock keeps them loaded and the walks apart; nothing is loaded
// there, because dlopen takes its own lock before that one. So one walk says which real functions are wanted, they are
// found outside, and a second walk sets the words. It touches nothing when an object has come meanwhile: another thread
// may still be relocating that one, and its protection is not ours to change before that is over.
#include "scopes.h"

#include <elf.h>
#include <link.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "entries/stubs.h"
#include "lookup.h"
#include "symbols.h"

extern "C" {
#pragma GCC visibility push(hidden)
extern const ElfW(Ehdr) __ehdr_start;
flexnpu_answer flexnpu_dlsym(void* handle, const char* name);
flexnpu_answer flexnpu_dlvsym(void* handle, const char* name, const char* version);
void flexnpu_enter_namespace(long space, const char* const (*settings)[2], flexnpu::Lookups* lookups);
#pragma GCC visibility pop
}

namespace flexnpu {
namespace {

constinit std::atomic<bool> newcomers_expected{false};
constinit std::atomic<bool> namespaces_expected{false};
constinit long home = LM_ID_BASE;  // the namespace that this copy is in

#if defined(__x86_64__)
constexpr uint32_t kJump = R_X86_64_JUMP_SLOT, kData = R_X86_64_GLOB_DAT, kWord = R_X86_64_64;
#elif defined(__aarch64__)
constexpr uint32_t kJump = R_AARCH64_JUMP_SLOT, kData = R_AARCH64_GLOB_DAT, kWord = R_AARCH64_ABS64;
#endif

using Address = ElfW(Addr);

// The dl functions come after the slots: a library that binds past the preload binds to the C library's own.
enum : uint32_t { target_dlsym = slot_count, target_dlvsym, target_dlopen, target_dlmopen, target_count };
struct DlName {
    const char* name;
    uint32_t target;
};
constexpr DlName kDlNames[] = {
    {"dlsym", target_dlsym}, {"dlvsym", target_dlvsym}, {"dlopen", target_dlopen}, {"dlmopen", target_dlmopen}};

uint32_t find_target(const char* name) {
    switch (*name) {
        case 'd':
            for (const DlName& entry : kDlNames) {
                if (strcmp(entry.name, name) == 0) return entry.target;
            }
            return no_slot;
        case 'a':
        case 'r':
        case 'H':
        case 'S':
        case 'P':
            return find_slot(name);
        default:
            return no_slot;
    }
}

void* real_of(uint32_t target) {
    if (target < slot_count) return real_functions[target].load(std::memory_order_acquire);
    if (target == target_dlsym) return reinterpret_cast<void*>(libc().dlsym);
    if (target == target_dlvsym) return reinterpret_cast<void*>(libc().dlvsym);
    return target == target_dlopen ? reinterpret_cast<void*>(libc().dlopen) : reinterpret_cast<void*>(libc().dlmopen);
}

void* ours_of(uint32_t target) {
    if (target < slot_count) return our_function(target);
    if (target == target_dlsym) return reinterpret_cast<void*>(&::dlsym);
    if (target == target_dlvsym) return reinterpret_cast<void*>(&::dlvsym);
    return target == target_dlopen ? reinterpret_cast<void*>(&::dlopen) : reinterpret_cast<void*>(&::dlmopen);
}

// A bit per slot. What is asked about a name has to be found out between the two walks.
class Marks {
  public:
    void set(uint32_t slot) { words_[slot / 64].fetch_or(bit(slot), std::memory_order_relaxed); }
    bool has(uint32_t slot) const { return (words_[slot / 64].load(std::memory_order_relaxed) & bit(slot)) != 0; }
    template <typename Visit>
    void take_each(Visit visit) {
        for (uint32_t group = 0; group < slot_count / 64 + 1; ++group) {
            uint64_t bits = words_[group].exchange(0, std::memory_order_relaxed);
            for (; bits != 0; bits &= bits - 1) visit(group * 64 + static_cast<uint32_t>(__builtin_ctzll(bits)));
        }
    }

  private:
    static uint64_t bit(uint32_t slot) { return uint64_t{1} << (slot % 64); }
    std::atomic<uint64_t> words_[slot_count / 64 + 1];
};
constinit Marks wanted{};
// Names that another preloaded library defines before us: a jump that is not bound yet is left to bind to it.
constinit Marks others_first{};

struct Object {
    Address base = 0, end = 0;
    Address relro = 0, relro_end = 0;
    const ElfW(Sym) * symbols = nullptr;
    const char* strings = nullptr;
    const ElfW(Rela) * tables[2] = {};  // data, then jumps
    size_t counts[2] = {};
};

void read_dynamic(const ElfW(Dyn) * entry, Object* object) {
    for (; entry->d_tag != DT_NULL; ++entry) {
        Address at = entry->d_un.d_ptr;
        if (at < object->base) at += object->base;
        if (entry->d_tag == DT_SYMTAB) object->symbols = reinterpret_cast<const ElfW(Sym)*>(at);
        if (entry->d_tag == DT_STRTAB) object->strings = reinterpret_cast<const char*>(at);
        if (entry->d_tag == DT_RELA) object->tables[0] = reinterpret_cast<const ElfW(Rela)*>(at);
        if (entry->d_tag == DT_JMPREL) object->tables[1] = reinterpret_cast<const ElfW(Rela)*>(at);
        if (entry->d_tag == DT_RELASZ) object->counts[0] = entry->d_un.d_val / sizeof(ElfW(Rela));
        if (entry->d_tag == DT_PLTRELSZ) object->counts[1] = entry->d_un.d_val / sizeof(ElfW(Rela));
    }
}

Object read_object(const dl_phdr_info* info) {
    const Address page = static_cast<Address>(sysconf(_SC_PAGESIZE));
    Object object;
    object.base = info->dlpi_addr;
    for (int i = 0; i < info->dlpi_phnum; ++i) {
        const ElfW(Phdr) & part = info->dlpi_phdr[i];
        const Address begin = info->dlpi_addr + part.p_vaddr;
        if (part.p_type == PT_LOAD && begin + part.p_memsz > object.end) object.end = begin + part.p_memsz;
        if (part.p_type == PT_DYNAMIC) read_dynamic(reinterpret_cast<const ElfW(Dyn)*>(begin), &object);
        if (part.p_type == PT_GNU_RELRO) {
            object.relro = begin & ~(page - 1);
            object.relro_end = (begin + part.p_memsz) & ~(page - 1);
        }
    }
    if (object.symbols == nullptr || object.strings == nullptr) object.counts[0] = object.counts[1] = 0;
    return object;
}

// A word whose symbol is in the tables.
struct Word {
    void** place;
    uint32_t target;
    bool lazy;  // a jump that would be bound at its first call
};

template <typename Visit>
void for_each_word(const Object& object, Visit visit) {
    for (int table = 0; table < 2; ++table) {
        for (size_t i = 0; i < object.counts[table]; ++i) {
            const ElfW(Rela) & entry = object.tables[table][i];
            const auto type = static_cast<uint32_t>(ELF64_R_TYPE(entry.r_info));
            if (type != kJump && type != kData && (type != kWord || entry.r_addend != 0)) continue;
            const ElfW(Sym) & symbol = object.symbols[ELF64_R_SYM(entry.r_info)];
            const uint32_t target = find_target(object.strings + symbol.st_name);
            if (target == no_slot) continue;
            auto* place = reinterpret_cast<void**>(object.base + entry.r_offset);
            const auto value = reinterpret_cast<Address>(__atomic_load_n(place, __ATOMIC_RELAXED));
            const bool own = value >= object.base && value < object.end;
            visit(Word{place, target, type == kJump && own && symbol.st_shndx == SHN_UNDEF});
        }
    }
}

// Objects that were walked, by their base; forgotten when one was unloaded, since another may come in its place.
constexpr size_t kObjects = 4096;
constinit uintptr_t walked[kObjects];
constinit unsigned long long unloaded_then = 0;

uintptr_t* place_of(Address base) {
    for (size_t i = 0; i < kObjects; ++i) {
        uintptr_t& place = walked[(base / 4096 + i) % kObjects];
        if (place == 0 || place == base) return &place;
    }
    return nullptr;
}

struct Pass {
    bool sets = false;
    unsigned long long added = 0;  // objects there have ever been, when the pass was thought of
    bool whole = true;             // no object came meanwhile
};

void want(const Object& object) {
    for_each_word(object, [](const Word& word) {
        if (word.target < slot_count && (word.lazy || real_of(word.target) == nullptr)) wanted.set(word.target);
    });
}

void set_words(const Object& object) {
    bool opened = false;
    for_each_word(object, [&](const Word& word) {
        void* real = real_of(word.target);
        void* now = __atomic_load_n(word.place, __ATOMIC_RELAXED);
        const bool lazy = word.lazy && (word.target >= slot_count || !others_first.has(word.target));
        if (real == nullptr || (now != real && !lazy)) return;
        const auto at = reinterpret_cast<Address>(word.place);
        if (!opened && at >= object.relro && at < object.relro_end) {
            auto* begin = reinterpret_cast<void*>(object.relro);
            if (mprotect(begin, object.relro_end - object.relro, PROT_READ | PROT_WRITE) != 0) return;
            opened = true;
        }
        __atomic_store_n(word.place, ours_of(word.target), __ATOMIC_RELEASE);
    });
    if (opened) mprotect(reinterpret_cast<void*>(object.relro), object.relro_end - object.relro, PROT_READ);
}

int visit(dl_phdr_info* info, size_t, void* data) {
    Pass* pass = static_cast<Pass*>(data);
    if (info->dlpi_subs != unloaded_then) {
        memset(walked, 0, sizeof walked);
        unloaded_then = info->dlpi_subs;
    }
    pass->whole = info->dlpi_adds == pass->added;
    if (pass->sets && !pass->whole) return 1;
    uintptr_t* place = info->dlpi_addr != 0 ? place_of(info->dlpi_addr) : nullptr;
    if ((place != nullptr && *place != 0) || info->dlpi_addr == reinterpret_cast<Address>(&__ehdr_start)) return 0;
    const Object object = read_object(info);
    if (!pass->sets) {
        want(object);
    } else {
        set_words(object);
        if (place != nullptr) *place = info->dlpi_addr;
    }
    return 0;
}

int read_added(dl_phdr_info* info, size_t, void* data) {
    *static_cast<unsigned long long*>(data) = info->dlpi_adds;
    return 1;
}

unsigned long long objects_added() {
    unsigned long long added = 0;
    dl_iterate_phdr(read_added, &added);
    return added;
}

// Returns when every dlopen under way in other threads has relocated what it loads.
void wait_for_opens() {
    void* handle = libc().dlopen("libc.so.6", RTLD_LAZY | RTLD_NOLOAD);
    if (handle != nullptr) libc().dlclose(handle);
}

void find_wanted() {
    wanted.take_each([](uint32_t slot) {
        char buffer[name_room];
        const char* name = slot_name(slot, buffer);
        if (stands_before_us(name, libc().dlsym(RTLD_DEFAULT, name))) others_first.set(slot);
        resolve(slot);
    });
}

constexpr int kRoundsAtMost = 100;
constinit std::atomic<unsigned long long> governed{0};  // objects added when all of them had been walked

bool govern_all() {
    Pass pass{false, objects_added(), true};
    wait_for_opens();
    dl_iterate_phdr(visit, &pass);
    find_wanted();
    pass.sets = true;
    dl_iterate_phdr(visit, &pass);
    if (pass.whole) governed.store(pass.added, std::memory_order_release);
    return pass.whole;
}

// The namespaces besides ours, as glibc numbers them.
constexpr long kNamespaces = 16;
constinit Lookups others[kNamespaces];

constexpr const char* kSettings[] = {"FLEXNPU_SOCKET", "FLEXNPU_VNPU", "FLEXNPU_LOG"};

template <typename Function>
Function in_copy(Function function, Address base) {
    return reinterpret_cast<Function>(reinterpret_cast<Address>(function) - reinterpret_cast<Address>(&__ehdr_start) +
                                      base);
}

int read_own_path(dl_phdr_info* info, size_t, void* data) {
    if (info->dlpi_addr != reinterpret_cast<Address>(&__ehdr_start)) return 0;
    *static_cast<const char**>(data) = info->dlpi_name;
    return 1;
}

// Two threads that come first load it once and enter it twice, which is the same.
void load_copy(long space) {
    const char* path = nullptr;
    dl_iterate_phdr(read_own_path, &path);
    auto* copy = static_cast<link_map*>(path != nullptr ? libc().dlmopen(space, path, RTLD_NOW) : nullptr);
    if (copy == nullptr) return;
    const char* settings[][2] = {{kSettings[0], getenv(kSettings[0])},
                                 {kSettings[1], getenv(kSettings[1])},
                                 {kSettings[2], getenv(kSettings[2])},
                                 {nullptr, nullptr}};
    Lookups lookups{};
    in_copy(&flexnpu_enter_namespace, copy->l_addr)(space, settings, &lookups);
    others[space].dlvsym = lookups.dlvsym;
    __atomic_store_n(&others[space].dlsym, lookups.dlsym, __ATOMIC_RELEASE);
}

}  // namespace

void expect_newcomers() { newcomers_expected.store(true, std::memory_order_release); }
void expect_namespaces() { namespaces_expected.store(true, std::memory_order_release); }

void govern_newcomers() {
    if (!newcomers_expected.load(std::memory_order_acquire)) return;
    // Again where finding the real functions has loaded a library, or another thread has.
    for (int round = 0; round < kRoundsAtMost && governed.load(std::memory_order_acquire) != objects_added(); ++round) {
        govern_all();
    }
}

bool stands_before_us(const char* name, const void* found) {
    return home == LM_ID_BASE && found != nullptr && !is_ours(found) && libc().dlsym(RTLD_DEFAULT, name) == found;
}

const Lookups* lookups_of_namespace(void* handle) {
    if (!namespaces_expected.load(std::memory_order_acquire) || handle == RTLD_DEFAULT || handle == RTLD_NEXT) {
        return nullptr;
    }
    long space = LM_ID_BASE;
    if (libc().dlinfo == nullptr || libc().dlinfo(handle, RTLD_DI_LMID, &space) != 0) return nullptr;
    if (space == LM_ID_BASE || space == home || space < 0 || space >= kNamespaces) return nullptr;
    if (__atomic_load_n(&others[space].dlsym, __ATOMIC_ACQUIRE) == nullptr) load_copy(space);
    return __atomic_load_n(&others[space].dlsym, __ATOMIC_ACQUIRE) != nullptr ? &others[space] : nullptr;
}

}  // namespace flexnpu

// In the copy: it is in another namespace, where every library binds past the preload. The C library there has the
// environment that the process began with, so what matters of it is handed over.
extern "C" void flexnpu_enter_namespace(long space, const char* const (*settings)[2], flexnpu::Lookups* lookups) {
    flexnpu::home = space;
    for (; (*settings)[0] != nullptr; ++settings) {
        if ((*settings)[1] != nullptr) setenv((*settings)[0], (*settings)[1], 1);
    }
    *lookups = {&flexnpu_dlsym, &flexnpu_dlvsym};
    flexnpu::expect_newcomers();
    flexnpu::govern_newcomers();
}
