# vssnative_options: how our own code is compiled (Faiss is not ours and does not get these).
add_library(vssnative_options INTERFACE)
target_compile_options(vssnative_options INTERFACE -Wall -Wextra)
if(VSSNATIVE_WERROR)
    target_compile_options(vssnative_options INTERFACE -Werror)
endif()
if(VSSNATIVE_SANITIZE)
    # A list such as "address,undefined"; recovery is off, so that a report fails the test that caused it.
    target_compile_options(vssnative_options INTERFACE -fsanitize=${VSSNATIVE_SANITIZE} -fno-sanitize-recover=all
                                                       -fno-omit-frame-pointer -g)
    # An index past the end of a vector, but within its capacity, is no fault to AddressSanitizer.
    target_compile_definitions(vssnative_options INTERFACE _GLIBCXX_ASSERTIONS)
    if(VSSNATIVE_SANITIZE MATCHES "undefined")
        # Not part of "undefined": a float that is no number of the integer type it becomes.
        target_compile_options(vssnative_options INTERFACE -fsanitize=float-cast-overflow)
    endif()
    target_link_options(vssnative_options INTERFACE -fsanitize=${VSSNATIVE_SANITIZE})
endif()
