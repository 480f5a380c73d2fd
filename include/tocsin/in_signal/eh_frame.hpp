// SPDX-License-Identifier: MIT
// Finds the unwind table entry of an address, in the .eh_frame_hdr and .eh_frame of a loaded object.
//
// Runs in the handler. A binary search where the linker left a sorted table, otherwise a scan; static
// programs often lack even the header, and .eh_frame is recognised by what it looks like. Neither headers
// nor entries are believed: all must lie inside the object, an entry must cover the address, and whatever is
// malformed is as if it were absent. Source: the Linux Standard Base core specification,
// sections 10.6 and 10.7; "B" (pointer authentication key) and "G" (memory tags) are in AADWARF64.
#pragma once

#include <tocsin/in_signal/dwarf_cursor.hpp>
#include <tocsin/in_signal/module.hpp>

namespace tocsin::in_signal {

// A frame description entry together with what it shares with others (its common information entry).
struct frame_entry {
    std::uintptr_t begin, end;               // the code described
    std::uintptr_t shared_code, shared_end;  // instructions to run first
    std::uintptr_t own_code, own_end;        // and those of this function
    std::uint64_t code_unit;
    std::int64_t data_unit;
    std::uint64_t return_column;
    std::uint8_t encoding;
    bool augmented;
    bool signal_frame;  // the caller did not call: it was interrupted

    bool covers(std::uintptr_t address) const noexcept { return begin <= address && address < end; }

    // Where an expression that starts at `at`, in one of the two, must end.
    std::uintptr_t block_end(std::uintptr_t at) const noexcept {
        return own_code <= at && at < own_end ? own_end : shared_end;
    }
};

class eh_frame {
  public:
    explicit eh_frame(work& budget) noexcept : budget_{budget} {}

    // Reads everything that belongs to an object.
    careful_reader& memory() noexcept { return memory_; }

    bool find(module_info const& module, std::uintptr_t address, frame_entry& entry) noexcept {
        if (!module.holds(address)) return false;
        if (!module.holds(module.eh_frame_hdr)) return scan(module, recognised(module), address, entry);
        if (header_.at != module.eh_frame_hdr && !read_header(module)) return false;
        if (header_.count == 0) return scan(module, header_.records, address, entry);
        std::uintptr_t const found = search(module.eh_frame_hdr, header_.rows, header_.count, address);
        return found != 0 && read_entry(module, found, entry) && entry.covers(address);
    }

  private:
    struct table_row {
        std::int32_t code;
        std::int32_t entry;
    };

    // What an .eh_frame_hdr says; the last one is kept.
    struct header {
        std::uintptr_t at, records, rows;
        std::uint64_t count;  // of rows that can be searched
    };

    bool read_header(module_info const& module) noexcept {
        dwarf_cursor at{memory_, budget_, module.eh_frame_hdr, module.end};
        std::uint8_t const version = at.byte();
        std::uint8_t const records_encoding = at.byte();
        std::uint8_t const count_encoding = at.byte();
        std::uint8_t const table_encoding = at.byte();
        std::uintptr_t const records = at.pointer(records_encoding, module.eh_frame_hdr);
        std::uint64_t count = at.pointer(count_encoding, module.eh_frame_hdr);
        constexpr std::uint8_t sorted =
            0x3b;  // pairs of 4-byte offsets from the header: all that linkers write
        if (table_encoding != sorted) count = 0;
        if (!at.ok() || version != 1 || count > (module.end - at.at()) / sizeof(table_row)) return false;
        header_ = {module.eh_frame_hdr, records, at.at(), count};
        return true;
    }

    // The entry of the last row that starts at or before `address`; 0 if there is none.
    std::uintptr_t search(std::uintptr_t base, std::uintptr_t table, std::uint64_t count,
                          std::uintptr_t address) noexcept {
        std::uintptr_t best = 0;
        while (count > 0) {
            std::uint64_t const half = count / 2;
            table_row row{};
            if (!budget_.spend() || !memory_.read(table + half * sizeof(row), row)) return 0;
            if (base + static_cast<std::uintptr_t>(std::intptr_t{row.code}) <= address) {
                best = base + static_cast<std::uintptr_t>(std::intptr_t{row.entry});
                table += (half + 1) * sizeof(row);
                count -= half + 1;
            } else {
                count = half;
            }
        }
        return best;
    }

    bool scan(module_info const& module, std::uintptr_t record, std::uintptr_t address,
              frame_entry& entry) noexcept {
        while (module.holds(record)) {
            std::uintptr_t next = record;
            if (!passes_by(record, address, next)) {
                dwarf_cursor at{memory_, budget_, record, module.end};
                if (!open_record(at)) return false;
                bool const describes_code = at.take<std::uint32_t>() != 0;
                if (describes_code && read_entry(module, record, entry) && entry.covers(address)) return true;
                next = at.end();
            }
            if (next <= record) return false;
            record = next;
        }
        return false;
    }

    // One read for each of the many entries that do not cover the address. Supposes that all of an object are
    // encoded as the last one looked at, which compilers and linkers see to.
    bool passes_by(std::uintptr_t record, std::uintptr_t address, std::uintptr_t& next) noexcept {
        constexpr std::uint8_t relative_4_bytes = 0x1b;
        struct {
            std::uint32_t length, distance;
            std::int32_t begin;
            std::uint32_t bytes;
        } start{};
        if (shared_at_ == 0 || kept_.encoding != relative_4_bytes || !budget_.spend() ||
            !memory_.read(record, start) || start.length < sizeof(start) || start.length == 0xffff'ffff)
            return false;
        if (start.distance == 0) return false;
        std::uintptr_t const begin = record + 8 + static_cast<std::uintptr_t>(std::intptr_t{start.begin});
        next = record + sizeof(start.length) + start.length;
        return address - begin >= start.bytes;
    }

    // The first record of an .eh_frame that no header tells about: a common entry at which the record that
    // follows it points back. 0 if there is none. Remembered, as it is a search through the whole object.
    // One of more than 16 MiB is not searched to the end.
    std::uintptr_t recognised(module_info const& module) noexcept {
        if (recognised_in_ == module.begin) return recognised_;
        recognised_in_ = module.begin;
        recognised_ = 0;
        unsigned left = 2'000'000;
        detail::any_segment(module.begin, memory_, [&](ElfW(Phdr) const& segment) noexcept {
            if (segment.p_type != PT_LOAD || (segment.p_flags & PF_W) != 0) return false;
            std::uintptr_t const begin = (module.bias + segment.p_vaddr + 7) & ~std::uintptr_t{7};
            for (std::uintptr_t at = begin; at - begin < segment.p_memsz && module.holds(at); at += 8) {
                if (left == 0 || budget_.left == 0) return true;
                --left;
                if (!looks_like_first(module, at)) continue;
                recognised_ = at;
                return true;
            }
            return false;
        });
        return recognised_;
    }

    bool looks_like_first(module_info const& module, std::uintptr_t record) noexcept {
        struct {
            std::uint32_t length, id;
        } start{};
        if (!budget_.spend() || !memory_.read(record, start)) return false;
        if (start.id != 0 || start.length < 8 || start.length > 64) return false;
        std::uintptr_t const next = record + sizeof(start.length) + start.length;
        frame_entry entry{};
        return read_entry(module, next, entry) && shared_at_ == record && module.holds(entry.begin);
    }

    // Takes the length of a record and narrows the range to it. False at the terminator.
    static bool open_record(dwarf_cursor& at) noexcept {
        std::uint64_t length = at.take<std::uint32_t>();
        if (length == 0xffff'ffff) length = at.take<std::uint64_t>();
        at.narrow(length);
        return at.ok() && length != 0;
    }

    bool read_entry(module_info const& module, std::uintptr_t record, frame_entry& entry) noexcept {
        if (!module.holds(record)) return false;
        dwarf_cursor at{memory_, budget_, record, module.end};
        if (!open_record(at)) return false;
        std::uintptr_t const field = at.at();
        std::uint32_t const distance = at.take<std::uint32_t>();
        if (distance == 0 || !read_shared(module, field - distance, entry)) return false;
        entry.begin = at.pointer(entry.encoding, module.eh_frame_hdr);
        entry.end = entry.begin + at.plain(entry.encoding & 0x0f);
        if (entry.augmented) at.skip(at.unsigned_leb());
        entry.own_code = at.at();
        entry.own_end = at.end();
        return at.ok();
    }

    // The common information entry. The last one is kept: an object has few, and a scan meets each often.
    bool read_shared(module_info const& module, std::uintptr_t record, frame_entry& entry) noexcept {
        if (record != shared_at_ || record == 0) {
            shared_at_ = 0;
            if (!module.holds(record) || !parse_shared(module, record, kept_)) return false;
            shared_at_ = record;
        }
        entry = kept_;
        return true;
    }

    bool parse_shared(module_info const& module, std::uintptr_t record, frame_entry& entry) noexcept {
        dwarf_cursor at{memory_, budget_, record, module.end};
        if (!open_record(at) || at.take<std::uint32_t>() != 0) return false;
        std::uint8_t const version = at.byte();
        if (version != 1 && version != 3 && version != 4) return false;
        constexpr std::size_t longest = 8;
        char letters[longest]{};
        std::size_t count = 0;
        for (char letter = at.take<char>(); letter != '\0'; letter = at.take<char>()) {
            if (count == longest - 1) return false;
            letters[count++] = letter;
        }
        if (version == 4) at.skip(2);  // address and segment size
        entry.code_unit = at.unsigned_leb();
        entry.data_unit = at.signed_leb();
        entry.return_column = version == 1 ? at.byte() : at.unsigned_leb();
        if (!at.ok() || !read_augmentation(module, at, letters, entry)) return false;
        entry.shared_code = at.at();
        entry.shared_end = at.end();
        return true;
    }

    static bool read_augmentation(module_info const& module, dwarf_cursor& at, char const* letters,
                                  frame_entry& entry) noexcept {
        entry.encoding = 0;
        entry.signal_frame = false;
        entry.augmented = letters[0] == 'z';
        if (!entry.augmented) return letters[0] == '\0';
        std::uint64_t const length = at.unsigned_leb();
        std::uintptr_t const begin = at.at();
        if (!at.ok() || length > at.end() - begin) return false;
        for (++letters; *letters != '\0'; ++letters) {
            switch (*letters) {
                case 'R':
                    entry.encoding = at.byte();
                    break;
                case 'S':
                    entry.signal_frame = true;
                    break;
                case 'L':
                    at.byte();
                    break;
                case 'P':
                    at.pointer(at.byte() & 0x7f, module.eh_frame_hdr);
                    break;  // stepped over, not read
                case 'B':
                case 'G':
                    break;
                default:
                    return false;
            }
        }
        at.move_to(begin + length);
        return at.ok();
    }

    work& budget_;
    careful_reader memory_{budget_};
    header header_{};
    frame_entry kept_{};
    std::uintptr_t shared_at_ = 0;
    std::uintptr_t recognised_in_ = 0;
    std::uintptr_t recognised_ = 0;
};

}  // namespace tocsin::in_signal
