#include "bench/runc_container.h"

#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "bench/run_command.h"

namespace bench {

RuncContainer::RuncContainer(std::string dir)
    : dir_(std::move(dir)), name_("nativecr-bench-" + std::to_string(getpid())) {}

RuncContainer::~RuncContainer() { (void)run_command({"runc", "delete", "--force", name_}); }

bool RuncContainer::make_bundle() const {
  std::filesystem::create_directories(dir_ + "/rootfs/bench");
  std::filesystem::copy_file(NCR_BENCH_TARGET, dir_ + "/rootfs/bench_target");
  if (run_command({"runc", "spec", "--bundle", dir_}).status != 0) return false;
  auto config = nlohmann::json::parse(std::ifstream(dir_ + "/config.json"));
  config["process"]["terminal"] = false;
  config["process"]["args"] = {"/bench_target", "memory_mb", "1", "/bench/stall"};
  config["mounts"].push_back(
      {{"destination", "/bench"}, {"type", "bind"}, {"source", dir_}, {"options", {"bind", "rw"}}});
  return static_cast<bool>(std::ofstream(dir_ + "/config.json") << config);
}

pid_t RuncContainer::start() {
  const std::string pid_file = dir_ + "/pid";
  if (!make_bundle() || run_command({"sh", "-c",
                                     "exec runc run --detach --bundle \"$1\" --pid-file \"$2\" "
                                     "\"$3\" > /dev/null < /dev/null",
                                     "sh", dir_, pid_file, name_})
                                .status != 0)
    return -1;
  pid_t pid = -1;
  std::ifstream(pid_file) >> pid;
  return pid;
}

}  // namespace bench
