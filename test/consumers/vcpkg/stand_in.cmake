# SPDX-License-Identifier: MIT
# The steps of a vcpkg port where vcpkg is not installed: its functions, as far as this port uses them, for cmake -P.
# Whatever a port says that these do not know is an error. What vcpkg itself checks afterwards is not checked.
#
#     cmake -DPORT=DIR -DWORK=DIR [-DSOURCE=DIR] -P stand_in.cmake
#
# SOURCE is what vcpkg_from_github is to have downloaded.
set(CURRENT_PORT_DIR "${PORT}")
set(CURRENT_PACKAGES_DIR "${WORK}/package")
set(VERSION "0")

function(stand_in_run)
    execute_process(COMMAND ${ARGN} COMMAND_ERROR_IS_FATAL ANY OUTPUT_QUIET)
endfunction()

function(vcpkg_from_github)
    cmake_parse_arguments(PARSE_ARGV 0 given "" "OUT_SOURCE_PATH;REPO;REF;SHA512;HEAD_REF" "")
    if(given_UNPARSED_ARGUMENTS OR NOT given_REF STREQUAL "v${VERSION}")
        message(FATAL_ERROR "vcpkg_from_github: ${given_UNPARSED_ARGUMENTS} ${given_REF}")
    endif()
    set(${given_OUT_SOURCE_PATH} "${SOURCE}" PARENT_SCOPE)
endfunction()

# With the options that vcpkg gives to every port.
function(vcpkg_configure_meson)
    cmake_parse_arguments(PARSE_ARGV 0 given "" "SOURCE_PATH" "OPTIONS")
    if(given_UNPARSED_ARGUMENTS OR NOT VCPKG_BUILD_TYPE STREQUAL "release")
        message(FATAL_ERROR "vcpkg_configure_meson: ${given_UNPARSED_ARGUMENTS}, for ${VCPKG_BUILD_TYPE}")
    endif()
    stand_in_run(meson setup "${WORK}/build" "${given_SOURCE_PATH}" ${given_OPTIONS} --wrap-mode nodownload
        --buildtype plain --prefix "${CURRENT_PACKAGES_DIR}" --libdir lib -Dpkgconfig.relocatable=true)
endfunction()

function(vcpkg_install_meson)
    stand_in_run(meson install -C "${WORK}/build")
endfunction()

function(vcpkg_fixup_pkgconfig)
    file(GLOB found "${CURRENT_PACKAGES_DIR}/share/pkgconfig/*.pc")
    file(READ "${found}" text)
    if(text MATCHES "Libs")
        message(FATAL_ERROR "a .pc in share/pkgconfig must have no Libs:\n${text}")
    endif()
endfunction()

function(vcpkg_cmake_config_fixup)
    cmake_parse_arguments(PARSE_ARGV 0 given "" "CONFIG_PATH" "")
    set(from "${CURRENT_PACKAGES_DIR}/${given_CONFIG_PATH}")
    set(config "${CURRENT_PACKAGES_DIR}/share/tocsin/tocsin-config.cmake")
    file(RENAME "${from}" "${CURRENT_PACKAGES_DIR}/share/tocsin")
    file(REMOVE_RECURSE "${CURRENT_PACKAGES_DIR}/share/cmake")
    file(READ "${config}" text)
    set(idiom "get_filename_component(PACKAGE_PREFIX_DIR \"\${CMAKE_CURRENT_LIST_DIR}/../../..\" ABSOLUTE)")
    string(FIND "${text}" "${idiom}" at)
    if(at EQUAL -1)
        message(FATAL_ERROR "vcpkg would not repair this:\n${text}")
    endif()
    string(REPLACE "/../../..\"" "/../..\"" text "${text}")
    file(WRITE "${config}" "${text}")
endfunction()

function(vcpkg_install_copyright)
    cmake_parse_arguments(PARSE_ARGV 0 given "" "" "FILE_LIST")
    configure_file("${given_FILE_LIST}" "${CURRENT_PACKAGES_DIR}/share/tocsin/copyright" COPYONLY)
endfunction()

include("${PORT}/portfile.cmake")

file(GLOB rest RELATIVE "${CURRENT_PACKAGES_DIR}" "${CURRENT_PACKAGES_DIR}/*" "${CURRENT_PACKAGES_DIR}/share/*")
list(SORT rest)
if(NOT rest STREQUAL "include;share;share/pkgconfig;share/tocsin")
    message(FATAL_ERROR "the package has ${rest}")
endif()
