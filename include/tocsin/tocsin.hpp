// SPDX-License-Identifier: MIT
// Everything: signals that shut down, wake up, dump and watch, in one declaration.
//
// A program that wants less includes less: each header here stands alone.
#pragma once

#include <chrono>

#include <tocsin/alarm_guard.hpp>
#include <tocsin/block.hpp>
#include <tocsin/call.hpp>
#include <tocsin/chain.hpp>
#include <tocsin/deadline.hpp>
#include <tocsin/defer.hpp>
#include <tocsin/dump.hpp>
#include <tocsin/dump_later.hpp>
#include <tocsin/exit_with.hpp>
#include <tocsin/guard.hpp>
#include <tocsin/ignore.hpp>
#include <tocsin/in_handler.hpp>
#include <tocsin/interval_timer.hpp>
#include <tocsin/simulate.hpp>
#include <tocsin/sleep.hpp>
#include <tocsin/stop.hpp>
#include <tocsin/systemd.hpp>
#include <tocsin/thread_guard.hpp>
#include <tocsin/timer.hpp>
#include <tocsin/wake.hpp>
#include <tocsin/watchdog.hpp>

namespace tocsin {

using namespace std::chrono_literals;

}  // namespace tocsin
