// SPDX-License-Identifier: MIT
#include "support/catch.hpp"

#include <tocsin/in_signal/slot.hpp>

#include <memory>
#include <thread>
#include <type_traits>
#include <vector>

using namespace tocsin::in_signal;

namespace {

unsigned held(table const& in) {
    unsigned count = 0;
    for (cell const& each : in.cells) count += each.holder.load() != 0;
    return count;
}

struct process {
    atomic<std::int32_t> live;
    std::unique_ptr<table> in = std::make_unique<table>();
    arrival a{SIGUSR1, nullptr, nullptr, in.get()};

    explicit process(std::int32_t live_now) : live{live_now} { in->live_process = &live; }
};

}  // namespace

TEST_CASE("a thread is inside until it gives its mark back", "[slot]") {
    auto in = std::make_unique<table>();
    auto* const here = inside::enter(*in, SIGUSR1);
    CHECK(held(*in) == 1);
    auto* const nested = inside::enter(*in, SIGSEGV);
    CHECK(held(*in) == 2);
    inside::leave(*in, SIGUSR1, here);
    CHECK(held(*in) == 1);
    CHECK(nested->load() == inside::tag(SIGSEGV));
    inside::leave(*in, SIGSEGV, nested);
    CHECK(held(*in) == 0);
}

TEST_CASE("who finds no free cell is counted in the slot", "[slot]") {
    auto in = std::make_unique<table>();
    slot& of = in->slots[SIGUSR1];
    std::vector<atomic<std::uintptr_t>*> crowd;
    for (unsigned i = 0; i < cell_count + 5; ++i) crowd.push_back(inside::enter(*in, SIGUSR1));
    CHECK(held(*in) == cell_count);
    CHECK(of.crowd.load() == 5);
    for (auto* const each : crowd) inside::leave(*in, SIGUSR1, each);
    CHECK(held(*in) == 0);
    CHECK(of.crowd.load() == 0);
}

TEST_CASE("a thread finds all its marks, however far away from its first cell they are", "[slot]") {
    auto in = std::make_unique<table>();
    unsigned const first = first_cell(thread_pointer());
    constexpr unsigned taken = 7;
    for (unsigned i = 0; i < taken; ++i) in->cells[(first + i) % cell_count].holder.store(1);
    inside::enter(*in, SIGSEGV);
    for (unsigned i = 0; i < taken; ++i) in->cells[(first + i) % cell_count].holder.store(0);
    CHECK(faults_under_way(*in) == 1);
    inside::enter(*in, SIGBUS);
    inside::enter(*in, SIGUSR1);
    CHECK(faults_under_way(*in) == 2);
    int marks = 0;
    for_marks_of(*in, thread_pointer(), [&marks](int) { ++marks; });
    CHECK(marks == 3);
    CHECK(in->farthest_cell.load() == taken);
}

TEST_CASE("a thread that has a cell of its own marks that one", "[slot]") {
    auto in = std::make_unique<table>();
    own_cell* const mine = find_own_cell(*in, thread_pointer());
    REQUIRE(mine != nullptr);
    CHECK(mine->owner.load() == 0);
    mine->owner.store(thread_pointer());
    CHECK(find_own_cell(*in, thread_pointer()) == mine);
    mine->holder.store(inside::tag(SIGUSR1));
    inside::leave(*in, SIGUSR1, &mine->holder);
    CHECK(held(*in) == 0);
    CHECK(mine->holder.load() == 0);
    CHECK(mine->owner.load() == thread_pointer());
}

TEST_CASE("a thread whose place is taken finds the next one, and none when all are", "[slot]") {
    auto in = std::make_unique<table>();
    own_cell* const first = find_own_cell(*in, thread_pointer());
    first->owner.store(1);
    own_cell* const second = find_own_cell(*in, thread_pointer());
    REQUIRE(second != nullptr);
    CHECK(second != first);
    second->owner.store(thread_pointer());
    CHECK(find_own_cell(*in, thread_pointer()) == second);
    second->owner.store(thread_pointer() | taken_away);
    CHECK(find_own_cell(*in, thread_pointer()) == second);
    for (own_cell& each : in->own) each.owner.store(1);
    CHECK(find_own_cell(*in, thread_pointer()) == nullptr);
}

TEST_CASE("marks of different threads and signals differ", "[slot]") {
    std::uintptr_t const mine = inside::tag(SIGUSR1);
    std::uintptr_t other = 0;
    std::thread{[&] { other = inside::tag(SIGUSR1); }}.join();
    CHECK(mine != other);
    CHECK(mine != inside::tag(SIGUSR2));
    CHECK(inside::tag(64) >> 57 == 64);
    CHECK((inside::tag(64) & ((std::uintptr_t{1} << 57) - 1)) == thread_pointer());
}

TEST_CASE("a table that is all zero is empty", "[slot]") {
    static_assert(std::is_trivially_destructible_v<table>);
    auto in = std::make_unique<table>();
    CHECK(in->lock.load() == 0);
    CHECK(in->slots[64].newest.load() == nullptr);
    CHECK(in->reserved_signal.load() == 0);
}

TEST_CASE("at home is the process that the guard was built in", "[slot]") {
    process here{tocsin::in_signal::getpid()};
    CHECK(here.a.place_of(tocsin::in_signal::getpid()) == place::home);
}

TEST_CASE("a forked child is told from a vforked one by the page that fork wipes", "[slot]") {
    std::int32_t const parent = 1'000'000'000;
    CHECK(process{0}.a.place_of(parent) == place::forked);
    CHECK(process{tocsin::in_signal::getpid()}.a.place_of(parent) == place::forked);
    CHECK(process{parent}.a.place_of(parent) == place::borrowed);
}

TEST_CASE("a forked child with the number of its parent is a forked child", "[slot]") {
    process child{0};
    CHECK(child.a.place_of(tocsin::in_signal::getpid()) == place::forked);
}
