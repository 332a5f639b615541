// nativecr inspect: an image for people. The process tree first, details of each task on request.
#include <cstdio>
#include <map>
#include <nlohmann/json.hpp>
#include <vector>

#include "frontends/cli/command.h"

namespace cli {
namespace {

using nlohmann::json;

struct InspectOptions {
  std::string images;
  bool maps = false;
  bool files = false;
  pid_t pid = 0;
  CommonOptions common;
};

std::string command_line(const json& task) {
  std::string line;
  for (const json& argument : task["command_line"])
    line += (line.empty() ? "" : " ") + argument.get<std::string>();
  return line.empty() ? "[" + task["comm"].get<std::string>() + "]" : line;
}

class Tree {
 public:
  explicit Tree(const json& tasks) {
    for (const json& task : tasks) {
      tasks_[task["pid"]] = &task;
      children_[task["ppid"]].push_back(task["pid"]);
    }
    root_ = tasks.empty() ? 0 : tasks[0]["pid"].get<int>();
  }
  void print() const { print(root_, "", ""); }

 private:
  void print(int pid, const std::string& lead, const std::string& indent) const {
    const json& task = *tasks_.at(pid);
    std::string state = task["state"];
    std::printf("%s%d %s%s%s, %zu threads, %.1f MiB\n", lead.c_str(), pid,
                command_line(task).c_str(), state == "running" ? "" : ", ",
                state == "running" ? "" : state.c_str(), task["threads"].size(),
                task["pages"].get<double>() / 256.0);
    auto found = children_.find(pid);
    if (found == children_.end()) return;
    for (size_t i = 0; i < found->second.size(); i++) {
      bool last = i + 1 == found->second.size();
      print(found->second[i], indent + (last ? "└─ " : "├─ "), indent + (last ? "   " : "│  "));
    }
  }
  std::map<int, const json*> tasks_;
  std::map<int, std::vector<int>> children_;
  int root_ = 0;
};

void print_descriptors(const json& task) {
  for (const json& fd : task.value("descriptors", json::array()))
    std::printf("  %5d  %-14s %s\n", fd["number"].get<int>(), fd.value("kind", "").c_str(),
                fd.value("path", "").c_str());
}

void print_maps(const json& task) {
  for (const json& map : task.value("maps", json::array()))
    std::printf("  %18s-%-18s %s  %-14s %s%s\n", map["start"].get<std::string>().c_str(),
                map["end"].get<std::string>().c_str(), map["protection"].get<std::string>().c_str(),
                map["kind"].get<std::string>().c_str(), map.value("path", "").c_str(),
                map.value("name", "").c_str());
}

int run(const InspectOptions& options) {
  nativecr::Outcome outcome = nativecr::inspect(options.images);
  if (!outcome) return fail(outcome, options.common);
  if (options.common.json) {
    std::puts(outcome.report().c_str());
    return 0;
  }
  json report = json::parse(outcome.report());
  const json& inventory = report["inventory"];
  std::printf("%s: format %d, %s, Linux %s, by %s\n", options.images.c_str(),
              inventory["format_version"].get<int>(), inventory["arch"].get<std::string>().c_str(),
              inventory["kernel_release"].get<std::string>().c_str(),
              inventory["producer"].get<std::string>().c_str());
  if (report["inventory"].value("memory_only", false))
    std::puts("a pre-dump: memory only, to be the parent of a dump");
  else
    Tree(report["tasks"]).print();
  const std::string parent = report["inventory"].value("parent", "");
  if (!parent.empty()) std::printf("incremental to %s\n", parent.c_str());
  for (const json& task : report["tasks"]) {
    if (options.pid != 0 && task["pid"] != options.pid) continue;
    if (!options.maps && !options.files) break;
    std::printf("\ntask %d (%s)\n", task["pid"].get<int>(),
                task["comm"].get<std::string>().c_str());
    if (options.files) print_descriptors(task);
    if (options.maps) print_maps(task);
  }
  return 0;
}

}  // namespace

Run add_inspect(CLI::App& app) {
  auto options = std::make_shared<InspectOptions>();
  CLI::App* command = app.add_subcommand(
      "inspect", "Look into an image: process tree, command lines, maps, descriptors, sockets");
  command->add_option("-D,--images", options->images, "Images directory")->required();
  command->add_flag("--maps", options->maps, "The memory mappings of every task");
  command->add_flag("--files", options->files, "The descriptors of every task, sockets among them");
  command->add_option("-t,--pid", options->pid, "Details of this task only");
  options->common.add_to(*command);
  return [options] { return run(*options); };
}

}  // namespace cli
