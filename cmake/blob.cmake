# ncr_blob(NAME): links <NAME>/*.cpp, pie/*.cpp, every room's x.<NAME>.cpp and arch/<arch>/<NAME>_entry.S into NAME.bin, entry at byte 0,
# and defines the target NAME_blob, an object that embeds it (symbols NAME_blob_start, NAME_blob_end). docs: architecture, "Freestanding blobs".
set(NCR_BLOB_FLAGS -ffreestanding -fpie -fvisibility=hidden -fno-exceptions -fno-rtti -fno-stack-protector -fno-asynchronous-unwind-tables
    -fno-threadsafe-statics -fno-sanitize=all -fcf-protection=none -Os -g0 -mgeneral-regs-only -fno-jump-tables -U_FORTIFY_SOURCE)
if(NCR_ARCH STREQUAL "aarch64")
  list(REMOVE_ITEM NCR_BLOB_FLAGS -fcf-protection=none)
  list(APPEND NCR_BLOB_FLAGS -mno-outline-atomics)
endif()

function(ncr_blob name)
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/${name}/*.cpp ${CMAKE_SOURCE_DIR}/pie/*.cpp
       ${CMAKE_SOURCE_DIR}/engine/resources/*/*.${name}.cpp ${CMAKE_SOURCE_DIR}/arch/${NCR_ARCH}/*.${name}.cpp)
  add_library(${name}_objects OBJECT ${sources} ${CMAKE_SOURCE_DIR}/arch/${NCR_ARCH}/${name}_entry.S)
  target_include_directories(${name}_objects PRIVATE ${CMAKE_SOURCE_DIR} ${CMAKE_BINARY_DIR}/include)
  target_compile_options(${name}_objects PRIVATE $<$<COMPILE_LANGUAGE:CXX>:${NCR_BLOB_FLAGS}>)
  target_link_libraries(${name}_objects PRIVATE ncr_warnings)
  set(elf ${CMAKE_BINARY_DIR}/${name}.elf)
  set(bin ${CMAKE_BINARY_DIR}/${name}.bin)
  add_custom_command(OUTPUT ${bin}
    COMMAND ${CMAKE_CXX_COMPILER} -nostdlib -pie -Wl,--no-dynamic-linker -Wl,-z,norelro -Wl,--build-id=none -Wl,--no-warn-rwx-segments
            -T ${CMAKE_SOURCE_DIR}/pie/blob.ld -o ${elf} $<TARGET_OBJECTS:${name}_objects>
    COMMAND ${CMAKE_OBJCOPY} -O binary -j .blob ${elf} ${bin}
    DEPENDS ${name}_objects $<TARGET_OBJECTS:${name}_objects> ${CMAKE_SOURCE_DIR}/pie/blob.ld
    COMMAND_EXPAND_LISTS VERBATIM COMMENT "Blob ${name}")
  file(WRITE ${CMAKE_BINARY_DIR}/${name}_blob.S
".section .rodata.${name}_blob,\"a\",%progbits
.balign 16
.global ${name}_blob_start
.hidden ${name}_blob_start
${name}_blob_start:
.incbin \"${bin}\"
.global ${name}_blob_end
.hidden ${name}_blob_end
${name}_blob_end:
.section .note.GNU-stack,\"\",%progbits
")
  set_source_files_properties(${CMAKE_BINARY_DIR}/${name}_blob.S PROPERTIES OBJECT_DEPENDS ${bin})
  add_custom_target(${name}_bin DEPENDS ${bin})
  add_library(${name}_blob OBJECT ${CMAKE_BINARY_DIR}/${name}_blob.S)
  add_dependencies(${name}_blob ${name}_bin)
endfunction()

ncr_blob(parasite)
ncr_blob(restorer)
