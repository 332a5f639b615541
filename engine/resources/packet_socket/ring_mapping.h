// A packet socket's rings in the memory of a task. (engine)
#pragma once

#include <string_view>

#include "engine/memory/vma_table.h"
#include "engine/resources/file_table.h"

namespace ncr::packet_socket {

bool is_mapping(const VmaLine& line);  // of a socket

// The id of the socket behind it; 0 if there is a blocker. After the task's descriptors were added.
Result<uint32_t> look(const Task& task, const VmaLine& line, const FileTable& files,
                      Blockers& blockers);

// Pure: whether the kernel or the program has put something there. `content`: of the whole mapping,
// the receive ring first.
bool has_been_used(const schema::PacketSocket& socket, std::string_view content);

}  // namespace ncr::packet_socket
