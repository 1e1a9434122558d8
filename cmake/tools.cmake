# SPDX-License-Identifier: Apache-2.0 OR MIT
# The command line `rapt`, the tests `rapt_tests` and the fuzz targets. They share the cases, the
# oracle, the benchmarks and the command line's parts, compiled once.
find_package(nlohmann_json 3.11 REQUIRED)
find_package(CLI11 2.1 REQUIRED)

if(RAPT_CLI)
  file(GLOB shell_sources CONFIGURE_DEPENDS cli/*.cpp bench/*.cpp tests/kit/*.cpp)
  list(REMOVE_ITEM shell_sources ${PROJECT_SOURCE_DIR}/cli/main.cpp)
  add_library(rapt_shell OBJECT ${shell_sources})
  target_include_directories(rapt_shell PUBLIC
    ${PROJECT_SOURCE_DIR} ${PROJECT_SOURCE_DIR}/include ${PROJECT_SOURCE_DIR}/tests)
  target_link_libraries(rapt_shell
    PRIVATE rapt_settings PUBLIC nlohmann_json::nlohmann_json CLI11::CLI11)

  add_executable(rapt_cli cli/main.cpp)
  target_link_libraries(rapt_cli PRIVATE rapt_settings rapt_shell rapt)
  file(RELATIVE_PATH to_library /${CMAKE_INSTALL_BINDIR} /${CMAKE_INSTALL_LIBDIR})
  set_target_properties(rapt_cli PROPERTIES
    OUTPUT_NAME rapt BUILD_RPATH_USE_ORIGIN ON INSTALL_RPATH "$ORIGIN/${to_library}")
endif()

if(RAPT_TESTS)
  # A cross build has no GTest of its own; Debian ships the sources.
  if(CMAKE_CROSSCOMPILING)
    add_subdirectory(/usr/src/googletest googletest EXCLUDE_FROM_ALL)
  else()
    find_package(GTest REQUIRED)
  endif()
  file(GLOB test_sources CONFIGURE_DEPENDS tests/*.cpp tests/*.c)
  add_executable(rapt_tests ${test_sources})
  target_link_libraries(rapt_tests PRIVATE rapt_settings rapt_shell rapt_objects GTest::gtest_main)
  enable_testing()
  add_test(NAME rapt_tests COMMAND rapt_tests)
endif()

if(RAPT_FUZZ)
  # Sanitizers watch everything; the fuzzer's own main is linked into its targets only.
  add_library(rapt_fuzz OBJECT fuzz/caller.cpp cli/safetensors.cpp)
  target_include_directories(rapt_fuzz PUBLIC ${PROJECT_SOURCE_DIR} ${PROJECT_SOURCE_DIR}/include)
  target_link_libraries(rapt_fuzz PUBLIC rapt_settings nlohmann_json::nlohmann_json)
  file(GLOB fuzz_sources CONFIGURE_DEPENDS fuzz/*_fuzz.cpp)
  foreach(source IN LISTS fuzz_sources)
    cmake_path(GET source STEM name)
    add_executable(${name} ${source})
    target_link_libraries(${name} PRIVATE rapt_fuzz rapt_objects)
    target_link_options(${name} PRIVATE -fsanitize=fuzzer)
  endforeach()
endif()
