// SPDX-License-Identifier: Apache-2.0
//
// Pages of one process that other processes can map: a file in memory, without a name, of which parts are handed out.
// Another process finds a part by a 64-bit handle (process, file, place) and opens it through /proc, so both have to
// belong to one user. A part is found only while it is announced.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

namespace softnpu {

constexpr uint64_t kPage = 4096;
inline uint64_t whole_pages(uint64_t bytes) { return (bytes + kPage - 1) / kPage * kPage; }

class PageFile {
  public:
    PageFile() = default;
    ~PageFile();
    PageFile(const PageFile&) = delete;
    PageFile& operator=(const PageFile&) = delete;

    // The offset of `bytes` (whole pages) of zeros; nothing when the host gives none.
    std::optional<uint64_t> take(uint64_t bytes);
    // Their memory goes back to the host, and they are announced no longer.
    void give_back(uint64_t offset, uint64_t bytes);
    int fd() const { return fd_; }

    // Whoever has the handle can map `bytes` at `offset` from now on. 0: this file cannot be named.
    uint64_t announce(uint64_t offset, uint64_t bytes);
    void withdraw(uint64_t offset);
    bool withdraw_handle(uint64_t handle);  // false: not of this file

  private:
    bool open();

    std::mutex mutex_;
    int fd_ = -1;
    uint64_t end_ = 0;
    std::map<uint64_t, uint64_t> free_;  // offset -> bytes, neighbours joined
};

// An open file descriptor.
class File {
  public:
    explicit File(int fd) : fd_(fd) {}
    ~File();
    File(const File&) = delete;
    File& operator=(const File&) = delete;
    int fd() const { return fd_; }

  private:
    const int fd_;
};

// What a handle of another process leads to. Whoever keeps the file keeps the memory, also when that process ends.
struct ForeignPages {
    std::shared_ptr<const File> file;  // one for all parts of a process's file
    uint64_t offset;
    uint64_t bytes;
    uint32_t pid;
};

// Nothing, with one line in `error`, when the process is gone or announces nothing there.
std::optional<ForeignPages> open_foreign(uint64_t handle, std::string* error);

}  // namespace softnpu
