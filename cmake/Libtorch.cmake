# Finds libtorch: Torch_DIR or CMAKE_PREFIX_PATH, then the active Python's torch, then .venv's.
# Defines moe::torch.
set(MAKEMOE_MINIMUM_TORCH 2.11)

function(moe_torch_prefix_of python out)
  execute_process(
    COMMAND ${python} -c "import torch; print(torch.utils.cmake_prefix_path)"
    OUTPUT_VARIABLE prefix OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET RESULT_VARIABLE failed)
  if(failed)
    set(prefix "")
  endif()
  set(${out} "${prefix}" PARENT_SCOPE)
endfunction()

# libtorch's CUDA config would compile a program to ask the GPUs what they are, which CMake 3.25 cannot
# do for C++20 with CUDA 13. We have no CUDA source that the answer could matter to.
if(NOT DEFINED TORCH_CUDA_ARCH_LIST AND NOT DEFINED ENV{TORCH_CUDA_ARCH_LIST})
  set(TORCH_CUDA_ARCH_LIST 9.0)
endif()

set(moe_torch_remedy
    "Run scripts/test.sh, which installs it into .venv; or name one: -DTorch_DIR=.../share/cmake/Torch")
find_package(Torch CONFIG QUIET)
foreach(python python3 ${PROJECT_SOURCE_DIR}/.venv/bin/python)
  if(NOT Torch_FOUND)
    # A version asked for makes one that is too old count as not found: the next may do.
    moe_torch_prefix_of(${python} prefix)
    if(prefix)
      unset(Torch_DIR CACHE)
      find_package(Torch ${MAKEMOE_MINIMUM_TORCH} CONFIG QUIET PATHS ${prefix} NO_DEFAULT_PATH)
    endif()
  endif()
endforeach()
if(NOT Torch_FOUND)
  message(FATAL_ERROR "libtorch was not found. ${moe_torch_remedy}")
endif()
if(Torch_VERSION AND Torch_VERSION VERSION_LESS MAKEMOE_MINIMUM_TORCH)
  message(FATAL_ERROR "libtorch ${Torch_VERSION} is older than ${MAKEMOE_MINIMUM_TORCH}. ${moe_torch_remedy}")
endif()
if(TORCH_CXX_FLAGS MATCHES "_GLIBCXX_USE_CXX11_ABI=0")
  message(FATAL_ERROR "this libtorch has the old C++ ABI, which our libraries do not fit. ${moe_torch_remedy}")
endif()
message(STATUS "libtorch: ${Torch_VERSION} in ${TORCH_INSTALL_PREFIX}")

# What only a libtorch with CUDA has: streams and graphs. makemoe has no other difference.
if(TARGET torch_cuda)
  set(moe_cuda_definition MOE_CUDA)
endif()

find_package(OpenMP REQUIRED COMPONENTS CXX)
add_library(moe_torch INTERFACE)
add_library(moe::torch ALIAS moe_torch)
target_include_directories(moe_torch SYSTEM INTERFACE ${TORCH_INCLUDE_DIRS})
target_compile_definitions(moe_torch INTERFACE ${moe_cuda_definition})
# Some libtorchs (2.11 for CUDA) export pieces of a libstdc++ of their own, among them a
# std::filesystem::remove_all that crashes. The real one must be the first that is searched.
target_link_options(moe_torch INTERFACE LINKER:--push-state,--no-as-needed,-lstdc++,--pop-state)
# -fopenmp among our own flags: without it at::parallel_for is silently a serial loop.
target_link_libraries(moe_torch INTERFACE ${TORCH_LIBRARIES})
# The wheel brings a libgomp of its own under the system's name: one process, one runtime.
if(EXISTS ${TORCH_INSTALL_PREFIX}/lib/libgomp.so.1)
  target_compile_options(moe_torch INTERFACE ${OpenMP_CXX_FLAGS})
  target_link_libraries(moe_torch INTERFACE ${TORCH_INSTALL_PREFIX}/lib/libgomp.so.1)
else()
  target_link_libraries(moe_torch INTERFACE OpenMP::OpenMP_CXX)
endif()

# libtorch's headers cost 8-20 s a file: compiled once here, reused by every torch room and its
# tests, which have the same flags. Files still include what they use: MAKEMOE_PRECOMPILE=OFF tells.
option(MAKEMOE_PRECOMPILE "Compile libtorch's headers once for all rooms" ON)
function(moe_use_torch_headers target)
  if(MAKEMOE_PRECOMPILE)
    target_precompile_headers(${target} REUSE_FROM moe_torch_headers)
  endif()
endfunction()
if(MAKEMOE_PRECOMPILE)
  file(CONFIGURE OUTPUT ${PROJECT_BINARY_DIR}/generated/torch_headers.cpp CONTENT "")
  add_library(moe_torch_headers STATIC ${PROJECT_BINARY_DIR}/generated/torch_headers.cpp)
  target_link_libraries(moe_torch_headers PRIVATE moe::torch moe::flags nlohmann_json::nlohmann_json)
  target_precompile_headers(
    moe_torch_headers PRIVATE <ATen/ATen.h> <ATen/Parallel.h> <torch/csrc/autograd/custom_function.h>
    <torch/nn/module.h> <torch/nn/modules/container/modulelist.h> <torch/nn/modules/embedding.h>
    <torch/nn/modules/linear.h> <torch/nn/modules/normalization.h> <torch/nn/pimpl.h>
    <nlohmann/json.hpp>)
endif()
