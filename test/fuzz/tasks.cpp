// SPDX-License-Identifier: MIT
// Fuzz target: what /proc says of threads.
//
// The first byte says in pieces of what size the text comes, the rest is the text, or the directory entries.
#include <tocsin/in_signal/tasks.hpp>

#include <algorithm>
#include <string>
#include <vector>

#include "must.hpp"

using namespace tocsin::in_signal;
using fuzz::must;

namespace {

blocked_mask mask_in(std::string const& text, std::size_t piece) {
    blocked_mask blocked;
    for (std::size_t at = 0; at < text.size(); at += piece) {
        std::vector<char> const exact(
            text.begin() + static_cast<std::ptrdiff_t>(at),
            text.begin() + static_cast<std::ptrdiff_t>(std::min(at + piece, text.size())));
        blocked.take(exact.data(), exact.size());
    }
    return blocked;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
    if (size == 0) return 0;
    std::string const text{reinterpret_cast<char const*>(data) + 1, size - 1};
    waiting_at const waits = parse_where_it_waits(text.c_str());
    must(!waits.known || (waits.sp != 0 && waits.pc != 0), "a thread waits somewhere");
    char const state = parse_task_state(text.c_str());
    must(state == '?' || (state >= 'A' && state <= 'Z') || (state >= 'a' && state <= 'z'),
         "a state is a letter");
    blocked_mask const whole = mask_in(text, text.size() + 1);
    blocked_mask const pieces = mask_in(text, data[0] + 1U);
    must(whole.known() == pieces.known(), "pieces make no difference");
    must(!whole.known() || whole.mask() == pieces.mask(), "pieces make no difference to the mask");
    std::vector<char> const exact(text.begin(), text.end());
    each_number(exact.data(), exact.size(),
                [](int number) { must(number > 0, "a thread has a positive number"); });
    return 0;
}
