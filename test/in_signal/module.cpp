// SPDX-License-Identifier: MIT
#include <tocsin/in_signal/module.hpp>

#include <dlfcn.h>
#include <link.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <cstddef>
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

// Offsets and sizes of members that both call the same.
#define SAME_MEMBER(ours, theirs, name)                             \
    (offsetof(ours, name) == offsetof(theirs, name) &&              \
     sizeof(static_cast<ours*>(nullptr)->name) == sizeof(static_cast<theirs*>(nullptr)->name))

TEST_CASE("the records of an ELF file are those of the system's headers", "[module]") {
    STATIC_REQUIRE(sizeof(elf::file_header) == sizeof(Elf64_Ehdr));
    STATIC_REQUIRE(SAME_MEMBER(elf::file_header, Elf64_Ehdr, e_phoff));
    STATIC_REQUIRE(SAME_MEMBER(elf::file_header, Elf64_Ehdr, e_shoff));
    STATIC_REQUIRE(SAME_MEMBER(elf::file_header, Elf64_Ehdr, e_phentsize));
    STATIC_REQUIRE(SAME_MEMBER(elf::file_header, Elf64_Ehdr, e_phnum));
    STATIC_REQUIRE(SAME_MEMBER(elf::file_header, Elf64_Ehdr, e_shentsize));
    STATIC_REQUIRE(SAME_MEMBER(elf::file_header, Elf64_Ehdr, e_shnum));
    STATIC_REQUIRE(SAME_MEMBER(elf::file_header, Elf64_Ehdr, e_shstrndx));
    STATIC_REQUIRE(sizeof(elf::segment) == sizeof(Elf64_Phdr));
    STATIC_REQUIRE(SAME_MEMBER(elf::segment, Elf64_Phdr, p_type));
    STATIC_REQUIRE(SAME_MEMBER(elf::segment, Elf64_Phdr, p_flags));
    STATIC_REQUIRE(SAME_MEMBER(elf::segment, Elf64_Phdr, p_offset));
    STATIC_REQUIRE(SAME_MEMBER(elf::segment, Elf64_Phdr, p_vaddr));
    STATIC_REQUIRE(SAME_MEMBER(elf::segment, Elf64_Phdr, p_filesz));
    STATIC_REQUIRE(SAME_MEMBER(elf::segment, Elf64_Phdr, p_memsz));
    STATIC_REQUIRE(SAME_MEMBER(elf::segment, Elf64_Phdr, p_align));
    STATIC_REQUIRE(sizeof(elf::section) == sizeof(Elf64_Shdr));
    STATIC_REQUIRE(SAME_MEMBER(elf::section, Elf64_Shdr, sh_name));
    STATIC_REQUIRE(SAME_MEMBER(elf::section, Elf64_Shdr, sh_type));
    STATIC_REQUIRE(SAME_MEMBER(elf::section, Elf64_Shdr, sh_flags));
    STATIC_REQUIRE(SAME_MEMBER(elf::section, Elf64_Shdr, sh_addr));
    STATIC_REQUIRE(SAME_MEMBER(elf::section, Elf64_Shdr, sh_offset));
    STATIC_REQUIRE(SAME_MEMBER(elf::section, Elf64_Shdr, sh_size));
    STATIC_REQUIRE(SAME_MEMBER(elf::section, Elf64_Shdr, sh_link));
    STATIC_REQUIRE(SAME_MEMBER(elf::section, Elf64_Shdr, sh_addralign));
    STATIC_REQUIRE(SAME_MEMBER(elf::section, Elf64_Shdr, sh_entsize));
    STATIC_REQUIRE(sizeof(elf::symbol) == sizeof(Elf64_Sym));
    STATIC_REQUIRE(SAME_MEMBER(elf::symbol, Elf64_Sym, st_name));
    STATIC_REQUIRE(SAME_MEMBER(elf::symbol, Elf64_Sym, st_info));
    STATIC_REQUIRE(SAME_MEMBER(elf::symbol, Elf64_Sym, st_shndx));
    STATIC_REQUIRE(SAME_MEMBER(elf::symbol, Elf64_Sym, st_value));
    STATIC_REQUIRE(SAME_MEMBER(elf::symbol, Elf64_Sym, st_size));
    STATIC_REQUIRE(sizeof(elf::dynamic_entry) == sizeof(Elf64_Dyn));
    STATIC_REQUIRE(offsetof(elf::dynamic_entry, d_value) == offsetof(Elf64_Dyn, d_un));
    STATIC_REQUIRE(sizeof(elf::note) == sizeof(Elf64_Nhdr));
    STATIC_REQUIRE(SAME_MEMBER(elf::note, Elf64_Nhdr, n_descsz));
    STATIC_REQUIRE(SAME_MEMBER(elf::note, Elf64_Nhdr, n_type));
    STATIC_REQUIRE(SAME_MEMBER(elf::link, link_map, l_addr));
    STATIC_REQUIRE(SAME_MEMBER(elf::link, link_map, l_name));
}

TEST_CASE("the values in an ELF file are those of the system's headers", "[module]") {
    constexpr unsigned char ident[] = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB};
    CHECK(std::memcmp(elf::first_bytes, ident, sizeof ident) == 0);
    STATIC_REQUIRE(sizeof elf::first_bytes == sizeof ident);
    STATIC_REQUIRE((elf::magic_size == SELFMAG && EI_CLASS == SELFMAG && EI_DATA == SELFMAG + 1));
    STATIC_REQUIRE((elf::loaded_segment == PT_LOAD && elf::dynamic_segment == PT_DYNAMIC));
    STATIC_REQUIRE((elf::note_segment == PT_NOTE && elf::unwind_table_segment == PT_GNU_EH_FRAME));
    STATIC_REQUIRE((elf::executable == PF_X && elf::writable == PF_W));
    STATIC_REQUIRE((elf::contents_section == SHT_PROGBITS && elf::symbols_section == SHT_SYMTAB));
    STATIC_REQUIRE((elf::strings_section == SHT_STRTAB && elf::note_section == SHT_NOTE));
    STATIC_REQUIRE((elf::dynamic_symbols_section == SHT_DYNSYM && elf::section_is_loaded == SHF_ALLOC));
    STATIC_REQUIRE((elf::section_is_code == SHF_EXECINSTR && elf::section_is_compressed == SHF_COMPRESSED));
    STATIC_REQUIRE((elf::untyped_symbol == STT_NOTYPE && elf::function_symbol == STT_FUNC));
    STATIC_REQUIRE((elf::resolved_symbol == STT_GNU_IFUNC && elf::local_binding == STB_LOCAL));
    STATIC_REQUIRE((elf::global_binding == STB_GLOBAL && elf::weak_binding == STB_WEAK));
    STATIC_REQUIRE((elf::nowhere == SHN_UNDEF && elf::in_no_section == SHN_ABS));
    STATIC_REQUIRE((elf::end_of_dynamic == DT_NULL && elf::string_table == DT_STRTAB));
    STATIC_REQUIRE((elf::symbol_table == DT_SYMTAB && elf::string_size == DT_STRSZ));
    STATIC_REQUIRE(elf::build_id_note == NT_GNU_BUILD_ID);
    elf::symbol symbol{};
    for (unsigned info = 0; info < 256; ++info) {
        symbol.st_info = static_cast<unsigned char>(info);
        CHECK(symbol.type() == ELF64_ST_TYPE(info));
        CHECK(symbol.binding() == ELF64_ST_BIND(info));
    }
}

TEST_CASE("what the kernel tells of a file is what libc's header says", "[module]") {
    using libc_stat = struct stat;
    STATIC_REQUIRE(sizeof(kernel_stat) == sizeof(libc_stat));
    STATIC_REQUIRE(offsetof(kernel_stat, mode) == offsetof(libc_stat, st_mode));
    STATIC_REQUIRE(sizeof(kernel_stat{}.mode) == sizeof(libc_stat{}.st_mode));
    STATIC_REQUIRE(offsetof(kernel_stat, size) == offsetof(libc_stat, st_size));
}
