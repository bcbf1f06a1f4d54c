# The target vssnative_faiss: Faiss for the one layer that includes it.
#
# VSSNATIVE_SYSTEM_FAISS=AUTO takes an installed Faiss (1.7.3 or newer) if that leaves vss0 what it promises to be: one
# file, without OpenMP (two OpenMP runtimes in one process, ours and PyTorch's say, can crash it). ON takes any
# installed one, OFF none. Otherwise Faiss is compiled here, once for a set of flags, into
# ${VSSNATIVE_CACHE:-${XDG_CACHE_HOME:-~/.cache}/vssnative}/faiss.
#
# Where the compiler can, a second time for AVX2: the target vssnative_faiss_avx2. Both have the same names, so that its
# user must keep the second one's to itself (vendor/sqlite-vss/CMakeLists.txt does).
include(FaissSource)
include(CheckCXXSourceCompiles)

set(VSSNATIVE_SYSTEM_FAISS AUTO CACHE STRING "Use an installed Faiss: AUTO, ON or OFF")
set_property(CACHE VSSNATIVE_SYSTEM_FAISS PROPERTY STRINGS AUTO ON OFF)
option(VSSNATIVE_SANITIZE_FAISS "Compile Faiss, too, with AddressSanitizer (and what libFuzzer goes by)" OFF)
set(VSSNATIVE_FAISS_ARCHIVE "" CACHE FILEPATH "The source archive of Faiss, instead of fetching it")

function(vss_cache_directory result)
    if(NOT "$ENV{VSSNATIVE_CACHE}" STREQUAL "")
        set(cache "$ENV{VSSNATIVE_CACHE}")
    elseif(NOT "$ENV{XDG_CACHE_HOME}" STREQUAL "")
        set(cache "$ENV{XDG_CACHE_HOME}/vssnative")
    elseif(NOT "$ENV{HOME}" STREQUAL "")
        set(cache "$ENV{HOME}/.cache/vssnative")
    else()
        set(cache "${CMAKE_BINARY_DIR}/cache")
    endif()
    cmake_path(ABSOLUTE_PATH cache NORMALIZE)
    set(${result} "${cache}" PARENT_SCOPE)
endfunction()

# Compiles Faiss into `prefix`, which appears there whole or not at all.
function(vss_build_faiss cache prefix flags)
    vss_faiss_source(${cache} archive)
    set(work ${prefix}.work)
    file(REMOVE_RECURSE ${work})
    file(ARCHIVE_EXTRACT INPUT ${archive} DESTINATION ${work})
    message(STATUS "vssnative: compiling Faiss ${VSS_FAISS_VERSION}, once, for ${prefix} (some minutes)")
    set(jobs "$ENV{CMAKE_BUILD_PARALLEL_LEVEL}")
    if(NOT jobs)
        cmake_host_system_information(RESULT jobs QUERY NUMBER_OF_LOGICAL_CORES)
    endif()
    execute_process(
        COMMAND ${CMAKE_COMMAND} -G ${CMAKE_GENERATOR} -S ${CMAKE_CURRENT_FUNCTION_LIST_DIR}/faiss -B ${work}/build
                -DCMAKE_MAKE_PROGRAM=${CMAKE_MAKE_PROGRAM} -DCMAKE_CXX_COMPILER=${CMAKE_CXX_COMPILER}
                -DCMAKE_CXX_FLAGS=${CMAKE_CXX_FLAGS} -DCMAKE_BUILD_TYPE=Release
                -DCMAKE_INSTALL_PREFIX=${work}/prefix -DFAISS_SOURCE=${work}/faiss-${VSS_FAISS_VERSION}
                "-DFAISS_FLAGS=${flags}"
        COMMAND_ERROR_IS_FATAL ANY)
    execute_process(COMMAND ${CMAKE_COMMAND} --build ${work}/build --target install --parallel ${jobs}
                    COMMAND_ERROR_IS_FATAL ANY)
    file(RENAME ${work}/prefix ${prefix})
    file(REMOVE_RECURSE ${work})
endfunction()

# Faiss 1.7.3 names uint8_t without including <cstdint>, which the C++ library of GCC 13 and later no longer brings along.
check_cxx_source_compiles("#include <sstream>\n#include <string>\nuint8_t byte;\nint main() { return byte; }"
                          VSS_CSTDINT_COMES_ALONG)
set(VSS_FAISS_INCLUDES "")
if(NOT VSS_CSTDINT_COMES_ALONG)
    set(VSS_FAISS_INCLUDES -include cstdint)
endif()

# Sets `result` to the prefix of a Faiss compiled with `flags`, compiling it first if it is not in the cache.
function(vss_cached_faiss flags result)
    list(APPEND flags ${VSS_FAISS_INCLUDES})
    set(recipe "${VSS_FAISS_SHA256} ${flags} ${CMAKE_CXX_FLAGS} ${CMAKE_SYSTEM_NAME} ${CMAKE_SYSTEM_PROCESSOR} "
               "${CMAKE_CXX_COMPILER_ID} ${CMAKE_CXX_COMPILER_VERSION}")
    foreach(file CMakeLists.txt distances.cpp omp/omp.h)
        file(SHA256 ${CMAKE_CURRENT_FUNCTION_LIST_DIR}/faiss/${file} sha256)
        list(APPEND recipe ${sha256})
    endforeach()
    string(SHA256 key "${recipe}")
    string(SUBSTRING ${key} 0 16 key)

    vss_cache_directory(cache)
    set(prefix ${cache}/faiss/${VSS_FAISS_VERSION}-${key})
    if(NOT EXISTS ${prefix}/lib/libfaiss.a)
        # Two builds at once would do the work twice, and one of them for nothing.
        file(MAKE_DIRECTORY ${cache}/faiss ${cache}/downloads)
        file(LOCK ${prefix}.lock GUARD FUNCTION TIMEOUT 3600)
        if(NOT EXISTS ${prefix}/lib/libfaiss.a)
            vss_build_faiss(${cache} ${prefix} "${flags}")
        endif()
    endif()
    set(${result} ${prefix} PARENT_SCOPE)
endfunction()

function(vss_system_faiss result)
    set(${result} FALSE PARENT_SCOPE)
    if(VSSNATIVE_SYSTEM_FAISS STREQUAL "OFF")
        return()
    endif()
    find_package(faiss CONFIG QUIET)
    if(NOT faiss_FOUND OR faiss_VERSION VERSION_LESS 1.7.3)
        if(VSSNATIVE_SYSTEM_FAISS STREQUAL "ON")
            message(FATAL_ERROR "vssnative: VSSNATIVE_SYSTEM_FAISS=ON, but find_package(faiss) found no Faiss of "
                                "1.7.3 or newer. On Debian and Ubuntu: apt-get install libfaiss-dev.")
        endif()
        return()
    endif()
    get_target_property(type faiss TYPE)
    get_target_property(links faiss INTERFACE_LINK_LIBRARIES)
    if(VSSNATIVE_SYSTEM_FAISS STREQUAL "AUTO" AND (NOT type STREQUAL "STATIC_LIBRARY" OR links MATCHES "OpenMP"))
        message(STATUS "vssnative: the Faiss in ${faiss_DIR} is a shared library or brings OpenMP, so it is not "
                       "taken (VSSNATIVE_SYSTEM_FAISS=ON would)")
        return()
    endif()
    message(STATUS "vssnative: Faiss ${faiss_VERSION} from ${faiss_DIR}")
    target_link_libraries(vssnative_faiss INTERFACE faiss)
    set(${result} TRUE PARENT_SCOPE)
endfunction()

# A target that compiles and links against the Faiss of a prefix.
function(vss_use_faiss target prefix)
    message(STATUS "vssnative: Faiss ${VSS_FAISS_VERSION} from ${prefix}")
    # SYSTEM: its headers are not held to our warnings.
    target_include_directories(${target} SYSTEM INTERFACE ${prefix}/include ${prefix}/include/vssnative_omp)
    target_compile_definitions(${target} INTERFACE FINTEGER=int)
    target_compile_options(${target} INTERFACE ${VSS_FAISS_INCLUDES})
    target_link_libraries(${target} INTERFACE ${prefix}/lib/libfaiss.a)
endfunction()

add_library(vssnative_faiss INTERFACE)
vss_system_faiss(found)
if(NOT found)
    # The level below which nobody can run a current numpy either (2008: SSE4.2 and POPCNT), and no higher.
    set(vss_faiss_flags "")
    if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64|amd64)$")
        set(vss_faiss_flags -march=x86-64-v2 -mtune=generic)
    endif()
    if(VSSNATIVE_SANITIZE_FAISS)
        list(APPEND vss_faiss_flags -O1 -g1 -fno-omit-frame-pointer -fsanitize=address)
        if(VSSNATIVE_SANITIZE MATCHES "fuzzer")
            list(APPEND vss_faiss_flags -fsanitize=fuzzer-no-link)
        endif()
    endif()
    vss_cached_faiss("${vss_faiss_flags}" VSS_FAISS_PREFIX)
    vss_use_faiss(vssnative_faiss ${VSS_FAISS_PREFIX})
    # Sanitized builds and fuzz targets do with one: our code, which they look at, is the same at both levels.
    if("avx2" IN_LIST VSS_LEVELS AND NOT VSSNATIVE_SANITIZE AND NOT APPLE)
        vss_cached_faiss("${VSS_FLAGS_avx2};-mtune=generic" VSS_FAISS_AVX2_PREFIX)
        add_library(vssnative_faiss_avx2 INTERFACE)
        vss_use_faiss(vssnative_faiss_avx2 ${VSS_FAISS_AVX2_PREFIX})
    endif()
endif()
