// A temporary folder of a test, gone with it.
#pragma once

#include <string>

namespace ncr::test {

class Scratch {
 public:
  explicit Scratch(const char* parent = "/tmp");
  ~Scratch();
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  const std::string& path() const { return path_; }
  std::string file(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

bool file_exists(const std::string& path);
std::string file_text(const std::string& path);  // "" if there is none
void append_to(const std::string& path,
               const std::string& text);  // one write(2), so that several processes may

}  // namespace ncr::test
