// SPDX-License-Identifier: MIT
#include "support/catch.hpp"

#include <tocsin/in_signal/inbox.hpp>

#include <sys/eventfd.h>
#include <unistd.h>

#include <memory>
#include <vector>

using namespace tocsin;
using namespace tocsin::in_signal;

namespace {

// A ring for real-time signal `number` in an inbox of this process.
struct fixture {
    static constexpr std::uint64_t records = 4;
    static constexpr int number = 40;

    atomic<std::int32_t> live{tocsin::in_signal::getpid()};
    std::unique_ptr<table> in = std::make_unique<table>();
    atomic<std::uint64_t> bits;
    std::unique_ptr<inbox> box = std::make_unique<inbox>();
    std::vector<queued_record> places = std::vector<queued_record>(2 * records);
    ring r{};

    fixture() {
        in->live_process = &live;
        box->bits = &bits;
        box->descriptor = ::eventfd(0, EFD_NONBLOCK);
        box->process.store(tocsin::in_signal::getpid());
        r.places = 2 * records;
        r.records = places.data();
        box->rings[number] = &r;
    }
    ~fixture() { ::close(box->descriptor); }

    // What a handler would do; answers the mask that it would return to.
    kernel_set deliver(int signal, int value) {
        siginfo_t info{};
        info.si_code = SI_QUEUE;
        info.si_value.sival_int = value;
        ucontext_t context{};
        arrival a{signal, &info, &context, in.get()};
        post(*box, a);
        return interrupted_mask(context);
    }
    bool simulate(int signal) {
        siginfo_t info{};
        arrival a{signal, &info, nullptr, in.get()};
        a.simulated = true;
        post(*box, a);
        return !a.refused;
    }
    std::uint64_t written() const {
        std::uint64_t count = 0;
        return ::read(box->descriptor, &count, sizeof count) == sizeof count ? count : 0;
    }
};

}  // namespace

TEST_CASE("a post sets the bit, keeps the record and writes once", "[inbox]") {
    fixture f;
    f.deliver(SIGUSR1, 3);
    f.deliver(SIGUSR1, 4);
    f.deliver(SIGUSR2, 5);
    CHECK(f.bits.load() == (bit_of(SIGUSR1) | bit_of(SIGUSR2)));
    CHECK(f.box->standard[SIGUSR1].arrivals.load() == 2);
    CHECK(f.box->standard[SIGUSR1].first.value() == 3);
    CHECK(f.written() == 1);
    f.box->woken.store(0);
    f.deliver(SIGUSR1, 6);
    CHECK(f.written() == 1);
}

TEST_CASE("a thread that fills the ring leaves with the signal masked and noted", "[inbox]") {
    fixture f;
    for (int i = 0; i < 3; ++i) CHECK(f.deliver(f.number, i) == 0);
    CHECK(f.deliver(f.number, 3) == bit_of(f.number));
    CHECK(f.r.parked[0].number.load() == tocsin::in_signal::gettid());
    CHECK(f.deliver(f.number, 4) == bit_of(f.number));
    CHECK(f.r.parked[1].number.load() == 0);
    CHECK(f.r.used() == 5);
}

TEST_CASE("a simulated delivery is refused where a real one would be masked", "[inbox]") {
    fixture f;
    for (unsigned i = 0; i < f.records; ++i) CHECK(f.simulate(f.number));
    CHECK_FALSE(f.simulate(f.number));
    CHECK(f.r.used() == f.records);
    CHECK(f.simulate(SIGUSR1));
}

TEST_CASE("more threads than there are places to note them are noted together", "[inbox]") {
    fixture f;
    for (parked_thread& place : f.r.parked) place.number.store(1);
    for (unsigned i = 0; i < f.records; ++i) f.deliver(f.number, 0);
    CHECK(f.r.parked_everywhere.load() == 1);
}

TEST_CASE("in a forked child nothing is recorded and nobody is woken", "[inbox]") {
    fixture f;
    f.live.store(0);
    f.deliver(SIGUSR1, 1);
    f.deliver(f.number, 1);
    CHECK(f.bits.load() == 0);
    CHECK(f.r.used() == 0);
    CHECK(f.written() == 0);
}

TEST_CASE("an inbox that works in a child starts there without the parent's deliveries", "[inbox]") {
    fixture f;
    f.box->works_in_child = true;
    f.deliver(SIGUSR1, 1);
    f.deliver(f.number, 1);
    f.box->process.store(1'000'000'000);  // as if all of it had come to a parent
    f.live.store(0);
    (void)f.written();
    f.box->woken.store(0);
    f.deliver(SIGUSR2, 2);
    CHECK(f.bits.load() == bit_of(SIGUSR2));
    CHECK(f.r.used() == 0);
    CHECK(f.box->process.load() == tocsin::in_signal::getpid());
    CHECK(f.written() == 0);
}

TEST_CASE("in a vforked child nothing is recorded, whatever the inbox is for", "[inbox]") {
    fixture f;
    f.box->works_in_child = true;
    f.box->process.store(1'000'000'000);
    f.live.store(1'000'000'000);
    f.deliver(SIGUSR1, 1);
    CHECK(f.bits.load() == 0);
    CHECK(f.box->process.load() == 1'000'000'000);
}

TEST_CASE("a ring that was in use at a fork is usable all the way round afterwards", "[inbox]") {
    fixture f;
    f.deliver(f.number, 1);
    f.deliver(f.number, 2);
    f.r.tail.fetch_add(1);  // a thread that is not here was about to write
    f.box->process.store(1'000'000'000);
    start_clean(*f.box, tocsin::in_signal::getpid());
    CHECK(f.r.used() == 0);
    for (std::uint64_t i = 0; i < 5 * f.r.places; ++i) {
        REQUIRE(push(f.r, delivery{f.number}));
        std::uint64_t const at = f.r.head.fetch_add(1);
        queued_record& place = f.r.records[at & (f.r.places - 1)];
        REQUIRE(place.turn.load() == at / f.r.places * 2 + 1);
        place.turn.store(at / f.r.places * 2 + 2);
    }
}

TEST_CASE("a watchdog has the place of a signal that libc keeps", "[inbox]") {
    CHECK(place_in_inbox(0) == watchdog_place);
    CHECK(place_in_inbox(SIGHUP) == SIGHUP);
    CHECK(watchdog_place < SIGRTMIN);
    fixture f;
    arrival a{0, nullptr, nullptr, f.in.get()};
    post(*f.box, a);
    CHECK(f.bits.load() == bit_of(watchdog_place));
    CHECK(f.box->standard[watchdog_place].first.signal() == 0);
}
