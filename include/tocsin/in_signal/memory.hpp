// SPDX-License-Identifier: MIT
// Reading memory that may not be there.
//
// Runs in the handler. A reader asks the kernel before it touches a page, and remembers the last pages that
// answered, and of those that lie side by side all.
#pragma once

#include <tocsin/in_signal/readable.hpp>
#include <tocsin/in_signal/system.hpp>

namespace tocsin::in_signal {

// What one task may spend, in reads and steps. An ordinary frame of a stack costs 50 to 200. Once it does not
// suffice nothing is left.
struct work {
    std::uint64_t left;

    bool spend(std::uint64_t steps = 1) noexcept {
        bool const enough = left >= steps;
        left -= enough ? steps : left;
        return enough;
    }
};

// What a question to the kernel costs of it: addresses that somebody else has made up can ask for one each.
inline constexpr std::uint64_t work_of_question = 100;

class careful_reader {
  public:
    careful_reader() noexcept = default;
    explicit careful_reader(work& pays) noexcept : pays_{&pays} {}

    static constexpr std::uintptr_t page_size = 4096;
    static constexpr std::uintptr_t page_mask = ~(page_size - 1);

    // Reads a T from anywhere; false, and `to` untouched, where that is not possible. What is as large as a number is
    // one load, where its page has answered before.
    template <class T>
    bool read(std::uintptr_t address, T& to) noexcept {
        if constexpr (sizeof(T) == 1 || sizeof(T) == 2 || sizeof(T) == 4 || sizeof(T) == 8) {
            std::uintptr_t const page = address & page_mask;
            if (((address + (sizeof(T) - 1)) & page_mask) == page && is_known(page)) [[likely]] {
                auto const found = load<number_of<sizeof(T)>>(address);
                __builtin_memcpy(&to, &found, sizeof(T));
                return true;
            }
        }
        return read_bytes(address, &to, sizeof(T));
    }

    // The same for words of one stack: they lie in pages that follow one another. Two comparisons, mostly.
    bool read_near(std::uintptr_t address, std::uintptr_t& to) noexcept {
        if (address - near_ >= near_words_ && !come_near(address)) return false;
        to = load<std::uintptr_t>(address);
        return true;
    }

    // For what cannot but be there, as the stack that one runs on: nobody is asked about its page.
    void take_for_granted(std::uintptr_t address) noexcept {
        if (!is_known(address & page_mask)) remember(address & page_mask);
    }

    // From readable memory, aligned or not. Volatile, or compilers make several of them a call of memcpy, which
    // sanitizers replace; and not instrumented, as it reads other threads' stacks and red zones on purpose.
    template <class T>
    __attribute__((no_sanitize("address"), no_sanitize("thread"))) static T load(std::uintptr_t address) noexcept {
        struct __attribute__((packed, may_alias)) anywhere {
            T value;
        };
        return reinterpret_cast<anywhere const volatile*>(address)->value;
    }

    bool read_bytes(std::uintptr_t address, void* to, std::size_t bytes) noexcept {
        if (!is_there(address, bytes)) return false;
        copy(address, static_cast<unsigned char*>(to), bytes);
        return true;
    }

    bool is_there(std::uintptr_t address, std::size_t bytes) noexcept {
        std::uintptr_t const page = address & page_mask;
        return (address - page + bytes <= page_size && is_known(page)) || are_there(address, bytes);
    }

    // True if the page has answered before. Page 0 never has: it is how an unused place looks.
    bool is_known(std::uintptr_t page) const noexcept {
        std::size_t const place = place_of(page);
        return page != 0 && (known_[place] == page || known_[place ^ beside] == page);
    }

    void forget() noexcept {
        for (std::uintptr_t& each : known_) each = 0;
        near_words_ = 0;
    }

  private:
    // 4 KiB is the smallest page of both architectures; on larger pages the question is only asked more often.
    template <std::size_t Bytes>
    static auto number_type() noexcept {
        if constexpr (Bytes == 1)
            return std::uint8_t{};
        else if constexpr (Bytes == 2)
            return std::uint16_t{};
        else if constexpr (Bytes == 4)
            return std::uint32_t{};
        else
            return std::uint64_t{};
    }
    template <std::size_t Bytes>
    using number_of = decltype(number_type<Bytes>());

    static void copy(std::uintptr_t address, unsigned char* out, std::size_t bytes) noexcept {
        for (; bytes >= 8; address += 8, out += 8, bytes -= 8) {
            auto const whole = load<std::uint64_t>(address);
            __builtin_memcpy(out, &whole, sizeof whole);
        }
        for (; bytes != 0; --bytes) *out++ = load<unsigned char>(address++);
    }

    static std::size_t place_of(std::uintptr_t page) noexcept { return (page / page_size) % places; }

    bool page_readable(std::uintptr_t page) noexcept { return is_known(page) || ask(page); }

    __attribute__((noinline)) bool ask(std::uintptr_t page) noexcept {
        if (page == 0) return false;
        if (pays_ != nullptr && !pays_->spend(work_of_question)) return false;
        if (!readable(page)) return false;
        remember(page);
        return true;
    }

    void remember(std::uintptr_t page) noexcept {
        std::size_t const place = place_of(page);
        if (known_[place] != 0) known_[place ^ beside] = known_[place];
        known_[place] = page;
    }

    __attribute__((noinline)) bool are_there(std::uintptr_t address, std::size_t bytes) noexcept {
        if (bytes == 0) return true;
        std::uintptr_t const last = address + bytes - 1;
        if (last < address) return false;
        for (std::uintptr_t page = address & page_mask; page <= (last & page_mask); page += page_size)
            if (!page_readable(page)) return false;
        return true;
    }

    // Makes the pages that are near more, or others.
    __attribute__((noinline)) bool come_near(std::uintptr_t address) noexcept {
        std::uintptr_t const first = address & page_mask;
        std::uintptr_t const last = (address + sizeof(address) - 1) & page_mask;
        if (last < first || !page_readable(first) || !page_readable(last)) return false;
        std::uintptr_t const end = near_ + near_words_ + (sizeof(address) - 1);
        bool const joins = near_words_ != 0 && first <= end && first >= near_;
        if (!joins) near_ = first;
        near_words_ = last + page_size - near_ - (sizeof(address) - 1);
        return true;
    }

    // A page has two places, so that two of which a walk needs both do not evict one another; and they are far apart,
    // as pages that are needed often are neighbours.
    static constexpr std::size_t places = 16;
    static constexpr std::size_t beside = 8;
    std::uintptr_t known_[places]{};
    std::uintptr_t near_ = 0;        // the first of some pages in a row that have answered
    std::uintptr_t near_words_ = 0;  // at how many addresses from there on a word can be read
    work* pays_ = nullptr;
};

}  // namespace tocsin::in_signal
