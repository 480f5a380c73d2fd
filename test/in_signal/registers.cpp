// SPDX-License-Identifier: MIT
#include <tocsin/in_signal/registers.hpp>

#include <signal.h>

#include "support/catch.hpp"

using namespace tocsin::in_signal;

namespace {

ucontext_t taken;

void take(int, siginfo_t*, void* context) { taken = *static_cast<ucontext_t*>(context); }

// Evaluated by the compiler, which refuses to look beyond the bytes that there are.
template <unsigned char... Bytes>
constexpr bool is_call() {
    unsigned char const before[machine::longest_call] = {Bytes...};
    return machine::ends_with_call(before);
}

}  // namespace

#if defined(__x86_64__)
TEST_CASE("calls are told from other instructions", "[registers]") {
    STATIC_REQUIRE(is_call<0, 0, 0xe8, 1, 2, 3, 4>());           // call near
    STATIC_REQUIRE(is_call<0, 0, 0, 0, 0, 0xff, 0xd0>());        // call *%rax
    STATIC_REQUIRE(is_call<0, 0, 0, 0, 0x41, 0xff, 0xd3>());     // call *%r11
    STATIC_REQUIRE(is_call<0, 0, 0, 0, 0, 0xff, 0x10>());        // call *(%rax)
    STATIC_REQUIRE(is_call<0, 0, 0, 0, 0xff, 0x14, 0x24>());     // call *(%rsp)
    STATIC_REQUIRE(is_call<0, 0, 0, 0, 0xff, 0x50, 0x08>());     // call *8(%rax)
    STATIC_REQUIRE(is_call<0, 0, 0, 0xff, 0x54, 0x24, 0x08>());  // call *8(%rsp)
    STATIC_REQUIRE(is_call<0, 0xff, 0x15, 1, 2, 3, 4>());        // call *slot(%rip)
    STATIC_REQUIRE(is_call<0, 0xff, 0x90, 1, 2, 3, 4>());        // call *disp32(%rax)
    STATIC_REQUIRE(is_call<0xff, 0x94, 0x24, 1, 2, 3, 4>());     // call *disp32(%rsp)
    STATIC_REQUIRE(is_call<0xff, 0x14, 0xc5, 1, 2, 3, 4>());     // call *table(,%rax,8)
    STATIC_REQUIRE_FALSE(is_call<0, 0, 0, 0, 0, 0, 0>());
    STATIC_REQUIRE_FALSE(is_call<0, 0, 0, 0, 0, 0xff, 0xe0>());  // jmp *%rax
    STATIC_REQUIRE_FALSE(is_call<0, 0, 0, 0, 0, 0xff, 0x14>());  // cut off
    STATIC_REQUIRE_FALSE(is_call<0, 0, 0, 0, 0, 0xff, 0x15>());
    STATIC_REQUIRE_FALSE(is_call<0, 0, 0xe9, 1, 2, 3, 4>());        // jmp near
    STATIC_REQUIRE_FALSE(is_call<0xe8, 1, 2, 3, 4, 0x90, 0x90>());  // a call further up
}
#else
TEST_CASE("calls are told from other instructions", "[registers]") {
    STATIC_REQUIRE(is_call<0x05, 0x00, 0x00, 0x94>());        // bl
    STATIC_REQUIRE(is_call<0xff, 0xff, 0xff, 0x97>());        // bl, backwards
    STATIC_REQUIRE(is_call<0x00, 0x00, 0x3f, 0xd6>());        // blr x0
    STATIC_REQUIRE(is_call<0x01, 0x08, 0x3f, 0xd7>());        // blraa x0, x1
    STATIC_REQUIRE_FALSE(is_call<0x05, 0x00, 0x00, 0x14>());  // b
    STATIC_REQUIRE_FALSE(is_call<0x00, 0x00, 0x1f, 0xd6>());  // br x0
    STATIC_REQUIRE_FALSE(is_call<0xc0, 0x03, 0x5f, 0xd6>());  // ret
    STATIC_REQUIRE_FALSE(is_call<0, 0, 0, 0>());
}
#endif

TEST_CASE("a context's registers are all known", "[registers]") {
    struct sigaction action {};
    action.sa_sigaction = take;
    action.sa_flags = SA_SIGINFO;
    sigaction(SIGUSR1, &action, nullptr);
    raise(SIGUSR1);
    registers const seen = registers_of(taken);
    CHECK(seen.signal_frame);
    CHECK(seen.pc == program_counter(taken));
    CHECK(seen.sp() == stack_pointer(taken));
    CHECK(seen.knows(machine::frame_register));
    CHECK_FALSE(seen.knows(machine::register_count));

    careful_reader memory;
    registers again{};
    REQUIRE(registers_saved_at(reinterpret_cast<std::uintptr_t>(&taken), memory, again));
    CHECK(again.pc == seen.pc);
    for (unsigned i = 0; i < machine::register_count; ++i) CHECK(again.value[i] == seen.value[i]);
    CHECK_FALSE(registers_saved_at(8, memory, again));
}

TEST_CASE("a place known by pc and sp says so", "[registers]") {
    registers const few = registers_at(0x1000, 0x2000);
    CHECK(few.pc == 0x1000);
    CHECK(few.sp() == 0x2000);
    CHECK(few.knows(machine::stack_register));
    CHECK_FALSE(few.knows(machine::frame_register));
    std::uintptr_t value = 0;
    CHECK_FALSE(few.look_up(machine::frame_register, value));
}

TEST_CASE("here is where it is written", "[registers]") {
    registers const own = here();
    auto const local = reinterpret_cast<std::uintptr_t>(&own);
    CHECK(own.sp() <= local);
    CHECK(local - own.sp() < 65536);
    CHECK(own.pc != 0);
    CHECK(own.knows(machine::frame_register));
    CHECK_FALSE(own.knows(0));
}
