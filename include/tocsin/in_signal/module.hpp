// SPDX-License-Identifier: MIT
// Which loaded object holds an address.
//
// Runs in the handler. glibc (2.35 and later) answers from a table that takes no lock: _dl_find_object,
// made for unwinders. Where libc has no such function, the object that this code is linked into is found by
// the address of its own ELF header, and others in a map of what was loaded when a report became possible
// (module_map.hpp). What the loader's records point to is read with care; the records themselves have to be
// trusted.
#pragma once

#include <cstddef>

#include <tocsin/in_signal/elf_records.hpp>
#include <tocsin/in_signal/memory.hpp>
#include <tocsin/in_signal/module_map.hpp>

namespace tocsin::in_signal {

struct module_info {
    std::uintptr_t bias;          // subtract it from an address to have the one in the ELF file
    std::uintptr_t begin, end;    // the whole mapping, gaps and data included
    std::uintptr_t eh_frame_hdr;  // 0: none
    char const* path;             // the loader's, "" for the program itself; read it with care
    bool found;

    bool holds(std::uintptr_t address) const noexcept { return found && begin <= address && address < end; }
};

namespace detail {

// The start of struct dl_find_object (dlfcn.h), spelled out here because older headers lack it. `rest` covers
// what later members add.
struct found_object {
    unsigned long long flags;
    void* map_start;
    void* map_end;
    elf::link* link;
    void* eh_frame;
    unsigned long long rest[16];
};

// Weak: programs for an older libc, for musl, and static ones still link.
extern "C" __attribute__((weak)) int find_object(void*, found_object*) noexcept __asm__("_dl_find_object");

// Put in front of every object by the linker; hidden, so that each object sees its own.
extern "C" __attribute__((weak, visibility("hidden"))) elf::file_header const own_elf_header
    __asm__("__ehdr_start");

// The segments of an object whose ELF header is mapped at `header`. Calls `visit(segment)` for each until
// that returns true; false if none did or nothing could be read.
template <class Visit>
bool any_segment(std::uintptr_t header, careful_reader& memory, Visit visit) noexcept {
    elf::file_header file{};
    if (!memory.read(header, file)) return false;
    for (unsigned i = 0; i < elf::magic_size; ++i)
        if (file.e_ident[i] != elf::first_bytes[i]) return false;
    if (file.e_phentsize != sizeof(elf::segment)) return false;
    constexpr unsigned most_segments = 256;
    unsigned const count = file.e_phnum < most_segments ? file.e_phnum : most_segments;
    for (unsigned i = 0; i < count; ++i) {
        elf::segment segment{};
        if (!memory.read(header + file.e_phoff + i * sizeof(segment), segment)) return false;
        if (visit(segment)) return true;
    }
    return false;
}

// An object known only by its ELF header.
inline module_info module_from_header(std::uintptr_t header, careful_reader& memory) noexcept {
    module_info info{};
    std::uintptr_t lowest = ~std::uintptr_t{0};
    std::uintptr_t highest = 0;
    std::uintptr_t tables = 0;
    any_segment(header, memory, [&](elf::segment const& segment) noexcept {
        if (segment.p_type == elf::unwind_table_segment) tables = segment.p_vaddr;
        if (segment.p_type != elf::loaded_segment) return false;
        if (segment.p_offset == 0) info.bias = header - segment.p_vaddr;
        if (segment.p_vaddr < lowest) lowest = segment.p_vaddr;
        if (segment.p_vaddr + segment.p_memsz > highest) highest = segment.p_vaddr + segment.p_memsz;
        return false;
    });
    if (lowest >= highest) return info;
    info.begin = info.bias + lowest;
    info.end = info.bias + highest;
    info.eh_frame_hdr = tables != 0 ? info.bias + tables : 0;
    info.path = "";
    info.found = true;
    return info;
}

}  // namespace detail

namespace detail {

// The object that this code is linked into, if it holds `pc`.
inline module_info own_module_of(std::uintptr_t pc, careful_reader& memory) noexcept {
    auto const* header = &own_elf_header;
    __asm__("" : "+r"(header));  // or compilers take the address of an object never to be null
    if (header == nullptr) return {};
    module_info const own = module_from_header(reinterpret_cast<std::uintptr_t>(header), memory);
    return own.holds(pc) ? own : module_info{};
}

}  // namespace detail

// False for an older glibc, and for other libcs.
inline bool libc_finds_objects() noexcept {
    auto* find = &detail::find_object;
    __asm__("" : "+r"(find));  // as above, of a function
    return find != nullptr;
}

// From what was loaded when reports became possible.
inline module_info module_in(module_map const* map, std::uintptr_t pc) noexcept {
    known_module const* const known = map != nullptr ? map->find(pc) : nullptr;
    if (known == nullptr) return {};
    return {known->bias, known->begin, known->end, known->eh_frame_hdr, known->path, true};
}

inline module_info module_of(std::uintptr_t pc, careful_reader& memory) noexcept {
    detail::found_object object;  // as far as it is told
    if (!libc_finds_objects() || detail::find_object(reinterpret_cast<void*>(pc), &object) != 0) {
        module_info const own = detail::own_module_of(pc, memory);
        return own.found ? own : module_in(known_modules.load(), pc);
    }
    module_info info{};
    info.begin = reinterpret_cast<std::uintptr_t>(object.map_start);
    info.end = reinterpret_cast<std::uintptr_t>(object.map_end);
    info.eh_frame_hdr = reinterpret_cast<std::uintptr_t>(object.eh_frame);
    elf::link link{};
    auto const at = reinterpret_cast<std::uintptr_t>(object.link);
    if (!memory.read(at, link)) return {};
    info.bias = link.l_addr;
    info.path = link.l_name != nullptr ? link.l_name : "";
    info.found = info.begin <= pc && pc < info.end;
    if (info.holds(info.eh_frame_hdr)) return info;
    // Of a static program glibc tells only where its code is.
    module_info const own = detail::own_module_of(pc, memory);
    return own.found ? own : info;
}

// The same without bias and path, which nobody needs in order to unwind: the loader's record is not read for them.
inline module_info tables_of(std::uintptr_t pc, careful_reader& memory) noexcept {
    detail::found_object object;  // as far as it is told
    if (libc_finds_objects() && detail::find_object(reinterpret_cast<void*>(pc), &object) == 0) {
        module_info const info{0, reinterpret_cast<std::uintptr_t>(object.map_start),
                               reinterpret_cast<std::uintptr_t>(object.map_end),
                               reinterpret_cast<std::uintptr_t>(object.eh_frame), "", true};
        if (info.holds(pc) && info.holds(info.eh_frame_hdr)) return info;
    }
    return module_of(pc, memory);
}

inline module_info module_of(std::uintptr_t pc) noexcept {
    careful_reader memory;
    return module_of(pc, memory);
}

// Where an object lies, and a number that another one in its place hardly has. Takes less time than to know more.
struct object_place {
    std::uintptr_t begin, end;
    std::uint64_t identity;

    bool holds(std::uintptr_t address) const noexcept { return begin <= address && address < end; }
};

inline object_place place_of_object(std::uintptr_t pc, careful_reader& memory) noexcept {
    detail::found_object object;  // as far as it is told
    if (!libc_finds_objects() || detail::find_object(reinterpret_cast<void*>(pc), &object) != 0) {
        module_info const found = module_of(pc, memory);
        if (!found.found) return {};
        object.link = nullptr;
        object.map_start = reinterpret_cast<void*>(found.begin);
        object.map_end = reinterpret_cast<void*>(found.end);
        object.eh_frame = reinterpret_cast<void*>(found.eh_frame_hdr);
    }
    object_place place{reinterpret_cast<std::uintptr_t>(object.map_start),
                       reinterpret_cast<std::uintptr_t>(object.map_end), 0};
    std::uintptr_t const parts[] = {place.begin, place.end, reinterpret_cast<std::uintptr_t>(object.link),
                                    reinterpret_cast<std::uintptr_t>(object.eh_frame)};
    for (std::uintptr_t const each : parts) {
        place.identity = (place.identity ^ each) * 0x9e37'79b9'7f4a'7c15;
        place.identity ^= place.identity >> 29;
    }
    return place;
}

// The objects that one walk meets: it goes to and fro between two, most of the time.
class last_objects {
  public:
    object_place const& of(std::uintptr_t address, careful_reader& memory) noexcept {
        if (now_.holds(address)) return now_;
        object_place const before = now_;
        now_ = other_.holds(address) ? other_ : place_of_object(address, memory);
        other_ = before;
        return now_;
    }

  private:
    object_place now_{};
    object_place other_{};
};

struct segment_bounds {
    std::uintptr_t begin, end;
};

// True if `address` lies in a segment of `module` that was mapped to be executed. An object that does not
// show its headers gets the benefit of the doubt. `bounds` is that segment; untouched if there is none.
inline bool executable_in(module_info const& module, std::uintptr_t address, careful_reader& memory,
                          segment_bounds* bounds = nullptr) noexcept {
    if (!module.holds(address)) return false;
    bool seen = false;
    bool const inside = detail::any_segment(module.begin, memory, [&](elf::segment const& segment) noexcept {
        seen = true;
        std::uintptr_t const begin = module.bias + segment.p_vaddr;
        bool const code = segment.p_type == elf::loaded_segment && (segment.p_flags & elf::executable) != 0;
        if (!code || address - begin >= segment.p_memsz) return false;
        if (bounds != nullptr) *bounds = {begin, begin + segment.p_memsz};
        return true;
    });
    return inside || !seen;
}

}  // namespace tocsin::in_signal
