// SPDX-License-Identifier: Apache-2.0
#include "runtime/pages.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

namespace softnpu {
namespace {

constexpr const char* kName = "softnpu-pages";
// A handle, from its top: 22 bits of process, 14 of file descriptor, 28 of page.
constexpr uint32_t kPageBits = 28;
constexpr uint32_t kFileBits = 14;
constexpr uint64_t kEnd = kPage << kPageBits;  // of the pages; after them, what each announced part holds in bytes
constexpr uint64_t kFileEnd = kEnd + (sizeof(uint64_t) << kPageBits);

struct Handle {
    uint32_t pid;
    int fd;
    uint64_t offset;
};

uint64_t encode(const Handle& handle) {
    return static_cast<uint64_t>(handle.pid) << (kFileBits + kPageBits) |
           static_cast<uint64_t>(handle.fd) << kPageBits | handle.offset / kPage;
}

Handle decode(uint64_t handle) {
    return {static_cast<uint32_t>(handle >> (kFileBits + kPageBits)),
            static_cast<int>(handle >> kPageBits & ((1U << kFileBits) - 1)),
            (handle & ((1ULL << kPageBits) - 1)) * kPage};
}

off_t place_of(uint64_t offset) { return static_cast<off_t>(kEnd + offset / kPage * sizeof(uint64_t)); }

}  // namespace

PageFile::~PageFile() {
    if (fd_ >= 0) {
        close(fd_);
    }
}

bool PageFile::open() {
    if (fd_ < 0) {
        fd_ = memfd_create(kName, MFD_CLOEXEC);
        if (fd_ >= 0 && ftruncate(fd_, static_cast<off_t>(kFileEnd)) != 0) {
            close(fd_);
            fd_ = -1;
        }
    }
    return fd_ >= 0;
}

std::optional<uint64_t> PageFile::take(uint64_t bytes) {
    const std::lock_guard lock(mutex_);
    if (!open()) {
        return std::nullopt;
    }
    for (auto part = free_.begin(); part != free_.end(); ++part) {
        const auto [offset, room] = *part;
        if (room >= bytes) {
            free_.erase(part);
            if (room > bytes) {
                free_.emplace(offset + bytes, room - bytes);
            }
            return offset;
        }
    }
    if (bytes > kEnd - end_) {
        return std::nullopt;
    }
    end_ += bytes;
    return end_ - bytes;
}

void PageFile::give_back(uint64_t offset, uint64_t bytes) {
    withdraw(offset);
    fallocate(fd_, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(offset), static_cast<off_t>(bytes));
    const std::lock_guard lock(mutex_);
    auto next = free_.lower_bound(offset);
    if (next != free_.end() && next->first == offset + bytes) {
        bytes += next->second;
        next = free_.erase(next);
    }
    if (next != free_.begin()) {
        const auto before = std::prev(next);
        if (before->first + before->second == offset) {
            before->second += bytes;
            return;
        }
    }
    free_.emplace(offset, bytes);
}

uint64_t PageFile::announce(uint64_t offset, uint64_t bytes) {
    if (fd_ >= 1 << kFileBits || pwrite(fd_, &bytes, sizeof bytes, place_of(offset)) != sizeof bytes) {
        return 0;
    }
    return encode({static_cast<uint32_t>(getpid()), fd_, offset});
}

bool PageFile::withdraw_handle(uint64_t handle) {
    const Handle part = decode(handle);
    if (part.pid != static_cast<uint32_t>(getpid()) || part.fd != fd_) {
        return false;
    }
    withdraw(part.offset);
    return true;
}

void PageFile::withdraw(uint64_t offset) {
    uint64_t bytes = 0;
    if (pread(fd_, &bytes, sizeof bytes, place_of(offset)) == sizeof bytes && bytes != 0) {
        bytes = 0;
        if (pwrite(fd_, &bytes, sizeof bytes, place_of(offset)) != sizeof bytes) {
            return;  // the host has no page left; the part stays announced until its process ends
        }
    }
}

File::~File() { close(fd_); }

namespace {

// One open file for all that one process shares: an expandable segment alone has hundreds of parts. nullptr: not a file
// of pages, or not to be opened by us.
std::shared_ptr<const File> open_file(const char* path) {
    static auto* mutex = new std::mutex();
    static auto* open_files = new std::map<ino_t, std::weak_ptr<const File>>();
    char target[64] = "";
    struct stat info{};
    if (readlink(path, target, sizeof target - 1) <= 0 || std::strstr(target, kName) == nullptr ||
        stat(path, &info) != 0) {
        return nullptr;
    }
    const std::lock_guard lock(*mutex);
    std::erase_if(*open_files, [](const auto& entry) { return entry.second.expired(); });
    std::weak_ptr<const File>& known = (*open_files)[info.st_ino];
    std::shared_ptr<const File> file = known.lock();
    if (file == nullptr) {
        const int fd = ::open(path, O_RDWR | O_CLOEXEC);
        file = fd < 0 ? nullptr : std::make_shared<const File>(fd);
        known = file;
    }
    return file;
}

}  // namespace

std::optional<ForeignPages> open_foreign(uint64_t handle, std::string* error) {
    const Handle part = decode(handle);
    char path[64];
    std::snprintf(path, sizeof path, "/proc/%u/fd/%d", part.pid, part.fd);
    const auto file = open_file(path);
    const std::string whose = "process " + std::to_string(part.pid);
    if (file == nullptr) {
        *error = whose + " is gone, belongs to another user, or shares nothing";
        return std::nullopt;
    }
    uint64_t bytes = 0;
    if (pread(file->fd(), &bytes, sizeof bytes, place_of(part.offset)) != sizeof bytes || bytes == 0) {
        *error = whose + " does not share this memory, or no longer";
        return std::nullopt;
    }
    return ForeignPages{file, part.offset, bytes, part.pid};
}

}  // namespace softnpu
