# SPDX-License-Identifier: Apache-2.0 OR MIT
# librapt. Its objects are compiled once: the shared library exports rapt_* of them and nothing
# else, while the tests link the objects and so reach everything.
find_package(Threads REQUIRED)

file(GLOB_RECURSE rapt_sources CONFIGURE_DEPENDS src/*.cpp)
if(NOT CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64)$")
  list(FILTER rapt_sources EXCLUDE REGEX "/isa_avx[0-9a-z_]*\\.cpp$")
endif()

# The text of the CUDA kernels, compiled into the library: NVRTC reads it at run time.
set(kernel_root ${PROJECT_SOURCE_DIR}/kernels/cuda)
set(embedded_kernels ${PROJECT_BINARY_DIR}/embedded_kernels.cpp)
set(embed_script ${PROJECT_SOURCE_DIR}/cmake/embed.cmake)
file(GLOB_RECURSE kernel_files CONFIGURE_DEPENDS ${kernel_root}/*.h ${kernel_root}/*.cuh)
add_custom_command(
  OUTPUT ${embedded_kernels}
  COMMAND ${CMAKE_COMMAND} -DROOT=${kernel_root} -DOUT=${embedded_kernels} -P ${embed_script}
  DEPENDS ${kernel_files} ${embed_script}
  COMMENT "Embedding the CUDA kernels"
  VERBATIM)

add_library(rapt_objects OBJECT ${rapt_sources} ${embedded_kernels})
target_include_directories(rapt_objects
  PUBLIC ${PROJECT_SOURCE_DIR}/include ${PROJECT_SOURCE_DIR}/src
  PRIVATE ${PROJECT_SOURCE_DIR})
target_link_libraries(rapt_objects
  PRIVATE rapt_settings PUBLIC Threads::Threads ${CMAKE_DL_LIBS})
target_compile_definitions(rapt_objects PRIVATE
  $<$<NOT:$<BOOL:${RAPT_SHARED}>>:RAPT_STATIC>)
set_target_properties(rapt_objects PROPERTIES
  POSITION_INDEPENDENT_CODE ON
  CXX_EXTENSIONS OFF
  CXX_VISIBILITY_PRESET hidden
  VISIBILITY_INLINES_HIDDEN ON)

# One kernel file an instruction set, each compiled for exactly that. No -ffast-math: the order of
# sums and NaN are part of the contract; only errno and floating-point traps are not.
set(kernel_flags -fno-math-errno -fno-trapping-math $<$<NOT:$<CONFIG:Debug>>:-O3>)
set(avx512_flags -mavx512f -mavx512bw -mavx512dq -mavx512vl -mfma -mf16c)
function(rapt_isa name)
  set(file src/backend/cpu/isa_${name}.cpp)
  set_source_files_properties(${file} PROPERTIES
    COMPILE_OPTIONS "${kernel_flags};${ARGN}"
    COMPILE_DEFINITIONS RAPT_PLANT=${RAPT_PLANT})
endfunction()
rapt_isa(baseline)
rapt_isa(avx2 -mavx2 -mfma -mf16c)
rapt_isa(avx512 ${avx512_flags})
rapt_isa(avx512_bf16 ${avx512_flags} -mavx512bf16)

# Of a shared library, nothing is exported but rapt_*.
function(rapt_export_only_c target)
  set(map ${PROJECT_SOURCE_DIR}/cmake/rapt.map)
  target_link_options(${target} PRIVATE -Wl,--version-script=${map})
  set_target_properties(${target} PROPERTIES LINK_DEPENDS ${map})
endfunction()

# libstdc++ 12's stable_sort uses what C++17 deprecated, which clang says.
set_source_files_properties(src/plan/gradient_schedule.cpp PROPERTIES COMPILE_OPTIONS
  $<$<COMPILE_LANG_AND_ID:CXX,Clang>:-Wno-deprecated-declarations>)

set(kind STATIC)
if(RAPT_SHARED)
  set(kind SHARED)
endif()
add_library(rapt ${kind} $<TARGET_OBJECTS:rapt_objects>)
add_library(rapt::rapt ALIAS rapt)
target_link_libraries(rapt PRIVATE Threads::Threads ${CMAKE_DL_LIBS})
target_include_directories(rapt INTERFACE
  $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>
  $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
set_target_properties(rapt PROPERTIES
  LINKER_LANGUAGE CXX VERSION ${PROJECT_VERSION} SOVERSION ${PROJECT_VERSION_MAJOR})
if(RAPT_SHARED)
  rapt_export_only_c(rapt)
else()
  target_compile_definitions(rapt INTERFACE RAPT_STATIC)
endif()
