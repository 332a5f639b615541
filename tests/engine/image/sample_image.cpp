#include "tests/engine/image/sample_image.h"

#include <sys/mman.h>

namespace ncr {
namespace {

constexpr uint64_t kText = 0x400000, kHeap = 0x1000000, kShared = 0x7f0000000000,
                   kStack = 0x7ffff0000000;
constexpr uint64_t kPage = 4096;

schema::Vma* add_vma(schema::Task* task, uint64_t start, uint64_t pages, uint32_t prot,
                     schema::VmaKind kind) {
  schema::Vma* vma = task->mutable_memory()->add_vmas();
  vma->set_start(start);
  vma->set_end(start + pages * kPage);
  vma->set_prot(prot);
  vma->set_kind(kind);
  return vma;
}

void add_thread(schema::Task* task, int32_t tid) {
  schema::Thread* thread = task->add_threads();
  thread->set_tid(tid);
  thread->set_comm("sample");
  thread->set_general_registers(std::string(27 * 8, 'g'));
  thread->set_extended_state(std::string(576, 'x'));
}

schema::Task live_task(int32_t pid, int32_t ppid) {
  schema::Task task;
  task.set_pid(pid);
  task.set_ppid(ppid);
  task.set_pgid(100);
  task.set_sid(100);
  task.set_comm("sample");
  add_thread(&task, pid);
  add_vma(&task, kText, 4, PROT_READ | PROT_EXEC, schema::VMA_FILE_PRIVATE)->set_file_id(1);
  add_vma(&task, kHeap, 16, PROT_READ | PROT_WRITE, schema::VMA_ANONYMOUS)->set_heap(true);
  add_vma(&task, kShared, 8, PROT_READ | PROT_WRITE, schema::VMA_SHMEM)->set_shmem_id(7);
  add_vma(&task, kStack, 4, PROT_READ | PROT_WRITE, schema::VMA_ANONYMOUS)->set_grows_down(true);
  task.mutable_memory()->set_exe_file_id(1);
  task.mutable_memory()->set_auxv(std::string(320, '\0'));
  task.mutable_fs()->set_cwd("/");
  task.mutable_fs()->set_root("/");
  for (int32_t number : {0, 1, 2}) {
    schema::Descriptor* descriptor = task.add_descriptors();
    descriptor->set_number(number);
    descriptor->set_file_id(2);
  }
  return task;
}

schema::Task zombie(int32_t pid, int32_t ppid) {
  schema::Task task;
  task.set_pid(pid);
  task.set_ppid(ppid);
  task.set_pgid(100);
  task.set_sid(100);
  task.set_state(schema::TASK_ZOMBIE);
  task.set_exit_status(256);
  task.set_comm("gone");
  return task;
}

schema::OpenFile open_file(uint32_t id) {
  schema::OpenFile file;
  file.set_id(id);
  file.set_path("/some/file");
  file.mutable_regular_file();
  return file;
}

void add_run(schema::PageMap* map, uint64_t start, uint64_t pages, uint64_t stored) {
  schema::PageRun* run = map->add_runs();
  run->set_start(start);
  run->set_pages(pages);
  run->set_stored(stored);
}

}  // namespace

SampleImage::SampleImage() {
  inventory.set_arch("x86_64");
  inventory.set_page_size(4096);
  inventory.set_root_pid(100);
  inventory.set_tasks(3);
  tasks = {live_task(100, 0), live_task(102, 100), zombie(103, 102)};
  add_thread(&tasks[0], 101);
  files = {open_file(1), open_file(2)};
  shared_memory.emplace_back().set_id(7);
  shared_memory.back().set_size(8 * kPage);
  for (char c = 'a'; c < 'a' + 10; c++) pages.append(kPage, c);

  schema::PageMap parent, child, shared;
  parent.set_pid(100);
  add_run(&parent, kHeap, 4, 0);
  add_run(&parent, kStack, 2, 4 * kPage);
  child.set_pid(102);
  add_run(&child, kHeap, 3, 0);
  schema::PageRun* zero = child.add_runs();
  zero->set_start(kHeap + 3 * kPage);
  zero->set_pages(1);
  zero->set_zero(true);
  add_run(&child, kStack, 2, 6 * kPage);
  shared.set_shmem_id(7);
  add_run(&shared, 0, 2, 8 * kPage);
  page_maps = {parent, child, shared};
}

Image SampleImage::image() const {
  Image image;
  image.inventory = inventory;
  image.inventory.set_format_version(1);
  schema::FileEntry* entry = image.inventory.add_files();
  entry->set_name(kPagesFile);
  entry->set_size(pages.size());
  image.tasks = tasks;
  for (const schema::OpenFile& file : files) image.files[file.id()] = file;
  image.shared_memory = shared_memory;
  for (const schema::PageMap& map : page_maps) {
    if (map.pid() != 0) {
      image.task_pages[map.pid()] = map;
    } else {
      image.shmem_pages[map.shmem_id()] = map;
    }
  }
  return image;
}

void write_sample(ImageDir& images, const SampleImage& sample) {
  Result<Fd> raw = images.create_raw(kPagesFile);
  ASSERT_TRUE(raw.ok()) << raw.error().text();
  ASSERT_TRUE(sys::write_all(raw.value(), sample.pages.data(), sample.pages.size()).ok());
  schema::ChunkTable table;
  for (size_t at = 0; at < sample.pages.size(); at += 3 * kPage) {
    size_t size = std::min<size_t>(3 * kPage, sample.pages.size() - at);
    table.add_chunks()->set_size(size);
    table.mutable_chunks()->rbegin()->set_xxh3_128(checksum_of(sample.pages.data() + at, size));
  }
  auto pointers = [](const auto& records) {
    Records out;
    for (const auto& record : records) out.push_back(&record);
    return out;
  };
  Records pagemap = pointers(sample.page_maps);
  pagemap.insert(pagemap.begin(), &table);
  ASSERT_TRUE(images.write_records(kTasksFile, pointers(sample.tasks)).ok());
  ASSERT_TRUE(images.write_records(kFilesFile, pointers(sample.files)).ok());
  ASSERT_TRUE(images.write_records(kSharedMemoryFile, pointers(sample.shared_memory)).ok());
  ASSERT_TRUE(images.write_records(kPagemapFile, pagemap).ok());
  Result<> committed = images.commit(sample.inventory);
  ASSERT_TRUE(committed.ok()) << committed.error().text();
}

}  // namespace ncr
