#include "engine/resources/tcp_socket/tcp_restore.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>

#include "engine/resources/inet_socket/inet_look.h"
#include "engine/resources/tcp_socket/revival.h"

namespace ncr::tcp_socket {
namespace {

std::string v4(const char* host, uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  ::inet_pton(AF_INET, host, &address.sin_addr);
  address.sin_port = htons(port);
  return std::string(reinterpret_cast<char*>(&address), sizeof address);
}

schema::TcpSocket connection(const char* local, const char* peer) {
  schema::TcpSocket record;
  record.set_state(inet_socket::kEstablished);
  record.mutable_socket()->set_family(AF_INET);
  record.mutable_socket()->set_type(SOCK_STREAM);
  record.mutable_socket()->set_protocol(IPPROTO_TCP);
  record.mutable_socket()->set_local(v4(local, 4711));
  record.mutable_socket()->set_peer(v4(peer, 80));
  tcp_repair_window window{};
  record.set_window(&window, sizeof window);
  record.set_mss(1460);
  return record;
}

std::string rebuild_error(const schema::TcpSocket& record) {
  Fd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  Result<> rebuilt = rebuild(socket, record);
  return rebuilt.ok() ? "" : rebuilt.error().text();
}

TEST(cr_tcp_restore, an_address_that_this_machine_lacks_is_named) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  const std::string error = rebuild_error(connection("192.0.2.1", "127.0.0.1"));
  EXPECT_NE(error.find("does not have the address of 192.0.2.1:4711"), std::string::npos) << error;
  EXPECT_NE(error.find("--tcp-close"), std::string::npos) << error;
}

TEST(tcp_restore, a_damaged_record_is_refused) {
  schema::TcpSocket record = connection("127.0.0.1", "127.0.0.1");
  record.set_window("short");
  EXPECT_NE(rebuild_error(record), "");
}

TEST(cr_tcp_restore, more_unsent_bytes_than_there_are_is_refused) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  schema::TcpSocket record = connection("127.0.0.1", "127.0.0.1");
  record.mutable_send()->set_data("abc");
  record.set_unsent(4);
  EXPECT_NE(rebuild_error(record).find("more bytes unsent"), std::string::npos);
}

TEST(tcp_revival, connections_of_an_image_are_refused_unless_asked_for) {
  Image image;
  image.files[3].set_id(3);
  *image.files[3].mutable_tcp_socket() = connection("192.0.2.1", "192.0.2.2");
  RestoreRequest request;
  Result<> refused = check_policy(image, request);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code(), ErrorCode::kUnsupported);
  EXPECT_NE(refused.error().text().find("192.0.2.1:4711 -> 192.0.2.2:80"), std::string::npos);
  request.tcp = TcpPolicy::kClose;
  EXPECT_TRUE(check_policy(image, request).ok());
  request.tcp = TcpPolicy::kRefuse;
  image.files[3].mutable_tcp_socket()->set_state(inet_socket::kClose);
  EXPECT_TRUE(check_policy(image, request).ok());
}

}  // namespace
}  // namespace ncr::tcp_socket
