#include "engine/memory_writer.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/utsname.h>

#include <ctime>

#include "engine/memory/server_output.h"

namespace ncr {
namespace {

// What is served and never stored: without a name, gone with us.
Result<Fd> make_remote(const ImageDir& images) {
  Result<Fd> file = sys::open_at(images.fd(), ".", O_RDWR | O_TMPFILE, 0600);
  if (file.ok()) return file;
  return Fd(TRY(SYSCALL(::memfd_create("lazy pages", MFD_CLOEXEC), "memfd_create")));
}

// One for a chain, so that one checksum of a page does for all of its images; and nobody who writes
// a page can know it.
Result<uint64_t> seed_for(const ParentPages* parent) {
  if (parent != nullptr && parent->seed()) return *parent->seed();
  uint64_t seed = 0;
  TRY(SYSCALL(::getrandom(&seed, sizeof seed, 0), "getrandom"));
  return seed;
}

Result<Fd> duplicate(const Fd& fd) {
  return Fd(TRY(SYSCALL(::fcntl(fd.get(), F_DUPFD_CLOEXEC, 0), "fcntl F_DUPFD_CLOEXEC")));
}

}  // namespace

Result<MemoryWriter> MemoryWriter::create(const DumpRequest& request, TasksMeanwhile tasks,
                                          uint64_t staging_bytes) {
  MemoryWriter writer;
  // With lazy pages the socket is for those who fetch pages later.
  writer.at_server_ = request.page_server >= 0 && !request.lazy_pages;
  writer.images_ = std::make_unique<ImageDir>(TRY(
      ImageDir::create(request.images_dir, writer.at_server_ ? PagesAt::kServer : PagesAt::kDir)));
  if (!request.parent_images.empty()) {
    ParentPages parent = TRY(ParentPages::open(request.images_dir, request.parent_images));
    writer.parent_path_ = request.parent_images;
    writer.parent_ = std::make_unique<ParentPages>(std::move(parent));
    TRY(writer.images_->link_parent(request.parent_images));
  }
  const uint64_t seed = TRY(seed_for(writer.parent_.get()));
  PageStoreOptions options{.threads = request.threads,
                           .staging_bytes = staging_bytes,
                           .parent = writer.parent_.get(),
                           .keep_hashes = request.track_memory || writer.at_server_,
                           .seed = seed,
                           .tasks = tasks,
                           .output = nullptr,
                           .remote = nullptr};
  if (writer.at_server_) options.output = TRY(ServerOutput::open(request.page_server));
  if (request.lazy_pages) {
    writer.remote_ = TRY(make_remote(*writer.images_));
    Fd copy = TRY(duplicate(writer.remote_));
    options.remote = std::make_unique<FileOutput>(std::move(copy), request.images_dir);
  }
  writer.store_ =
      std::make_unique<PageStore>(TRY(PageStore::create(*writer.images_, std::move(options))));
  return writer;
}

Result<schema::ChunkTable> MemoryWriter::finish() {
  schema::ChunkTable chunks = TRY(store_->finish());
  if (at_server_) images_->add_elsewhere(kPagesFile, store_->stats().pages_written * kPageSize);
  const std::vector<schema::PageHashes> hashes = store_->take_hashes();
  if (hashes.empty()) return chunks;
  std::vector<const google::protobuf::MessageLite*> records;
  for (const schema::PageHashes& record : hashes) records.push_back(&record);
  TRY(images_->write_records(kPageHashesFile, records));
  return chunks;
}

namespace {

Result<schema::Inventory> origin_of_image(pid_t root) {
  schema::Inventory inventory;
  utsname machine{};
  TRY(SYSCALL(::uname(&machine), "uname"));
  inventory.set_arch(machine.machine);
  inventory.set_kernel_release(machine.release);
  inventory.set_producer("nativecr " NCR_VERSION);
  timespec now{};
  TRY(SYSCALL(::clock_gettime(CLOCK_REALTIME, &now), "clock_gettime"));
  inventory.set_created_unix_ns(static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 +
                                static_cast<uint64_t>(now.tv_nsec));
  inventory.set_page_size(static_cast<uint32_t>(kPageSize));
  inventory.set_root_pid(root);
  return inventory;
}

}  // namespace

Result<schema::Inventory> MemoryWriter::describe(pid_t root) {
  schema::Inventory inventory = TRY(origin_of_image(root));
  char uuid[16];
  TRY(SYSCALL(::getrandom(uuid, sizeof uuid, 0), "getrandom"));
  uuid_.assign(uuid, sizeof uuid);
  inventory.set_uuid(uuid_);
  inventory.set_remote_pages(store_->remote_bytes());
  if (parent_ == nullptr) return inventory;
  inventory.set_parent(parent_path_);
  inventory.set_parent_uuid(parent_->uuid());
  return inventory;
}

void MemoryWriter::count(DumpReport* report) const {
  const PageStoreStats stats = store_->stats();
  report->image_bytes = images_->bytes_written();
  report->pages_scanned = stats.pages_scanned;
  report->pages_written = stats.pages_written;
  report->pages_zero = stats.pages_zero;
  report->pages_shared = stats.pages_shared;
  report->pages_parent = stats.pages_parent;
  report->pages_lazy = stats.pages_lazy;
  report->shpages_scanned = stats.shpages_scanned;
  report->shpages_written = stats.shpages_written;
  report->shpages_parent = stats.shpages_parent;
}

}  // namespace ncr
