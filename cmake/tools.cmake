# SPDX-License-Identifier: Apache-2.0 OR MIT
# The command line `rapt`, the tests `rapt_tests` and the fuzz targets.
find_package(nlohmann_json 3.11 REQUIRED)

if(RAPT_CLI)
  # Cases, oracle and file reader, which the command line and the tests share.
  file(GLOB kit_sources CONFIGURE_DEPENDS tests/kit/*.cpp)
  add_library(rapt_kit OBJECT ${kit_sources} cli/safetensors.cpp)
  target_include_directories(rapt_kit PUBLIC
    ${PROJECT_SOURCE_DIR} ${PROJECT_SOURCE_DIR}/include ${PROJECT_SOURCE_DIR}/tests)
  target_link_libraries(rapt_kit PRIVATE rapt_settings
    PUBLIC nlohmann_json::nlohmann_json ${CMAKE_DL_LIBS})

  find_package(CLI11 2.1 REQUIRED)
  file(GLOB cli_sources CONFIGURE_DEPENDS cli/*.cpp bench/*.cpp)
  list(REMOVE_ITEM cli_sources ${PROJECT_SOURCE_DIR}/cli/safetensors.cpp)
  add_executable(rapt_cli ${cli_sources})
  target_link_libraries(rapt_cli PRIVATE rapt_settings rapt_kit CLI11::CLI11 rapt)
  file(RELATIVE_PATH to_library /${CMAKE_INSTALL_BINDIR} /${CMAKE_INSTALL_LIBDIR})
  set_target_properties(rapt_cli PROPERTIES
    OUTPUT_NAME rapt BUILD_RPATH_USE_ORIGIN ON INSTALL_RPATH "$ORIGIN/${to_library}")
  # Reading arguments need not be fast, but to compile CLI11 fast is worth having.
  list(FILTER cli_sources INCLUDE REGEX "/cli/")
  set_source_files_properties(${cli_sources} PROPERTIES COMPILE_OPTIONS $<$<CONFIG:Release>:-O1>)
endif()

if(RAPT_TESTS)
  enable_language(C)  # rapt.h is used from C11 too
  # A cross build has no GTest of its own; Debian ships the sources.
  if(CMAKE_CROSSCOMPILING)
    add_subdirectory(/usr/src/googletest googletest EXCLUDE_FROM_ALL)
  else()
    find_package(GTest REQUIRED)
  endif()
  file(GLOB test_sources CONFIGURE_DEPENDS tests/*.cpp tests/*.c)
  add_executable(rapt_tests ${test_sources})
  target_link_libraries(rapt_tests PRIVATE rapt_settings rapt_kit rapt_objects GTest::gtest_main)
  target_compile_options(rapt_tests PRIVATE $<$<CONFIG:Release>:-O1>)
  set_target_properties(rapt_tests PROPERTIES C_STANDARD 11 C_EXTENSIONS OFF)
  enable_testing()
  add_test(NAME rapt_tests COMMAND rapt_tests)

  if(NOT CMAKE_CROSSCOMPILING)
    include(cmake/stand_in.cmake)
  endif()
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
