// SPDX-License-Identifier: MIT
// Everything: signals that shut down, wake up, dump and watch, in one declaration.
//
// A program that wants less includes less: each header here stands alone.
#pragma once

// Before anything else is read, so that it is the first thing said.
#if __cplusplus < 202002L
#error "tocsin needs C++20: -std=c++20, with g++ 12 or clang 14 or later"
#elif !defined(__linux__) || !(defined(__x86_64__) || defined(__aarch64__))
#error "tocsin supports Linux on x86-64 and aarch64"
#endif

// 5s and 100ms need durations and their literals, which <stop_token> has read anyway. The calendars, the time zones and
// the text of <chrono> cost more to include than all rows of a guard: whoever wants them names that header.
#include <version>
#if defined(__GLIBCXX__) && __has_include(<bits/chrono.h>)
#include <bits/chrono.h>
#else
#include <chrono>
#endif

#include <tocsin/alarm_guard.hpp>
#include <tocsin/block.hpp>
#include <tocsin/call.hpp>
#include <tocsin/chain.hpp>
#include <tocsin/check_every.hpp>
#include <tocsin/child_reset.hpp>
#include <tocsin/children.hpp>
#include <tocsin/deadline.hpp>
#include <tocsin/defer.hpp>
#include <tocsin/die_by.hpp>
#include <tocsin/doctor.hpp>
#include <tocsin/dump.hpp>
#include <tocsin/dump_later.hpp>
#include <tocsin/exit_with.hpp>
#include <tocsin/fatal.hpp>
#include <tocsin/forms.hpp>
#include <tocsin/guard.hpp>
#include <tocsin/guarded.hpp>
#include <tocsin/hold.hpp>
#include <tocsin/ignore.hpp>
#include <tocsin/in_handler.hpp>
#include <tocsin/interval_timer.hpp>
#include <tocsin/pending.hpp>
#include <tocsin/process_defaults.hpp>
#include <tocsin/query.hpp>
#include <tocsin/retry.hpp>
#include <tocsin/send.hpp>
#include <tocsin/signal_set.hpp>
#include <tocsin/sigpipe.hpp>
#include <tocsin/simulate.hpp>
#include <tocsin/sleep.hpp>
#include <tocsin/stop.hpp>
#include <tocsin/systemd.hpp>
#include <tocsin/thread_guard.hpp>
#include <tocsin/throw_as.hpp>
#include <tocsin/timer.hpp>
#include <tocsin/trace.hpp>
#include <tocsin/wait.hpp>
#include <tocsin/wake.hpp>
#include <tocsin/watchdog.hpp>
#include <tocsin/watchdogs.hpp>

namespace tocsin {

using namespace std::chrono_literals;

}  // namespace tocsin
