# One source, compiled for each instruction set; the program chooses when it runs (ADR 0011, 0016, 0024).

set(MOE_LEVELS baseline emulated_bf16)
set(MOE_X86_LEVELS OFF)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  list(APPEND MOE_LEVELS avx2 avx512 avx512_bf16 amx_bf16)
  set(MOE_X86_LEVELS ON)
endif()

set(moe_flags_avx2 -mavx2 -mfma)
set(moe_flags_avx512 -mavx512f -mavx512vl -mavx512bw -mavx512dq ${moe_flags_avx2})
set(moe_flags_avx512_bf16 ${moe_flags_avx512} -mavx512bf16)
set(moe_flags_amx_bf16 ${moe_flags_avx512_bf16} -mamx-tile -mamx-bf16)

# Contraction: fused multiply-add. Vectors as arguments stay within one file: no ABI to warn of.
# gcc 12 takes the undefined operands of its own AVX-512 intrinsics for uninitialised reads.
function(moe_level_source source level)
  set(flags -O3 -ffp-contract=fast -fno-math-errno -fno-trapping-math -Wno-psabi
            -Wno-maybe-uninitialized -Wno-uninitialized ${moe_flags_${level}})
  set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS "${flags}"
                                                   SKIP_PRECOMPILE_HEADERS ON)
endfunction()
