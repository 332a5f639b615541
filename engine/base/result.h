// Errors as values. A function that can fail returns Result<T>; ignoring one does not compile.
// An Error is a code (only where a caller branches) and a chain of text that reads as a sentence,
// outermost frame first:
//   dump task 412 (nginx): fd 7: eventfd: open /proc/412/fdinfo/7: No such file or directory
#pragma once

#include <optional>
#include <string>
#include <utility>

#include "engine/base/fault.h"
#include "engine/base/strf.h"

namespace ncr {

enum class ErrorCode {
  kSystem,       // the kernel or the machine refused; os_error() says why
  kUsage,        // the request contradicts itself
  kUnsupported,  // a kernel object, or a kernel, that we name and do not handle
  kMalformed,    // a damaged or foreign image
  kGone,         // the target went away meanwhile
  kCancelled,    // the caller asked us to stop
};

class [[nodiscard]] Error {
 public:
  Error(ErrorCode code, std::string text) : code_(code), text_(std::move(text)) {}

  // A failed system call: `what` names it and its object, os_error is its errno.
  static Error system(int os_error, std::string what);
  static Error usage(std::string text) { return {ErrorCode::kUsage, std::move(text)}; }
  static Error unsupported(std::string text) { return {ErrorCode::kUnsupported, std::move(text)}; }
  static Error malformed(std::string text) { return {ErrorCode::kMalformed, std::move(text)}; }
  static Error gone(std::string text) { return {ErrorCode::kGone, std::move(text)}; }

  ErrorCode code() const { return code_; }
  int os_error() const { return os_error_; }  // 0 unless made by system()
  const std::string& text() const { return text_; }

  // Puts a frame in front: "frame: text".
  Error while_doing(const std::string& frame) &&;

 private:
  ErrorCode code_;
  int os_error_ = 0;
  std::string text_;
};

template <class T = void>
class [[nodiscard]] Result {
 public:
  Result(T value) : value_(std::move(value)) {}      // NOLINT: a value is a success
  Result(Error error) : error_(std::move(error)) {}  // NOLINT: an error is a failure
  bool ok() const { return value_.has_value(); }
  explicit operator bool() const { return ok(); }
  T& value() & { return *value_; }
  const T& value() const& { return *value_; }
  T take() { return std::move(*value_); }
  const Error& error() const { return *error_; }
  Error take_error() { return std::move(*error_); }

 private:
  std::optional<T> value_;
  std::optional<Error> error_;
};

template <>
class [[nodiscard]] Result<void> {
 public:
  Result() = default;
  Result(Error error) : error_(std::move(error)) {}  // NOLINT: an error is a failure
  bool ok() const { return !error_.has_value(); }
  explicit operator bool() const { return ok(); }
  void take() const {}
  const Error& error() const { return *error_; }
  Error take_error() { return std::move(*error_); }

 private:
  std::optional<Error> error_;
};

// Evaluates to the value of a Result, or returns its error upward. Stands alone as a statement or
// an initialiser (inside an aggregate initialiser gcc and clang skip destructors).
#define TRY(expr)                                                      \
  __extension__({                                                      \
    NCR_FAULT_POINT();                                                 \
    auto&& try_result_ = (expr);                                       \
    if (!try_result_.ok()) return std::move(try_result_).take_error(); \
    std::move(try_result_).take();                                     \
  })

// TRY that adds a frame to the error; the frame is formatted only on failure.
#define TRY_WHILE(expr, ...)                                                          \
  __extension__({                                                                     \
    NCR_FAULT_POINT();                                                                \
    auto&& try_result_ = (expr);                                                      \
    if (!try_result_.ok())                                                            \
      return std::move(try_result_).take_error().while_doing(ncr::strf(__VA_ARGS__)); \
    std::move(try_result_).take();                                                    \
  })

}  // namespace ncr
