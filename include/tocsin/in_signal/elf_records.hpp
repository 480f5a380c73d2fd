// SPDX-License-Identifier: MIT
// The records of an ELF file of 64 bits, and the few of their values that are looked for.
//
// Runs in the handler. Source: the System V ABI (gABI), chapters 4 and 5. <elf.h> and <link.h> name the records of all
// machines and all values, which is more to read than a guard; members are called as there.
#pragma once

#include <cstdint>

namespace tocsin::in_signal::elf {

struct file_header {
    unsigned char e_ident[16];
    std::uint16_t e_type;
    std::uint16_t e_machine;
    std::uint32_t e_version;
    std::uint64_t e_entry;
    std::uint64_t e_phoff;
    std::uint64_t e_shoff;
    std::uint32_t e_flags;
    std::uint16_t e_ehsize;
    std::uint16_t e_phentsize;
    std::uint16_t e_phnum;
    std::uint16_t e_shentsize;
    std::uint16_t e_shnum;
    std::uint16_t e_shstrndx;
};

// What a file begins with that can be read here: the magic number, 64 bits, the lowest byte first.
[[gnu::visibility("hidden")]] inline constexpr unsigned char first_bytes[] = {0x7f, 'E', 'L', 'F', 2, 1};
inline constexpr unsigned magic_size = 4;

struct segment {
    std::uint32_t p_type;
    std::uint32_t p_flags;
    std::uint64_t p_offset;
    std::uint64_t p_vaddr;
    std::uint64_t p_paddr;
    std::uint64_t p_filesz;
    std::uint64_t p_memsz;
    std::uint64_t p_align;
};

inline constexpr std::uint32_t loaded_segment = 1;                 // PT_LOAD
inline constexpr std::uint32_t dynamic_segment = 2;                // PT_DYNAMIC
inline constexpr std::uint32_t note_segment = 4;                   // PT_NOTE
inline constexpr std::uint32_t unwind_table_segment = 0x6474e550;  // PT_GNU_EH_FRAME
inline constexpr std::uint32_t executable = 1;                     // PF_X
inline constexpr std::uint32_t writable = 2;                       // PF_W

struct section {
    std::uint32_t sh_name;
    std::uint32_t sh_type;
    std::uint64_t sh_flags;
    std::uint64_t sh_addr;
    std::uint64_t sh_offset;
    std::uint64_t sh_size;
    std::uint32_t sh_link;
    std::uint32_t sh_info;
    std::uint64_t sh_addralign;
    std::uint64_t sh_entsize;
};

inline constexpr std::uint32_t contents_section = 1;          // SHT_PROGBITS
inline constexpr std::uint32_t symbols_section = 2;           // SHT_SYMTAB
inline constexpr std::uint32_t strings_section = 3;           // SHT_STRTAB
inline constexpr std::uint32_t note_section = 7;              // SHT_NOTE
inline constexpr std::uint32_t dynamic_symbols_section = 11;  // SHT_DYNSYM
inline constexpr std::uint64_t section_is_loaded = 2;         // SHF_ALLOC
inline constexpr std::uint64_t section_is_code = 4;           // SHF_EXECINSTR
inline constexpr std::uint64_t section_is_compressed = 2048;  // SHF_COMPRESSED

struct symbol {
    std::uint32_t st_name;
    unsigned char st_info;
    unsigned char st_other;
    std::uint16_t st_shndx;
    std::uint64_t st_value;
    std::uint64_t st_size;

    unsigned type() const noexcept { return st_info & 0xfU; }
    unsigned binding() const noexcept { return st_info >> 4U; }
};

inline constexpr unsigned untyped_symbol = 0;           // STT_NOTYPE
inline constexpr unsigned function_symbol = 2;          // STT_FUNC
inline constexpr unsigned resolved_symbol = 10;         // STT_GNU_IFUNC
inline constexpr unsigned local_binding = 0;            // STB_LOCAL
inline constexpr unsigned global_binding = 1;           // STB_GLOBAL
inline constexpr unsigned weak_binding = 2;             // STB_WEAK
inline constexpr std::uint16_t nowhere = 0;             // SHN_UNDEF
inline constexpr std::uint16_t in_no_section = 0xfff1;  // SHN_ABS

struct dynamic_entry {
    std::int64_t d_tag;
    std::uint64_t d_value;
};

inline constexpr std::int64_t end_of_dynamic = 0;  // DT_NULL
inline constexpr std::int64_t string_table = 5;    // DT_STRTAB
inline constexpr std::int64_t symbol_table = 6;    // DT_SYMTAB
inline constexpr std::int64_t string_size = 10;    // DT_STRSZ

struct note {
    std::uint32_t n_namesz;
    std::uint32_t n_descsz;
    std::uint32_t n_type;
};

inline constexpr std::uint32_t build_id_note = 3;  // NT_GNU_BUILD_ID

// The loader's word of an object: the beginning of struct link_map (<link.h>).
struct link {
    std::uint64_t l_addr;
    char const* l_name;
};

}  // namespace tocsin::in_signal::elf
