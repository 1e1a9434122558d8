# SPDX-License-Identifier: Apache-2.0 OR MIT
# The librapt.so that pyproject.toml packs into the Python package: the library's own objects with
# libstdc++ linked in, so that neither an older machine's nor another package's stands in its way.
set(RAPT_PYTHON_LIBRARY "" CACHE FILEPATH "A rapt_python built before, to pack as it is")

if(RAPT_PYTHON_LIBRARY)
  add_custom_target(rapt_python)
  install(FILES ${RAPT_PYTHON_LIBRARY} DESTINATION . COMPONENT python EXCLUDE_FROM_ALL)
else()
  add_library(rapt_python SHARED EXCLUDE_FROM_ALL $<TARGET_OBJECTS:rapt_objects>)
  target_link_libraries(rapt_python PRIVATE Threads::Threads ${CMAKE_DL_LIBS})
  rapt_export_only_c(rapt_python)
  # What of libstdc++ is never called goes again; some of it wants a newer glibc than rapt does.
  target_link_options(rapt_python PRIVATE -static-libstdc++ -Wl,--gc-sections -s)
  set_target_properties(rapt_python PROPERTIES
    LINKER_LANGUAGE CXX OUTPUT_NAME rapt LIBRARY_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/python)
  install(TARGETS rapt_python DESTINATION . COMPONENT python EXCLUDE_FROM_ALL)
endif()
