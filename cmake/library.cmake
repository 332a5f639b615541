# A library that is linked dynamically, except into a target that sets NCR_SELF_CONTAINED: there its
# archive is used, if there is one (docs/adr/0009).
function(ncr_library target name shared)
  find_library(NCR_ARCHIVE_${name} lib${name}.a)
  if(NCR_ARCHIVE_${name})
    target_link_libraries(${target} PUBLIC
      $<IF:$<BOOL:$<TARGET_PROPERTY:NCR_SELF_CONTAINED>>,${NCR_ARCHIVE_${name}},${shared}>)
  else()
    target_link_libraries(${target} PUBLIC ${shared})
  endif()
endfunction()
