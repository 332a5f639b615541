#include "engine/base/deleted_mark.h"

namespace ncr {

bool drop_deleted_mark(std::string_view* printed) {
  if (!printed->ends_with(kDeletedMark)) return false;
  printed->remove_suffix(kDeletedMark.size());
  return true;
}

bool drop_deleted_mark(std::string* printed) {
  std::string_view path = *printed;
  const bool marked = drop_deleted_mark(&path);
  printed->resize(path.size());
  return marked;
}

}  // namespace ncr
