// The parts of check_consistency(). Each names the file and the object that is not sound.
#pragma once

#include "engine/image/image_reader.h"
#include "engine/memory/run_set.h"

namespace ncr::consistency {

Result<> check_tree(const Image& image);   // who is whose child, numbers of processes and threads
Result<> check_users(const Image& image);  // user namespaces and what they own
Result<> check_task(const schema::Task& task, const Image& image);
Result<> check_memory(const schema::Task& task, const Image& image);
Result<> check_shared_memory(const Image& image);
Result<> check_page_maps(const Image& image);
Result<> check_files(const Image& image);

// Highest address + 1 that a program can have on any machine of ours (x86_64 with five levels of
// page tables).
constexpr uint64_t kUserEnd = (uint64_t{1} << 56) - kPageSize;

// As pid_max allows at most.
constexpr int32_t kMostPids = 4194304;

// What becomes a path or a name in a system call: not too long, and no zero byte inside.
bool is_name(const std::string& name, size_t most);
bool is_path(const std::string& path);  // and absolute

[[gnu::format(printf, 3, 4)]] Error bad(const char* file, const std::string& object,
                                        const char* format, ...);
std::string name_of(const schema::Task& task);  // "task 12 (cat)"

}  // namespace ncr::consistency
