// The structures of the C interface, of any age, as requests of the engine's own.
#pragma once

#include "engine/lazy_pages.h"
#include "engine/page_server.h"
#include "engine/request.h"
#include "nativecr/nativecr.h"

namespace ncr {

Result<DumpRequest> dump_request(const ncr_dump_options* given);
Result<LazyPagesRequest> lazy_pages_request(const ncr_lazy_pages_options* given);
Result<PageServerRequest> page_server_request(const ncr_page_server_options* given);
Result<RestoreRequest> restore_request(const ncr_restore_options* given);

}  // namespace ncr
