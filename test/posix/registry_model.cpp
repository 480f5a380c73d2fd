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
    REQUIRE(result.failure.empty());
    REQUIRE(result.states > at_least);
}

template <int Claim>
void comes() {
    claim(Claim);
}
template <int Claim>
void goes() {
    withdraw(Claim);
}
template <int Claim>
void comes_and_goes() {
    claim(Claim);
    withdraw(Claim);
}

int times_seen(char who) {
    int times = 0;
    for (char const* at = last(); *at != '\0'; ++at) times += *at == who;
    return times;
}

bool seen_as_installed(bool installed, char who) { return times_seen(who) == (installed ? 1 : 0); }

// Without a claim the kernel holds a disposition of somebody else, whole; or our entry, if a foreign handler that
// found it gave it back when the last claim was gone.
void kernel_restored() {
    if (installed_claims() != 0) return;
    bool restored = now.entry_returned && now.kernel.handler == in_signal::as_handler(&entry);
    for (model_foreign const& each : now.foreign)
        restored = restored || (each.installed && same(now.kernel, each.own));
    if (!restored) fail("without a claim the kernel does not hold what it held before");
}

// Everybody who is there, and nobody else, sees the last delivery, and sees it once.
void settled() {
    kernel_restored();
    for (int i = 0; i < max_claims; ++i)
        if (!seen_as_installed(now.claims[i].installed, static_cast<char>('A' + i)))
            fail("at the end a claim does not see a delivery once");
    for (int i = 0; i < max_foreign; ++i)
        if (!seen_as_installed(now.foreign[i].installed, static_cast<char>('F' + i)))
            fail("at the end a foreign handler does not see a delivery once");
}

// The same where two foreign handlers may meet a withdrawal between its look at the kernel and its change: no call
// exchanges a disposition only if it is what was expected, so that the first of them can find ours and the second
// what was below it. The second stays.
void newest_stays() {
    kernel_restored();
    if (!seen_as_installed(true, static_cast<char>('F' + now.newest_foreign)))
        fail("the newest foreign handler was overwritten");
}

// In a child, a claim that another thread was about to make or give back may be there or not.
void settled_in_child() {
    if (times_seen('F') != 1 || times_seen('A') > 1)
        fail("at the end of the child a delivery is not seen once");
    if (!seen_as_installed(now.claims[1].installed, 'B') || !seen_as_installed(now.claims[2].installed, 'C'))
        fail("at the end of the child a claim does not see a delivery once");
}

}  // namespace

// One claim.

TEST_CASE("a claim comes and goes while signals arrive", "[registry_model]") {
    explore({{&comes_and_goes<0>, nullptr, nullptr}, 2, 3, &settled}, 5000);
}

TEST_CASE("a claim comes and goes while a handler is interrupted by the next delivery", "[registry_model]") {
    explore({{&comes_and_goes<0>, nullptr, nullptr}, 2, 2, &settled, [] { now.flags = SA_NODEFER; }}, 1000);
}

TEST_CASE("a claim that was withdrawn can be claimed again", "[registry_model]") {
    explore({{[] {
                  claim(0);
                  withdraw(0);
                  claim(0);
                  withdraw(0);
              },
              nullptr, nullptr},
             1,
             3,
             &settled},
            1000);
}

// Two claims.

TEST_CASE("two claims of two threads come and go", "[registry_model]") {
    explore({{&comes_and_goes<0>, &comes_and_goes<1>, nullptr}, 1, 4, &settled}, 1000);
}

TEST_CASE("a claim stays while another comes and goes", "[registry_model]") {
    explore({{&comes<0>, &comes_and_goes<1>, nullptr}, 1, 7, &settled}, 1000);
}

TEST_CASE("two claims go in the order in which they came", "[registry_model]") {
    explore({{[] {
                  claim(0);
                  claim(1);
                  withdraw(0);
                  withdraw(1);
              },
              nullptr, nullptr},
             1,
             3,
             &settled},
            1000);
}

TEST_CASE("two claims go in the opposite order", "[registry_model]") {
    explore({{[] {
                  claim(0);
                  claim(1);
                  withdraw(1);
                  withdraw(0);
              },
              nullptr, nullptr},
             1,
             3,
             &settled},
            1000);
}

TEST_CASE("two claims go at the same time", "[registry_model]") {
    explore({{&goes<0>, &goes<1>, nullptr},
             1,
             4,
             &settled,
             [] {
                 claim(0);
                 claim(1);
             }},
            1000);
}

TEST_CASE("a claim that ignores the signal comes and goes above one that handles it", "[registry_model]") {
    explore({{&comes_and_goes<1>, &goes<0>, nullptr},
             1,
             4,
             &settled,
             [] {
                 now.all_chain = false;
                 now.may_be_ignored = now.claims[1].ignores = true;
                 now.claims[1].answer = in_signal::verdict::done;
                 claim(0);
             }},
            1000);
}

TEST_CASE("where no cell may be owned, a withdrawal waits for threads in shared ones", "[registry_model]") {
    explore({{&comes_and_goes<1>, nullptr, nullptr},
             2,
             3,
             &settled,
             [] { now.table.cells_may_be_owned.store(in_signal::shared_only); }},
            1000);
}

TEST_CASE("a withdrawal waits for threads that found no free cell", "[registry_model]") {
    explore({{&comes_and_goes<1>, nullptr, nullptr},
             2,
             3,
             &settled,
             [] {
                 now.table.cells_may_be_owned.store(in_signal::shared_only);
                 std::uintptr_t const of_another_signal = std::uintptr_t{1} << 57 | 1U << 12;
                 for (in_signal::cell& each : now.table.cells) each.holder.store(of_another_signal);
             }},
            1000);
}

// Foreign handlers.

TEST_CASE("a foreign handler comes while a claim comes and goes", "[registry_model]") {
    explore({{&comes_and_goes<0>, [] { install(1); }, nullptr}, 1, 4, &settled}, 1000);
}

TEST_CASE("two foreign handlers come while a claim goes", "[registry_model]") {
    explore({{&goes<0>, [] { install(1); }, [] { install(2); }}, 1, 1, &newest_stays, &comes<0>}, 1000);
}

TEST_CASE("two foreign handlers come while a claim comes", "[registry_model]") {
    explore({{&comes<0>, [] { install(1); }, [] { install(2); }}, 1, 1, &settled}, 1000);
}

TEST_CASE("two foreign handlers come while a second claim comes and goes", "[registry_model]") {
    explore({{&comes_and_goes<1>,
              [] {
                  install(1);
                  install(2);
              },
              nullptr},
             1,
             4,
             &newest_stays,
             [] {
                 claim(0);
                 now.most_rounds = 3;
             }},
            1000);
}

TEST_CASE("a foreign handler comes and goes while a claim comes and goes", "[registry_model]") {
    explore({{&comes_and_goes<0>,
              [] {
                  install(1);
                  uninstall(1);
              },
              nullptr},
             1,
             4,
             &settled},
            1000);
}

TEST_CASE("a foreign handler goes while a claim is made over it", "[registry_model]") {
    explore({{&comes<1>, [] { uninstall(1); }, nullptr},
             1,
             4,
             &settled,
             [] {
                 claim(0);
                 install(1);
             }},
            100);
}

TEST_CASE("a foreign handler comes and goes under a second claim", "[registry_model]") {
    explore({{&comes_and_goes<1>,
              [] {
                  install(1);
                  uninstall(1);
              },
              nullptr},
             1,
             4,
             &settled,
             &comes<0>},
            1000);
}

TEST_CASE("claims below and above a foreign handler go", "[registry_model]") {
    explore({{&goes<0>, &goes<1>, nullptr},
             1,
             4,
             &settled,
             [] {
                 claim(0);
                 install(1);
                 claim(1);
             }},
            100);
}

TEST_CASE("a foreign handler that outlives the claim below it is claimed again", "[registry_model]") {
    explore({{&comes_and_goes<1>, nullptr, nullptr},
             1,
             2,
             &settled,
             [] {
                 claim(0);
                 install(1);
                 withdraw(0);
             }},
            100);
}

TEST_CASE("a handler that was replaced without a claim is not called again", "[registry_model]") {
    explore({{&comes_and_goes<1>, [] { install(1, false); }, nullptr}, 1, 4, &settled, &comes_and_goes<0>},
            100);
}

TEST_CASE("a handler that went before a claim is not called by it", "[registry_model]") {
    explore({{&comes_and_goes<1>, nullptr, nullptr},
             2,
             3,
             &settled,
             [] {
                 now.strict_removal = true;
                 claim(0);
                 withdraw(0);
                 install(1, false);
             }},
            1000);
}

TEST_CASE("the place of a foreign handler is not written again while somebody reads it", "[registry_model]") {
    explore({{[] {
                  claim(0);
                  install(2);
                  claim(1);
              },
              [] { install(1); }, nullptr},
             1,
             4,
             &settled,
             [] { now.most_rounds = 3; }},
            1000);
}

TEST_CASE("a foreign handler may pass on a siginfo of its own", "[registry_model]") {
    explore({{&goes<1>, nullptr, nullptr},
             1,
             2,
             &settled,
             [] {
                 claim(0);
                 now.foreign[1].copies = true;
                 install(1);
                 claim(1);
             }},
            100);
}

// Defaults.

TEST_CASE("a default is taken only by deliveries that no claim covers", "[registry_model]") {
    explore({{&comes_and_goes<0>, nullptr, nullptr},
             1,
             3,
             [] {
                 if (!now.ended) fail("the default is not back");
                 if (now.kernel.handler != SIG_DFL || now.kernel.flags != 0) fail("the default is not whole");
             },
             [] {
                 now.kernel = {};
                 now.foreign[0].installed = false;
                 now.claims[0].answer = in_signal::verdict::done;
             }},
            100);
}

TEST_CASE("an ignored signal stays ignored", "[registry_model]") {
    explore({{&comes_and_goes<0>, nullptr, nullptr},
             1,
             3,
             [] {
                 if (now.ended) fail("the process ends by an ignored signal");
                 if (now.kernel.handler != SIG_IGN || now.kernel.flags != SA_RESTART)
                     fail("not restored whole");
             },
             [] {
                 now.may_be_ignored = true;
                 now.kernel = {SIG_IGN, SA_RESTART, 0};
                 now.foreign[0].installed = false;
                 now.claims[0].answer = in_signal::verdict::done;
             }},
            100);
}

TEST_CASE("a delivery that a claim sends again meets what was there before", "[registry_model]") {
    explore({{&goes<0>, nullptr, nullptr},
             2,
             3,
             &settled,
             [] {
                 now.all_chain = false;
                 now.claims[0].answer = in_signal::verdict::reraise;
                 claim(0);
             }},
            100);
}

// fork

TEST_CASE("a forked child can withdraw and claim wherever the other thread was", "[registry_model]") {
    explore({{&comes_and_goes<0>,
              [] {
                  fork_child(1);
                  posix::adopt_process(now.table);
                  withdraw(1);
                  claim(2);
              },
              nullptr},
             1,
             4,
             &settled_in_child,
             [] {
                 now.table.cells_may_be_owned.store(in_signal::shared_only);
                 claim(1);
             }},
            1000);
}

TEST_CASE("a forked child can withdraw before anything else", "[registry_model]") {
    explore({{&comes_and_goes<0>,
              [] {
                  fork_child(1);
                  withdraw(1);
              },
              nullptr},
             1,
             4,
             &settled_in_child,
             &comes<1>},
            1000);
}

TEST_CASE("a forked child can claim over a foreign handler that came meanwhile", "[registry_model]") {
    explore({{&goes<0>,
              [] {
                  fork_child(1);
                  claim(2);
                  withdraw(2);
                  withdraw(1);
              },
              [] { install(1); }},
             0,
             1,
             &settled_in_child,
             [] {
                 claim(1);
                 claim(0);
             }},
            1000);
}
