#include "frontends/criu/rpc_server.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>

#include <random>

#include "tests/frontends/criu/fake_engine.h"
#include "tests/frontends/criu/rpc_client.h"
#include "tests/support/scratch.h"

namespace criu {
namespace {

using ncr::test::file_exists;
using ncr::test::file_text;
using ncr::test::Scratch;

rpc::criu_req request_of(rpc::criu_req_type type) {
  rpc::criu_req request;
  request.set_type(type);
  return request;
}

// That was free a moment ago.
int free_port() {
  const int probe = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  EXPECT_EQ(::bind(probe, reinterpret_cast<sockaddr*>(&address), size), 0);
  ::getsockname(probe, reinterpret_cast<sockaddr*>(&address), &size);
  ::close(probe);
  return ntohs(address.sin_port);
}

class CriuRpc : public testing::Test {
 protected:
  ~CriuRpc() override { ::close(images_); }

  // As a client does: the descriptor's number means something in its own table only.
  rpc::criu_req with_images(rpc::criu_req_type type) const {
    rpc::criu_req request = request_of(type);
    request.mutable_opts()->set_images_dir_fd(images_);
    request.mutable_opts()->set_log_file("the.log");
    request.mutable_opts()->set_log_level(4);
    request.mutable_opts()->set_pid(77);
    return request;
  }

  Scratch scratch_;
  int images_ = ::open(scratch_.path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  FakeEngine engine_;
};

TEST_F(CriuRpc, version_is_one_that_every_runtime_accepts_and_the_connection_goes_on) {
  RpcClient client(engine_);
  for (int i = 0; i < 2; i++) {
    const rpc::criu_resp reply = client.ask(request_of(rpc::VERSION));
    EXPECT_EQ(reply.type(), rpc::VERSION);
    EXPECT_TRUE(reply.success());
    EXPECT_EQ(reply.version().major_number(), 4);
    EXPECT_EQ(reply.version().minor_number(), 2);
    EXPECT_FALSE(reply.version().has_gitid());
  }
  EXPECT_EQ(client.finish(), 0);
}

TEST_F(CriuRpc, features_are_answered_as_they_were_asked) {
  RpcClient client(engine_);
  rpc::criu_req request = request_of(rpc::FEATURE_CHECK);
  request.mutable_features()->set_mem_track(true);
  request.mutable_features()->set_lazy_pages(true);
  const rpc::criu_resp reply = client.ask(request);
  EXPECT_TRUE(reply.success());
  EXPECT_TRUE(reply.features().mem_track());
  EXPECT_TRUE(reply.features().has_lazy_pages());
  EXPECT_FALSE(reply.features().lazy_pages());
  EXPECT_FALSE(reply.features().has_pidfd_store());
  EXPECT_EQ(client.finish(), 0);
}

TEST_F(CriuRpc, a_dump_is_asked_of_the_engine_and_leaves_log_and_statistics) {
  engine_.next.report = R"({"frozen_ns": 1000, "pages": {"written": 3}, "phases": []})";
  RpcClient client(engine_);
  rpc::criu_req request = with_images(rpc::DUMP);
  request.mutable_opts()->set_leave_running(true);
  request.mutable_opts()->set_tcp_established(true);
  request.mutable_opts()->set_manage_cgroups(true);
  const rpc::criu_resp reply = client.ask(request);
  EXPECT_TRUE(reply.success()) << reply.cr_errmsg();
  EXPECT_EQ(reply.type(), rpc::DUMP);
  EXPECT_TRUE(reply.has_dump());
  EXPECT_EQ(client.wait(), 0);
  ASSERT_EQ(engine_.seen.size(), 1u);
  EXPECT_EQ(engine_.seen[0].call, "dump");
  EXPECT_EQ(engine_.seen[0].pid, 77);
  EXPECT_EQ(engine_.seen[0].final_state, NCR_LEAVE_RUNNING);
  EXPECT_EQ(engine_.seen[0].tcp, NCR_TCP_KEEP);
  EXPECT_EQ(engine_.seen[0].cgroups, NCR_CGROUP_SOFT);
  EXPECT_NE(file_text(scratch_.file("the.log")).find(scratch_.path()), std::string::npos);
  EXPECT_TRUE(file_exists(scratch_.file("stats-dump")));
}

TEST_F(CriuRpc, log_and_statistics_go_to_the_work_directory_if_there_is_one) {
  const Scratch work;
  const int fd = ::open(work.path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  RpcClient client(engine_);
  rpc::criu_req request = with_images(rpc::DUMP);
  request.mutable_opts()->set_work_dir_fd(fd);
  EXPECT_TRUE(client.ask(request).success());
  ::close(fd);
  EXPECT_TRUE(file_exists(work.file("the.log")));
  EXPECT_TRUE(file_exists(work.file("stats-dump")));
  EXPECT_FALSE(file_exists(scratch_.file("the.log")));
}

TEST_F(CriuRpc, an_existing_log_is_emptied_not_replaced) {
  ncr::test::append_to(scratch_.file("the.log"), "old");
  const int before = ::open(scratch_.file("the.log").c_str(), O_RDONLY | O_CLOEXEC);
  RpcClient client(engine_);
  EXPECT_TRUE(client.ask(with_images(rpc::DUMP)).success());
  char text[4096] = {};
  EXPECT_GT(::read(before, text, sizeof text - 1), 0);
  EXPECT_EQ(std::string(text).find("old"), std::string::npos);
  ::close(before);
}

TEST_F(CriuRpc, an_image_is_replaced_by_a_dump_that_succeeds_and_by_no_other) {
  ncr::test::append_to(scratch_.file("inventory.img"), "old");
  ncr::test::append_to(scratch_.file("pages-1.img"), "old pages");
  engine_.next = {NCR_UNSUPPORTED, "", "a sentence", 0};
  RpcClient refused(engine_);
  EXPECT_FALSE(refused.ask(with_images(rpc::DUMP)).success());
  EXPECT_EQ(file_text(scratch_.file("inventory.img")), "old");
  EXPECT_EQ(file_text(scratch_.file("pages-1.img")), "old pages");
  engine_.next = {};
  RpcClient done(engine_);
  EXPECT_TRUE(done.ask(with_images(rpc::DUMP)).success());
  EXPECT_FALSE(file_exists(scratch_.file("inventory.img")));
  EXPECT_FALSE(file_exists(scratch_.file(".inventory.img.before")));
  EXPECT_FALSE(file_exists(scratch_.file(".pages-1.img.before")));
}

TEST_F(CriuRpc, a_restored_sibling_is_told_with_its_pid) {
  RpcClient client(engine_);
  rpc::criu_req request = with_images(rpc::RESTORE);
  request.mutable_opts()->set_rst_sibling(true);
  request.mutable_opts()->set_root("/newroot");
  auto* mount = request.mutable_opts()->add_ext_mnt();
  mount->set_key("/etc/hosts");
  mount->set_val("/run/a:b/hosts");
  auto* inherited = request.mutable_opts()->add_inherit_fd();
  inherited->set_key("pipe:[5]");
  inherited->set_fd(0);
  const rpc::criu_resp reply = client.ask(request);
  EXPECT_TRUE(reply.success()) << reply.cr_errmsg();
  EXPECT_EQ(reply.restore().pid(), engine_.root);
  EXPECT_EQ(client.wait(), 0);  // by itself: libcriu waits for it before it closes the socket
  ASSERT_EQ(engine_.seen.size(), 1u);
  EXPECT_TRUE(engine_.seen[0].sibling);
  EXPECT_EQ(engine_.seen[0].root, "/newroot");
  ASSERT_EQ(engine_.seen[0].externals.size(), 1u);
  EXPECT_EQ(engine_.seen[0].externals[0].object, "/etc/hosts");
  EXPECT_EQ(engine_.seen[0].externals[0].value, "/run/a:b/hosts");
  ASSERT_EQ(engine_.seen[0].inherited.size(), 1u);
  EXPECT_EQ(engine_.seen[0].inherited[0].key, "pipe:[5]");
  EXPECT_TRUE(file_exists(scratch_.file("stats-restore")));
}

TEST_F(CriuRpc, moments_are_notified_one_by_one_and_acknowledged) {
  engine_.hooks = {{"setup-namespaces", 9}, {"post-restore", 9}};
  RpcClient client(engine_);
  rpc::criu_req request = with_images(rpc::RESTORE);
  request.mutable_opts()->set_notify_scripts(true);
  client.send(request);
  std::vector<std::string> names;
  rpc::criu_resp reply;
  while (client.receive(&reply) && reply.type() == rpc::NOTIFY) {
    EXPECT_TRUE(reply.success());
    if (reply.notify().script() == "post-restore") {
      EXPECT_EQ(reply.notify().pid(), 9);
    }
    names.push_back(reply.notify().script());
    client.acknowledge(true);
  }
  EXPECT_EQ(names, (std::vector<std::string>{"setup-namespaces", "post-restore"}));
  EXPECT_EQ(reply.type(), rpc::RESTORE);
  EXPECT_TRUE(reply.success());
}

TEST_F(CriuRpc, nobody_is_notified_who_did_not_ask_for_it) {
  engine_.hooks = {{"post-dump", 9}};
  RpcClient client(engine_);
  EXPECT_EQ(client.ask(with_images(rpc::DUMP)).type(), rpc::DUMP);
}

TEST_F(CriuRpc, a_client_that_refuses_at_a_moment_ends_the_request) {
  engine_.hooks = {{"network-lock", 0}, {"never", 0}};
  RpcClient client(engine_);
  rpc::criu_req request = with_images(rpc::DUMP);
  request.mutable_opts()->set_notify_scripts(true);
  client.send(request);
  rpc::criu_resp reply;
  ASSERT_TRUE(client.receive(&reply));
  EXPECT_EQ(reply.notify().script(), "network-lock");
  client.acknowledge(false);
  ASSERT_TRUE(client.receive(&reply));
  EXPECT_EQ(reply.type(), rpc::DUMP);
  EXPECT_FALSE(reply.success());
  EXPECT_NE(file_text(scratch_.file("the.log")).find("Error"), std::string::npos);
}

TEST_F(CriuRpc, the_other_end_of_a_terminal_is_handed_over) {
  engine_.hooks = {{"orphan-pts-master", 0}};
  engine_.hook_fd = images_;
  RpcClient client(engine_);
  rpc::criu_req request = with_images(rpc::RESTORE);
  request.mutable_opts()->set_notify_scripts(true);
  request.mutable_opts()->set_orphan_pts_master(true);
  client.send(request);
  rpc::criu_resp reply;
  int fd = -1;
  ASSERT_TRUE(client.receive(&reply, &fd));
  EXPECT_EQ(reply.notify().script(), "orphan-pts-master");
  EXPECT_GE(fd, 0);
  ::close(fd);
  client.acknowledge(true);
  ASSERT_TRUE(client.receive(&reply));
  EXPECT_TRUE(reply.success());
}

TEST_F(CriuRpc, pre_dumps_and_a_dump_go_over_one_connection) {
  RpcClient client(engine_);
  EXPECT_EQ(client.ask(with_images(rpc::PRE_DUMP)).type(), rpc::PRE_DUMP);
  EXPECT_EQ(client.ask(with_images(rpc::PRE_DUMP)).type(), rpc::PRE_DUMP);
  EXPECT_TRUE(client.ask(with_images(rpc::DUMP)).success());
  EXPECT_EQ(client.wait(), 0);
  EXPECT_EQ(engine_.seen.size(), 3u);
}

TEST_F(CriuRpc, a_single_pre_dump_is_answered_as_such) {
  RpcClient client(engine_);
  const rpc::criu_resp reply = client.ask(with_images(rpc::SINGLE_PRE_DUMP));
  EXPECT_EQ(reply.type(), rpc::SINGLE_PRE_DUMP);
  EXPECT_TRUE(reply.success());
}

TEST_F(CriuRpc, a_failure_has_the_engine_s_sentence_and_a_number_clients_know) {
  struct Case {
    ncr_status status;
    int os_error;
    int expected;
  };
  for (const Case& c : {Case{NCR_USAGE, 0, EBADRQC}, Case{NCR_GONE, 0, ESRCH},
                        Case{NCR_SYSTEM, EEXIST, EEXIST}, Case{NCR_UNSUPPORTED, 95, 0}}) {
    engine_.next = {c.status, "", "a sentence", c.os_error};
    RpcClient client(engine_);
    const rpc::criu_resp reply = client.ask(with_images(rpc::DUMP));
    EXPECT_FALSE(reply.success());
    EXPECT_EQ(reply.type(), rpc::DUMP);
    EXPECT_EQ(reply.cr_errno(), c.expected);
    EXPECT_EQ(reply.cr_errmsg(), "a sentence");
    EXPECT_FALSE(reply.has_dump());
    EXPECT_EQ(client.wait(), 1);
  }
}

TEST_F(CriuRpc, a_long_error_fits_the_smallest_buffer_of_a_client) {
  engine_.next = {NCR_SYSTEM, "", std::string(20'000, 'x'), 0};
  RpcClient client(engine_);
  EXPECT_FALSE(client.ask(with_images(rpc::DUMP)).success());
}

TEST_F(CriuRpc, a_page_server_is_told_with_process_and_port_and_waited_for) {
  RpcClient client(engine_);
  rpc::criu_req request = with_images(rpc::PAGE_SERVER_CHLD);
  request.set_keep_open(true);
  request.mutable_opts()->mutable_ps()->set_address("127.0.0.1");
  const rpc::criu_resp reply = client.ask(request);
  ASSERT_TRUE(reply.success()) << reply.cr_errmsg();
  EXPECT_GT(reply.ps().port(), 0);
  rpc::criu_req wait = request_of(rpc::WAIT_PID);
  wait.set_pid(static_cast<uint32_t>(reply.ps().pid()));
  const rpc::criu_resp waited = client.ask(wait);
  EXPECT_TRUE(waited.success());
  EXPECT_EQ(waited.status(), 0);
}

TEST_F(CriuRpc, a_lazy_dump_listens_where_its_pages_are_to_be_fetched) {
  engine_.lazy = true;
  RpcClient client(engine_);
  rpc::criu_req request = with_images(rpc::DUMP);
  request.mutable_opts()->set_pid(4242);
  request.mutable_opts()->set_lazy_pages(true);
  const rpc::criu_resp nowhere = client.ask(request);
  EXPECT_FALSE(nowhere.success());
  EXPECT_NE(nowhere.cr_errmsg().find("port"), std::string::npos) << nowhere.cr_errmsg();
  request.mutable_opts()->mutable_ps()->set_address("127.0.0.1");
  request.mutable_opts()->mutable_ps()->set_port(free_port());
  RpcClient another(engine_);
  const rpc::criu_resp reply = another.ask(request);
  ASSERT_TRUE(reply.success()) << reply.cr_errmsg();
  ASSERT_EQ(engine_.seen.size(), 1u);
  EXPECT_TRUE(engine_.seen[0].serves_pages);
}

TEST_F(CriuRpc, a_request_without_an_images_directory_is_refused) {
  RpcClient client(engine_);
  rpc::criu_req request = request_of(rpc::DUMP);
  request.mutable_opts()->set_images_dir_fd(-1);
  const rpc::criu_resp reply = client.ask(request);
  EXPECT_FALSE(reply.success());
  EXPECT_EQ(reply.cr_errno(), EBADRQC);
  EXPECT_TRUE(engine_.seen.empty());
}

TEST_F(CriuRpc, a_configuration_file_has_the_last_word_and_may_be_missing) {
  const std::string path = scratch_.file("runc.conf");
  ncr::test::append_to(path, "tcp-close\nlog-file=" + scratch_.file("elsewhere.log") + "\n");
  RpcClient client(engine_);
  rpc::criu_req request = with_images(rpc::PRE_DUMP);
  request.mutable_opts()->set_config_file(path);
  EXPECT_TRUE(client.ask(request).success());
  request.mutable_opts()->set_config_file("/nonexistent/criu.conf");
  EXPECT_TRUE(client.ask(request).success());
  EXPECT_EQ(client.finish(), 0);
  EXPECT_EQ(engine_.seen[0].tcp, NCR_TCP_CLOSE);
  EXPECT_EQ(engine_.seen[1].tcp, NCR_TCP_REFUSE);
  EXPECT_TRUE(file_exists(scratch_.file("elsewhere.log")));
}

TEST_F(CriuRpc, pages_that_would_come_later_are_refused_before_anything_is_touched) {
  for (rpc::criu_req_type type : {rpc::DUMP, rpc::RESTORE}) {
    RpcClient client(engine_);
    rpc::criu_req request = with_images(type);
    request.mutable_opts()->set_lazy_pages(true);  // the fake engine cannot
    const rpc::criu_resp reply = client.ask(request);
    EXPECT_FALSE(reply.success());
    EXPECT_NE(reply.cr_errmsg().find("lazy-pages"), std::string::npos);
  }
  EXPECT_TRUE(engine_.seen.empty());
}

TEST_F(CriuRpc, requests_that_are_not_served_are_answered_with_empty) {
  for (rpc::criu_req_type type : {rpc::EMPTY, rpc::NOTIFY, rpc::CPUINFO_DUMP, rpc::CPUINFO_CHECK}) {
    RpcClient client(engine_);
    const rpc::criu_resp reply = client.ask(request_of(type));
    EXPECT_EQ(reply.type(), rpc::EMPTY);
    EXPECT_FALSE(reply.success());
    EXPECT_FALSE(reply.cr_errmsg().empty());
    EXPECT_EQ(client.wait(), 1);
  }
}

TEST_F(CriuRpc, what_is_no_message_is_refused_and_ends_the_connection) {
  for (const std::string& bytes :
       {std::string("\x08"), std::string("\x10\x01"), std::string("\x12\xff\xff\xff\x7f"),
        std::string(70'000, '\xff'), std::string("soup")}) {
    RpcClient client(engine_);
    client.send_bytes(bytes);
    rpc::criu_resp reply;
    ASSERT_TRUE(client.receive(&reply));
    EXPECT_FALSE(reply.success());
    EXPECT_EQ(client.wait(), 1);
  }
}

TEST_F(CriuRpc, damaged_requests_never_do_more_than_be_refused) {
  rpc::criu_req request = with_images(rpc::DUMP);
  request.mutable_opts()->set_root("/r");
  request.mutable_opts()->add_external("net[1]:x");
  const std::string whole = request.SerializeAsString();
  std::mt19937 random(7);
  for (int i = 0; i < 300; i++) {
    std::string bytes = whole.substr(0, 1 + random() % whole.size());
    bytes[random() % bytes.size()] = static_cast<char>(random());
    RpcClient client(engine_);
    client.send_bytes(bytes);
    rpc::criu_resp reply;
    EXPECT_TRUE(client.receive(&reply));
  }
}

}  // namespace
}  // namespace criu
