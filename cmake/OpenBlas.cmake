# Sets VSS_OPENBLAS to the OpenBLAS of the scipy-openblas32 package, a requirement of the build, and installs it, with its
# licences, into lib/ beside vss0. Nothing links it: blas_shim.cpp loads it when a matrix product is first wanted.
set(VSSNATIVE_OPENBLAS "" CACHE FILEPATH "libscipy_openblas.so to install with vss0 (default: scipy-openblas32's)")

function(vss_find_openblas result)
    set(${result} "" PARENT_SCOPE)
    if(VSSNATIVE_OPENBLAS)
        set(${result} "${VSSNATIVE_OPENBLAS}" PARENT_SCOPE)
        return()
    endif()
    find_package(Python COMPONENTS Interpreter QUIET)
    if(NOT Python_Interpreter_FOUND)
        return()
    endif()
    # find_spec, not import: importing the package loads the library.
    execute_process(
        COMMAND ${Python_EXECUTABLE} -c "from importlib.util import find_spec; from pathlib import Path;\
spec = find_spec('scipy_openblas32'); print(Path(spec.origin).parent if spec else '', end='')"
        OUTPUT_VARIABLE package ERROR_QUIET)
    if(package AND EXISTS ${package}/lib/libscipy_openblas.so)
        set(${result} ${package}/lib/libscipy_openblas.so PARENT_SCOPE)
    endif()
endfunction()

vss_find_openblas(VSS_OPENBLAS)
if(VSS_OPENBLAS)
    message(STATUS "vssnative: OpenBLAS from ${VSS_OPENBLAS}")
    get_filename_component(vss_openblas_package ${VSS_OPENBLAS}/../.. ABSOLUTE)
    file(GLOB vss_openblas_license ${vss_openblas_package}-*.dist-info/licenses/LICENSE.txt)
    install(PROGRAMS ${VSS_OPENBLAS} DESTINATION vssnative/lib)
    install(FILES ${vss_openblas_license} DESTINATION vssnative/lib RENAME LICENSE.openblas.txt)
else()
    message(STATUS "vssnative: no OpenBLAS to install beside vss0 (pip install scipy-openblas32): matrix products "
                   "will be the built-in, slower ones, and Faiss's rotations will not be had")
endif()
