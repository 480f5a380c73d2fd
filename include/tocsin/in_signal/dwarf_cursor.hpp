// SPDX-License-Identifier: MIT
// Reads the numbers of which unwind tables are made, one after another.
//
// Runs in the handler. The tables may be damaged or not be tables at all: no read leaves the given range or
// touches memory that is not there, and after the first failure everything reads as 0 and ok() is false, so
// that callers look once, at the end. Every read is paid from a budget shared by a whole walk, which ends
// any loop that hostile tables can make. Source of the encodings: the Linux Standard Base core
// specification, "DWARF Extensions"; DWARF 5 section 7.6.
#pragma once

#include <tocsin/in_signal/memory.hpp>

namespace tocsin::in_signal {

class dwarf_cursor {
  public:
    dwarf_cursor(careful_reader& memory, work& budget, std::uintptr_t at, std::uintptr_t end) noexcept
        : memory_{memory}, budget_{budget}, at_{at}, end_{end}, ok_{at <= end} {
        if (ok_ && memory.is_known(at & careful_reader::page_mask)) be_sure_of_page(at);
    }

    bool ok() const noexcept { return ok_; }
    bool more() const noexcept { return ok_ && at_ < end_; }
    std::uintptr_t at() const noexcept { return at_; }
    std::uintptr_t end() const noexcept { return end_; }
    // What begins before it, from at() on, and is no longer than `bytes` lies in a page that has been asked for.
    std::uintptr_t sure_end_of(unsigned bytes) const noexcept {
        std::uintptr_t const last = ((at_ & careful_reader::page_mask) + careful_reader::page_size) - bytes;
        return sure_ <= last ? sure_ : last + 1;
    }
    careful_reader& memory() const noexcept { return memory_; }
    work& budget() const noexcept { return budget_; }
    void fail() noexcept {
        ok_ = false;
        sure_ = 0;
    }

    void skip(std::uint64_t bytes) noexcept {
        if (!ok_ || bytes > end_ - at_)
            fail();
        else
            at_ += bytes;
    }

    // To the end of what callers have read themselves.
    void pay_up_to(std::uintptr_t place) noexcept {
        if (place == at_) return;
        if (place > end_ || !budget_.spend(place - at_)) return fail();
        at_ = place;
    }

    // To a place that the caller has found to lie in the range.
    void move_to(std::uintptr_t place) noexcept {
        at_ = place;
        sure_ = 0;
    }

    // From here on the range ends after `bytes`.
    void narrow(std::uint64_t bytes) noexcept {
        if (!ok_ || bytes > end_ - at_) return fail();
        end_ = at_ + bytes;
        if (sure_ > end_) sure_ = end_;
    }

    // One function for all callers: what is read often is read without it, as far as sure_end_of() goes.
    template <class T>
    __attribute__((noinline)) T take() noexcept {
        if (at_ + sizeof(T) <= sure_ && budget_.spend()) {
            at_ += sizeof(T);
            return careful_reader::load<T>(at_ - sizeof(T));
        }
        T number{};
        if (!ok_ || end_ - at_ < sizeof(T) || !budget_.spend() || !memory_.read(at_, number)) {
            fail();
            return T{};
        }
        at_ += sizeof(T);
        be_sure_of_page(at_ - 1);
        return number;
    }

    std::uint8_t byte() noexcept { return take<std::uint8_t>(); }

    __attribute__((noinline)) std::uint64_t unsigned_leb() noexcept {
        std::uint8_t const first = byte();  // mostly all of it
        if (first < 0x80) return first;
        unsigned shift = 7;
        bool negative = false;
        return (first & 0x7fU) | leb(shift, negative);
    }

    __attribute__((noinline)) std::int64_t signed_leb() noexcept {
        unsigned shift = 0;
        bool negative = false;
        std::uint64_t number = leb(shift, negative);
        if (negative && shift < 64) number |= ~std::uint64_t{0} << shift;
        return static_cast<std::int64_t>(number);
    }

    // A pointer in one of the DW_EH_PE_ encodings; `data` is the base of the data-relative ones.
    std::uintptr_t pointer(std::uint8_t encoding, std::uintptr_t data) noexcept {
        constexpr std::uint8_t omitted = 0xff;
        constexpr std::uint8_t indirect = 0x80;
        if (encoding == omitted) return 0;
        std::uintptr_t const field = at_;
        std::uintptr_t value = plain(encoding & 0x0f);
        if (value == 0 || !ok_) return 0;
        switch (encoding & 0x70) {
            case 0x00:
                break;  // absolute
            case 0x10:
                value += field;
                break;  // relative to the field itself
            case 0x30:
                value += data;
                break;
            default:
                fail();
                return 0;  // relative to text or function, aligned: nobody emits them
        }
        if ((encoding & indirect) != 0 && !memory_.read(value, value)) fail();
        return value;
    }

    // A number in the format of a DW_EH_PE_ encoding, relative to nothing.
    std::uintptr_t plain(unsigned format) noexcept {
        switch (format) {
            case 0x00:
            case 0x04:
            case 0x0c:
                return take<std::uint64_t>();
            case 0x01:
                return unsigned_leb();
            case 0x02:
                return take<std::uint16_t>();
            case 0x03:
                return take<std::uint32_t>();
            case 0x09:
                return static_cast<std::uintptr_t>(signed_leb());
            case 0x0a:
                return static_cast<std::uintptr_t>(std::intptr_t{take<std::int16_t>()});
            case 0x0b:
                return static_cast<std::uintptr_t>(std::intptr_t{take<std::int32_t>()});
            default:
                fail();
                return 0;
        }
    }

  private:
    // The rest of the page, as far as the range goes, need not be asked for.
    void be_sure_of_page(std::uintptr_t inside) noexcept {
        sure_ = (inside & careful_reader::page_mask) + careful_reader::page_size;
        if (sure_ > end_) sure_ = end_;
    }

    // The number's bits from `shift` on. Those beyond 64 are dropped: numbers may be padded.
    __attribute__((noinline)) std::uint64_t leb(unsigned& shift, bool& negative) noexcept {
        std::uint64_t number = 0;
        std::uint8_t next = 0;
        do {
            next = byte();
            if (shift < 64) {
                number |= static_cast<std::uint64_t>(next & 0x7f) << shift;
                shift += 7;
            }
        } while (ok_ && (next & 0x80) != 0);
        negative = ok_ && (next & 0x40) != 0;
        return number;
    }

    careful_reader& memory_;
    work& budget_;
    std::uintptr_t at_;
    std::uintptr_t end_;
    std::uintptr_t sure_ = 0;  // what lies before it, from at_ on, can be read
    bool ok_;
};

}  // namespace tocsin::in_signal
