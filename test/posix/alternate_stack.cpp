// SPDX-License-Identifier: MIT
#include "support/signals.hpp"

#include <tocsin/posix/alternate_stack.hpp>

#include <thread>
#include <vector>

using namespace tocsin;
using namespace tocsin::test;

namespace {
stack_t current() {
    stack_t now{};
    ::sigaltstack(nullptr, &now);
    return now;
}
void* handler_stood_at;
void remember_place(int) { handler_stood_at = __builtin_frame_address(0); }
}  // namespace

TEST_CASE("a thread without an alternate stack gets one, and gives it back", "[alternate_stack]") {
    in_child([] {
        require_in_child((current().ss_flags & SS_DISABLE) != 0);
        {
            posix::alternate_stack stack;
            require_in_child(!stack.open(0) && stack.owns());
            require_in_child((current().ss_flags & SS_DISABLE) == 0);
            require_in_child(current().ss_size >= posix::alternate_stack_need(0));
        }
        require_in_child((current().ss_flags & SS_DISABLE) != 0);
    });
}

TEST_CASE("a handler runs on it", "[alternate_stack]") {
    in_child([] {
        posix::alternate_stack stack;
        require_in_child(!stack.open(100'000));
        auto const action = make_action(&remember_place, SA_ONSTACK);
        ::sigaction(SIGUSR1, &action, nullptr);
        ::raise(SIGUSR1);
        auto const* const bottom = static_cast<char const*>(current().ss_sp);
        auto const* const at = static_cast<char const*>(handler_stood_at);
        require_in_child(at > bottom && at < bottom + current().ss_size && current().ss_size >= 100'000);
    });
}

TEST_CASE("below it lies a page that faults", "[alternate_stack]") {
    auto process = child::run([] {
        posix::alternate_stack stack;
        require_in_child(!stack.open(0));
        auto* const bottom = static_cast<char volatile*>(current().ss_sp);
        *bottom = 1;
        say("bottom is there");
        *(bottom - 1) = 1;
    });
    auto const& result = process.wait();
    INFO(result.describe());
    CHECK(result.killed_by(SIGSEGV));
    CHECK(result.out == "bottom is there\n");
}

TEST_CASE("one that is there and large enough is adopted and left alone", "[alternate_stack]") {
    in_child([] {
        std::vector<char> memory(posix::alternate_stack_need(0) + 1000);
        stack_t own{};
        own.ss_sp = memory.data();
        own.ss_size = memory.size();
        ::sigaltstack(&own, nullptr);
        {
            posix::alternate_stack stack;
            require_in_child(!stack.open(0) && !stack.owns());
        }
        require_in_child(current().ss_sp == memory.data());
    });
}

TEST_CASE("one that is too small is replaced, and put back", "[alternate_stack]") {
    in_child([] {
        std::vector<char> memory(static_cast<std::size_t>(MINSIGSTKSZ) + 4096);
        stack_t own{};
        own.ss_sp = memory.data();
        own.ss_size = memory.size();
        ::sigaltstack(&own, nullptr);
        {
            posix::alternate_stack stack;
            require_in_child(!stack.open(0) && stack.owns());
            require_in_child(current().ss_sp != memory.data());
        }
        require_in_child(current().ss_sp == memory.data() && current().ss_size == memory.size());
    });
}

TEST_CASE("one that somebody else has installed after us stays", "[alternate_stack]") {
    in_child([] {
        std::vector<char> memory(posix::alternate_stack_need(0));
        {
            posix::alternate_stack stack;
            require_in_child(!stack.open(0));
            stack_t own{};
            own.ss_sp = memory.data();
            own.ss_size = memory.size();
            ::sigaltstack(&own, nullptr);
        }
        require_in_child(current().ss_sp == memory.data());
    });
}

TEST_CASE("each thread has its own", "[alternate_stack]") {
    in_child([] {
        posix::alternate_stack stack;
        require_in_child(!stack.open(0));
        std::thread{[] {
            require_in_child((current().ss_flags & SS_DISABLE) != 0);
            posix::alternate_stack own;
            require_in_child(!own.open(0) && own.owns());
        }}.join();
        require_in_child((current().ss_flags & SS_DISABLE) == 0);
    });
}
