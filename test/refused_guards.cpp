// SPDX-License-Identifier: MIT
// Every system call that guards make, with rows of each kind, refused and interrupted: see support/every_call.hpp.
#include <fcntl.h>

#include <atomic>
#include <string>

#include <tocsin/tocsin.hpp>

#include "support/every_call.hpp"

using namespace tocsin;
using namespace tocsin::test;

namespace {

// A descriptor that cannot be told from others is not written to (in_signal/report_target.hpp), and an open one of a
// local file system can be.
std::set<long> const unknown_descriptor{SYS_fstat};

}  // namespace

TEST_CASE("a guard that wakes: every call refused and interrupted once", "[refused_guards]") {
    require_of_every_call([](life& at) {
        at.whole_life([] { return guard{on<SIGUSR1>(wake), on<rt<3>>(wake)}; },
                      [](auto& signals) {
                          ::raise(SIGUSR1);
                          bool const ready = readable(signals.fd());
                          int seen = 0;
                          for (auto const& what : signals.take()) seen += what.signal();
                          return ready && seen == SIGUSR1;
                      });
    });
}

TEST_CASE("a guard that calls: every call refused and interrupted once", "[refused_guards]") {
    require_of_every_call([](life& at) {
        static std::atomic<int> called{0};
        at.whole_life([] { return guard{on<SIGUSR1>(call([](delivery) { ++called; }))}; },
                      [](auto&) {
                          ::raise(SIGUSR1);
                          return soon([] { return called == 1; });
                      });
    });
}

TEST_CASE("a guard that defers: every call refused and interrupted once", "[refused_guards]") {
    require_of_every_call([](life& at) {
        static int ran = 0;
        at.whole_life([] { return guard{on<SIGUSR1, rt<4>>(defer([] { ++ran; }))}; },
                      [](auto& signals) {
                          ::raise(SIGUSR1);
                          ::raise(rt<4>);
                          ::raise(rt<4>);
                          return signals.pending() && signals.check() == 3 && ran == 3;
                      });
    });
}

TEST_CASE("a guard that stops: every call refused and interrupted once", "[refused_guards]") {
    require_of_every_call([](life& at) {
        at.whole_life([] { return guard{on<SIGTERM>(request_stop)}; },
                      [](auto& signals) {
                          ::raise(SIGTERM);
                          auto const token = signals.stop_token();
                          return signals.stop_requested() && soon([&] { return token.stop_requested(); });
                      });
    });
}

TEST_CASE("a guard that dumps to a descriptor: every call refused and interrupted once", "[refused_guards]") {
    require_of_every_call([](life& at) {
        both_ends const ends;
        at.whole_life([&] { return guard{on<SIGQUIT>(dump_threads.to(ends[1]).as(markup).this_thread())}; },
                      [&](auto&) {
                          ::raise(SIGQUIT);
                          std::string text;
                          return soon([&] {
                              char buffer[4096];
                              for (ssize_t got; (got = ::read(ends[0], buffer, sizeof buffer)) > 0;)
                                  text.append(buffer, static_cast<std::size_t>(got));
                              return text.find("end of report") != std::string::npos;
                          });
                      });
    }, unknown_descriptor);
}

TEST_CASE("a guard that dumps to a file: every call refused and interrupted once", "[refused_guards]") {
    scratch_directory place;
    require_of_every_call([&](life& at) {
        std::string const path = place.file("report-{pid}");
        std::string const made = place.file("report-" + std::to_string(::getpid()));
        at.whole_life([&] { return guard{on<SIGQUIT>(dump_threads.to_file(path.c_str()).as(markup).this_thread())}; },
                      [&](auto&) {
                          ::raise(SIGQUIT);
                          return soon([&] { return contents_of(made).find("end of report") != std::string::npos; });
                      });
        ::unlink(made.c_str());
    }, unknown_descriptor);
}

TEST_CASE("a guard for crashes: every call refused and interrupted once", "[refused_guards]") {
    require_of_every_call([](life& at) {
        both_ends const ends;
        at.whole_life([&] { return guard{on_crash(dump_threads.to(ends[1]))}; },
                      [](auto&) {
                          stack_t stack{};
                          ::sigaltstack(nullptr, &stack);
                          bool const ours = action_of(SIGSEGV).sa_handler != SIG_DFL;
                          return ours && (stack.ss_flags & SS_DISABLE) == 0;
                      });
    });
}

TEST_CASE("a guard with watchdogs: every call refused and interrupted once", "[refused_guards]") {
    require_of_every_call([](life& at) {
        static std::atomic<int> hangs{0};
        at.whole_life(
            [] { return guard{watchdog(10ms)(call([](delivery) { ++hangs; })), watchdog<"named">(1h)(dump_threads)}; },
            [](auto&) { return soon([] { return hangs == 1; }); });
    });
}

TEST_CASE("a guard that chains: every call refused and interrupted once", "[refused_guards]") {
    require_of_every_call([](life& at) {
        static std::atomic<int> before{0};
        struct sigaction const older = make_action([](int) { ++before; }, SA_RESTART);
        ::sigaction(SIGUSR1, &older, nullptr);
        at.whole_life([] { return guard{on<SIGUSR1>(wake, chain)}; },
                      [](auto& signals) {
                          ::raise(SIGUSR1);
                          return readable(signals.fd()) && before == 1;
                      });
        before = 0;
        ::raise(SIGUSR1);  // be it that the kernel still has our entry
        at.works(before == 1);
    });
}

TEST_CASE("a guard in a guard of the same signal: every call refused and interrupted once", "[refused_guards]") {
    require_of_every_call([](life& at) {
        guard outer{on<SIGUSR1>(wake)};
        at.whole_life([] { return guard{on<SIGUSR1>(wake, chain)}; },
                      [&](auto& inner) {
                          ::raise(SIGUSR1);
                          return readable(inner.fd()) && readable(outer.fd());
                      });
        outer.take();
        ::raise(SIGUSR1);
        at.works(readable(outer.fd()));
    });
}
