// SPDX-License-Identifier: MIT
#include <tocsin/query.hpp>

#include <sys/wait.h>

#include <cstring>
#include <string>
#include <thread>

#include <tocsin/guard.hpp>
#include <tocsin/ignore.hpp>
#include <tocsin/in_handler.hpp>

#include "support/catch.hpp"
#include "support/child.hpp"
#include "support/refuse_call.hpp"
#include "support/signals.hpp"

using namespace tocsin;
using test::in_child;
using test::require_in_child;

// With external linkage, so that a symbol table has it.
void a_handler_to_be_found(int) {}

namespace {

constexpr auto nothing = [](delivery const&) noexcept {};

bool ends_with(std::string const& text, std::string const& end) {
    return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

}  // namespace

TEST_CASE("a signal is default, ignored, ours or foreign, as the kernel has it now", "[query]") {
    in_child([] {
        require_in_child(query<SIGUSR1>().owner() == disposition_owner::by_default);
        require_in_child(query<SIGUSR1>().address() == nullptr);
        ::signal(SIGUSR1, SIG_IGN);
        require_in_child(query<SIGUSR1>().owner() == disposition_owner::ignored);
        require_in_child(query<SIGUSR1>().address() == nullptr);
        {
            guard signals{on<SIGUSR1>(in_handler(nothing)), on<rt<2>>(in_handler(nothing))};
            require_in_child(query<SIGUSR1>().owner() == disposition_owner::ours);
            require_in_child(query<rt<2>>().owner() == disposition_owner::ours);
            require_in_child(query<SIGUSR1>().address() != nullptr);
            ::signal(SIGUSR1, a_handler_to_be_found);
            live_disposition const taken = query(SIGUSR1);
            require_in_child(taken.owner() == disposition_owner::foreign && taken.signal() == SIGUSR1);
            require_in_child(taken.address() == reinterpret_cast<void*>(&a_handler_to_be_found));
        }
        require_in_child(query(SIGRTMIN + 2).owner() == disposition_owner::by_default);
    });
}

TEST_CASE("flags and mask are told", "[query]") {
    in_child([] {
        auto action = test::make_action(a_handler_to_be_found, SA_RESTART | SA_NODEFER);
        ::sigaddset(&action.sa_mask, SIGTERM);
        ::sigaddset(&action.sa_mask, SIGRTMIN + 4);
        ::sigaction(SIGUSR2, &action, nullptr);
        live_disposition const found = query<SIGUSR2>();
        require_in_child(found.flags() == (SA_RESTART | SA_NODEFER));
        require_in_child(found.restarts() && !found.on_alternate_stack() && !found.only_once());
        require_in_child(found.mask() == signal_set{SIGTERM, rt<4>});
        auto const once =
            test::make_action(a_handler_to_be_found, SA_ONSTACK | static_cast<int>(SA_RESETHAND));
        ::sigaction(SIGUSR2, &once, nullptr);
        require_in_child(query<SIGUSR2>().on_alternate_stack() && query<SIGUSR2>().only_once());
        require_in_child(!query<SIGUSR2>().restarts() && query<SIGUSR2>().mask().empty());
    });
}

TEST_CASE("a handler has a name and a module", "[query]") {
    in_child([] {
        ::signal(SIGUSR1, a_handler_to_be_found);
        function_name const found = query<SIGUSR1>().symbol();
        test::say(found.function());
        test::say(found.module());
        require_in_child(std::string{found.function()}.find("a_handler_to_be_found") == 0 &&
                         found.offset() == 0);
        char own[256] = {};
        require_in_child(::readlink("/proc/self/exe", own, sizeof own - 1) > 0);
        require_in_child(std::string{found.module()} == own && found.in_module() != 0);

        ::signal(SIGUSR1, reinterpret_cast<void (*)(int)>(&::abort));
        function_name const in_libc = query<SIGUSR1>().symbol();
        test::say(in_libc.module());
        require_in_child(std::string{in_libc.module()}.find("libc") != std::string::npos ||
                         ends_with(in_libc.module(), own));

        ::signal(SIGUSR1, SIG_DFL);
        function_name const none = query<SIGUSR1>().symbol();
        require_in_child(*none.function() == '\0' && *none.module() == '\0' && none.in_module() == 0);
        ::signal(SIGUSR1, reinterpret_cast<void (*)(int)>(0x10));
        require_in_child(*query<SIGUSR1>().symbol().function() == '\0');
    });
}

TEST_CASE("a number that is no signal is refused, SIGKILL is default", "[query]") {
    int const number = GENERATE(0, -1, 32, 33, 65, 1 << 30);
    int code = 0;
    int signal = -1;
    try {
        query(number);
    } catch (error const& refused) {
        code = refused.code();
        signal = refused.signal();
    }
    CHECK(code == EINVAL);
    CHECK(signal == number);
    int reported = 0;
    CHECK(query(reported, number).signal() == 0);
    CHECK(reported == EINVAL);
    CHECK(query(reported, SIGKILL).owner() == disposition_owner::by_default);
    CHECK(reported == 0);
    CHECK(query<SIGSTOP>().owner() == disposition_owner::by_default);
}

TEST_CASE("what was inherited is what the first question finds, and stays", "[query]") {
    in_child([] {
        ::signal(SIGHUP, SIG_IGN);
        ::signal(SIGRTMIN + 5, SIG_IGN);
        test::block_signal(SIGUSR2);
        require_in_child((inherited_ignored() == signal_set{SIGHUP, rt<5>}));
        require_in_child((inherited_blocked() == signal_set{SIGUSR2}));
        ::signal(SIGHUP, SIG_DFL);
        ::signal(SIGINT, SIG_IGN);
        test::block_signal(SIGUSR2, SIG_UNBLOCK);
        require_in_child((inherited_ignored() == signal_set{SIGHUP, rt<5>}));
        require_in_child((inherited_blocked() == signal_set{SIGUSR2}));
        test::require_fork([] { require_in_child(inherited_ignored().contains(SIGHUP)); });
    });
}

TEST_CASE("rows that came before the first question are seen through", "[query]") {
    in_child([] {
        ::signal(SIGHUP, SIG_IGN);
        guard outer{on<SIGHUP, SIGTERM>(in_handler(nothing)), on<SIGWINCH>(ignore)};
        guard inner{on<SIGHUP>(in_handler(nothing))};
        require_in_child(query<SIGHUP>().owner() == disposition_owner::ours);
        require_in_child(inherited_ignored().contains(SIGHUP));
        require_in_child(!inherited_ignored().contains(SIGTERM));
        require_in_child(!inherited_ignored().contains(SIGWINCH));
    });
}

TEST_CASE("another thread's question is about the main thread's mask", "[query]") {
    in_child([] {
        test::block_signal(SIGUSR1);
        std::thread{[] {
            test::block_signal(SIGUSR2);
            test::block_signal(SIGUSR1, SIG_UNBLOCK);
            require_in_child((inherited_blocked() == signal_set{SIGUSR1}));
        }}.join();
    });
}

TEST_CASE("a question that a filter refuses is an error", "[query]") {
    in_child([] {
        test::refuse_call(SYS_rt_sigaction, EPERM);
        int code = 0;
        require_in_child(query(code, SIGUSR1).signal() == 0 && code == EPERM);
    });
}
