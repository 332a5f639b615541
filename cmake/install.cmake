# What `cmake --install` and `cpack -G DEB` lay down: the command, the shared library with its headers, pkg-config and CMake packages,
# the man pages and shell completions.
include(CMakePackageConfigHelpers)

# The library exports the C interface only; the engine behind it stays hidden.
add_library(libnativecr SHARED ${CMAKE_SOURCE_DIR}/engine/c_api.cpp)
set_target_properties(libnativecr PROPERTIES OUTPUT_NAME nativecr VERSION ${PROJECT_VERSION} SOVERSION 0 EXPORT_NAME nativecr)
target_compile_options(libnativecr PRIVATE -fno-exceptions -fno-rtti -fvisibility=hidden)
target_compile_definitions(libnativecr PRIVATE NCR_VERSION="${PROJECT_VERSION}")
target_include_directories(libnativecr PUBLIC $<BUILD_INTERFACE:${CMAKE_SOURCE_DIR}/include> $<INSTALL_INTERFACE:include>)
target_link_libraries(libnativecr PRIVATE $<BUILD_INTERFACE:ncr_engine> $<BUILD_INTERFACE:ncr_warnings>)
target_link_options(libnativecr PRIVATE -Wl,--no-undefined -Wl,--version-script=${CMAKE_SOURCE_DIR}/cmake/libnativecr.map)
set_target_properties(libnativecr PROPERTIES LINK_DEPENDS ${CMAKE_SOURCE_DIR}/cmake/libnativecr.map)

install(TARGETS nativecr RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
# Runtimes find criu by PATH: a folder of its own, so that nothing is shadowed that nobody asked for.
file(RELATIVE_PATH command_from_link ${CMAKE_INSTALL_FULL_LIBEXECDIR}/nativecr ${CMAKE_INSTALL_FULL_BINDIR}/nativecr)
file(CREATE_LINK ${command_from_link} ${CMAKE_BINARY_DIR}/criu_link SYMBOLIC)
install(FILES ${CMAKE_BINARY_DIR}/criu_link DESTINATION ${CMAKE_INSTALL_LIBEXECDIR}/nativecr RENAME criu)
install(TARGETS libnativecr EXPORT nativecr LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(DIRECTORY include/nativecr DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(FILES docs/man/nativecr.1 docs/man/nativecr-criu.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
install(FILES frontends/cli/completion/nativecr.bash DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions RENAME nativecr)
install(FILES frontends/cli/completion/_nativecr DESTINATION ${CMAKE_INSTALL_DATADIR}/zsh/vendor-completions)

configure_file(cmake/nativecr.pc.in nativecr.pc @ONLY)
install(FILES ${CMAKE_BINARY_DIR}/nativecr.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

install(EXPORT nativecr NAMESPACE nativecr:: FILE nativecrTargets.cmake DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/nativecr)
file(WRITE ${CMAKE_BINARY_DIR}/nativecrConfig.cmake "include(\"\${CMAKE_CURRENT_LIST_DIR}/nativecrTargets.cmake\")\n")
write_basic_package_version_file(${CMAKE_BINARY_DIR}/nativecrConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_BINARY_DIR}/nativecrConfig.cmake ${CMAKE_BINARY_DIR}/nativecrConfigVersion.cmake
        DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/nativecr)

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME nativecr)
set(CPACK_PACKAGE_CONTACT "nativecr maintainers <nativecr@localhost>")
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_SECTION admin)
set(CPACK_RESOURCE_FILE_LICENSE ${CMAKE_SOURCE_DIR}/LICENSE)
include(CPack)
