// Latency of dump and restore by shape, through the commands a user types, images on tmpfs. With
// NCR_PEER set to a working `criu`, the same trees with it in the same run. Counters: frozen (as
// the engine says), stall (as the tree saw it), phases in ms.
#include <benchmark/benchmark.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "bench/run_command.h"
#include "bench/shapes.h"

namespace {

using bench::Finished;
using bench::Target;

struct Engine {
  const char* name;
  std::vector<std::string> dump(pid_t pid, const std::string& images, bool leave_running) const {
    std::string tree = std::to_string(pid);
    std::vector<std::string> argv;
    if (is_peer()) {
      argv = {peer(), "dump", "--tree", tree, "--images-dir", images, "-v0"};
      std::filesystem::create_directory(images);
    } else {
      argv = {NCR_COMMAND, "dump", "--pid", tree, "--images", images, "--json"};
    }
    if (leave_running) argv.push_back("--leave-running");
    return argv;
  }
  std::vector<std::string> restore(const std::string& images) const {
    if (is_peer()) return {peer(), "restore", "--images-dir", images, "--restore-detached", "-v0"};
    return {NCR_COMMAND, "restore", "--images", images, "--detach", "--json"};
  }
  bool is_peer() const { return std::string(name) == "criu"; }
  static const char* peer() { return std::getenv("NCR_PEER"); }
};

bool failed(benchmark::State& state, const Finished& finished, const char* what) {
  if (WIFEXITED(finished.status) && WEXITSTATUS(finished.status) == 0) return false;
  state.SkipWithError((std::string(what) + ": " + finished.output).c_str());
  return true;
}

uint64_t directory_bytes(const std::string& path) {
  uint64_t bytes = 0;
  for (const auto& entry : std::filesystem::directory_iterator(path)) bytes += entry.file_size();
  return bytes;
}

void add_phases(benchmark::State& state, const nlohmann::json& report, const char* prefix) {
  for (const auto& phase : report["phases"])
    state.counters[prefix + phase["name"].get<std::string>() + "_ms"] += benchmark::Counter(
        phase["duration_ns"].get<double>() / 1e6, benchmark::Counter::kAvgIterations);
}

// What was summed up becomes a mean. (Adding a Counter to one keeps its value and not its flags.)
void average(benchmark::State& state) {
  for (auto& [name, counter] : state.counters)
    if (name != "image_mb") counter.flags = benchmark::Counter::kAvgIterations;
}

void snapshot(benchmark::State& state, Engine engine, const char* shape, long size) {
  Target target(shape, size);
  if (!target.ready()) return state.SkipWithError("the target did not start");
  bool first = true;
  for (auto _ : state) {
    std::string images = target.fresh_images_dir();
    target.take_longest_stall();
    Finished finished = bench::run_command(engine.dump(target.pid(), images, true));
    if (failed(state, finished, "dump")) return;
    state.SetIterationTime(finished.seconds);
    state.counters["stall_ms"] +=
        benchmark::Counter(target.take_longest_stall() * 1e3, benchmark::Counter::kAvgIterations);
    if (first)
      state.counters["image_mb"] = static_cast<double>(directory_bytes(images)) / 1048576.0;
    first = false;
    if (engine.is_peer()) continue;
    auto report = nlohmann::json::parse(finished.output);
    state.counters["frozen_ms"] += benchmark::Counter(report["frozen_ns"].get<double>() / 1e6,
                                                      benchmark::Counter::kAvgIterations);
    add_phases(state, report, "");
  }
  average(state);
}

// One killing dump and one restore per iteration; which of the two is timed is the benchmark's
// matter.
enum class Timed { kDump, kRestore };

void cycle(benchmark::State& state, Engine engine, Timed timed, const char* shape, long size) {
  Target target(shape, size);
  if (!target.ready()) return state.SkipWithError("the target did not start");
  for (auto _ : state) {
    std::string images = target.fresh_images_dir();
    Finished dumped = bench::run_command(engine.dump(target.pid(), images, false));
    if (failed(state, dumped, "dump")) return;
    target.reap();
    Finished restored = bench::run_command(engine.restore(images));
    if (failed(state, restored, "restore")) return;
    if (!engine.is_peer())
      target.follow(nlohmann::json::parse(restored.output)["root_pid"].get<pid_t>());
    state.SetIterationTime(timed == Timed::kDump ? dumped.seconds : restored.seconds);
    if (!engine.is_peer())
      add_phases(state,
                 nlohmann::json::parse(timed == Timed::kDump ? dumped.output : restored.output),
                 "");
  }
  average(state);
}

// The yardstick of a dump: a copy of a tmpfs file of the same size into a fresh one. Each dump is
// timed next to a copy of its own, since the machine's mood changes within seconds.
void dump_beside_copy(benchmark::State& state) {
  constexpr long kMegabytes = 1024;
  const std::string from = "/dev/shm/nativecr-bench-from", to = "/dev/shm/nativecr-bench-to";
  (void)bench::run_command({"dd", "if=/dev/urandom", "of=" + from, "bs=1M",
                            "count=" + std::to_string(kMegabytes), "status=none"});
  Target target("memory_mb", kMegabytes);
  if (!target.ready()) return state.SkipWithError("the target did not start");
  const Engine engine{"nativecr"};
  std::vector<double> ratios;
  for (auto _ : state) {
    std::filesystem::remove(to);
    const double copy = bench::run_command({"cp", "--reflink=never", from, to}).seconds;
    std::filesystem::remove(to);
    const std::string images = target.fresh_images_dir();
    Finished dumped = bench::run_command(engine.dump(target.pid(), images, false));
    if (failed(state, dumped, "dump")) return;
    target.reap();
    if (failed(state, bench::run_command(engine.restore(images)), "restore")) return;
    state.SetIterationTime(dumped.seconds);
    state.counters["copy_ms"] += copy * 1e3;
    ratios.push_back(dumped.seconds / copy);
  }
  average(state);
  std::sort(ratios.begin(), ratios.end());
  state.counters["median_ratio"] = ratios[ratios.size() / 2];
  std::filesystem::remove(from);
}

struct Shape {
  const char* name;
  std::vector<long> sizes;
  int iterations;
};

void register_all() {
  const Shape shapes[] = {
      {"memory_mb", {1, 64}, 20},  {"memory_mb", {1024}, 5},
      {"memory_mb", {4096}, 2},    {"processes", {1, 10, 100}, 10},
      {"processes", {1000}, 3},    {"threads", {1, 64, 1000}, 10},
      {"vmas", {100, 4000}, 10},   {"descriptors", {10, 1000}, 10},
      {"runc_container", {1}, 20},
  };
  std::vector<Engine> engines = {{"nativecr"}};
  if (Engine::peer() != nullptr) engines.push_back({"criu"});
  for (const Shape& shape : shapes)
    for (long size : shape.sizes)
      for (const Engine& engine : engines) {
        if (engine.is_peer() && std::string(shape.name) == "runc_container") continue;
        std::string suffix =
            std::string("/") + shape.name + "/" + std::to_string(size) + "/" + engine.name;
        auto add = [&](const char* what, auto function) {
          benchmark::RegisterBenchmark((what + suffix).c_str(), function)
              ->UseManualTime()
              ->Unit(benchmark::kMillisecond)
              ->Iterations(shape.iterations);
        };
        const char* name = shape.name;
        add("snapshot", [=](benchmark::State& state) { snapshot(state, engine, name, size); });
        add("dump",
            [=](benchmark::State& state) { cycle(state, engine, Timed::kDump, name, size); });
        add("restore",
            [=](benchmark::State& state) { cycle(state, engine, Timed::kRestore, name, size); });
      }
  benchmark::RegisterBenchmark("dump_beside_copy/1024", dump_beside_copy)
      ->UseManualTime()
      ->Unit(benchmark::kMillisecond)
      ->Iterations(9);
}

}  // namespace

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  register_all();
  benchmark::RunSpecifiedBenchmarks();
}
