// SPDX-License-Identifier: MIT
// The raw storage of the table, for the one unit that the build generates.
//
// A program that links this unit has the table in its own zero-initialised memory, with the limits that the build
// was given; one that does not gets the same from the headers, by mmap and with the default limits.
#pragma once

#include <tocsin/posix/library.hpp>

namespace tocsin::posix {

alignas(alignof(in_signal::table)) static constinit unsigned char raw_table[sizeof(in_signal::table)] = {};

static constexpr raw_storage own_storage{
    raw_table, sizeof raw_table, {configured::records, configured::frames, configured::alternate_stack_bytes}};

}  // namespace tocsin::posix

extern "C" [[gnu::visibility("hidden"), gnu::used]] tocsin::posix::raw_storage const* tocsin_raw_storage() noexcept {
    return &tocsin::posix::own_storage;
}
