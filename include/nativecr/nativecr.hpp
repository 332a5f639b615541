// libnativecr for C++: the C interface with owners. Header only, C++17.
#pragma once

#include <nativecr/nativecr.h>

#include <memory>
#include <string>
#include <vector>

namespace nativecr {

// Elements of the C interface's lists, with owners of their strings; c_list() borrows from them, so
// it takes no temporaries.
struct External {
  std::string kind, object, value;
};
struct InheritedFd {
  std::string key;
  int fd = -1;
};
struct JoinedNamespace {
  std::string kind, path;
};
struct CgroupRoot {
  std::string controllers, path;
};

inline std::vector<ncr_external> c_list(const std::vector<External>& list) {
  std::vector<ncr_external> out;
  for (const External& item : list)
    out.push_back({item.kind.c_str(), item.object.c_str(), item.value.c_str()});
  return out;
}
inline std::vector<ncr_inherited_fd> c_list(const std::vector<InheritedFd>& list) {
  std::vector<ncr_inherited_fd> out;
  for (const InheritedFd& item : list) out.push_back({item.key.c_str(), item.fd});
  return out;
}
inline std::vector<ncr_joined_namespace> c_list(const std::vector<JoinedNamespace>& list) {
  std::vector<ncr_joined_namespace> out;
  for (const JoinedNamespace& item : list) out.push_back({item.kind.c_str(), item.path.c_str()});
  return out;
}
inline std::vector<ncr_cgroup_root> c_list(const std::vector<CgroupRoot>& list) {
  std::vector<ncr_cgroup_root> out;
  for (const CgroupRoot& item : list) out.push_back({item.controllers.c_str(), item.path.c_str()});
  return out;
}
template <class Item>
void c_list(std::vector<Item>&&) = delete;

// What a call answered: its status, its JSON report, and on failure the sentence that says why.
class Outcome {
 public:
  Outcome(ncr_status status, char* report, ncr_error* error)
      : status_(status), report_(report, &ncr_string_free), error_(error, &ncr_error_free) {}
  ncr_status status() const { return status_; }
  explicit operator bool() const { return status_ == NCR_OK; }
  std::string report() const { return report_ ? report_.get() : ""; }
  std::string error() const { return error_ ? ncr_error_text(error_.get()) : ""; }
  int error_number() const { return error_ ? ncr_error_errno(error_.get()) : 0; }

 private:
  ncr_status status_;
  std::unique_ptr<char, void (*)(char*)> report_;
  std::unique_ptr<ncr_error, void (*)(ncr_error*)> error_;
};

template <class Function>
Outcome call(Function&& function) {
  char* report = nullptr;
  ncr_error* error = nullptr;
  ncr_status status = function(&report, &error);
  return Outcome(status, report, error);
}

inline Outcome dump(const ncr_dump_options& options) {
  return call([&](char** report, ncr_error** error) { return ncr_dump(&options, report, error); });
}
inline Outcome restore(const ncr_restore_options& options, pid_t* root_pid) {
  return call([&](char** report, ncr_error** error) {
    return ncr_restore(&options, root_pid, report, error);
  });
}
inline Outcome check(pid_t pid = 0) {
  return call([&](char** report, ncr_error** error) { return ncr_check(pid, report, error); });
}
inline Outcome inspect(const std::string& images_dir) {
  return call([&](char** report, ncr_error** error) {
    return ncr_inspect(images_dir.c_str(), report, error);
  });
}
inline Outcome verify(const std::string& images_dir) {
  return call([&](char** report, ncr_error** error) {
    return ncr_verify(images_dir.c_str(), report, error);
  });
}

inline Outcome predump(const ncr_dump_options& options) {
  return call(
      [&](char** report, ncr_error** error) { return ncr_predump(&options, report, error); });
}
inline Outcome page_server(const ncr_page_server_options& options) {
  return call(
      [&](char** report, ncr_error** error) { return ncr_page_server(&options, report, error); });
}
inline Outcome lazy_pages(const ncr_lazy_pages_options& options) {
  return call(
      [&](char** report, ncr_error** error) { return ncr_lazy_pages(&options, report, error); });
}
inline Outcome dedup(const std::string& images_dir) {
  return call([&](char** report, ncr_error** error) {
    return ncr_dedup(images_dir.c_str(), report, error);
  });
}

}  // namespace nativecr
