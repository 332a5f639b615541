// How a step of the personality ended: well, or with a sentence and the error number that clients
// are given (criu_resp.cr_errno, 0 if none says more than the sentence).
#pragma once

#include <cerrno>
#include <string>
#include <utility>

namespace criu {

struct [[nodiscard]] Status {
  std::string error;  // empty: it went well
  int number = 0;

  bool ok() const { return error.empty(); }
  static Status fail(std::string error, int number = 0) { return {std::move(error), number}; }
  // What clients take for "the options are wrong".
  static Status bad_option(std::string error) { return {std::move(error), EBADRQC}; }
  static Status system(const std::string& what, int number);  // "what: No such file or directory"
};

}  // namespace criu
