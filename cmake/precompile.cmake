# Parsing the records and the standard library is two thirds of the work of compiling a typical file. Sources include what they use all the same.
# sysmacros.h defines major and minor, which are fields of records too: it comes first everywhere.
function(ncr_precompile target)
  target_precompile_headers(${target} PRIVATE <sys/sysmacros.h> <algorithm> <functional> <map> <memory> <optional> <set> <string> <unordered_map> <vector>
                            <open_file.pb.h> <task.pb.h> <namespace.pb.h>)
endfunction()
