// SPDX-License-Identifier: MIT
// One line of a report, put together in a fixed buffer.
//
// Runs in the handler. Nothing overflows: what does not fit is cut, the rest of the line is then left out
// too, and `end()` says "..." in its place. Untrusted text (names of symbols, threads, files) goes in
// through `escaped` or `json`, which write printable ASCII only and stop at a limit, so that no name can
// forge a line, move a cursor or fill a disk. It knows no locale and no floating point.
#pragma once

#include <cstddef>
#include <cstdint>

namespace tocsin::in_signal {

// Characters that one untrusted text may take in a report before it is cut.
inline constexpr std::size_t longest_name = 256;

constexpr bool printable(char c) noexcept { return c >= ' ' && c <= '~'; }

constexpr char hex_digit(std::uint64_t value) noexcept {
    return static_cast<char>((value & 15) < 10 ? '0' + (value & 15) : 'a' + ((value & 15) - 10));
}

// The length of a text that ends at a zero, or at `limit` if none comes before.
constexpr std::size_t length_of(char const* text, std::size_t limit = ~std::size_t{0}) noexcept {
    std::size_t size = 0;
    if (text != nullptr)
        while (size < limit && text[size] != '\0') ++size;
    return size;
}

class line {
  public:
    // Borrows the memory, which outlives the line. Four bytes of it are kept for the end: "...\n".
    line(char* memory, std::size_t capacity) noexcept
        : data_{memory}, capacity_{capacity}, room_{capacity > end_size ? capacity - end_size : 0} {}
    line(line const&) = delete;
    line& operator=(line const&) = delete;

    char const* data() const noexcept { return data_; }
    std::size_t size() const noexcept { return size_; }
    std::size_t room() const noexcept { return cut_ ? 0 : room_ - size_; }
    bool empty() const noexcept { return size_ == 0; }
    bool cut() const noexcept { return cut_; }  // something did not fit

    line& clear() noexcept {
        size_ = 0;
        cut_ = false;
        return *this;
    }

    // Trusted text, taken as it is.
    line& text(char const* from, std::size_t size) noexcept {
        for (std::size_t i = 0; i < size && put(from[i]); ++i) {
        }
        return *this;
    }
    line& text(char const* from) noexcept { return text(from, length_of(from)); }
    line& character(char c) noexcept {
        put(c);
        return *this;
    }

    // Untrusted text: printable ASCII stays; all else, the backslash and the double quote become \xNN.
    // `limit` counts characters of the result; a text that needs more ends in "...".
    line& escaped(char const* from, std::size_t size, std::size_t limit = longest_name) noexcept {
        return untrusted(from, size, limit, &line::hex_escape);
    }
    line& escaped(char const* from) noexcept {
        return escaped(from, length_of(from, longest_name + 1));
    }
    line& quoted(char const* from, std::size_t size, std::size_t limit = longest_name) noexcept {
        return character('"').escaped(from, size, limit).character('"');
    }
    line& quoted(char const* from) noexcept {
        return quoted(from, length_of(from, longest_name + 1));
    }

    // The same as a JSON string with its quotes. Bytes from 128 up become \u00NN each: valid JSON (RFC 8259,
    // section 7) whatever the encoding was, and reversible byte by byte.
    line& json(char const* from, std::size_t size, std::size_t limit = longest_name) noexcept {
        return character('"').untrusted(from, size, limit, &line::json_escape).character('"');
    }
    line& json(char const* from) noexcept { return json(from, length_of(from, longest_name + 1)); }

    // Any integer; right-aligned if a width is given.
    template <class Integer>
    line& decimal(Integer value, std::size_t width = 0) noexcept {
        auto magnitude = static_cast<std::uint64_t>(value);
        bool const negative = value < Integer{};
        if (negative) magnitude = 0 - magnitude;
        char digits[20]{};
        std::size_t count = 0;
        do {
            digits[count++] = static_cast<char>('0' + magnitude % 10);
        } while ((magnitude /= 10) != 0);
        if (width > count + negative) fill(width - count - negative);
        if (negative) put('-');
        while (count != 0) put(digits[--count]);
        return *this;
    }

    // "0x" and at least `digits` digits.
    line& hexadecimal(std::uint64_t value, std::size_t digits = 1) noexcept {
        return text("0x").hex(value, digits);
    }
    // "0x" and all 16 digits: columns of addresses.
    line& address(std::uint64_t value) noexcept { return hexadecimal(value, 16); }
    // Bare digits.
    line& hex(std::uint64_t value, std::size_t digits = 1) noexcept {
        std::size_t needed = 1;
        while (needed < 16 && (value >> (4 * needed)) != 0) ++needed;
        if (needed < digits) fill(digits - needed, '0');
        while (needed != 0) put(hex_digit(value >> (4 * --needed)));
        return *this;
    }
    // Bytes as pairs of digits: a build-id.
    line& bytes(unsigned char const* from, std::size_t size) noexcept {
        for (std::size_t i = 0; i < size; ++i) hex(from[i], 2);
        return *this;
    }

    line& fill(std::size_t count, char c = ' ') noexcept {
        while (count != 0 && put(c)) --count;
        return *this;
    }
    // Spaces until the line is `column` characters long.
    line& pad_to(std::size_t column) noexcept {
        return size_ < column ? fill(column - size_) : *this;
    }

    // Ends the line; always fits. A cut one says so.
    line& end() noexcept {
        if (cut_) mark();
        if (size_ < capacity_) data_[size_++] = '\n';
        return *this;
    }

  private:
    static constexpr std::size_t end_size = 4;

    bool put(char c) noexcept {
        if (cut_ || size_ >= room_) {
            cut_ = true;
            return false;
        }
        data_[size_++] = c;
        return true;
    }

    void mark() noexcept {
        for (int i = 0; i < 3 && size_ + 1 < capacity_; ++i) data_[size_++] = '.';
    }

    // One character as it is shown: `size` bytes of `shown`.
    struct shown_character {
        char shown[6];
        std::size_t size;
    };

    static shown_character hex_escape(char c) noexcept {
        if (printable(c) && c != '\\' && c != '"') return {{c}, 1};
        auto const byte = static_cast<unsigned char>(c);
        return {{'\\', 'x', hex_digit(byte >> 4U), hex_digit(byte)}, 4};
    }

    static shown_character json_escape(char c) noexcept {
        if (c == '\\' || c == '"') return {{'\\', c}, 2};
        if (printable(c)) return {{c}, 1};
        auto const byte = static_cast<unsigned char>(c);
        return {{'\\', 'u', '0', '0', hex_digit(byte >> 4U), hex_digit(byte)}, 6};
    }

    // An escape is written whole or not at all: half of one would be read as something else.
    line& untrusted(char const* from, std::size_t size, std::size_t limit,
                    shown_character (*show)(char) noexcept) noexcept {
        std::size_t used = 0;
        for (std::size_t i = 0; i < size; ++i) {
            shown_character const next = show(from[i]);
            if (used + next.size > limit) return text("...");
            if (next.size > room()) {
                cut_ = true;
                return *this;
            }
            text(next.shown, next.size);
            used += next.size;
        }
        return *this;
    }

    char* data_;
    std::size_t capacity_;
    std::size_t room_;
    std::size_t size_ = 0;
    bool cut_ = false;
};

// A line that brings its memory.
template <std::size_t Capacity>
class fixed_line : public line {
    static_assert(Capacity >= 16, "tocsin: a line needs room for a number and its end");

  public:
    fixed_line() noexcept : line{memory_, Capacity} {}

  private:
    char memory_[Capacity];  // left uninitialised: a handler makes many lines and reads only what it wrote
};

}  // namespace tocsin::in_signal
