// SPDX-License-Identifier: MIT
// The protocol of the slots in every interleaving, over the real code: see posix/model/.
#include "support/catch.hpp"

#include "posix/model/explorer.hpp"

using namespace model;

namespace {

void explore(scenario const& of, std::size_t at_least) {
    outcome const result = explorer{of}.run();
    INFO("states: " << result.states << ", steps: " << result.steps << ", ends: " << result.ends);
    INFO(result.failure);
    WARN("states: " << result.states << ", steps: " << result.steps << ", ends: " << result.ends);
    REQUIRE(result.failure.empty());
    REQUIRE(result.states > at_least);
}

int times_seen(char who) {
    int times = 0;
    for (char const* at = last(); *at != '\0'; ++at) times += *at == who;
    return times;
}

// Everybody who is there, and nobody else, sees the last delivery, and sees it once; and without a claim the kernel
// holds a disposition of somebody else, whole.
void settled() {
    for (int i = 0; i < max_claims; ++i)
        if (times_seen(static_cast<char>('A' + i)) != (now.claims[i].installed ? 1 : 0))
            fail(("at the end a claim is wrong: " + std::string(last())).c_str());
    bool whole = false;
    for (int i = 0; i < max_foreign; ++i) {
        if (times_seen(static_cast<char>('F' + i)) != (now.foreign[i].installed ? 1 : 0))
            fail("at the end not everybody who is there sees a delivery once");
        whole = whole || (now.foreign[i].installed && same(now.kernel, now.foreign[i].own));
    }
    if (installed_claims() == 0 && !whole) fail("the kernel does not hold what it held without a claim");
}

}  // namespace


// One claim.

TEST_CASE("a claim comes and goes while signals arrive", "[registry_model]") {
    explore({{[] { claim(0); withdraw(0); }, nullptr, nullptr}, 2, 3, &settled}, 10000);
}

TEST_CASE("a claim comes and goes while a handler is interrupted by the next delivery", "[registry_model]") {
    explore({{[] { claim(0); withdraw(0); }, nullptr, nullptr}, 2, 2, &settled, [] { now.flags = SA_NODEFER; }}, 1000);
}

TEST_CASE("a claim that was withdrawn can be claimed again", "[registry_model]") {
    explore({{[] { claim(0); withdraw(0); claim(0); withdraw(0); }, nullptr, nullptr}, 1, 3, &settled}, 1000);
}

// Two claims.

TEST_CASE("two claims of two threads come and go", "[registry_model]") {
    explore({{[] { claim(0); withdraw(0); }, [] { claim(1); withdraw(1); }, nullptr}, 1, 4, &settled}, 1000);
}

TEST_CASE("a claim stays while another comes and goes", "[registry_model]") {
    explore({{[] { claim(0); }, [] { claim(1); withdraw(1); }, nullptr}, 1, 7, &settled}, 1000);
}

TEST_CASE("two claims go in the order in which they came", "[registry_model]") {
    explore({{[] { claim(0); claim(1); withdraw(0); withdraw(1); }, nullptr, nullptr}, 1, 3, &settled}, 1000);
}

TEST_CASE("two claims go in the opposite order", "[registry_model]") {
    explore({{[] { claim(0); claim(1); withdraw(1); withdraw(0); }, nullptr, nullptr}, 1, 3, &settled}, 1000);
}

TEST_CASE("two claims go at the same time", "[registry_model]") {
    explore({{[] { withdraw(0); }, [] { withdraw(1); }, nullptr}, 1, 4, &settled, [] { claim(0); claim(1); }}, 1000);
}

// Foreign handlers.

TEST_CASE("a foreign handler comes while a claim comes and goes", "[registry_model]") {
    explore({{[] { claim(0); withdraw(0); }, [] { install(1); }, nullptr}, 1, 4, &settled}, 1000);
}

TEST_CASE("two foreign handlers come while a claim goes", "[registry_model]") {
    explore({{[] { withdraw(0); }, [] { install(1); }, [] { install(2); }}, 1, 1, &settled, [] { claim(0); }}, 1000);
}

TEST_CASE("two foreign handlers come while a claim comes", "[registry_model]") {
    explore({{[] { claim(0); }, [] { install(1); }, [] { install(2); }}, 1, 1, &settled}, 1000);
}

TEST_CASE("two foreign handlers come while a second claim comes and goes", "[registry_model]") {
    explore({{[] { claim(1); withdraw(1); }, [] { install(1); install(2); }, nullptr}, 1, 4, &settled,
             [] { claim(0); }}, 1000);
}

TEST_CASE("a foreign handler comes and goes while a claim comes and goes", "[registry_model]") {
    explore({{[] { claim(0); withdraw(0); }, [] { install(1); uninstall(1); }, nullptr}, 1, 4, &settled}, 1000);
}

TEST_CASE("a foreign handler goes while a claim is made over it", "[registry_model]") {
    explore({{[] { claim(1); }, [] { uninstall(1); }, nullptr}, 1, 4, &settled, [] { claim(0); install(1); }}, 100);
}

TEST_CASE("a foreign handler comes and goes under a second claim", "[registry_model]") {
    explore({{[] { claim(1); withdraw(1); }, [] { install(1); uninstall(1); }, nullptr}, 1, 4, &settled,
             [] { claim(0); }}, 1000);
}

TEST_CASE("claims below and above a foreign handler go", "[registry_model]") {
    explore({{[] { withdraw(0); }, [] { withdraw(1); }, nullptr}, 1, 4, &settled,
             [] { claim(0); install(1); claim(1); }}, 100);
}

TEST_CASE("a foreign handler that outlives the claim below it is claimed again", "[registry_model]") {
    explore({{[] { claim(1); withdraw(1); }, nullptr, nullptr}, 1, 2, &settled,
             [] { claim(0); install(1); withdraw(0); }}, 100);
}

TEST_CASE("a handler that was replaced without a claim is not called again", "[registry_model]") {
    explore({{[] { claim(1); withdraw(1); }, [] { install(1, false); }, nullptr}, 1, 4, &settled,
             [] { claim(0); withdraw(0); }}, 100);
}

TEST_CASE("a foreign handler may pass on its own copy of the siginfo", "[registry_model]") {
    explore({{[] { withdraw(1); }, nullptr, nullptr}, 1, 2, &settled,
             [] { claim(0); now.foreign[1].copies = true; install(1); claim(1); }}, 10);
}

// Defaults.

TEST_CASE("a default is taken only by deliveries that no claim covers", "[registry_model]") {
    explore({{[] { claim(0); withdraw(0); }, nullptr, nullptr}, 1, 3,
             [] {
                 if (!now.ended) fail("the default is not back");
                 if (now.kernel.handler != SIG_DFL || now.kernel.flags != 0) fail("the default is not whole");
             },
             [] {
                 now.kernel = {};
                 now.foreign[0].installed = false;
                 now.claims[0].answer = in_signal::verdict::done;
             }}, 100);
}

TEST_CASE("an ignored signal stays ignored", "[registry_model]") {
    explore({{[] { claim(0); withdraw(0); }, nullptr, nullptr}, 1, 3,
             [] {
                 if (now.ended) fail("the process ends by an ignored signal");
                 if (now.kernel.handler != SIG_IGN || now.kernel.flags != SA_RESTART) fail("not restored whole");
             },
             [] {
                 now.kernel = {SIG_IGN, SA_RESTART, nullptr, 0};
                 now.foreign[0].installed = false;
                 now.claims[0].answer = in_signal::verdict::done;
             }}, 100);
}

// fork

TEST_CASE("a forked child can withdraw and claim wherever the other threads were", "[registry_model]") {
    explore({{[] { claim(0); withdraw(0); },
              [] { fork_child(1); posix::adopt_process(now.table); withdraw(1); claim(2); withdraw(2); }, nullptr}, 1, 4,
             [] { if (times_seen('F') != 1) fail("no"); }, [] { claim(1); }}, 1000);
}

TEST_CASE("a forked child can withdraw first", "[registry_model]") {
    explore({{[] { claim(0); withdraw(0); }, [] { fork_child(1); withdraw(1); }, nullptr}, 1, 4,
             [] { if (times_seen('F') != 1) fail("no"); }, [] { claim(1); }}, 1000);
}
