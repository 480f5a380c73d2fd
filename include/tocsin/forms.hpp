// SPDX-License-Identifier: MIT
// The forms of a report besides text: dump_threads.as(json), .as(collapsed), .as(markup), .as(faulthandler).
//
// All carry what they can of the same report; see in_signal/report_*.hpp for what each line holds.
#pragma once

#include <tocsin/dump.hpp>
#include <tocsin/in_signal/report_collapsed.hpp>
#include <tocsin/in_signal/report_faulthandler.hpp>
#include <tocsin/in_signal/report_json.hpp>
#include <tocsin/in_signal/report_markup.hpp>

namespace tocsin {

// One JSON object a line.
[[gnu::visibility("hidden")]] inline constexpr form_word<in_signal::json_form> json{};
// `thread;outermost;...;innermost count`, for flame graphs.
[[gnu::visibility("hidden")]] inline constexpr form_word<in_signal::collapsed_form> collapsed{};
// Addresses for `llvm-symbolizer --filter-markup`.
[[gnu::visibility("hidden")]] inline constexpr form_word<in_signal::markup_form> markup{};
// What CPython's faulthandler prints, of C++ functions and breadcrumbs.
[[gnu::visibility("hidden")]] inline constexpr form_word<in_signal::faulthandler_form> faulthandler{};

}  // namespace tocsin
