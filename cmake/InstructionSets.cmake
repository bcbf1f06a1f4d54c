# One binary serves every CPU: all code is compiled for the platform's baseline, except sources whose name tells
# another instruction set (kernels_avx2.cpp, ...), which only code guarded by simd_level() may enter.
#
# vss_instruction_sets(<target> <sources>...) sets the flags of those sources, and defines VSS_HAVE_AVX2,
# VSS_HAVE_AVX512, VSS_HAVE_AVX512BF16, VSS_HAVE_AMX, VSS_HAVE_NEON, VSS_HAVE_NEONBF16 on the target where the compiler can make them. A source compiled without its macro
# must come out empty.
include(CheckCXXCompilerFlag)

set(VSS_FLAGS_avx2 -mavx2 -mfma -mf16c -mpopcnt -mbmi -mbmi2 -mlzcnt)
set(VSS_FLAGS_avx512 ${VSS_FLAGS_avx2} -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512cd -mavx512vnni
                     -mavx512vbmi -mavx512vpopcntdq)
set(VSS_FLAGS_avx512bf16 ${VSS_FLAGS_avx512} -mavx512bf16)
set(VSS_FLAGS_amx ${VSS_FLAGS_avx512bf16} -mamx-tile -mamx-bf16)
set(VSS_FLAGS_neon "")
set(VSS_FLAGS_neonbf16 -march=armv8.2-a+bf16)

set(VSS_LEVELS "")
if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64|amd64)$")
    foreach(level avx2 avx512 avx512bf16 amx)
        list(JOIN VSS_FLAGS_${level} " " flags)
        check_cxx_compiler_flag("${flags}" VSS_COMPILER_HAS_${level})
        if(VSS_COMPILER_HAS_${level})
            list(APPEND VSS_LEVELS ${level})
        endif()
    endforeach()
elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "^(aarch64|arm64|ARM64)$")
    list(APPEND VSS_LEVELS neon)
    check_cxx_compiler_flag("${VSS_FLAGS_neonbf16}" VSS_COMPILER_HAS_neonbf16)
    if(VSS_COMPILER_HAS_neonbf16)
        list(APPEND VSS_LEVELS neonbf16)
    endif()
endif()

function(vss_instruction_sets target)
    foreach(level IN LISTS VSS_LEVELS)
        string(TOUPPER ${level} upper)
        target_compile_definitions(${target} PRIVATE VSS_HAVE_${upper}=1)
    endforeach()
    foreach(source IN LISTS ARGN)
        # The results of plain code must not depend on whether the platform's baseline has fused multiply-add.
        set(options -ffp-contract=off)
        foreach(level IN LISTS VSS_LEVELS)
            if(source MATCHES "_${level}\\.cpp$")
                list(APPEND options ${VSS_FLAGS_${level}})
            endif()
            # Theirs may differ from level to level (code_kernels.h): matrix products take half the time.
            if(source MATCHES "/code_kernels_${level}\\.cpp$")
                list(APPEND options -ffp-contract=fast)
            endif()
        endforeach()
        set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS "${options}")
    endforeach()
endfunction()
