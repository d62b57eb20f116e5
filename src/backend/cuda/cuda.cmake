# SPDX-License-Identifier: Apache-2.0
# The CUDA backend: host C of src/backend/cuda and kernels/*.cu into q_backend. The CUDA runtime is
# linked statically and cuBLASLt is opened at run time, so the same program starts on a machine
# without either and says what is missing. A machine to build on needs nvcc, not a GPU.

if(NOT CMAKE_CUDA_COMPILER)
  find_program(QUIRE_NVCC nvcc PATHS /usr/local/cuda/bin ENV CUDA_PATH PATH_SUFFIXES bin)
  if(NOT QUIRE_NVCC)
    message(FATAL_ERROR "QUIRE_CUDA=ON needs nvcc (CUDA 12.5 or later) in PATH or /usr/local/cuda")
  endif()
  set(CMAKE_CUDA_COMPILER ${QUIRE_NVCC})
endif()
set(CMAKE_CUDA_ARCHITECTURES ${QUIRE_CUDA_ARCHS})
set(CMAKE_CUDA_RUNTIME_LIBRARY Static)
if(CCACHE)
  set(CMAKE_CUDA_COMPILER_LAUNCHER ${CCACHE})
endif()
enable_language(CUDA)
# Targets made before this file did not see the variable.
get_property(quire_targets DIRECTORY ${CMAKE_SOURCE_DIR} PROPERTY BUILDSYSTEM_TARGETS)
set_property(TARGET ${quire_targets} PROPERTY CUDA_ARCHITECTURES ${QUIRE_CUDA_ARCHS})
find_package(CUDAToolkit REQUIRED)

file(GLOB quire_cuda_c CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/backend/cuda/*.c)
file(GLOB quire_cuda_cu CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/kernels/*.cu)
target_sources(q_backend PRIVATE ${quire_cuda_c} ${quire_cuda_cu})
target_compile_definitions(q_backend PUBLIC QUIRE_CUDA)
target_include_directories(q_backend PRIVATE src/backend/cuda)
target_include_directories(q_backend SYSTEM PRIVATE ${CUDAToolkit_INCLUDE_DIRS})
# C++20: designated initialisers in the launchers. A flag rather than CMAKE_CUDA_STANDARD: CMake 3.25
# tries the standard on its test program before it knows the compiler, and gives up.
target_compile_options(q_backend PRIVATE
  $<$<COMPILE_LANGUAGE:CUDA>:-std=c++20 -lineinfo --threads=1 -Xcompiler=-Wall,-Werror
  --Werror=cross-execution-space-call,reorder>)
target_link_libraries(q_backend PUBLIC CUDA::cudart_static ${CMAKE_DL_LIBS})
