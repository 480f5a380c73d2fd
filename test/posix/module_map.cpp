// SPDX-License-Identifier: MIT
// The map of loaded objects for libcs that do not tell a handler.
#include <tocsin/posix/module_map.hpp>

#include <link.h>
#include <stdio.h>
#include <string.h>

#include "support/catch.hpp"

using namespace tocsin;

TEST_CASE("the loader tells what its header says", "[module_map]") {
    using ours = posix::detail::object_info;
    STATIC_REQUIRE(offsetof(ours, dlpi_addr) == offsetof(dl_phdr_info, dlpi_addr));
    STATIC_REQUIRE(offsetof(ours, dlpi_name) == offsetof(dl_phdr_info, dlpi_name));
    STATIC_REQUIRE(offsetof(ours, dlpi_phdr) == offsetof(dl_phdr_info, dlpi_phdr));
    STATIC_REQUIRE(offsetof(ours, dlpi_phnum) == offsetof(dl_phdr_info, dlpi_phnum));
}

TEST_CASE("the map finds what libc's own function finds", "[module_map]") {
    in_signal::module_map const* const map = posix::learn_modules();
    REQUIRE(map != nullptr);
    CHECK(map->count > 1);
    if (!in_signal::libc_finds_objects()) return;
    auto const here = reinterpret_cast<std::uintptr_t>(&posix::learn_modules);
    auto const there = reinterpret_cast<std::uintptr_t>(&::puts);
    for (std::uintptr_t const address : {here, there}) {
        auto const learnt = in_signal::module_in(map, address);
        auto const told = in_signal::module_of(address);
        REQUIRE(learnt.found);
        CHECK(learnt.bias == told.bias);
        CHECK(learnt.eh_frame_hdr == told.eh_frame_hdr);
        CHECK(::strcmp(learnt.path, told.path) == 0);
        CHECK(learnt.holds(address));
    }
}

TEST_CASE("an address in no object is not in the map", "[module_map]") {
    in_signal::module_map const* const map = posix::learn_modules();
    int local = 0;
    CHECK_FALSE(in_signal::module_in(map, reinterpret_cast<std::uintptr_t>(&local)).found);
    CHECK_FALSE(in_signal::module_in(map, 16).found);
    CHECK_FALSE(in_signal::module_in(nullptr, 16).found);
}
