// Pages of a dump on their way to a page server.
#pragma once

#include <memory>
#include <mutex>

#include "engine/memory/page_output.h"
#include "engine/memory/page_wire.h"

namespace ncr {

class ServerOutput : public PageOutput {
 public:
  // `socket` is connected; it is duplicated.
  static Result<std::unique_ptr<PageOutput>> open(int socket);
  explicit ServerOutput(page_wire::Peer peer) : peer_(std::move(peer)) {}
  Result<> write(const char* data, uint64_t size, uint64_t offset) override;
  Result<> finish(uint64_t size) override;

 private:
  Result<> explain(Result<> sent);

  std::mutex mutex_;
  page_wire::Peer peer_;
};

}  // namespace ncr
