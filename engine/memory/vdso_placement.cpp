// Pure. Same kernel: the running vDSO is moved to the recorded place. Another kernel: it stays
// where it was parked, and the recorded code is made to jump there. A task that had unmapped its
// own keeps the parked one until its restorer has been unmapped, which takes its instruction. A
// thread that was stopped inside the old code reads the old data pages once more: zero pages mean
// "no usable clock" to it (VDSO_CLOCKMODE_NONE), and it makes the system call.
#include "engine/memory/vdso_placement.h"

namespace ncr {
namespace {

// Bytes of a vDSO are stored once per tree.
std::string recorded_code(const Image& image, const schema::Vdso& vdso) {
  if (!vdso.image().empty() || vdso.build_id().empty()) return vdso.image();
  for (const schema::Task& task : image.tasks)
    if (task.vdso().build_id() == vdso.build_id() && !task.vdso().image().empty())
      return task.vdso().image();
  return {};
}

bool same_code(const std::string& recorded, const schema::Vdso& vdso, const std::string& running) {
  const std::string id = vdso::build_id(running);
  if (!id.empty() && !vdso.build_id().empty()) return id == vdso.build_id();
  return recorded == running;
}

uint64_t size_of(const AddressRange& range) { return range.end - range.start; }

}  // namespace

Result<VdsoPlacement> place_vdso(const Image& image, const schema::Task& task,
                                 const vdso::Running& running, uint64_t parking) {
  const std::vector<vdso::Special> recorded = vdso::recorded_mappings(task.memory());
  const std::string old_code = recorded_code(image, task.vdso());
  const bool moves = !recorded.empty() && vdso::same_layout(recorded, running.mappings) &&
                     same_code(old_code, task.vdso(), running.code);
  VdsoPlacement placement;
  const uint64_t base = running.mappings.front().range.start;
  uint64_t code_address = 0;
  for (size_t i = 0; i < running.mappings.size(); i++) {
    const AddressRange& from = running.mappings[i].range;
    const uint64_t parked = parking + (from.start - base);
    const uint64_t final_address = moves ? recorded[i].range.start : parked;
    placement.park.push_back({from.start, parked, size_of(from)});
    if (moves) placement.place.push_back({parked, final_address, size_of(from)});
    if (running.mappings[i].code) code_address = final_address;
  }
  if (recorded.empty())
    placement.unwanted = {parking, parking + running.mappings.back().range.end - base};
  placement.syscall_address = code_address + TRY(vdso::find_system_call(running.code));
  for (size_t i = 0; !moves && i < recorded.size(); i++) {
    std::string code;
    if (recorded[i].code) {
      if (old_code.size() != size_of(recorded[i].range))
        return Error::malformed(strf("task %d: the image does not have its vDSO", task.pid()));
      code = TRY(vdso::redirect(old_code, running.code, code_address));
    }
    placement.stand_ins.push_back({recorded[i].range, std::move(code)});
  }
  return placement;
}

}  // namespace ncr
