# ncr_bpf(FOLDER/NAME): compiles NAME.bpf.c for BPF and defines the target NAME_program, an object with FOLDER/NAME_program.c, which includes
# "NAME.skeleton.h": the program with a loader that needs no library (bpftool's light skeleton).
find_program(CLANG NAMES clang clang-19 clang-16 clang-14 REQUIRED)
find_program(BPFTOOL bpftool PATHS /usr/sbin REQUIRED)

function(ncr_bpf path)
  get_filename_component(name ${path} NAME)
  set(source ${CMAKE_SOURCE_DIR}/${path}.bpf.c)
  set(object ${CMAKE_BINARY_DIR}/${name}.bpf.o)
  set(skeleton ${CMAKE_BINARY_DIR}/include/${name}.skeleton.h)
  add_custom_command(OUTPUT ${skeleton}
    COMMAND ${CLANG} -target bpf -O2 -g -Wall -Werror -I${CMAKE_SOURCE_DIR} -isystem /usr/include/${CMAKE_LIBRARY_ARCHITECTURE}
            -MD -MT ${skeleton} -MF ${object}.d -c ${source} -o ${object}
    COMMAND ${BPFTOOL} gen skeleton -L ${object} name ${name} > ${skeleton}
    DEPENDS ${source} DEPFILE ${object}.d VERBATIM COMMENT "BPF ${name}")
  add_library(${name}_program OBJECT ${CMAKE_SOURCE_DIR}/${path}_program.c ${skeleton})
  target_include_directories(${name}_program PRIVATE ${CMAKE_SOURCE_DIR})
  target_include_directories(${name}_program SYSTEM PRIVATE ${CMAKE_BINARY_DIR}/include)
  target_compile_options(${name}_program PRIVATE -fvisibility=hidden)
endfunction()

ncr_bpf(engine/memory/vma_iterator)
