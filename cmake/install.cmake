# SPDX-License-Identifier: Apache-2.0 OR MIT
# `cmake --install`: headers, library, command line, and what find_package and pkg-config read.
include(CMakePackageConfigHelpers)
set(config_dir ${CMAKE_INSTALL_LIBDIR}/cmake/rapt)

install(TARGETS rapt EXPORT rapt)
install(DIRECTORY include/rapt DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(FILES LICENSE-APACHE LICENSE-MIT DESTINATION ${CMAKE_INSTALL_DOCDIR})
if(RAPT_CLI)
  install(TARGETS rapt_cli)
endif()

install(EXPORT rapt FILE rapt-targets.cmake NAMESPACE rapt:: DESTINATION ${config_dir})
configure_package_config_file(cmake/rapt-config.cmake.in rapt-config.cmake
  INSTALL_DESTINATION ${config_dir})
write_basic_package_version_file(rapt-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES
  ${PROJECT_BINARY_DIR}/rapt-config.cmake ${PROJECT_BINARY_DIR}/rapt-config-version.cmake
  DESTINATION ${config_dir})

# Paths in rapt.pc are relative to the file, so an installed tree may be moved.
file(RELATIVE_PATH pc_prefix /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
string(REGEX REPLACE "/$" "" pc_prefix ${pc_prefix})
set(pc_cflags "")
set(pc_private "")
if(NOT RAPT_SHARED)
  set(pc_cflags " -DRAPT_STATIC")
  set(pc_private " -lstdc++ -lm -pthread -ldl")
endif()
configure_file(cmake/rapt.pc.in rapt.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/rapt.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
