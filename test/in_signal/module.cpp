// SPDX-License-Identifier: MIT
#include <tocsin/in_signal/module.hpp>

#include <dlfcn.h>
#include <link.h>
#include <sys/auxv.h>
#include <sys/mman.h>

#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "support/catch.hpp"

using namespace tocsin::in_signal;

namespace {

struct loaded {
    std::uintptr_t bias;
    std::string path;
    std::uintptr_t header = 0;
    std::vector<std::pair<std::uintptr_t, std::uintptr_t>> code;
    std::vector<std::pair<std::uintptr_t, std::uintptr_t>> all;
};

// The loader's own account.
std::vector<loaded> everything_loaded() {
    std::vector<loaded> found;
    dl_iterate_phdr(
        [](dl_phdr_info* object, std::size_t, void* to) {
            loaded one{object->dlpi_addr, object->dlpi_name, 0, {}, {}};
            for (int i = 0; i < object->dlpi_phnum; ++i) {
                ElfW(Phdr) const& segment = object->dlpi_phdr[i];
                std::uintptr_t const begin = one.bias + segment.p_vaddr;
                if (segment.p_type == PT_GNU_EH_FRAME) one.header = begin;
                if (segment.p_type != PT_LOAD) continue;
                one.all.emplace_back(begin, begin + segment.p_memsz);
                if ((segment.p_flags & PF_X) != 0) one.code.emplace_back(begin, begin + segment.p_memsz);
            }
            static_cast<std::vector<loaded>*>(to)->push_back(one);
            return 0;
        },
        &found);
    return found;
}

int some_data = 1;

}  // namespace

TEST_CASE("code of every loaded object is found as the loader tells it", "[module]") {
    careful_reader memory;
    std::size_t checked = 0;
    for (loaded const& object : everything_loaded()) {
        INFO("object " << object.path);
        for (auto const& [begin, end] : object.code) {
            for (std::uintptr_t address : {begin, begin + (end - begin) / 2, end - 1}) {
                module_info const info = module_of(address);
                REQUIRE(info.found);
                CHECK(info.bias == object.bias);
                CHECK(info.path == object.path);
                CHECK(info.holds(address));
                CHECK(info.eh_frame_hdr == object.header);
                CHECK(executable_in(info, address, memory));
                ++checked;
            }
        }
    }
    CHECK(checked > 0);
}

TEST_CASE("data of an object belongs to it and is not executable", "[module]") {
    careful_reader memory;
    auto const address = reinterpret_cast<std::uintptr_t>(&some_data);
    module_info const info = module_of(address);
    // In static programs glibc counts code only, and the header of the object has to help.
    REQUIRE(info.found);
    CHECK_FALSE(executable_in(info, address, memory));
}

TEST_CASE("memory of nobody belongs to no object", "[module]") {
    auto const heap = std::make_unique<int>(1);
    int local = 0;
    void* const page = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    for (void* address : {static_cast<void*>(heap.get()), static_cast<void*>(&local), page,
                          static_cast<void*>(nullptr), reinterpret_cast<void*>(~std::uintptr_t{0})}) {
        module_info const info = module_of(reinterpret_cast<std::uintptr_t>(address));
        CHECK_FALSE(info.found);
        CHECK_FALSE(info.holds(reinterpret_cast<std::uintptr_t>(address)));
    }
    munmap(page, 4096);
}

TEST_CASE("an object known by its ELF header alone is described alike", "[module]") {
    careful_reader memory;
    std::size_t checked = 0;
    for (loaded const& object : everything_loaded()) {
        if (object.all.empty() ||
            std::memcmp(reinterpret_cast<void const*>(object.all[0].first), ELFMAG, SELFMAG) != 0)
            continue;
        INFO("object " << object.path);
        module_info const info = detail::module_from_header(object.all[0].first, memory);
        CHECK(info.found);
        CHECK(info.bias == object.bias);
        CHECK(info.begin == object.all.front().first);
        CHECK(info.end == object.all.back().second);
        CHECK(info.eh_frame_hdr == object.header);
        ++checked;
    }
    CHECK(checked > 0);
}

TEST_CASE("what is no ELF header describes nothing", "[module]") {
    careful_reader memory;
    std::vector<unsigned char> junk(8192, 0xff);
    auto const at = reinterpret_cast<std::uintptr_t>(junk.data());
    CHECK_FALSE(detail::module_from_header(at, memory).found);
    CHECK_FALSE(detail::module_from_header(0, memory).found);
    std::memcpy(junk.data(), ELFMAG, SELFMAG);
    CHECK_FALSE(detail::module_from_header(at, memory).found);
}
