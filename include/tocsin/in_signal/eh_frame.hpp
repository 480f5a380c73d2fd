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
        std::uintptr_t const found = search(module, address);
        return found != 0 && read_entry(module, found, entry) && entry.covers(address);
    }

  private:
    struct table_row {
        std::int32_t code;
        std::int32_t entry;
    };
    static constexpr std::uint64_t rows_in_page = careful_reader::page_size / sizeof(table_row);

    static constexpr std::uint8_t relative_4_bytes = 0x1b;

    // What an .eh_frame_hdr says; the last one is kept.
    struct header {
        std::uintptr_t at, records, rows;
        std::uint64_t count;  // of rows that can be searched
    };

    bool read_header(module_info const& module) noexcept {
        // Version 1, a table of pairs of 4-byte offsets from the header, 4 bytes that say how many: what linkers write.
        constexpr std::uint32_t usual = 0x3b031b01;
        struct {
            std::uint32_t encodings;
            std::int32_t records;
            std::uint32_t rows;
        } start{};
        std::uintptr_t const at = module.eh_frame_hdr;
        if (module.end - at < sizeof(start) || !budget_.spend() || !memory_.read(at, start)) return false;
        if (start.encodings != usual) return read_other_header(module);
        if (start.rows > (module.end - at - sizeof(start)) / sizeof(table_row)) return false;
        std::uintptr_t const records = at + 4 + static_cast<std::uintptr_t>(std::intptr_t{start.records});
        header_ = {at, records, at + sizeof(start), start.rows};
        return true;
    }

    // Tells no more than where the records are.
    bool read_other_header(module_info const& module) noexcept {
        dwarf_cursor at{memory_, budget_, module.eh_frame_hdr, module.end};
        std::uint8_t const version = at.byte();
        std::uint8_t const encoding = at.byte();
        at.skip(2);
        std::uintptr_t const records = at.pointer(encoding, module.eh_frame_hdr);
        if (!at.ok() || version != 1) return false;
        header_ = {module.eh_frame_hdr, records, 0, 0};
        return true;
    }

    // The entry of the last row that starts at or before `address`; 0 if there is none.
    std::uintptr_t search(module_info const& module, std::uintptr_t address) noexcept {
        auto const key = static_cast<std::int64_t>(address - header_.at);
        std::uint64_t begin = 0;  // the row looked for is in front of one of these, or of `end`
        std::uint64_t end = header_.count;
        if (end > rows_in_page && !near_page(module, key, begin, end)) return 0;
        // All that is left lies side by side.
        if (!budget_.spend() || !memory_.is_there(row_at(begin), (end - begin) * sizeof(table_row))) return 0;
        std::uintptr_t const rows = header_.rows;
        while (begin < end) {
            std::uint64_t const half = begin + (end - begin) / 2;
            if (careful_reader::load<std::int32_t>(rows + half * sizeof(table_row)) <= key)
                begin = half + 1;
            else
                end = half;
        }
        table_row row{};
        if (begin == 0 || !memory_.read(row_at(begin - 1), row)) return 0;
        return header_.at + static_cast<std::uintptr_t>(std::intptr_t{row.entry});
    }

    // Narrows a long table down to a page's worth. Each page that is looked at costs a question, so it is guessed, as
    // rows are spread evenly, more or less; and every third time the table is halved, should they not be.
    __attribute__((noinline)) bool near_page(module_info const& module, std::int64_t key, std::uint64_t& begin,
                                             std::uint64_t& end) noexcept {
        table_row row{};
        if (!memory_.read(row_at(0), row)) return false;
        std::int64_t const first = row.code;
        // Of the two rows beside what is left; there is none behind it at first, and most tables lie behind all code.
        std::int64_t low = first;
        std::int64_t high = key < 0 ? 0 : static_cast<std::int64_t>(module.end - header_.at);
        for (unsigned turn = 1; end - begin > rows_in_page; ++turn) {
            std::uint64_t const left = end - begin;
            std::uint64_t guess = left / 2;
            if (turn == 1 || (turn % 3 != 0 && end != header_.count))
                guess = part(left, key - low, high - low);
            else if (turn == 2)
                guess = part(begin, key - low, low - first);
            if (guess >= left) guess = left - 1;
            if (!budget_.spend() || !narrow_to_page(begin + guess, key, begin, end, low, high)) return false;
        }
        return true;
    }

    // The same part of `rows` as `distance` is of `whole`; any number if that cannot be.
    static std::uint64_t part(std::uint64_t rows, std::int64_t distance, std::int64_t whole) noexcept {
        if (distance < 0 || whole <= 0) return 0;
        return rows * static_cast<std::uint64_t>(distance) / static_cast<std::uint64_t>(whole);
    }

    // To the rows of the page that holds row `at`, or to those behind or in front of them.
    bool narrow_to_page(std::uint64_t at, std::int64_t key, std::uint64_t& begin, std::uint64_t& end, std::int64_t& low,
                        std::int64_t& high) noexcept {
        std::uintptr_t const in_page = row_at(at) % careful_reader::page_size;
        std::uint64_t const before = in_page / sizeof(table_row);
        std::uint64_t const behind = (careful_reader::page_size - in_page) / sizeof(table_row);
        std::uint64_t const first = at - begin > before ? at - before : begin;
        std::uint64_t const last = behind == 0 ? at : end - at > behind ? at + behind - 1 : end - 1;
        table_row row{};
        if (!memory_.read(row_at(first), row)) return false;
        if (row.code > key) {
            end = first;
            high = row.code;
            return true;
        }
        begin = first + 1;
        low = row.code;
        if (first == last) return true;
        if (!memory_.read(row_at(last), row)) return false;
        if (row.code > key) {
            end = last;
            high = row.code;
        } else {
            begin = last + 1;
            low = row.code;
        }
        return true;
    }

    std::uintptr_t row_at(std::uint64_t number) const noexcept { return header_.rows + number * sizeof(table_row); }

    // What almost every entry looks like, with one check for all of it.
    bool read_ordinary(module_info const& module, std::uintptr_t record, frame_entry& entry) noexcept {
        constexpr std::uintptr_t size = 17;
        if (module.end - record < size || !memory_.is_there(record, size) || !budget_.spend()) return false;
        auto const length = careful_reader::load<std::uint32_t>(record);
        auto const distance = careful_reader::load<std::uint32_t>(record + 4);
        auto const begin = careful_reader::load<std::int32_t>(record + 8);
        auto const bytes = careful_reader::load<std::int32_t>(record + 12);
        auto const augmentation = careful_reader::load<std::uint8_t>(record + 16);
        if (length == 0xffff'ffff || length > module.end - record - 4 || length < size - 4 + augmentation ||
            augmentation >= 0x80 || distance == 0 || begin == 0)
            return false;
        if (!read_shared(module, record + 4 - distance, entry)) return false;
        if (entry.encoding != relative_4_bytes || !entry.augmented) return false;
        entry.begin = record + 8 + static_cast<std::uintptr_t>(std::intptr_t{begin});
        entry.end = entry.begin + static_cast<std::uintptr_t>(std::intptr_t{bytes});
        entry.own_code = record + size + augmentation;
        entry.own_end = record + 4 + length;
        return true;
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
        struct {
            std::uint32_t length, distance;
            std::int32_t begin;
            std::uint32_t bytes;
        } start{};
        if (kept_[last_].at == 0 || kept_[last_].entry.encoding != relative_4_bytes || !budget_.spend() ||
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
        detail::any_segment(module.begin, memory_, [&](elf::segment const& segment) noexcept {
            if (segment.p_type != elf::loaded_segment || (segment.p_flags & elf::writable) != 0) return false;
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
        return read_entry(module, next, entry) && kept_[last_].at == record && module.holds(entry.begin);
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
        if (read_ordinary(module, record, entry)) return true;
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

    // The common information entry. The last two are kept: an object has few, as those of functions that catch and of
    // those that do not, and a scan meets each often.
    bool read_shared(module_info const& module, std::uintptr_t record, frame_entry& entry) noexcept {
        if (record == 0) return false;
        if (kept_[last_].at != record) last_ ^= 1;
        if (kept_[last_].at != record) {
            kept_[last_].at = 0;
            frame_entry& kept = kept_[last_].entry;
            if (!module.holds(record)) return false;
            if (!parse_plain(module, record, kept) && !parse_shared(module, record, kept)) return false;
            kept_[last_].at = record;
        }
        entry = kept_[last_].entry;
        return true;
    }

    // What all functions of C share, and most of C++: version 1, "zR", numbers of one byte, 4-byte relative pointers.
    bool parse_plain(module_info const& module, std::uintptr_t record, frame_entry& entry) noexcept {
        constexpr std::uintptr_t size = 17;
        if (module.end - record < size || !memory_.is_there(record, size) || !budget_.spend()) return false;
        auto const length = careful_reader::load<std::uint32_t>(record);
        auto const start = careful_reader::load<std::uint64_t>(record + 4);
        auto const numbers = careful_reader::load<std::uint32_t>(record + 12);
        if (start != 0x00'52'7a'01'0000'0000 || (numbers & 0xff80'8080) != 0x0100'0000 ||
            careful_reader::load<std::uint8_t>(record + 16) != relative_4_bytes || length < size - 4 ||
            length == 0xffff'ffff || length > module.end - record - 4)
            return false;
        entry = {};
        entry.shared_code = record + size;
        entry.shared_end = record + 4 + length;
        entry.code_unit = numbers & 0x7f;
        auto const data = static_cast<std::int64_t>(numbers >> 8 & 0x7f);
        entry.data_unit = data < 0x40 ? data : data - 0x80;
        entry.return_column = numbers >> 16 & 0x7f;
        entry.encoding = relative_4_bytes;
        entry.augmented = true;
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
    struct {
        std::uintptr_t at;  // 0: none
        frame_entry entry;
    } kept_[2]{};
    unsigned last_ = 0;
    std::uintptr_t recognised_in_ = 0;
    std::uintptr_t recognised_ = 0;
};

}  // namespace tocsin::in_signal
