# What does not compute is not worth the optimiser's time: a release build with less of it takes two
# thirds of the time (ADR 25). A debug or sanitizer build keeps its own level.
function(moe_optimise target level)
  target_compile_options(${target} PRIVATE $<$<CONFIG:Release>:${level}>)
endfunction()

# Sets `function` to a source with the files of a pattern as strings, from a function of that name.
function(moe_texts function)  # moe_texts(cuda_texts PATTERN a/*.cuh HEADER h.h NAMESPACE moe TYPE T)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "PATTERN;HEADER;NAMESPACE;TYPE" "")
  set(pattern ${CMAKE_CURRENT_SOURCE_DIR}/${arg_PATTERN})
  file(GLOB texts CONFIGURE_DEPENDS ${pattern})
  set(out ${PROJECT_BINARY_DIR}/generated/${function}.cpp)
  set(script ${PROJECT_SOURCE_DIR}/cmake/texts.cmake)
  add_custom_command(
    OUTPUT ${out}
    COMMAND ${CMAKE_COMMAND} -DPATTERN=${pattern} -DHEADER=${arg_HEADER} -DNAMESPACE=${arg_NAMESPACE}
            -DTYPE=${arg_TYPE} -DFUNCTION=${function} -DOUT=${out} -P ${script}
    DEPENDS ${texts} ${script}
    COMMENT "" VERBATIM)
  set(${function} ${out} PARENT_SCOPE)
endfunction()

# A room is a static library over one folder: include/moe/NAME, src/NAME. DEPENDS is the layering
# rule: what a room may include, checked for every #include by tests/arch. COLD: no step and no
# token waits for it.
function(moe_room name)  # moe_room(model DEPENDS base config kernels LINK moe::torch)
  cmake_parse_arguments(PARSE_ARGV 1 arg "COLD" "" "SOURCES;DEPENDS;LINK")
  if(NOT arg_SOURCES)
    file(GLOB arg_SOURCES CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/${name}/*.cpp)
  endif()
  add_library(moe_${name} STATIC ${arg_SOURCES})
  add_library(moe::${name} ALIAS moe_${name})
  target_include_directories(
    moe_${name} PUBLIC ${PROJECT_SOURCE_DIR}/include PRIVATE ${PROJECT_SOURCE_DIR}/src)
  set(rooms ${arg_DEPENDS})
  list(TRANSFORM rooms PREPEND moe::)
  target_link_libraries(moe_${name} PUBLIC ${rooms} ${arg_LINK} PRIVATE moe::flags)
  if("moe::torch" IN_LIST arg_LINK)
    moe_use_torch_headers(moe_${name})
  endif()
  if(arg_COLD)
    moe_optimise(moe_${name} -O1)
  endif()
  list(JOIN arg_DEPENDS "," deps)
  set_property(GLOBAL APPEND PROPERTY MOE_ROOMS "${name}:${deps}")
endfunction()

# One test binary a room, one ctest entry a binary: a process that links libtorch takes 0.25 s to
# start, so cases are not started one by one.
function(moe_room_test name)
  file(GLOB sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/tests/${name}/*_test.cpp)
  if(NOT sources)
    return()
  endif()
  add_executable(moe_${name}_tests ${sources})
  # Private headers, src/ROOM/x.h, include one another as "ROOM/x.h".
  target_include_directories(moe_${name}_tests PRIVATE ${PROJECT_SOURCE_DIR}
                                                       ${PROJECT_SOURCE_DIR}/src)
  target_link_libraries(moe_${name}_tests PRIVATE moe::${name} moe::flags GTest::gmock
                                                  GTest::gtest_main ${ARGN})
  get_target_property(links moe_${name} INTERFACE_LINK_LIBRARIES)
  if("moe::torch" IN_LIST links)
    moe_use_torch_headers(moe_${name}_tests)
    moe_optimise(moe_${name}_tests -O1) # -O0 could not take the precompiled headers
  else()
    moe_optimise(moe_${name}_tests -O0)
  endif()
  add_test(NAME ${name} COMMAND moe_${name}_tests)
  set_tests_properties(
    ${name} PROPERTIES TIMEOUT 600 ENVIRONMENT
                       "MAKEMOE_SOURCE_DIR=${PROJECT_SOURCE_DIR};OMP_WAIT_POLICY=passive")
endfunction()

# A test of the real binary, in Python's own unittest.
function(moe_python_test name script)
  add_test(NAME ${name} COMMAND ${MAKEMOE_PYTHON} ${PROJECT_SOURCE_DIR}/${script})
  set(binary "")
  if(TARGET makemoe)
    set(binary "MAKEMOE_BIN=$<TARGET_FILE:makemoe>;OMP_WAIT_POLICY=passive")
  endif()
  set_tests_properties(
    ${name}
    PROPERTIES TIMEOUT 900 LABELS e2e SKIP_RETURN_CODE 77 ENVIRONMENT
               "MAKEMOE_SOURCE_DIR=${PROJECT_SOURCE_DIR};MAKEMOE_ROOMS=${PROJECT_BINARY_DIR}/moe_rooms.txt;${binary}")
endfunction()
