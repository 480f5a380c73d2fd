// SPDX-License-Identifier: MIT
// What TOCSIN says: words with commas between them, such as "crash,quit,to=crash-{pid}.txt".
//
// Runs anywhere; a pure function over a text, without heap and without a look at anything else but the numbers of
// signals. Text that is wrong anywhere is refused as a whole, with the place and a sentence; it may hold anything.
// A path has no comma in it.
#pragma once

#include <cstddef>
#include <cstdint>

#include <tocsin/duration.hpp>
#include <tocsin/in_signal/report_target.hpp>
#include <tocsin/signal.hpp>

namespace tocsin::posix {

inline constexpr std::size_t longest_settings = 4096;
inline constexpr std::size_t longest_settings_path = 1023;
inline constexpr unsigned most_settings_signals = 8;
// Microseconds; a report takes some of them itself.
inline constexpr std::uint64_t shortest_settings_watch = 100'000;

enum class settings_form : unsigned char { text, json, collapsed, markup, faulthandler };

struct settings {
    bool crash = false;
    bool doctor = false;
    bool repeated = false;
    bool exiting = false;
    bool this_thread_only = false;
    bool with_registers = true;
    settings_form form = settings_form::text;
    std::uint64_t faults = 0;        // that `crash` is narrowed to, a bit for each (1 << signal); 0: all
    std::uint64_t microseconds = 0;  // until a report without a signal; 0: none
    int signals[most_settings_signals] = {};
    unsigned signal_count = 0;
    int fd = 2;
    char path[longest_settings_path + 1] = {};  // empty: to `fd`

    bool reports() const noexcept { return crash || signal_count != 0 || microseconds != 0; }
};

// What is wrong, and where.
struct settings_error {
    char const* what = nullptr;  // null: nothing
    std::size_t at = 0;          // the first character, counted from 0
    std::size_t size = 0;

    explicit operator bool() const noexcept { return what != nullptr; }
};

namespace detail {

using tocsin::detail::characters;

struct form_name {
    char const* name;
    settings_form form;
};
[[gnu::visibility("hidden")]] inline constexpr form_name form_names[] = {
    {"text", settings_form::text},
    {"json", settings_form::json},
    {"markup", settings_form::markup},
    {"collapsed", settings_form::collapsed},
    {"faulthandler", settings_form::faulthandler},
};

struct time_unit {
    char const* name;
    std::uint64_t num, den;  // as seconds
};
[[gnu::visibility("hidden")]] inline constexpr time_unit time_units[] = {
    {"ms", 1, 1000},
    {"s", 1, 1},
    {"min", 60, 1},
    {"h", 3600, 1},
};

constexpr std::size_t find_character(characters in, char wanted) noexcept {
    std::size_t at = 0;
    while (at < in.size && in.data[at] != wanted) ++at;
    return at;
}

constexpr characters first_of(characters in, std::size_t size) noexcept {
    in.size = size;
    return in;
}

constexpr characters without_blanks(characters text) noexcept {
    auto const blank = [](char c) noexcept { return c == ' ' || c == '\t' || c == '\n'; };
    while (text.size != 0 && blank(text.data[0])) text = text.behind(1);
    while (text.size != 0 && blank(text.data[text.size - 1])) --text.size;
    return text;
}

// The name of a signal in any case: 0 if it is none.
inline int signal_in_any_case(characters text) noexcept {
    char upper[16] = {};
    if (text.size >= sizeof upper) return 0;
    for (std::size_t i = 0; i < text.size; ++i) {
        char const c = text.data[i];
        upper[i] = c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
    }
    return parse(first_of(characters{upper}, text.size)).value();
}

// Digits at the beginning; false if there are none, or more than a number holds.
constexpr bool take_number(characters& text, std::uint64_t& number) noexcept {
    number = 0;
    std::size_t digits = 0;
    for (; digits < text.size && text.data[digits] >= '0' && text.data[digits] <= '9'; ++digits) {
        if (digits == 18) return false;
        number = number * 10 + static_cast<std::uint64_t>(text.data[digits] - '0');
    }
    text = text.behind(digits);
    return digits != 0;
}

// Takes a text apart, word by word.
class settings_reader {
  public:
    settings_reader(characters text, settings& into) noexcept : text_{text}, into_{into} {}

    settings_error read() noexcept {
        if (text_.size > longest_settings) return {"more than 4096 characters", 0, 0};
        if (without_blanks(text_).size == 0) return {};
        for (std::size_t at = 0; at <= text_.size;) {
            characters const rest = text_.behind(at);
            characters const whole = first_of(rest, find_character(rest, ','));
            word_ = without_blanks(whole);
            if (char const* const wrong = take_word()) return wrong_here(wrong);
            at += whole.size + 1;
        }
        return read_as_a_whole();
    }

  private:
    // Those that are said once.
    enum word : unsigned { crash, doctor, to, format, threads, registers, signals, timer, exits, known_words };

    settings_error wrong_here(char const* what) const noexcept {
        return {what, static_cast<std::size_t>(word_.data - text_.data), word_.size};
    }

    // What each word says may be right, and all of them together nothing.
    settings_error read_as_a_whole() const noexcept {
        if (has(signals) && !has(crash)) return wrong_at(signals, "narrows crash; say crash as well");
        if (has(exits) && !has(timer))
            return wrong_at(exits, "needs watchdog=TIME or later=TIME, after which to exit");
        if (into_.reports()) return {};
        for (unsigned each = to; each <= registers; ++each)
            if (has(static_cast<word>(each)))
                return wrong_at(static_cast<word>(each),
                                "nothing reports; say crash, quit, on=SIGNAL, watchdog=TIME or later=TIME");
        return {};
    }

    bool has(word which) const noexcept { return seen_[which].size != 0; }
    settings_error wrong_at(word which, char const* what) const noexcept {
        return {what, static_cast<std::size_t>(seen_[which].data - text_.data), seen_[which].size};
    }

    char const* once(word which) noexcept {
        if (has(which)) return "said twice";
        seen_[which] = word_;
        return nullptr;
    }
    char const* once(word which, bool& flag, bool value) noexcept {
        flag = value;
        return once(which);
    }

    char const* take_word() noexcept {
        if (word_.size == 0) return "a word is missing before or behind a comma";
        std::size_t const equals = find_character(word_, '=');
        if (equals == word_.size) return take_plain_word();
        characters const key = first_of(word_, equals);
        characters const value = word_.behind(equals + 1);
        if (key.is("on")) return take_signal(signal_in_any_case(value));
        if (key.is("watchdog")) return take_time(value, true);
        if (key.is("later")) return take_time(value, false);
        if (key.is("to")) return take_target(value);
        if (key.is("format")) return take_form(value);
        if (key.is("signals")) return take_faults(value);
        if (key.is("threads")) {
            if (!value.is("all") && !value.is("this")) return "takes all or this";
            return once(threads, into_.this_thread_only, value.is("this"));
        }
        if (key.is("registers")) {
            if (!value.is("on") && !value.is("off")) return "takes on or off";
            return once(registers, into_.with_registers, value.is("on"));
        }
        return no_such_word;
    }

    char const* take_plain_word() noexcept {
        if (word_.is("crash")) return once(crash, into_.crash, true);
        if (word_.is("doctor")) return once(doctor, into_.doctor, true);
        if (word_.is("exit")) return once(exits, into_.exiting, true);
        if (word_.is("quit")) return take_signal(SIGQUIT);
        if (word_.is("watchdog") || word_.is("later"))
            return "a time is missing, such as watchdog=30s or later=30s";
        return no_such_word;
    }

    char const* take_signal(int number) noexcept {
        if (number == 0) return "no such signal; a name is meant, such as on=USR1";
        if (is_fault(number)) return "a fault; say crash, which signals=SEGV+BUS can narrow";
        if (!can_be_caught(number)) return "cannot be caught";
        for (unsigned i = 0; i < into_.signal_count; ++i)
            if (into_.signals[i] == number) return "said twice";
        if (into_.signal_count == most_settings_signals) return "more than 8 signals";
        into_.signals[into_.signal_count++] = number;
        return nullptr;
    }

    char const* take_time(characters value, bool repeated) noexcept {
        if (char const* const twice = once(timer)) return has_other_timer(repeated) ? one_timer : twice;
        std::uint64_t count = 0;
        if (!take_number(value, count)) return no_time;
        into_.repeated = repeated;
        for (time_unit const& unit : time_units) {
            if (!value.is(unit.name)) continue;
            auto const length =
                tocsin::detail::count_units(count, unit.num, unit.den, 1'000'000, longest_microseconds);
            if (length.is == tocsin::detail::length::too_long) return "too long a time";
            if (length.is == tocsin::detail::length::zero) return "no time at all";
            if (repeated && length.count < shortest_settings_watch) return "less than 100ms";
            into_.microseconds = length.count;
            return nullptr;
        }
        return no_time;
    }
    bool has_other_timer(bool repeated) const noexcept { return into_.repeated != repeated; }

    char const* take_form(characters value) noexcept {
        for (form_name const& each : form_names) {
            if (!value.is(each.name)) continue;
            into_.form = each.form;
            return once(format);
        }
        return "takes text, json, collapsed, markup or faulthandler";
    }

    char const* take_faults(characters value) noexcept {
        for (;;) {
            std::size_t const size = find_character(value, '+');
            int const number = signal_in_any_case(first_of(value, size));
            if (number == 0 || !is_fault(number))
                return "takes SEGV, BUS, FPE, ILL, TRAP, SYS and ABRT, with + between them";
            into_.faults |= std::uint64_t{1} << number;
            if (size == value.size) return once(signals);
            value = value.behind(size + 1);
        }
    }

    char const* take_target(characters value) noexcept {
        if (char const* const twice = once(to)) return twice;
        if (value.is("stderr")) return nullptr;
        if (!value.starts_with("fd:")) return take_path(value);
        value = value.behind(3);
        std::uint64_t number = 0;
        if (!take_number(value, number) || value.size != 0 || number > 0x7fffffff)
            return "takes a descriptor's number, such as to=fd:2";
        into_.fd = static_cast<int>(number);
        return nullptr;
    }

    char const* take_path(characters value) noexcept {
        if (value.size > longest_settings_path) return "more than 1023 characters of path";
        std::size_t file = 0;
        for (std::size_t i = 0; i < value.size; ++i)
            if (value.data[i] == '/') file = i + 1;
        if (file == value.size) return "takes stderr, fd:NUMBER or the path of a file";
        if (value.size - file > in_signal::longest_file_name) return "more than 200 characters of file name";
        for (std::size_t i = 0; i < value.size; ++i) {
            characters const rest = value.behind(i);
            if (rest.data[0] == '\0') return "a zero byte in a path";
            if (rest.data[0] != '{') continue;
            if (!rest.starts_with("{pid}") && !rest.starts_with("{time}"))
                return "only {pid} and {time} are filled in";
            if (i < file) return "{pid} and {time} are filled in in the name of the file only";
        }
        __builtin_memcpy(into_.path, value.data, value.size);
        into_.path[value.size] = '\0';
        return nullptr;
    }

    static constexpr std::uint64_t longest_microseconds = tocsin::detail::longest_duration / 1000;
    static constexpr char const* no_such_word =
        "no such word; there are crash, quit, on=SIGNAL, watchdog=TIME, later=TIME, exit, to=FILE, "
        "format=FORM, threads=, signals=, registers= and doctor";
    static constexpr char const* no_time = "takes a whole number and its unit: 500ms, 30s, 5min or 1h";
    static constexpr char const* one_timer = "watchdog and later contradict each other; say one of them";

    characters text_;
    settings& into_;
    characters word_{""};
    characters seen_[known_words]{"", "", "", "", "", "", "", "", ""};
};

}  // namespace detail

// Reads `text` into `into`, which is of no use if the answer is an error. Nothing at all, or blanks, are no error.
inline settings_error parse_settings(tocsin::detail::characters text, settings& into) noexcept {
    into = settings{};
    if (text.data == nullptr) return {};
    return detail::settings_reader{text, into}.read();
}

// `TOCSIN is not followed: at 6 "crush": no such word; ...`: the place counts from 1, and what is shown of the text
// is printable.
inline void append_settings_error(in_signal::line& to, tocsin::detail::characters text,
                                  settings_error wrong) noexcept {
    constexpr std::size_t shown = 64;
    to.text("TOCSIN is not followed: ");
    if (wrong.size != 0 || wrong.at != 0) {
        to.text("at ").decimal(wrong.at + 1).character(' ');
        if (wrong.size != 0) to.quoted(text.data + wrong.at, wrong.size, shown);
        to.text(wrong.size != 0 ? ": " : "");
    }
    to.text(wrong.what);
}

}  // namespace tocsin::posix
