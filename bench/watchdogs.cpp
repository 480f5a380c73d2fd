// SPDX-License-Identifier: MIT
// A thousand, ten thousand, a hundred thousand watchdogs: what does a feed cost, a look of the watcher at all of them,
// and how much memory do they take? In one table, and in a guard of its own each.
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/timerfd.h>
#include <time.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <random>
#include <thread>
#include <vector>

#include <tocsin/guard.hpp>
#include <tocsin/in_handler.hpp>
#include <tocsin/watchdog.hpp>
#include <tocsin/watchdogs.hpp>

#include "support/measure.hpp"
#include "support/threads.hpp"

using namespace tocsin;
using namespace tocsin::bench;
using namespace std::chrono_literals;

namespace {

auto const nothing = in_handler([](delivery const&) noexcept {});
using guard_type = decltype(guard{watchdog(1h)(nothing)});

// Guards side by side, as they would be in the objects that they belong to.
class many_guards {
  public:
    explicit many_guards(std::size_t wanted) : all_{std::allocator<guard_type>{}.allocate(wanted)}, room_{wanted} {}
    ~many_guards() {
        while (count_ != 0) all_[--count_].~guard_type();
        std::allocator<guard_type>{}.deallocate(all_, room_);
    }
    many_guards(many_guards const&) = delete;
    many_guards& operator=(many_guards const&) = delete;

    template <class D>
    void add(D of_period) {
        ::new (static_cast<void*>(all_ + count_)) guard_type{watchdog(of_period)(nothing)};
        ++count_;
    }
    guard_type& operator[](std::size_t i) const { return all_[i]; }
    std::size_t size() const { return count_; }

  private:
    guard_type* all_;
    std::size_t room_;
    std::size_t count_ = 0;
};

// The members of one table, and its row.
class many_members {
  public:
    explicit many_members(std::size_t wanted) : table_{wanted}, signals_{watchdog(table_)(nothing)} {
        all_.reserve(wanted);
    }

    template <class D>
    void add(D of_period) {
        all_.push_back(table_.add("member", of_period));
    }
    watched_member& operator[](std::size_t i) { return all_[i]; }
    std::size_t size() const { return all_.size(); }

  private:
    watchdogs table_;
    decltype(guard{watchdog(std::declval<watchdogs&>())(nothing)}) signals_;
    std::vector<watched_member> all_;
};

// The least that a scan needs: a word in a cache line of its own, and when it was last seen.
struct alignas(64) padded_slot {
    std::uint32_t fed = 0;
    std::uint64_t unfed = 0;
};

struct handle {
    void* owner;
    padded_slot* slot;
};

constexpr int pets = 100'000;

// Which one is fed next: the same for everybody.
std::vector<std::uint32_t> some_order(std::size_t count) {
    std::mt19937 random{1};
    std::vector<std::uint32_t> order(pets);
    for (std::uint32_t& each : order) each = static_cast<std::uint32_t>(random() % count);
    return order;
}

// Once before, unmeasured: the caches are full of what the contender before it has fed.
template <class Feed>
double pet_many(std::vector<std::uint32_t> const& order, int times, Feed feed) {
    std::size_t at = 0;
    for (int i = 0; i < times; ++i) feed(order[at++ % order.size()]);
    at = 0;
    return each_call(times, [&] { feed(order[at++ % order.size()]); });
}

std::uint64_t scan(std::vector<padded_slot>& slots) {
    std::uint64_t late = 0;
    for (padded_slot& each : slots) {
        if (__atomic_load_n(&each.fed, __ATOMIC_RELAXED) != 0) {
            __atomic_store_n(&each.fed, 0U, __ATOMIC_RELAXED);
            each.unfed = 0;
        } else {
            each.unfed += 250;
            if (each.unfed > 1'000'000) ++late;
        }
    }
    return late;
}

constexpr auto period = 400ms;

template <class Feed>
void feed_for_a_while(Feed feed) {
    double const end = wall_clock() + (quick() ? 0.4e9 : 0.7e9);
    while (wall_clock() < end) {
        feed();
        std::this_thread::sleep_for(20ms);
    }
}

// A thread that scans the slots four times a period, and no more than that.
class scanner {
  public:
    explicit scanner(std::vector<padded_slot>& slots)
        : slots_{slots}, thread_{[this] {
              ::pthread_setname_np(::pthread_self(), "scanner");
              for (; !ends_; scans_ = scans_ + 1) {
                  std::this_thread::sleep_for(period / 4);
                  double const start = thread_clock();
                  use(scan(slots_));
                  spent_ = spent_ + (thread_clock() - start);
              }
          }} {}
    ~scanner() {
        ends_ = true;
        thread_.join();
    }
    scanner(scanner const&) = delete;
    scanner& operator=(scanner const&) = delete;

    double scans() const { return scans_; }
    double spent() const { return spent_; }

  private:
    std::vector<padded_slot>& slots_;
    std::atomic<bool> ends_ = false;
    std::atomic<double> scans_ = 0;
    std::atomic<double> spent_ = 0;
    std::thread thread_;
};

// Nanoseconds that it runs for one slot, while another thread feeds them: the lines are in the other processor's cache
// each time. The scan alone, or with its share of waking up and going to sleep again.
double scan_cost(std::vector<padded_slot>& slots, bool alone) {
    scanner scans{slots};
    std::this_thread::sleep_for(period / 4);
    std::string const task = task_named("scanner");
    double const looks_before = sleeps_of(task);
    double const time_before = time_of(task);
    feed_for_a_while([&] {
        for (padded_slot& each : slots) __atomic_store_n(&each.fed, 1U, __ATOMIC_RELAXED);
    });
    auto const count = static_cast<double>(slots.size());
    if (alone) return scans.spent() / scans.scans() / count;
    double const looks = sleeps_of(task) - looks_before;
    return looks > 0 ? (time_of(task) - time_before) / looks / count : no_figure;
}

double heap_in_use() {
    struct mallinfo2 const now = ::mallinfo2();
    return static_cast<double>(now.uordblks + now.hblkhd);
}

// Timers of the kernel, until it refuses another one.
struct many_timers {
    std::vector<timer_t> all;
    explicit many_timers(std::size_t wanted) {
        sigevent event{};
        event.sigev_notify = SIGEV_NONE;
        for (timer_t made{}; all.size() < wanted && ::timer_create(CLOCK_MONOTONIC, &event, &made) == 0;)
            all.push_back(made);
        itimerspec const in_an_hour{{0, 0}, {3600, 0}};
        for (timer_t const each : all) ::timer_settime(each, 0, &in_an_hour, nullptr);
    }
    ~many_timers() {
        for (timer_t const each : all) ::timer_delete(each);
    }
    many_timers(many_timers const&) = delete;
    many_timers& operator=(many_timers const&) = delete;
};

// The same of the watcher.
template <class Many>
double look_cost(std::size_t count) {
    Many watched{count};
    std::string const task = task_named("tocsin-watch");
    for (std::size_t i = 0; i < count; ++i) watched.add(period);
    std::this_thread::sleep_for(period / 4);
    double const looks_before = sleeps_of(task);
    double const time_before = time_of(task);
    feed_for_a_while([&] {
        for (std::size_t i = 0; i < count; ++i) watched[i].feed();
    });
    double const looks = sleeps_of(task) - looks_before;
    return looks > 0 ? (time_of(task) - time_before) / looks / static_cast<double>(count) : no_figure;
}

// What they take of the heap, and what adding one takes. The places of the handles are the caller's.
template <class Many>
struct made {
    std::unique_ptr<Many> all;
    double bytes;  // of all
    double cost;

    explicit made(std::size_t count, double handle) {
        double const heap_before = heap_in_use();
        all = std::make_unique<Many>(count);
        double const begun = thread_clock();
        for (std::size_t i = 0; i < count; ++i) all->add(1h);
        cost = (thread_clock() - begun) / static_cast<double>(count);
        bytes = heap_in_use() - heap_before - handle * static_cast<double>(count);
    }
};

void tell(std::string const& row, char const* who, double value, char const* unit, target promised, char const* note) {
    result shown{"watchdogs", row, who, role::ours, value, unit, 0, promised, note};
    shown.print();
}

void measure(std::size_t count) {
    std::string const many = std::to_string(count) + " watchdogs, ";
    made<many_members>{count, 0};  // the heap has its own small stores from here on
    double const one_member = made<many_members>{1, sizeof(watched_member)}.bytes;
    made<many_members> members{count, sizeof(watched_member)};
    made<many_guards> guards{count, 0};
    std::vector<padded_slot> slots(count);
    std::vector<handle> handles;
    for (padded_slot& each : slots) handles.push_back({&slots, &each});
    auto const order = some_order(count);
    auto timers = std::make_unique<many_timers>(count);
    bool const enough = timers->all.size() == count;

    contest all{"watchdogs", rounds(15)};
    all.row(many + "feed").floor("relaxed store, padded slot", [&] {
        return pet_many(order, pets, [&](std::uint32_t i) { __atomic_store_n(&slots[i].fed, 1U, __ATOMIC_RELAXED); });
    });
    if (enough)
        all.peer("timer_settime", [&] {
            itimerspec const in_an_hour{{0, 0}, {3600, 0}};
            return pet_many(order, pets / 50, [&](std::uint32_t i) {
                ::timer_settime(timers->all[i], 0, &in_an_hour, nullptr);
            });
        });
    else
        all.absent("timer_settime (refused after " + std::to_string(timers->all.size()) + ")");
    all.ours("guard.feed(), a guard each", target::times(1.1),
             [&] { return pet_many(order, pets, [&](std::uint32_t i) { (*guards.all)[i].feed(); }); });
    all.row(many + "feed by a handle").floor("relaxed store, through a vector of handles", [&] {
        return pet_many(order, pets,
                        [&](std::uint32_t i) { __atomic_store_n(&handles[i].slot->fed, 1U, __ATOMIC_RELAXED); });
    });
    all.ours("member.feed(), in a vector", target::times(1.1),
             [&, fed = &(*members.all)[0]] { return pet_many(order, pets, [&](std::uint32_t i) { fed[i].feed(); }); },
             "random ones: the handle is a cache line of its own");
    all.run();
    timers.reset();

    double const further = (members.bytes - one_member) / static_cast<double>(count - 1);
    tell(many + "memory of each further one", "one table", further, "bytes", target::at_most(64.1),
         "64, and what the heap adds; the handle is the caller's, 16 bytes");
    tell(many + "memory of each", "one table", members.bytes / static_cast<double>(count), "bytes", {},
         "the table's and its guard's own part shared by all");
    tell(many + "memory of each", "a guard each", guards.bytes / static_cast<double>(count), "bytes", {},
         "rows, claims, group and source");
    tell(many + "construction of each", "table.add()", members.cost, "ns", {}, "");
    tell(many + "construction of each", "a guard each", guards.cost, "ns", {}, "");
    print_point("watchdogs", "bytes of each", static_cast<double>(count),
                members.bytes / static_cast<double>(count), "bytes", growth::each);
    members.all.reset();
    guards.all.reset();

    contest ticks{"watchdogs", rounds(3)};
    ticks.row(many + "one look, each").floor("a thread that scans padded slots",
                                                       [&] { return scan_cost(slots, false); });
    ticks.part("the scan alone", [&] { return scan_cost(slots, true); });
    ticks.ours("the watcher, one table", count <= 10'000 ? target::times(1.2) : target::at_most(25),
               [count] { return look_cost<many_members>(count); });
    ticks.part("the watcher, a guard each", [count] { return look_cost<many_guards>(count); });
    ticks.run();
    print_point("watchdogs", "a look of the watcher, each", static_cast<double>(count),
                ticks.median_of("the watcher, one table"), "ns", growth::each);
}

}  // namespace

int main() {
    guard const first{watchdog(1h)(nothing)};  // the threads are there
    for (std::size_t const count : {1'000U, 10'000U, 100'000U}) measure(count);
}
