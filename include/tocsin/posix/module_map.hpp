// SPDX-License-Identifier: MIT
// Asks the loader, while all is well, what a handler could not ask it.
//
// Runs on any ordinary thread. dl_iterate_phdr(3) takes the loader's lock: a crash while that is held would never end.
#pragma once

#include <sys/mman.h>

#include <tocsin/in_signal/module.hpp>
#include <tocsin/in_signal/module_map.hpp>

namespace tocsin::posix {

namespace detail {

// The members that every struct dl_phdr_info begins with (<link.h>).
struct object_info {
    std::uintptr_t dlpi_addr;
    char const* dlpi_name;
    in_signal::elf::segment const* dlpi_phdr;
    std::uint16_t dlpi_phnum;
};
int dl_iterate_phdr(int (*visit)(object_info*, std::size_t size, void* to),
                    void* to) __asm__("dl_iterate_phdr");

inline int learn_module(object_info* info, std::size_t, void* to) noexcept {
    auto& map = *static_cast<in_signal::module_map*>(to);
    if (map.count == in_signal::module_map::most) return 1;
    in_signal::known_module one{info->dlpi_addr, ~std::uintptr_t{0}, 0, 0, info->dlpi_name};
    for (unsigned i = 0; i < info->dlpi_phnum; ++i) {
        in_signal::elf::segment const& segment = info->dlpi_phdr[i];
        std::uintptr_t const begin = info->dlpi_addr + segment.p_vaddr;
        if (segment.p_type == in_signal::elf::unwind_table_segment) one.eh_frame_hdr = begin;
        if (segment.p_type != in_signal::elf::loaded_segment) continue;
        if (begin < one.begin) one.begin = begin;
        if (begin + segment.p_memsz > one.end) one.end = begin + segment.p_memsz;
    }
    if (one.path == nullptr) one.path = "";
    constexpr std::uintptr_t page = 4095;
    one.begin &= ~page;  // the ELF header is at the start of its page
    if (one.begin < one.end) map.modules[map.count++] = one;
    return 0;
}

}  // namespace detail

// What is loaded now. Null where there is no memory.
inline in_signal::module_map const* learn_modules() noexcept {
    void* const memory = ::mmap(nullptr, sizeof(in_signal::module_map), PROT_READ | PROT_WRITE,
                                MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return nullptr;
    auto* const map = static_cast<in_signal::module_map*>(memory);
    detail::dl_iterate_phdr(&detail::learn_module, map);
    return map;
}

// Learns them once, if libc will not tell a handler.
[[gnu::visibility("hidden")]] inline void provide_modules() noexcept {
    if (in_signal::libc_finds_objects() || in_signal::known_modules.load() != nullptr) return;
    in_signal::known_modules.store(learn_modules());
}

}  // namespace tocsin::posix
