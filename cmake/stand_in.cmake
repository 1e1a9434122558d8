# SPDX-License-Identifier: Apache-2.0 OR MIT
# A driver of our own with an emulated GPU, its compiler, and the tests over them.
find_package(Boost 1.74 REQUIRED COMPONENTS context)

# A driver of our own, and what is tested over it. Linked, so that whoever opens libcuda.so.1
# later finds this one.
set(stand_in ${PROJECT_SOURCE_DIR}/tests/device)
file(GLOB emulator_sources CONFIGURE_DEPENDS tests/emulator/*)
set(emulator_cpp ${emulator_sources})
list(FILTER emulator_cpp INCLUDE REGEX "\\.cpp$")
list(FILTER emulator_cpp EXCLUDE REGEX "libnvrtc")
add_library(rapt_stand_in_driver SHARED tests/device/libcuda.cpp ${emulator_cpp})
target_include_directories(rapt_stand_in_driver
  PRIVATE ${PROJECT_SOURCE_DIR}/src ${PROJECT_SOURCE_DIR}/include
  INTERFACE ${stand_in})
target_link_libraries(rapt_stand_in_driver PRIVATE rapt_settings Boost::context)
# Kernels call it.
set_target_properties(rapt_stand_in_driver PROPERTIES CXX_VISIBILITY_PRESET default
  OUTPUT_NAME cuda SOVERSION 1 LIBRARY_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/stand_in)

# The emulated GPU's compiler. It lies where rapt_tests in build/emulated looks first: see
# tools/steps.py.
set(emulator_hash "")
foreach(source IN LISTS emulator_sources)
  file(SHA256 ${source} hash)
  string(APPEND emulator_hash ${hash})
endforeach()
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${emulator_sources})
string(SHA256 emulator_hash "${emulator_hash}")
add_library(rapt_emulator_compiler SHARED tests/emulator/libnvrtc.cpp)
target_link_libraries(rapt_emulator_compiler PRIVATE rapt_settings)
target_compile_definitions(rapt_emulator_compiler PRIVATE
  RAPT_EMULATOR_FOLDER="${PROJECT_SOURCE_DIR}/tests/emulator"
  RAPT_EMULATOR_SOURCES="${PROJECT_SOURCE_DIR}/src"
  RAPT_EMULATOR_DRIVER="$<TARGET_FILE:rapt_stand_in_driver>"
  RAPT_EMULATOR_COMPILER="${CMAKE_CXX_COMPILER}"
  RAPT_EMULATOR_HASH="${emulator_hash}")
add_dependencies(rapt_emulator_compiler rapt_stand_in_driver)
set_target_properties(rapt_emulator_compiler PROPERTIES CXX_VISIBILITY_PRESET default
  OUTPUT_NAME nvrtc SOVERSION 13
  LIBRARY_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/emulated/nvidia/emulator/lib)
file(GLOB device_test_sources CONFIGURE_DEPENDS tests/device/*_test.cpp)
add_executable(rapt_device_tests
  ${device_test_sources} tests/device/watch.cpp tests/allocations.cpp)
target_link_libraries(rapt_device_tests PRIVATE rapt_settings rapt_kit rapt_objects
  rapt_stand_in_driver GTest::gtest_main)
target_compile_options(rapt_device_tests PRIVATE $<$<CONFIG:Release>:-O1>)
# RPATH, not RUNPATH: a real libcuda on LD_LIBRARY_PATH must not come first.
target_link_options(rapt_device_tests PRIVATE LINKER:--disable-new-dtags)
add_test(NAME rapt_device_tests COMMAND rapt_device_tests)
