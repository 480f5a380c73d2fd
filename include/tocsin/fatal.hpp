// SPDX-License-Identifier: MIT
// `fatal("message")`: the end of the program, with a report that says why and where.
#pragma once

#include <tocsin/dump.hpp>
#include <tocsin/libc_functions.hpp>
#include <tocsin/posix/last_words.hpp>

namespace tocsin {

namespace detail {

template <class T>
concept text_like = requires(T const& text) {
    static_cast<char const*>(text.data());
    static_cast<std::size_t>(text.size());
};

struct fatal_place {
    char const* file;
    int line;
    char const* function;
};

[[noreturn, gnu::noinline, gnu::visibility("hidden")]] inline void end_fatally(char const* text, std::size_t size,
                                                                               fatal_place const& at) noexcept {
    in_signal::fixed_line<1024> words;
    words.text("fatal: ").text(text, size < 600 ? size : 600).text(size < 600 ? "" : "...");
    words.text(", ").text(at.function, in_signal::length_of(at.function, 120)).text(" at ").text(at.file);
    words.character(':').decimal(at.line).character('\0');
    in_signal::table* const in = in_signal::the_table.load_acquire();
    in_signal::report_desk* const desk = in != nullptr ? in_signal::desk_of(*in) : nullptr;
    in_signal::link const* const claim = in != nullptr ? in->slots[SIGABRT].newest.load() : nullptr;
    if (desk != nullptr) posix::say_last_words(*desk, words.data(), "", "", 0);
    if (desk == nullptr || claim == nullptr || !claim->is_claim()) {
        in_signal::fixed_line<2048> shown;
        shown.text("tocsin: ").escaped(words.data(), in_signal::length_of(words.data()), 1500);
        in_signal::output{2, in_signal::write_patience}.put(shown);
        dump(2);
    }
    libc::abort();
}

}  // namespace detail

// Ends the process by SIGABRT. Where a guard reports that signal, its report carries the message and the place of this
// call; without one both and a report go to standard error first. Runs on any ordinary thread, the library's and
// foreign ones too, in a std::terminate handler, and where an assertion has failed. Never returns; no destructor and no
// function registered with atexit runs. A message of more than 600 bytes is cut.
[[noreturn]] inline void fatal(char const* message, char const* file = __builtin_FILE(), int line = __builtin_LINE(),
                               char const* function = __builtin_FUNCTION()) noexcept {
    char const* const text = message != nullptr ? message : "";
    detail::end_fatally(text, __builtin_strlen(text), {file, line, function});
}
template <detail::text_like Text>
[[noreturn]] void fatal(Text const& message, char const* file = __builtin_FILE(), int line = __builtin_LINE(),
                        char const* function = __builtin_FUNCTION()) noexcept {
    detail::end_fatally(message.data(), message.size(), {file, line, function});
}

}  // namespace tocsin
