// SPDX-License-Identifier: MIT
#include "support/signals.hpp"

#include <tocsin/posix/source.hpp>

#include <memory>
#include <vector>

using namespace tocsin;
using namespace tocsin::test;

namespace {

constexpr auto used_here = in_signal::helper;

// A source that counts its turns, and how often it has been kept and released.
struct counting : in_signal::source {
    in_signal::atomic<int> firsts;
    in_signal::atomic<int> turns;
    in_signal::atomic<int> references;
    void (*work)(counting&) = nullptr;

    explicit counting(void (*with)(counting&) = nullptr) : work{with} {
        first = [](source& self) noexcept { static_cast<counting&>(self).firsts.fetch_add(1); };
        then = [](source& self) noexcept {
            auto& own = static_cast<counting&>(self);
            if (own.work != nullptr) own.work(own);
            own.turns.fetch_add(1);
        };
        keep = [](source& self) noexcept { static_cast<counting&>(self).references.fetch_add(1); };
        release = [](source& self) noexcept { static_cast<counting&>(self).references.fetch_sub(1); };
    }
};

in_signal::table& the_table() {
    in_signal::table* found = nullptr;
    require_in_child(!posix::find_table(found));
    posix::adopt_process(*found);
    return *found;
}

void turn(in_signal::table& in, counting& of) {
    int const before = of.turns.load();
    posix::wake_service(in.services[used_here]);
    until([&] { return of.turns.load() != before; });
}

in_signal::atomic<int> inside;
in_signal::atomic<int> leave;

}  // namespace

TEST_CASE("a service runs its sources whenever it is woken", "[source]") {
    in_child([] {
        auto& in = the_table();
        counting source;
        require_in_child(!posix::add_source<used_here>(in, source));
        for (int i = 0; i < 1000; ++i) turn(in, source);
        posix::remove_source(in, used_here, source);
        require_in_child(source.firsts.load() >= source.turns.load());
        require_in_child(threads() == 2);
    });
}

TEST_CASE("the first part of every source runs before the second part of any", "[source]") {
    in_child([] {
        auto& in = the_table();
        static std::vector<int> order;
        struct ordered : in_signal::source {
            ordered() {
                first = [](source&) noexcept { order.push_back(1); };
                then = [](source&) noexcept { order.push_back(2); };
                keep = release = [](source&) noexcept {};
            }
        };
        // holds the first round up until all are there
        counting gate;
        gate.first = [](in_signal::source&) noexcept {
            inside.store(1);
            until([] { return leave.load() != 0; });
        };
        ordered sources[3];
        require_in_child(!posix::add_source<used_here>(in, gate));
        until([] { return inside.load() != 0; });
        for (ordered& each : sources) require_in_child(!posix::add_source<used_here>(in, each));
        leave.store(1);
        until([&] { return gate.turns.load() != 0; });
        for (ordered& each : sources) posix::remove_source(in, used_here, each);
        require_in_child(order.size() >= 6);
        for (std::size_t i = 0; i < 6; ++i) require_in_child(order[i] == (i < 3 ? 1 : 2));
    });
}

TEST_CASE("removing waits for the source's own work and not for others'", "[source]") {
    in_child([] {
        auto& in = the_table();
        counting busy{[](counting&) {
            inside.store(1);
            until([] { return leave.load() != 0; });
        }};
        counting idle;
        require_in_child(!posix::add_source<used_here>(in, idle));
        require_in_child(!posix::add_source<used_here>(in, busy));
        until([] { return inside.load() != 0; });
        posix::remove_source(in, used_here, idle);
        leave.store(1);
        posix::remove_source(in, used_here, busy);
        require_in_child(busy.turns.load() == 1 && busy.references.load() == 0);
    });
}

TEST_CASE("a source that is removed from its own work is kept until that ends", "[source]") {
    in_child([] {
        auto& in = the_table();
        counting self{[](counting& own) {
            posix::remove_source(the_table(), used_here, own);
            require_in_child(own.references.load() == 1);
            posix::remove_source(the_table(), used_here, own);
            require_in_child(own.references.load() == 1);
        }};
        counting other;
        require_in_child(!posix::add_source<used_here>(in, self));
        until([&] { return self.turns.load() == 1 && self.references.load() == 0; });
        require_in_child(!posix::add_source<used_here>(in, other));
        turn(in, other);
        require_in_child(self.turns.load() == 1);
    });
}

TEST_CASE("in a forked child the service starts anew and runs what the parent's had run often", "[source]") {
    in_child([] {
        auto& in = the_table();
        counting source;
        require_in_child(!posix::add_source<used_here>(in, source));
        for (int i = 0; i < 200; ++i) turn(in, source);
        require_fork([&] {
            posix::adopt_process(in);
            counting fresh;
            require_in_child(!posix::add_source<used_here>(in, fresh));
            turn(in, fresh);
            turn(in, source);
            posix::remove_source(in, used_here, source);
        });
        turn(in, source);
        posix::remove_source(in, used_here, source);
    });
}

TEST_CASE("a forked child does not wait for work of a thread that it does not have", "[source]") {
    in_child([] {
        auto& in = the_table();
        counting busy{[](counting&) {
            inside.store(1);
            until([] { return leave.load() != 0; });
        }};
        require_in_child(!posix::add_source<used_here>(in, busy));
        until([] { return inside.load() != 0; });
        require_fork([&] {
            posix::adopt_process(in);
            counting fresh;
            require_in_child(!posix::add_source<in_signal::reporter>(in, fresh));
            posix::remove_source(in, used_here, busy);
            posix::remove_source(in, in_signal::reporter, fresh);
        });
        leave.store(1);
        posix::remove_source(in, used_here, busy);
    });
}

TEST_CASE("sources come and go while the service runs", "[source]") {
    in_child([] {
        auto& in = the_table();
        for (int i = 0; i < 3000; ++i) {
            auto source = std::make_unique<counting>();
            require_in_child(!posix::add_source<used_here>(in, *source));
            posix::wake_service(in.services[used_here]);
            if (i % 3 == 0) until([&] { return source->turns.load() != 0; });
            posix::remove_source(in, used_here, *source);
            require_in_child(source->busy.load() == 0);
        }
    });
}
