// SPDX-License-Identifier: MIT
// Fuzz target: what TOCSIN says. Whatever it is, an error points into it and its line is printable, and what is no
// error says something.
#include <tocsin/posix/settings.hpp>

#include <cstdlib>
#include <cstring>

#include "must.hpp"

using namespace tocsin;
using fuzz::must;

namespace {

struct view {
    char const* from;
    std::size_t length;

    char const* data() const noexcept { return from; }
    std::size_t size() const noexcept { return length; }
};

void look_at(posix::settings const& said) {
    std::size_t const length = std::strlen(said.path);
    must(length <= posix::longest_settings_path, "the path ends");
    must(said.signal_count <= posix::most_settings_signals, "the signals have room");
    for (unsigned i = 0; i < said.signal_count; ++i)
        must(can_be_caught(said.signals[i]) && !is_fault(said.signals[i]), "signals can be reported on");
    must(said.faults == 0 || said.crash, "narrowing needs what is narrowed");
    must(!said.exiting || said.microseconds != 0, "an end needs a time");
    must(said.microseconds <= tocsin::detail::longest_duration / 1000, "the kernel's clocks hold the time");
}

void look_at(view text, posix::settings_error wrong) {
    must(wrong.at <= text.length && wrong.size <= text.length - wrong.at, "the error lies in the text");
    in_signal::fixed_line<700> line;
    posix::append_settings_error(line, text, wrong);
    must(!line.cut(), "the line holds the error");
    for (std::size_t i = 0; i < line.size(); ++i)
        must(in_signal::printable(line.data()[i]), "the line is printable");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
    // Not one byte more than the text: reading behind it is seen.
    char* const exact = static_cast<char*>(std::malloc(size + (size == 0 ? 1 : 0)));
    if (size != 0) std::memcpy(exact, data, size);
    view const text{exact, size};
    posix::settings said;
    posix::settings_error const wrong = posix::parse_settings(text, said);
    if (wrong)
        look_at(text, wrong);
    else
        look_at(said);
    std::free(exact);
    return 0;
}
