#include "engine/memory/page_source.h"

#include <cstring>

namespace ncr {

using page_wire::Kind;
using page_wire::Message;

Result<PageSource> PageSource::open(const Image& image, Fd server) {
  PageSource source(image);
  if (!server.valid()) {
    if (image.remote_start == 0) return source;
    return Error::usage("the pages of this image are where it was dumped: name the page server");
  }
  source.server_.emplace(std::move(server), nullptr);
  const std::string& uuid = image.inventory.uuid();
  TRY_WHILE(source.server_->send(Kind::kFetch, page_wire::kVersion, uuid.data(), uuid.size()),
            "page server");
  TRY_WHILE(source.server_->receive(Kind::kOk), "page server");
  return source;
}

Result<> PageSource::read(void* to, uint64_t size, uint64_t offset) const {
  if (image_.remote_start == 0 || offset < image_.remote_start)
    return image_.pages.read(to, size, offset);
  return fetch(to, size, offset - image_.remote_start);
}

Result<> PageSource::fetch(void* to, uint64_t size, uint64_t offset) const {
  if (!server_) return Error::malformed("pages of a server, and there is none");
  TRY_WHILE(server_->send(Kind::kGet, offset, &size, sizeof size), "page server");
  Message answer = TRY_WHILE(server_->receive(Kind::kPages), "page server");
  if (answer.offset != offset || answer.body.size() != size)
    return Error::malformed("page server: not the pages that were asked for");
  std::memcpy(to, answer.body.data(), size);
  return {};
}

Result<> PageSource::finish() const {
  if (!server_) return {};
  TRY_WHILE(server_->send(Kind::kDone, 0), "page server");
  TRY_WHILE(server_->receive(Kind::kOk), "page server");
  return {};
}

}  // namespace ncr
