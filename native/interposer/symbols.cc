// SPDX-License-Identifier: Apache-2.0
#include "symbols.h"

#include <elf.h>
#include <link.h>
#include <stdint.h>
#include <string.h>

extern "C" const ElfW(Ehdr) __ehdr_start __attribute__((visibility("hidden")));
extern "C" const char _end __attribute__((visibility("hidden")));

namespace flexnpu {
namespace {

struct Search {
    const char* object;
    const char* name;
    void* found;
};

uint32_t gnu_hash(const char* name) {
    uint32_t hash = 5381;
    for (; *name != '\0'; ++name) hash = hash * 33 + static_cast<unsigned char>(*name);
    return hash;
}

struct Tables {
    const ElfW(Sym) * symbols = nullptr;
    const char* strings = nullptr;
    const uint32_t* hash = nullptr;
};

Tables read_dynamic(const ElfW(Dyn) * entry, ElfW(Addr) base) {
    Tables tables;
    for (; entry->d_tag != DT_NULL; ++entry) {
        // glibc relocates these in place; an object that keeps its dynamic section read-only holds offsets.
        ElfW(Addr) at = entry->d_un.d_ptr;
        if (at < base) at += base;
        if (entry->d_tag == DT_SYMTAB) tables.symbols = reinterpret_cast<const ElfW(Sym)*>(at);
        if (entry->d_tag == DT_STRTAB) tables.strings = reinterpret_cast<const char*>(at);
        if (entry->d_tag == DT_GNU_HASH) tables.hash = reinterpret_cast<const uint32_t*>(at);
    }
    return tables;
}

void* find_symbol(const Tables& tables, ElfW(Addr) base, const char* name) {
    if (tables.symbols == nullptr || tables.strings == nullptr || tables.hash == nullptr) return nullptr;
    const uint32_t buckets = tables.hash[0];
    const uint32_t first = tables.hash[1];
    const uint32_t filter_words = tables.hash[2];
    const uint32_t* bucket = tables.hash + 4 + filter_words * (sizeof(ElfW(Addr)) / sizeof(uint32_t));
    const uint32_t* chain = bucket + buckets;
    const uint32_t wanted = gnu_hash(name);
    uint32_t index = buckets == 0 ? 0 : bucket[wanted % buckets];
    if (index < first) return nullptr;
    for (;; ++index) {
        const uint32_t hash = chain[index - first];
        const ElfW(Sym) & symbol = tables.symbols[index];
        if ((hash | 1) == (wanted | 1) && symbol.st_shndx != SHN_UNDEF &&
            strcmp(tables.strings + symbol.st_name, name) == 0) {
            return reinterpret_cast<void*>(base + symbol.st_value);
        }
        if ((hash & 1) != 0) return nullptr;
    }
}

int visit(dl_phdr_info* info, size_t, void* data) {
    Search* search = static_cast<Search*>(data);
    const char* file = strrchr(info->dlpi_name, '/');
    file = file != nullptr ? file + 1 : info->dlpi_name;
    if (strncmp(file, search->object, strlen(search->object)) != 0) return 0;
    for (int i = 0; i < info->dlpi_phnum; ++i) {
        if (info->dlpi_phdr[i].p_type != PT_DYNAMIC) continue;
        const auto* dynamic = reinterpret_cast<const ElfW(Dyn)*>(info->dlpi_addr + info->dlpi_phdr[i].p_vaddr);
        search->found = find_symbol(read_dynamic(dynamic, info->dlpi_addr), info->dlpi_addr, search->name);
    }
    return search->found != nullptr ? 1 : 0;
}

}  // namespace

void* find_in_object(const char* object, const char* name) {
    Search search{object, name, nullptr};
    dl_iterate_phdr(visit, &search);
    return search.found;
}

bool is_ours(const void* address) {
    const auto at = reinterpret_cast<uintptr_t>(address);
    return at >= reinterpret_cast<uintptr_t>(&__ehdr_start) && at < reinterpret_cast<uintptr_t>(&_end);
}

}  // namespace flexnpu
