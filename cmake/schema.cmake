# The image records: schema/*.proto -> the static library ncr_schema (lite runtime).
find_package(Protobuf REQUIRED)
file(GLOB protos CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/schema/*.proto)
set(schema_dir ${CMAKE_BINARY_DIR}/schema)
file(MAKE_DIRECTORY ${schema_dir})
set(generated)
foreach(proto ${protos})
  get_filename_component(stem ${proto} NAME_WE)
  list(APPEND generated ${schema_dir}/${stem}.pb.cc ${schema_dir}/${stem}.pb.h)
endforeach()
add_custom_command(OUTPUT ${generated}
  COMMAND protobuf::protoc --proto_path=${CMAKE_SOURCE_DIR}/schema --cpp_out=${schema_dir} ${protos}
  DEPENDS ${protos} VERBATIM COMMENT "Schema")
add_library(ncr_schema STATIC ${generated})
target_include_directories(ncr_schema SYSTEM PUBLIC ${schema_dir})
ncr_library(ncr_schema protobuf-lite protobuf::libprotobuf-lite)
