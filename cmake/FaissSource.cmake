# Brings the source of Faiss: the release that Debian 12 packages, as its authors published it, checked by SHA-256.
#
# vss_faiss_source(<cache> <result>) sets <result> to the path of the archive. In this order: the file named by
# VSSNATIVE_FAISS_ARCHIVE (variable of CMake or of the environment), the copy in the cache, Debian's archive.
set(VSS_FAISS_VERSION 1.7.3)
set(VSS_FAISS_DEBIAN_VERSION 1.7.3-2)
set(VSS_FAISS_DEBIAN_SUITE bookworm)
set(VSS_FAISS_ARCHIVE faiss_1.7.3.orig.tar.gz)
set(VSS_FAISS_SHA256 3e4fac26d8c9e9008ecea4ae5fc414c658998fce4ba75835058b1a71d3516002)

set(VSS_FAISS_ADVICE
    "Either install libfaiss-dev (1.7.3 or newer) and configure with -DVSSNATIVE_SYSTEM_FAISS=ON, or fetch "
    "${VSS_FAISS_ARCHIVE} (SHA-256 ${VSS_FAISS_SHA256}) and name the file in the environment variable "
    "VSSNATIVE_FAISS_ARCHIVE.")
string(CONCAT VSS_FAISS_ADVICE ${VSS_FAISS_ADVICE})

# The archives that this machine's apt already uses, the main ones first (a mirror of Debian serves its sources too).
# VSSNATIVE_DEBIAN_MIRROR names one instead.
function(vss_debian_mirrors apt options result)
    if(DEFINED ENV{VSSNATIVE_DEBIAN_MIRROR})
        set(${result} "$ENV{VSSNATIVE_DEBIAN_MIRROR}" PARENT_SCOPE)
        return()
    endif()
    execute_process(COMMAND ${apt} ${options} -q update --print-uris OUTPUT_VARIABLE uris ERROR_QUIET)
    string(REGEX MATCHALL "'[^']+/dists/" uris "${uris}")
    list(TRANSFORM uris REPLACE "^'(.+)/dists/$" "\\1")
    list(REMOVE_DUPLICATES uris)
    set(main ${uris})
    list(FILTER main INCLUDE REGEX "/debian$")
    list(FILTER uris EXCLUDE REGEX "security|/debian$")
    set(${result} ${main} ${uris} PARENT_SCOPE)
endfunction()

# Asks apt for the source package, with lists and sources of its own in `work`: the machine's configuration is neither
# changed nor relied on, except for mirror, proxy and certificates. Signatures are checked with Debian's keyring.
function(vss_apt_source work)
    find_program(VSS_APT_GET apt-get)
    mark_as_advanced(VSS_APT_GET)
    if(NOT VSS_APT_GET)
        message(FATAL_ERROR "vssnative: the source of Faiss is fetched with apt-get, which this machine does not have. "
                            "${VSS_FAISS_ADVICE}")
    endif()
    find_file(keyring NAMES debian-archive-keyring.gpg debian-archive-keyring.pgp PATHS /usr/share/keyrings
              NO_DEFAULT_PATH NO_CACHE)
    if(NOT keyring)
        message(FATAL_ERROR "vssnative: Debian's keys, /usr/share/keyrings/debian-archive-keyring.gpg, are missing: "
                            "apt-get install debian-archive-keyring. ${VSS_FAISS_ADVICE}")
    endif()
    file(MAKE_DIRECTORY ${work}/lists/partial ${work}/cache/archives/partial)
    set(private -o Dir::State::lists=${work}/lists -o Dir::Cache=${work}/cache)
    vss_debian_mirrors(${VSS_APT_GET} "${private}" mirrors)
    set(only_ours ${private} -o Dir::Etc::sourcelist=${work}/faiss.sources -o Dir::Etc::sourceparts=-
                  -o Acquire::Languages=none -o Acquire::Retries=3 -o APT::Sandbox::User=root)
    foreach(mirror IN LISTS mirrors)
        message(STATUS "vssnative: fetching the source of Faiss ${VSS_FAISS_VERSION} from ${mirror}")
        file(WRITE ${work}/faiss.sources "Types: deb-src\nURIs: ${mirror}\nSuites: ${VSS_FAISS_DEBIAN_SUITE}\n"
                                         "Components: main\nSigned-By: ${keyring}\n")
        execute_process(COMMAND ${VSS_APT_GET} ${only_ours} -q update WORKING_DIRECTORY ${work}
                        OUTPUT_VARIABLE said ERROR_VARIABLE said)
        execute_process(COMMAND ${VSS_APT_GET} ${only_ours} -q source --download-only
                                faiss=${VSS_FAISS_DEBIAN_VERSION}
                        WORKING_DIRECTORY ${work} OUTPUT_VARIABLE said_too ERROR_VARIABLE said_too)
        if(EXISTS ${work}/${VSS_FAISS_ARCHIVE})
            return()
        endif()
        string(APPEND failures "\n${mirror}:\n${said}${said_too}")
    endforeach()
    message(FATAL_ERROR "vssnative: apt-get could not fetch the source of Faiss from any of the archives that it is "
                        "configured for (VSSNATIVE_DEBIAN_MIRROR names another). ${VSS_FAISS_ADVICE}${failures}")
endfunction()

function(vss_faiss_source cache result)
    set(archive "${VSSNATIVE_FAISS_ARCHIVE}")
    if(NOT archive)
        set(archive "$ENV{VSSNATIVE_FAISS_ARCHIVE}")
    endif()
    if(NOT archive)
        set(archive ${cache}/downloads/${VSS_FAISS_ARCHIVE})
        if(NOT EXISTS ${archive})
            string(RANDOM LENGTH 8 suffix)
            set(work ${cache}/downloads/fetch-${suffix})
            vss_apt_source(${work})
            file(RENAME ${work}/${VSS_FAISS_ARCHIVE} ${archive})
            file(REMOVE_RECURSE ${work})
        endif()
    endif()
    if(NOT EXISTS ${archive})
        message(FATAL_ERROR "vssnative: VSSNATIVE_FAISS_ARCHIVE names ${archive}, which does not exist.")
    endif()
    file(SHA256 ${archive} sha256)
    if(NOT sha256 STREQUAL VSS_FAISS_SHA256)
        message(FATAL_ERROR "vssnative: ${archive} is not the source of Faiss ${VSS_FAISS_VERSION}: its SHA-256 is "
                            "${sha256}, expected ${VSS_FAISS_SHA256}. Remove the file to fetch it again.")
    endif()
    set(${result} ${archive} PARENT_SCOPE)
endfunction()
