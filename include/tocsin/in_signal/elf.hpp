// SPDX-License-Identifier: MIT
// An ELF file, or an object mapped in this process, read without trusting it.
//
// Runs in the handler. Files are read with pread(2), never mapped: a file that is cut short under a mapping
// is a SIGBUS. Only regular files are opened: a FIFO could hold us or wake its writer, and a device may do
// something when it is opened. Memory is read through probes. Each offset and size is checked where it is
// used, sections, segments and notes are counted, and what does not fit is "not there". Little-endian ELF of
// 64 bits only. Tables inside compressed sections (.gnu_debugdata) are not read.
#pragma once

#include <errno.h>

#include <tocsin/in_signal/elf_records.hpp>
#include <tocsin/in_signal/format.hpp>
#include <tocsin/in_signal/memory.hpp>
#include <tocsin/in_signal/system.hpp>

namespace tocsin::in_signal {

// What the linker wrote to tell this build from every other one.
struct build_id {
    static constexpr std::size_t longest = 64;
    unsigned char bytes[longest];
    std::size_t size;

    bool known() const noexcept { return size != 0; }
    bool same_as(build_id const& other) const noexcept {
        bool same = size == other.size;
        for (std::size_t i = 0; same && i < size; ++i) same = bytes[i] == other.bytes[i];
        return same;
    }
};

// Where the symbols of an object are, as offsets that elf_image::read understands.
struct symbol_table {
    std::uint64_t symbols;
    std::uint64_t count;
    std::uint64_t strings;
    std::uint64_t strings_size;
    bool has_sections;  // st_shndx can be looked up
};

class elf_image {
  public:
    elf_image() noexcept = default;
    ~elf_image() { close(); }
    elf_image(elf_image const&) = delete;
    elf_image& operator=(elf_image const&) = delete;

    // Asked twice, because the path may have come to mean something else between; for that moment the flags
    // see to it that a FIFO does not hold us and a terminal does not become ours.
    bool open_file(char const* path) noexcept {
        close();
        kernel_stat about;
        if (system_call(SYS_newfstatat, AT_FDCWD, as_word(path), as_word(&about), 0) != 0) return false;
        if (!worth_opening(about)) return false;
        fd_ = openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
        if (fd_ < 0 || system_call(SYS_fstat, fd_, as_word(&about)) != 0) return false;
        return worth_opening(about) && read_header();
    }

    // An object whose ELF header is mapped at `header`: the vdso, or one whose file is gone.
    bool open_memory(std::uintptr_t header) noexcept {
        close();
        base_ = header;
        return header != 0 && read_header() && find_bias();
    }

    bool in_memory() const noexcept { return base_ != 0; }
    int fd() const noexcept { return fd_; }
    elf::file_header const& header() const noexcept { return header_; }

    // Reads exactly `size` bytes at an offset in the file (from the header on, in memory).
    bool read(std::uint64_t offset, void* to, std::size_t size) noexcept {
        return read_some(offset, to, size) == size;
    }
    // As many as there are.
    std::size_t read_some(std::uint64_t offset, void* to, std::size_t size) noexcept;

    bool section(std::uint64_t index, elf::section& to) noexcept {
        return index < section_count_ && read(header_.e_shoff + index * sizeof to, &to, sizeof to);
    }
    // The first table of this type (SHT_SYMTAB, SHT_DYNSYM); false if there is none.
    bool find_symbols(std::uint32_t type, symbol_table& table) noexcept;
    // The dynamic symbols by what the loader uses: for objects in memory, which have no sections.
    bool find_loaded_symbols(symbol_table& table) noexcept;
    bool find_build_id(build_id& id) noexcept;
    // The name in .gnu_debuglink, with its zero.
    bool find_debug_link(char* to, std::size_t capacity) noexcept;

  private:
    static constexpr std::uint64_t most_sections = 65'536;
    static constexpr std::uint64_t most_segments = 256;
    static constexpr unsigned most_notes = 64;
    static constexpr std::uint64_t most_dynamic = 512;
    static constexpr std::uint64_t most_loaded_bytes = 64 << 20;

    void close() noexcept {
        if (fd_ >= 0) in_signal::close(fd_);
        fd_ = -1;
        base_ = bias_ = 0;
        section_count_ = segment_count_ = 0;
    }

    // Files without a size are /proc's, where reading can be consuming.
    static bool worth_opening(kernel_stat const& about) noexcept {
        constexpr std::uint32_t kind = 0170000;     // S_IFMT
        constexpr std::uint32_t regular = 0100000;  // S_IFREG
        return (about.mode & kind) == regular && about.size >= std::int64_t{sizeof(elf::file_header)};
    }
    bool read_header() noexcept;
    bool find_bias() noexcept;
    bool find_note(std::uint64_t offset, std::uint64_t size, std::uint64_t alignment, build_id& id) noexcept;
    bool segment(std::uint64_t index, elf::segment& to) noexcept {
        return index < segment_count_ && read(header_.e_phoff + index * sizeof to, &to, sizeof to);
    }
    // An address of the object as an offset from its header in memory.
    std::uint64_t loaded_offset(std::uint64_t address) const noexcept { return address + bias_ - base_; }

    // Calls visit(section, index) for each until that returns true.
    template <class Visit>
    bool any_section(Visit visit) noexcept {
        elf::section some[8];
        for (std::uint64_t index = 0; index < section_count_; index += 8) {
            std::uint64_t const left = section_count_ - index;
            std::size_t const count = left < 8 ? left : 8;
            if (!read(header_.e_shoff + index * sizeof some[0], some, count * sizeof some[0])) return false;
            for (std::size_t i = 0; i < count; ++i)
                if (visit(some[i])) return true;
        }
        return false;
    }

    int fd_ = -1;
    std::uintptr_t base_ = 0;
    std::uintptr_t bias_ = 0;
    careful_reader memory_{};
    elf::file_header header_{};
    std::uint64_t section_count_ = 0;
    std::uint64_t segment_count_ = 0;
};

inline std::size_t elf_image::read_some(std::uint64_t offset, void* to, std::size_t size) noexcept {
    if (offset > INT64_MAX - size) return 0;
    if (in_memory()) return memory_.read_bytes(base_ + offset, to, size) ? size : 0;
    auto* out = static_cast<unsigned char*>(to);
    std::size_t done = 0;
    for (unsigned interruptions = 0; done < size && interruptions < 100;) {
        long const got = pread(fd_, out + done, size - done, offset + done);
        if (got > 0)
            done += static_cast<std::size_t>(got);
        else if (got == -EINTR)
            ++interruptions;
        else
            break;
    }
    return done;
}

inline bool elf_image::read_header() noexcept {
    if (!read(0, &header_, sizeof header_)) return false;
    unsigned char const* const ident = header_.e_ident;
    for (unsigned i = 0; i < sizeof elf::first_bytes; ++i)
        if (ident[i] != elf::first_bytes[i]) return false;
    if (header_.e_phentsize == sizeof(elf::segment))
        segment_count_ = header_.e_phnum < most_segments ? header_.e_phnum : most_segments;
    if (header_.e_shentsize != sizeof(elf::section) || header_.e_shoff == 0) return true;
    section_count_ = header_.e_shnum;
    elf::section first{};
    // Where the count does not fit, section 0 holds it (gABI, "Section Header").
    if (section_count_ == 0 && read(header_.e_shoff, &first, sizeof first)) section_count_ = first.sh_size;
    if (section_count_ > most_sections) section_count_ = 0;
    return true;
}

// The section table of most objects is not loaded; where it would be lies the object's own data, or another's.
// The vdso's is there.
inline bool elf_image::find_bias() noexcept {
    elf::segment one{};
    for (std::uint64_t i = 0; segment(i, one); ++i) {
        if (one.p_type != elf::loaded_segment || one.p_offset != 0) continue;
        bias_ = base_ - one.p_vaddr;
        std::uint64_t const table = section_count_ * sizeof(elf::section);
        if (table > one.p_filesz || header_.e_shoff > one.p_filesz - table) section_count_ = 0;
        return true;
    }
    return false;
}

inline bool elf_image::find_symbols(std::uint32_t type, symbol_table& table) noexcept {
    elf::section symbols{};
    bool const there = any_section([&](elf::section const& one) noexcept {
        bool const wanted = one.sh_type == type && one.sh_entsize == sizeof(elf::symbol) &&
                            (one.sh_flags & elf::section_is_compressed) == 0;
        if (wanted) symbols = one;
        return wanted;
    });
    elf::section strings{};
    if (!there || !section(symbols.sh_link, strings) || strings.sh_type != elf::strings_section) return false;
    if ((strings.sh_flags & elf::section_is_compressed) != 0) return false;
    std::uint64_t const count = symbols.sh_size / sizeof(elf::symbol);
    table = {symbols.sh_offset, count, strings.sh_offset, strings.sh_size, true};
    return true;
}

inline bool elf_image::find_loaded_symbols(symbol_table& table) noexcept {
    if (!in_memory()) return false;
    elf::segment dynamic{};
    bool there = false;
    for (std::uint64_t i = 0; !there && segment(i, dynamic); ++i)
        there = dynamic.p_type == elf::dynamic_segment;
    if (!there) return false;
    std::uint64_t symbols = 0;
    std::uint64_t strings = 0;
    std::uint64_t strings_size = 0;
    for (std::uint64_t i = 0; i < most_dynamic; ++i) {
        elf::dynamic_entry entry{};
        if (!read(loaded_offset(dynamic.p_vaddr) + i * sizeof entry, &entry, sizeof entry)) return false;
        if (entry.d_tag == elf::end_of_dynamic) break;
        // glibc has added the bias to these; the vdso and musl have not.
        std::uint64_t const pointer = entry.d_value;
        std::uint64_t const offset = pointer >= base_ ? pointer - base_ : loaded_offset(pointer);
        if (entry.d_tag == elf::symbol_table) symbols = offset;
        if (entry.d_tag == elf::string_table) strings = offset;
        if (entry.d_tag == elf::string_size) strings_size = entry.d_value;
    }
    // Nothing gives the number of symbols but the hash tables; linkers put the strings behind the symbols.
    if (symbols == 0 || strings <= symbols || strings - symbols > most_loaded_bytes) return false;
    table = {symbols, (strings - symbols) / sizeof(elf::symbol), strings, strings_size, false};
    return true;
}

inline bool elf_image::find_note(std::uint64_t offset, std::uint64_t size, std::uint64_t alignment,
                                 build_id& id) noexcept {
    std::uint64_t const mask = alignment == 8 ? 7 : 3;
    if (size > most_loaded_bytes) return false;
    std::uint64_t at = 0;
    for (unsigned i = 0; i < most_notes && at + sizeof(elf::note) + 4 <= size; ++i) {
        struct {
            elf::note head;
            char name[4];
        } note{};
        if (!read(offset + at, &note, sizeof note)) return false;
        std::uint64_t const content = (at + sizeof note.head + note.head.n_namesz + mask) & ~mask;
        bool const gnu = note.head.n_namesz == 4 && note.name[0] == 'G' && note.name[1] == 'N' &&
                         note.name[2] == 'U' && note.name[3] == '\0';
        if (gnu && note.head.n_type == elf::build_id_note) {
            id.size = note.head.n_descsz;
            if (id.size == 0 || id.size > build_id::longest || !read(offset + content, id.bytes, id.size))
                id.size = 0;
            return id.known();
        }
        at = (content + note.head.n_descsz + mask) & ~mask;
    }
    return false;
}

// By sections first: the segments of a separate debug file tell where things were, not where they are.
inline bool elf_image::find_build_id(build_id& id) noexcept {
    id.size = 0;
    if (any_section([&](elf::section const& one) noexcept {
            return one.sh_type == elf::note_section &&
                   find_note(one.sh_offset, one.sh_size, one.sh_addralign, id);
        }))
        return true;
    elf::segment one{};
    for (std::uint64_t i = 0; segment(i, one); ++i)
        if (one.p_type == elf::note_segment &&
            find_note(in_memory() ? loaded_offset(one.p_vaddr) : one.p_offset, one.p_filesz, one.p_align, id))
            return true;
    return false;
}

inline bool elf_image::find_debug_link(char* to, std::size_t capacity) noexcept {
    elf::section names{};
    if (!section(header_.e_shstrndx, names)) return false;
    return any_section([&](elf::section const& one) noexcept {
        static_assert(sizeof ".gnu_debuglink" == 15);
        char name[16]{};
        constexpr std::uint64_t unwanted = elf::section_is_loaded | elf::section_is_compressed;
        if (one.sh_type != elf::contents_section || (one.sh_flags & unwanted) != 0) return false;
        if (one.sh_name >= names.sh_size || !read(names.sh_offset + one.sh_name, name, 15)) return false;
        for (std::size_t i = 0; i < 15; ++i)
            if (name[i] != ".gnu_debuglink"[i]) return false;
        std::size_t const size = one.sh_size < capacity ? one.sh_size : capacity;
        if (!read(one.sh_offset, to, size)) return false;
        std::size_t const length = length_of(to, size);
        return length != 0 && length < size;
    });
}

// The build-id of an object in memory, by the address of its ELF header.
inline bool loaded_build_id(std::uintptr_t header, build_id& id) noexcept {
    elf_image image;
    id.size = 0;
    return image.open_memory(header) && image.find_build_id(id);
}

// The build-id of a file.
inline bool file_build_id(char const* path, build_id& id) noexcept {
    elf_image image;
    id.size = 0;
    return image.open_file(path) && image.find_build_id(id);
}

}  // namespace tocsin::in_signal
