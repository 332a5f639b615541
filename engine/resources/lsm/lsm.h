// Labels of security modules: what is read of them, and what a request may ask. Pure but for
// check_module().
#pragma once

#include <string>
#include <string_view>

#include "engine/image/image_reader.h"
#include "engine/request.h"
#include "lsm.pb.h"

namespace ncr::lsm {

// /proc/PID/attr/current and its siblings without what is not of the label: a zero byte or a line
// end, AppArmor's mode in parentheses.
std::string label_of(std::string_view text);
// Whether a task with this label is under no rules.
bool is_unconfined(const schema::LsmLabels& labels);

// "apparmor:NAME", "selinux:LABEL"; a usage error if it is neither.
Result<schema::LsmLabels> parse_profile(const std::string& profile);
// The mount option of a context that a caller gives ("" for none); a usage error if it cannot be
// one.
Result<std::string> mount_option(const std::string& context);

// What a task is to have: that of the request, if it has one.
Result<schema::LsmLabels> wanted(const schema::Task& task, const RestoreRequest& request);
// Before the first fork: that the security module of every label is there.
Result<> check_module(const Image& image, const RestoreRequest& request);

}  // namespace ncr::lsm
