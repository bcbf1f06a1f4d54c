# Puts the source of Faiss, checked, into a directory, for builds on machines that cannot fetch it (tools/wheels.sh):
#   cmake -DDIRECTORY=... -P cmake/FetchFaiss.cmake
cmake_minimum_required(VERSION 3.25)
include(${CMAKE_CURRENT_LIST_DIR}/FaissSource.cmake)
file(MAKE_DIRECTORY ${DIRECTORY}/downloads)
vss_faiss_source(${DIRECTORY} archive)
file(COPY_FILE ${archive} ${DIRECTORY}/${VSS_FAISS_ARCHIVE} ONLY_IF_DIFFERENT)
message(STATUS "vssnative: ${DIRECTORY}/${VSS_FAISS_ARCHIVE}")
