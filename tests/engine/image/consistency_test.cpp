// One change at a time to a sound image: each must be refused, and the message must say where.
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <functional>

#include "tests/engine/image/sample_image.h"

namespace ncr {
namespace {

struct Mutation {
  const char* name;
  std::function<void(Image&)> apply;
  const char* expected;
};

schema::Task& root(Image& image) { return image.tasks[0]; }
schema::Task& child(Image& image) { return image.tasks[1]; }
schema::Task& zombie(Image& image) { return image.tasks[2]; }
schema::Thread& thread(Image& image) { return *root(image).mutable_threads(1); }
schema::Memory& memory(Image& image) { return *root(image).mutable_memory(); }
schema::Vma& vma(Image& image, int i) { return *memory(image).mutable_vmas(i); }
schema::PageRun& run(Image& image, int i) { return *image.task_pages.at(100).mutable_runs(i); }
schema::PageRun& shared_run(Image& image) { return *image.shmem_pages.at(7).mutable_runs(0); }

schema::Namespace& add_pid_namespace(Image& image) {
  schema::Namespace& record = image.namespaces.emplace_back();
  record.set_id(static_cast<uint32_t>(image.namespaces.size()));
  record.mutable_pid();
  return record;
}
schema::PidPair& add_number(Image& image, int32_t of_root) {
  schema::PidPair& pair = *add_pid_namespace(image).mutable_pid()->add_numbers();
  pair.set_of_root(of_root);
  return pair;
}
schema::MountedFileSystem& add_procfs(Image& image) {
  schema::Namespace& record = image.namespaces.emplace_back();
  record.set_id(static_cast<uint32_t>(image.namespaces.size()));
  return *record.mutable_mnt()->add_file_systems();
}

// Of what a map says, inside and outside.
schema::Namespace& add_user_namespace(Image& image, uint32_t inside, uint32_t outside,
                                      uint32_t count) {
  schema::Namespace& record = image.namespaces.emplace_back();
  record.set_id(static_cast<uint32_t>(image.namespaces.size()));
  for (auto* ranges :
       {record.mutable_user()->mutable_uids(), record.mutable_user()->mutable_gids()}) {
    schema::IdRange* range = ranges->Add();
    range->set_inside(inside);
    range->set_outside(outside);
    range->set_count(count);
  }
  return record;
}
schema::Namespace& add_users_of_root(Image& image) {
  root(image).add_namespaces(1);
  child(image).add_namespaces(1);
  return add_user_namespace(image, 0, 100000, 1000);
}
schema::Namespace& add_users_below(Image& image) {
  add_users_of_root(image);
  schema::Namespace& record = add_user_namespace(image, 0, 500, 10);
  record.set_parent(1);
  return record;
}

constexpr uint64_t kHuge = ~uint64_t{0} & ~uint64_t{4095};

class Consistency : public ::testing::TestWithParam<Mutation> {};

TEST_P(Consistency, refuses) {
  Image image = SampleImage().image();
  ASSERT_TRUE(check_consistency(image).ok()) << check_consistency(image).error().text();
  GetParam().apply(image);
  Result<> checked = check_consistency(image);
  ASSERT_FALSE(checked.ok());
  EXPECT_EQ(checked.error().code(), ErrorCode::kMalformed);
  EXPECT_NE(checked.error().text().find(GetParam().expected), std::string::npos)
      << checked.error().text();
}

const Mutation kTree[] = {
    {"no_tasks", [](Image& i) { i.tasks.clear(); }, "no task"},
    {"another_root", [](Image& i) { i.inventory.set_root_pid(7); }, "root"},
    {"fewer_tasks", [](Image& i) { i.inventory.set_tasks(2); }, "inventory says 2"},
    {"page_size_0", [](Image& i) { i.inventory.set_page_size(0); }, "pages of 0"},
    {"page_size_odd", [](Image& i) { i.inventory.set_page_size(4097); }, "pages of 4097"},
    {"pid_0", [](Image& i) { child(i).set_pid(0); }, "task 0"},
    {"pid_negative", [](Image& i) { child(i).set_pid(-1); }, "task -1"},
    {"pid_above_all", [](Image& i) { child(i).set_pid(1 << 23); }, "task 8388608"},
    {"pid_twice", [](Image& i) { child(i).set_pid(100); }, "another task's"},
    {"root_with_parent", [](Image& i) { root(i).set_ppid(1); }, "parent 1"},
    {"parent_missing", [](Image& i) { child(i).set_ppid(5); }, "parent 5"},
    {"parent_later", [](Image& i) { child(i).set_ppid(103); }, "parent 103"},
    {"parent_itself", [](Image& i) { child(i).set_ppid(102); }, "parent 102"},
    {"two_roots", [](Image& i) { child(i).set_ppid(0); }, "parent 0"},
    {"pgid_negative", [](Image& i) { root(i).set_pgid(-1); }, "process group -1"},
    {"sid_above_all", [](Image& i) { root(i).set_sid(1 << 30); }, "session"},
    {"pids_below_themselves", [](Image& i) { add_pid_namespace(i).set_parent(1); },
     "namespace 1: its parent is no pid namespace"},
    {"pids_number_0", [](Image& i) { add_number(i, 102).set_here(0); }, "number 0 of process 102"},
    {"pids_negative", [](Image& i) { add_number(i, -1).set_here(1); }, "number 1 of process -1"},
    {"children_nowhere", [](Image& i) { child(i).set_pid_namespace_of_children(1); },
     "nobody is in the pid namespace of its children"},
    {"procfs_of_nobody", [](Image& i) { add_pid_namespace(i), add_procfs(i).set_pid_namespace(1); },
     "nobody is in the pid namespace that its procfs shows"},
    {"users_overlap_inside",
     [](Image& i) {
       schema::UserNamespace* user = add_users_of_root(i).mutable_user();
       const schema::IdRange first = user->uids(0);
       *user->add_uids() = first;
     },
     "namespace 1: its maps of ids"},
    {"users_without_a_number",
     [](Image& i) { add_users_of_root(i).mutable_user()->mutable_gids(0)->set_count(0); },
     "namespace 1: its maps of ids"},
    {"users_beyond_all",
     [](Image& i) { add_users_of_root(i).mutable_user()->mutable_uids(0)->set_count(~0u); },
     "namespace 1: its maps of ids"},
    {"users_of_root_below",
     [](Image& i) { add_users_of_root(i).set_parent(2), add_user_namespace(i, 0, 0, 1); },
     "namespace 1: the user namespace of the root is below another one"},
    {"users_above_root", [](Image& i) { add_users_below(i).set_parent(0); },
     "namespace 2: it is not below the user namespace of the root"},
    {"users_below_themselves", [](Image& i) { add_users_below(i).set_parent(2); },
     "namespace 2: it is not below the user namespace of the root"},
    {"users_below_a_pid_namespace",
     [](Image& i) { add_users_below(i).set_parent(3), add_pid_namespace(i); },
     "namespace 2: it is not below the user namespace of the root"},
    {"users_not_mapped_above",
     [](Image& i) { add_users_below(i).mutable_user()->mutable_uids(0)->set_outside(995); },
     "namespace 2: it maps ids that the one above does not have"},
    {"users_of_nobody", [](Image& i) { add_users_below(i).mutable_user()->set_owner_uid(1000); },
     "namespace 2: its owner 1000 is nobody"},
    {"owner_of_another_kind", [](Image& i) { add_pid_namespace(i).set_owner(1); },
     "namespace 1: its owner is no user namespace"},
    {"root_zombie", [](Image& i) { root(i).set_state(schema::TASK_ZOMBIE); }, "zombie"},
    {"zombie_thread", [](Image& i) { zombie(i).add_threads()->set_tid(103); },
     "more than a status"},
    {"zombie_fd", [](Image& i) { zombie(i).add_descriptors()->set_file_id(1); }, "more than"},
    {"zombie_vma", [](Image& i) { zombie(i).mutable_memory()->add_vmas(); }, "more than"},
    {"no_threads", [](Image& i) { child(i).clear_threads(); }, "leader"},
    {"no_leader", [](Image& i) { child(i).mutable_threads(0)->set_tid(107); }, "leader"},
    {"tid_0", [](Image& i) { thread(i).set_tid(0); }, "thread 0"},
    {"tid_twice", [](Image& i) { thread(i).set_tid(100); }, "thread 100"},
    {"tid_of_a_task", [](Image& i) { thread(i).set_tid(102); }, "thread 102"},
    {"tid_of_a_zombie", [](Image& i) { thread(i).set_tid(103); }, "thread 103"},
    {"files_with_nobody", [](Image& i) { child(i).set_files_shared_with(9); }, "shares"},
    {"files_with_itself", [](Image& i) { child(i).set_files_shared_with(102); }, "shares"},
    {"memory_with_later", [](Image& i) { memory(i).set_shared_with(102); }, "shares"},
};

const Mutation kTask[] = {
    {"state", [](Image& i) { root(i).set_state(static_cast<schema::TaskState>(9)); }, "state 9"},
    {"comm_long", [](Image& i) { root(i).set_comm(std::string(40, 'x')); }, "its name"},
    {"comm_zero", [](Image& i) { root(i).set_comm(std::string("a\0b", 3)); }, "its name"},
    {"thread_comm", [](Image& i) { thread(i).set_comm(std::string(16, 'x')); }, "thread 101"},
    {"registers_huge", [](Image& i) { thread(i).set_general_registers(std::string(1 << 20, 0)); },
     "registers"},
    {"registers_odd", [](Image& i) { thread(i).set_extended_state("abc"); }, "registers"},
    {"regset_huge",
     [](Image& i) { (*thread(i).mutable_other_regsets())[5] = std::string(1 << 20, 0); },
     "registers"},
    {"siginfo_short", [](Image& i) { thread(i).add_pending_signals("x"); }, "pending signal"},
    {"shared_siginfo", [](Image& i) { root(i).add_pending_signals(std::string(129, 0)); },
     "pending signal"},
    {"altstack", [](Image& i) { thread(i).mutable_signal_stack()->set_size(kHuge); },
     "signal stack"},
    {"rseq", [](Image& i) { thread(i).mutable_rseq()->set_address(kHuge); }, "rseq"},
    {"robust_list", [](Image& i) { thread(i).set_robust_list(kHuge); }, "futex"},
    {"robust_size", [](Image& i) { thread(i).set_robust_list_size(kHuge); }, "futex"},
    {"clear_tid", [](Image& i) { thread(i).set_clear_child_tid(kHuge); }, "futex"},
    {"uids", [](Image& i) { thread(i).mutable_credentials()->add_uids(1); }, "credentials"},
    {"gids", [](Image& i) { thread(i).mutable_credentials()->add_gids(1); }, "credentials"},
    {"groups",
     [](Image& i) {
       for (int n = 0; n < 70000; n++) thread(i).mutable_credentials()->add_groups(1);
     },
     "credentials"},
    {"seccomp_mode", [](Image& i) { thread(i).set_seccomp_mode(3); }, "seccomp mode"},
    {"seccomp_without_filters", [](Image& i) { thread(i).set_seccomp_mode(2); }, "seccomp mode"},
    {"seccomp_filter_missing",
     [](Image& i) {
       thread(i).set_seccomp_mode(2);
       thread(i).add_seccomp_filters(7);
     },
     "filter 7 is not in the image"},
    {"seccomp_program",
     [](Image& i) {
       thread(i).set_seccomp_mode(2);
       thread(i).add_seccomp_filters(7);
       i.seccomp_filters[7].set_program("not eight");
     },
     "9 bytes are no program"},
    {"affinity",
     [](Image& i) { thread(i).mutable_scheduling()->set_affinity(std::string(9000, 0)); },
     "affinity"},
    {"fd_negative", [](Image& i) { root(i).mutable_descriptors(0)->set_number(-1); },
     "descriptor -1"},
    {"fd_above_all", [](Image& i) { root(i).mutable_descriptors(0)->set_number(1 << 30); },
     "descriptor 1073741824"},
    {"fd_twice", [](Image& i) { root(i).mutable_descriptors(0)->set_number(1); }, "descriptor 1"},
    {"fd_of_no_file", [](Image& i) { root(i).mutable_descriptors(0)->set_file_id(9); }, "file 9"},
    {"action_0", [](Image& i) { root(i).add_signal_actions(); }, "signal action 0"},
    {"action_65", [](Image& i) { root(i).add_signal_actions()->set_number(65); }, "action 65"},
    {"action_twice",
     [](Image& i) {
       root(i).add_signal_actions()->set_number(3);
       root(i).add_signal_actions()->set_number(3);
     },
     "action 3"},
    {"stop_signal", [](Image& i) { root(i).set_stop_signal(65); }, "signal 65"},
    {"interval_timer", [](Image& i) { root(i).add_interval_timers()->set_which(3); },
     "interval timer 3"},
    {"timer_negative", [](Image& i) { root(i).add_posix_timers()->set_id(-1); }, "timer -1"},
    {"timer_twice",
     [](Image& i) {
       root(i).add_posix_timers();
       root(i).add_posix_timers();
     },
     "timer 0"},
    {"timer_signal", [](Image& i) { root(i).add_posix_timers()->set_signal(99); }, "timer 0"},
    {"timer_notify", [](Image& i) { root(i).add_posix_timers()->set_notify(5); }, "timer 0"},
    {"rlimit", [](Image& i) { root(i).add_rlimits()->set_resource(64); }, "limit 64"},
    {"rlimit_twice",
     [](Image& i) {
       root(i).add_rlimits();
       root(i).add_rlimits();
     },
     "limit 0"},
    {"cwd_zero", [](Image& i) { root(i).mutable_fs()->set_cwd(std::string("/a\0b", 4)); },
     "directory"},
    {"cwd_relative", [](Image& i) { root(i).mutable_fs()->set_cwd("a"); }, "directory"},
    {"root_long", [](Image& i) { root(i).mutable_fs()->set_root("/" + std::string(5000, 'a')); },
     "directory"},
    {"umask", [](Image& i) { root(i).mutable_flags()->set_umask(~0u); }, "umask"},
};

const Mutation kMemory[] = {
    {"vma_unaligned", [](Image& i) { vma(i, 1).set_start(0x1000001); }, "addresses"},
    {"vma_end_unaligned", [](Image& i) { vma(i, 1).set_end(0x1010001); }, "addresses"},
    {"vma_empty", [](Image& i) { vma(i, 1).set_end(vma(i, 1).start()); }, "addresses"},
    {"vma_backwards", [](Image& i) { vma(i, 1).set_end(0x1000); }, "addresses"},
    {"vma_outside", [](Image& i) { vma(i, 3).set_end(kHuge); }, "addresses"},
    {"vma_overlaps", [](Image& i) { vma(i, 1).set_start(vma(i, 0).end() - 4096); }, "overlaps"},
    {"vma_order", [](Image& i) { vma(i, 0).Swap(&vma(i, 1)); }, "overlaps"},
    {"vma_kind", [](Image& i) { vma(i, 1).set_kind(static_cast<schema::VmaKind>(77)); }, "kind"},
    {"vma_prot", [](Image& i) { vma(i, 1).set_prot(8); }, "protection"},
    {"vma_lock", [](Image& i) { vma(i, 1).set_lock(3); }, "lock"},
    {"vma_name_zero", [](Image& i) { vma(i, 1).set_name(std::string("\0", 1)); }, "name"},
    {"vma_name_long", [](Image& i) { vma(i, 1).set_name(std::string(80, 'x')); }, "name"},
    {"vma_advice", [](Image& i) { vma(i, 1).add_advice(100); }, "advice"},
    {"vma_guard_outside",
     [](Image& i) {
       schema::GuardRange* guard = vma(i, 1).add_guards();
       guard->set_start(vma(i, 1).end());
       guard->set_end(vma(i, 1).end() + 4096);
     },
     "guard"},
    {"vma_guard_empty", [](Image& i) { vma(i, 1).add_guards(); }, "guard"},
    {"vma_file", [](Image& i) { vma(i, 0).set_file_id(77); }, "file is not"},
    {"vma_no_file", [](Image& i) { vma(i, 0).set_file_id(0); }, "file is not"},
    {"vma_object", [](Image& i) { vma(i, 2).set_shmem_id(77); }, "shared memory is not"},
    {"vma_no_object", [](Image& i) { vma(i, 2).set_shmem_id(0); }, "shared memory is not"},
    {"vma_offset", [](Image& i) { vma(i, 0).set_file_offset(1); }, "offset"},
    {"vma_offset_huge", [](Image& i) { vma(i, 0).set_file_offset(kHuge); }, "offset"},
    {"layout", [](Image& i) { memory(i).set_env_end(kHuge); }, "outside"},
    {"brk", [](Image& i) { memory(i).set_start_brk(4096); }, "heap"},
    {"auxv_long", [](Image& i) { memory(i).set_auxv(std::string(8192, 0)); }, "auxiliary"},
    {"auxv_odd", [](Image& i) { memory(i).set_auxv("abc"); }, "auxiliary"},
    {"exe", [](Image& i) { memory(i).set_exe_file_id(77); }, "executable"},
    {"vdso_size", [](Image& i) { root(i).mutable_vdso()->set_size(kHuge); }, "vDSO"},
    {"vdso_address", [](Image& i) { root(i).mutable_vdso()->set_address(kHuge); }, "vDSO"},
    {"vdso_image", [](Image& i) { root(i).mutable_vdso()->set_image(std::string(2 << 20, 0)); },
     "vDSO"},
    {"object_0", [](Image& i) { i.shared_memory[0].set_id(0); }, "shared memory"},
    {"object_twice", [](Image& i) { i.shared_memory.push_back(i.shared_memory[0]); }, "twice"},
    {"object_huge", [](Image& i) { i.shared_memory[0].set_size(kHuge); }, "shared memory 7"},
    {"object_name", [](Image& i) { i.shared_memory[0].set_name(std::string("\0", 1)); },
     "shared memory 7"},
    {"object_shift", [](Image& i) { i.shared_memory[0].set_huge_page_shift(64); },
     "shared memory 7"},
};

const Mutation kPages[] = {
    {"map_missing", [](Image& i) { i.task_pages.erase(102); }, "no page map"},
    {"map_of_nobody", [](Image& i) { i.task_pages[55].set_pid(55); }, "task is not"},
    {"map_of_no_object", [](Image& i) { i.shmem_pages[8].set_shmem_id(8); }, "memory is not"},
    {"run_unaligned", [](Image& i) { run(i, 0).set_start(0x1000001); }, "not possible"},
    {"run_empty", [](Image& i) { run(i, 0).set_pages(0); }, "not possible"},
    {"run_endless", [](Image& i) { run(i, 0).set_pages(~uint64_t{0}); }, "not possible"},
    {"run_wraps", [](Image& i) { run(i, 1).set_pages(uint64_t{1} << 50); }, "outside"},
    {"run_order", [](Image& i) { run(i, 0).Swap(&run(i, 1)); }, "overlap"},
    {"run_overlaps", [](Image& i) { run(i, 1).set_start(run(i, 0).start() + 4096); }, "overlap"},
    {"run_outside", [](Image& i) { run(i, 0).set_start(0x2000000); }, "outside of its memory"},
    {"run_too_long", [](Image& i) { run(i, 0).set_pages(17); }, "outside of its memory"},
    {"run_in_shared", [](Image& i) { run(i, 0).set_start(0x7f0000000000); }, "outside of its"},
    {"run_nowhere", [](Image& i) { run(i, 0).clear_place(); }, "nowhere"},
    {"run_zero_false", [](Image& i) { run(i, 0).set_zero(false); }, "nowhere"},
    {"run_in_parent", [](Image& i) { run(i, 0).set_in_parent(4096); }, "parent image"},
    {"run_stored_behind", [](Image& i) { run(i, 0).set_stored(7 * 4096); }, "pages-1.img"},
    {"run_stored_wraps", [](Image& i) { run(i, 0).set_stored(kHuge); }, "pages-1.img"},
    {"run_stored_unaligned", [](Image& i) { run(i, 0).set_stored(1); }, "pages-1.img"},
    {"no_pages_file", [](Image& i) { i.inventory.clear_files(); }, "pages-1.img"},
    {"object_run_outside", [](Image& i) { shared_run(i).set_start(8 * 4096); }, "outside of its"},
    {"object_run_stored", [](Image& i) { shared_run(i).set_stored(9 * 4096); }, "pages-1.img"},
};

const Mutation kFiles[] = {
    {"file_0",
     [](Image& i) {
       i.files[0] = i.files[1];
       i.files[0].set_id(0);
     },
     "file 0"},
    {"file_kind", [](Image& i) { i.files[2].clear_kind(); }, "kind"},
    {"file_path_zero",
     [](Image& i) { i.files[2].mutable_regular_file()->set_path(std::string("/\0", 2)); }, "path"},
    {"device_path_long",
     [](Image& i) { i.files[2].mutable_device()->set_path(std::string(9999, 'a')); }, "path"},
    {"fifo_path", [](Image& i) { i.files[2].mutable_fifo()->set_path(std::string("\0", 1)); },
     "path"},
    {"watch_path",
     [](Image& i) { i.files[2].mutable_inotify()->add_watches()->set_path(std::string("\0", 1)); },
     "path"},
    {"socket_path",
     [](Image& i) {
       i.files[2].mutable_unix_socket()->mutable_node()->set_path(std::string("\0", 1));
     },
     "path"},
    {"depends_on_nothing", [](Image& i) { i.files[2].add_depends_on(77); }, "file 77"},
    {"depends_on_itself", [](Image& i) { i.files[2].add_depends_on(2); }, "depends on itself"},
    {"depends_in_a_circle",
     [](Image& i) {
       i.files[2].add_depends_on(1);
       i.files[1].add_depends_on(2);
     },
     "depends on itself"},
    {"epoll_target", [](Image& i) { i.files[2].mutable_epoll()->add_targets()->set_file_id(77); },
     "file 77"},
    {"file_in_flight",
     [](Image& i) { i.files[2].mutable_unix_socket()->add_queue()->add_files(77); }, "file 77"},
    {"memfd", [](Image& i) { i.files[2].mutable_memfd()->set_shmem_id(77); }, "content"},
    {"ghost", [](Image& i) { i.files[2].mutable_regular_file()->mutable_ghost()->set_content(77); },
     "content"},
    {"owner", [](Image& i) { i.files[2].mutable_owner()->set_type(3); }, "owner"},
    {"owner_signal", [](Image& i) { i.files[2].mutable_owner()->set_signal(65); }, "owner"},
};

std::string name_of(const ::testing::TestParamInfo<Mutation>& info) { return info.param.name; }

INSTANTIATE_TEST_SUITE_P(tree, Consistency, ::testing::ValuesIn(kTree), name_of);
INSTANTIATE_TEST_SUITE_P(task, Consistency, ::testing::ValuesIn(kTask), name_of);
INSTANTIATE_TEST_SUITE_P(memory, Consistency, ::testing::ValuesIn(kMemory), name_of);
INSTANTIATE_TEST_SUITE_P(pages, Consistency, ::testing::ValuesIn(kPages), name_of);
INSTANTIATE_TEST_SUITE_P(files, Consistency, ::testing::ValuesIn(kFiles), name_of);

TEST(consistency, takes_a_deep_chain_of_files_without_overflowing_the_stack) {
  Image image = SampleImage().image();
  constexpr uint32_t kLast = 200000;
  for (uint32_t id = 10; id < kLast; id++) {
    image.files[id].set_id(id);
    image.files[id].mutable_eventfd();
    if (id > 10) image.files[id].add_depends_on(id - 1);
  }
  EXPECT_TRUE(check_consistency(image).ok());
  image.files[10].add_depends_on(kLast - 1);
  EXPECT_FALSE(check_consistency(image).ok());
}

TEST(consistency, lets_runs_go_on_from_one_private_mapping_into_the_next) {
  Image image = SampleImage().image();
  schema::Vma* next = memory(image).add_vmas();
  next->set_start(vma(image, 3).end());
  next->set_end(next->start() + 2 * 4096);
  run(image, 1).set_pages(6);
  Result<> checked = check_consistency(image);
  EXPECT_TRUE(checked.ok()) << checked.error().text();
}

}  // namespace
}  // namespace ncr
