// SPDX-License-Identifier: MIT
#include "support/refuse_call.hpp"
#include "support/signals.hpp"

#include <tocsin/call.hpp>
#include <tocsin/chain.hpp>
#include <tocsin/defer.hpp>
#include <tocsin/exit_with.hpp>
#include <tocsin/guard.hpp>
#include <tocsin/ignore.hpp>
#include <tocsin/in_handler.hpp>
#include <tocsin/stop.hpp>
#include <tocsin/wake.hpp>

#include <sys/resource.h>

#include <memory>
#include <string>
#include <thread>
#include <type_traits>
#include <atomic>
#include <vector>

using namespace tocsin;
using namespace tocsin::test;

namespace {

std::atomic<int> steps;
void foreign(int) { steps = steps + 1; }
void other_foreign(int) { steps = steps + 100; }

auto const nothing = [](delivery const&) noexcept {};
auto const add_ten = [](delivery const&) noexcept { steps = steps + 10; };

// A row that is refused at run time, once a guard with real-time rows is there: the library's reserved signal.
inline constexpr realtime kept_by_the_library = rt<29>;

// Every disposition, the mask, descriptors and threads of this process.
struct state_of_process {
    std::vector<struct sigaction> actions;
    sigset_t mask;
    unsigned descriptor_count = descriptors();
    unsigned thread_count = threads();

    state_of_process() {
        for (int number = 1; number < NSIG; ++number) actions.push_back(action_of(number));
        ::pthread_sigmask(SIG_SETMASK, nullptr, &mask);
    }
    bool operator==(state_of_process const& other) const {
        for (std::size_t i = 0; i < actions.size(); ++i)
            if (!same_action(actions[i], other.actions[i])) return false;
        return same_mask(mask, other.mask) && descriptor_count == other.descriptor_count &&
               thread_count == other.thread_count;
    }
};

// Anything that an errno can be assigned to will do.
struct my_error {
    int code = -1;
    my_error& operator=(int errno_code) noexcept {
        code = errno_code;
        return *this;
    }
};

}  // namespace

TEST_CASE("a guard does not move and is returned by value all the same", "[guard]") {
    using type = decltype(guard{on<SIGUSR1>(wake)});
    static_assert(!std::is_move_constructible_v<type> && !std::is_copy_constructible_v<type>);
    static_assert(!std::is_move_assignable_v<type>);
    in_child([] {
        auto const make = [] { return guard{on<SIGUSR1>(wake)}; };
        auto signals = make();
        ::raise(SIGUSR1);
        require_in_child(readable(signals.fd()));
    });
}

TEST_CASE("provides answers what a guard offers", "[guard]") {
    using type = decltype(guard{on<SIGUSR1>(wake), on<SIGTERM>(request_stop)});
    static_assert(provides<type, wake>);
    static_assert(provides<type, request_stop>);
    static_assert(!provides<type, ignore>);
    static_assert(!provides<type, default_disposition>);
    SUCCEED();
}

TEST_CASE("a guard leaves no trace behind", "[guard]") {
    in_child([] {
        { guard first{on<SIGHUP>(call([] {})), on<SIGTERM>(request_stop)}; }  // the dispatcher stays
        state_of_process const before;
        {
            guard signals{on<SIGUSR1, rt<1>>(wake), on<SIGUSR2>(defer([] {})), on<SIGHUP>(call([] {})),
                          on<SIGTERM>(request_stop), on<SIGPIPE, SIGURG>(ignore), on<SIGQUIT>(default_disposition),
                          on<SIGALRM>(exit_with(1)), on_crash<SIGSEGV>(in_handler(nothing))};
            require_in_child(!(state_of_process{} == before));
        }
        require_in_child(state_of_process{} == before);
    });
}

TEST_CASE("a guard that cannot be built throws, with everything as before", "[guard]") {
    in_child([] {
        ::signal(SIGUSR2, &foreign);
        guard earlier{on<rt<0>>(wake)};
        state_of_process const before;
        bool thrown = false;
        try {
            guard signals{on<SIGUSR1, SIGUSR2>(wake), on<rt<1>>(wake), on<SIGHUP>(call([] {})),
                          on<SIGTERM>(request_stop), on<SIGPIPE>(ignore), on<kept_by_the_library>(wake)};
        } catch (error const& e) {
            thrown = true;
            require_in_child(e.code() == EBUSY && e.signal() == kept_by_the_library);
            std::string const text = e.what();
            require_in_child(text.find("SIGRTMIN+29") != std::string::npos);
            require_in_child(text.find("sigaction") != std::string::npos);
        }
        require_in_child(thrown);
        require_in_child(state_of_process{} == before);
        ::raise(SIGUSR2);
        require_in_child(steps == 1);
        guard signals{on<SIGUSR1>(wake)};
        ::raise(SIGUSR1);
        require_in_child(readable(signals.fd()));
    });
}

TEST_CASE("the first and the last real-time signal can be taken", "[guard]") {
    in_child([] {
        guard signals{on<rt<0>, rt<30>>(wake)};
        queue_value(::getpid(), SIGRTMIN, 7);
        queue_value(::getpid(), SIGRTMAX, 8);
        int sum = 0;
        for (delivery const& d : signals.take()) sum += d.value();
        require_in_child(sum == 15);
    });
}

TEST_CASE("a failed guard says so in an int", "[guard]") {
    in_child([] {
        guard earlier{on<rt<0>>(wake)};
        state_of_process const before;
        int ec = -1;
        {
            guard signals{ec, on<SIGUSR1>(wake), on<kept_by_the_library>(wake)};
            require_in_child(ec == EBUSY && !signals);
            require_in_child(state_of_process{} == before);
        }
        require_in_child(state_of_process{} == before);
        guard signals{ec, on<SIGUSR1>(wake)};
        require_in_child(ec == 0 && signals);
    });
}

TEST_CASE("a failed guard says so in a type of the program's own", "[guard]") {
    in_child([] {
        guard earlier{on<rt<0>>(wake)};
        my_error ec;
        guard failed{ec, on<SIGUSR1>(call([] {})), on<kept_by_the_library>(wake)};
        require_in_child(ec.code == EBUSY && !failed);
        guard built{ec, on<SIGUSR1>(call([] {}))};
        require_in_child(ec.code == 0 && built);
    });
}

TEST_CASE("without a descriptor to be had nothing is installed", "[guard]") {
    in_child([] {
        guard earlier{on<SIGUSR2>(in_handler(add_ten))};
        state_of_process const before;
        rlimit none{};
        ::getrlimit(RLIMIT_NOFILE, &none);
        rlimit const usual = none;
        none.rlim_cur = 0;
        ::setrlimit(RLIMIT_NOFILE, &none);
        int code = 0;
        std::string call;
        try {
            guard signals{on<SIGHUP>(request_stop), on<SIGUSR1>(wake)};
        } catch (error const& e) {
            code = e.code();
            call = e.call();
        }
        ::setrlimit(RLIMIT_NOFILE, &usual);
        require_in_child(code == EMFILE && call == "eventfd");
        require_in_child(state_of_process{} == before);
    });
}

TEST_CASE("without a thread to be had nothing stays installed", "[guard]") {
    in_child([] {
        { guard earlier{on<SIGUSR2>(in_handler(add_ten))}; }
        state_of_process const before;
        // no room for a thread's stack, but for all the rest
        rlimit limit{};
        ::getrlimit(RLIMIT_AS, &limit);
        rlimit const usual = limit;
        std::FILE* const file = std::fopen("/proc/self/statm", "r");
        unsigned long pages = 0;
        require_in_child(std::fscanf(file, "%lu", &pages) == 1);
        std::fclose(file);
        limit.rlim_cur = pages * 4096 + (2UL << 20);
        ::setrlimit(RLIMIT_AS, &limit);
        int code = 0;
        std::string call;
        try {
            guard signals{on<SIGHUP>(tocsin::call([] {})), on<SIGTERM>(request_stop)};
        } catch (error const& e) {
            code = e.code();
            call = e.call();
        }
        ::setrlimit(RLIMIT_AS, &usual);
        require_in_child(code == EAGAIN && call == "pthread_create");
        require_in_child(state_of_process{} == before);
    });
}

TEST_CASE("a foreign handler is restored whole", "[guard]") {
    in_child([] {
        auto before = make_action(&foreign, static_cast<int>(SA_RESETHAND | SA_NODEFER | SA_ONSTACK));
        ::sigaddset(&before.sa_mask, SIGUSR2);
        ::sigaddset(&before.sa_mask, SIGWINCH);
        ::sigaction(SIGUSR1, &before, nullptr);
        auto with_info = make_action(+[](int, siginfo_t*, void*) {}, SA_NOCLDSTOP);
        ::sigaction(SIGCHLD, &with_info, nullptr);
        ::signal(SIGHUP, SIG_IGN);
        state_of_process const found;
        { guard signals{on<SIGUSR1, SIGCHLD, SIGHUP>(in_handler(nothing))}; }
        require_in_child(state_of_process{} == found);
        ::raise(SIGUSR1);
        require_in_child(steps == 1 && action_of(SIGUSR1).sa_handler == SIG_DFL);
    });
}

TEST_CASE("a foreign handler that was installed after us is never overwritten", "[guard]") {
    in_child([] {
        {
            guard signals{on<SIGUSR1>(in_handler(add_ten))};
            ::signal(SIGUSR1, &foreign);
        }
        require_in_child(action_of(SIGUSR1).sa_handler == &foreign);
        ::raise(SIGUSR1);
        require_in_child(steps == 1);
    });
}

TEST_CASE("a foreign handler that remembered ours can be put back and finds what was there before", "[guard]") {
    in_child([] {
        ::signal(SIGUSR1, &other_foreign);
        struct sigaction ours {};
        {
            guard signals{on<SIGUSR1>(in_handler(add_ten))};
            auto const theirs = make_action(&foreign);
            ::sigaction(SIGUSR1, &theirs, &ours);
        }
        ::sigaction(SIGUSR1, &ours, nullptr);  // a late and careless restore of somebody else
        ::raise(SIGUSR1);
        require_in_child(steps == 100);
    });
}

TEST_CASE("the inner of two guards wins while it lives", "[guard]") {
    in_child([] {
        guard outer{on<SIGUSR1>(in_handler([](delivery const&) noexcept { steps = steps + 1; }))};
        {
            guard inner{on<SIGUSR1>(in_handler(add_ten))};
            ::raise(SIGUSR1);
            require_in_child(steps == 10);
        }
        ::raise(SIGUSR1);
        require_in_child(steps == 11);
    });
}

TEST_CASE("guards may be destroyed in any order", "[guard]") {
    int const order = GENERATE(0, 1, 2, 3, 4, 5);
    in_child([order] {
        static int const orders[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
        ::signal(SIGUSR1, &foreign);
        auto const before = action_of(SIGUSR1);
        auto const count = [](int weight) {
            return on<SIGUSR1>(in_handler([weight](delivery const&) noexcept { steps = steps + weight; }), chain);
        };
        using type = guard<decltype(count(1))>;
        std::unique_ptr<type> guards[3];
        int expected = 1;
        for (int i = 0, weight = 10; i < 3; ++i, weight *= 10) {
            guards[i] = std::make_unique<type>(count(weight));
            expected += weight;
        }
        for (int const gone : orders[order]) {
            steps = 0;
            ::raise(SIGUSR1);
            require_in_child(steps == expected);
            guards[gone].reset();
            for (int i = 0, weight = 10; i < 3; ++i, weight *= 10)
                if (i == gone) expected -= weight;
        }
        steps = 0;
        ::raise(SIGUSR1);
        require_in_child(steps == 1 && same_action(action_of(SIGUSR1), before));
    });
}

TEST_CASE("guards of different kinds may lie on each other in any order", "[guard]") {
    in_child([] {
        auto outer = std::make_unique<guard<decltype(on<SIGTERM>(ignore))>>(on<SIGTERM>(ignore));
        auto middle = std::make_unique<guard<decltype(on<SIGTERM>(wake))>>(on<SIGTERM>(wake));
        auto inner = std::make_unique<guard<decltype(on<SIGTERM>(ignore))>>(on<SIGTERM>(ignore));
        ::raise(SIGTERM);
        require_in_child(!readable(middle->fd()));
        outer.reset();
        ::raise(SIGTERM);
        inner.reset();
        ::raise(SIGTERM);
        require_in_child(readable(middle->fd()));
        middle.reset();
        require_in_child(action_of(SIGTERM).sa_handler == SIG_DFL);
    });
}

TEST_CASE("a guard may be built again and again", "[guard]") {
    in_child([] {
        for (int i = 0; i < 2000; ++i) {
            guard signals{on<SIGUSR1, rt<1>>(wake), on<SIGHUP>(call([] {})), on<SIGTERM>(request_stop)};
            ::raise(SIGUSR1);
            require_in_child(readable(signals.fd()));
        }
        require_in_child(threads() == 2 && descriptors() < 20);
    });
}

TEST_CASE("a guard may live in a thread that ends", "[guard]") {
    in_child([] {
        std::thread{[] {
            guard signals{on<SIGUSR1>(wake), on<SIGHUP>(call([] {})), on_crash<SIGSEGV>(in_handler(nothing))};
            ::kill(::getpid(), SIGUSR1);
            wait_readable(signals.fd());
        }}.join();
        require_in_child(action_of(SIGUSR1).sa_handler == SIG_DFL);
        guard signals{on<SIGUSR1>(wake)};
        ::raise(SIGUSR1);
        require_in_child(readable(signals.fd()));
    });
}

TEST_CASE("a guard may be built by one thread and destroyed by another", "[guard]") {
    in_child([] {
        using type = guard<decltype(on<SIGUSR1>(wake)), decltype(on<SIGTERM>(request_stop))>;
        std::unique_ptr<type> signals;
        std::thread{[&] { signals = std::make_unique<type>(on<SIGUSR1>(wake), on<SIGTERM>(request_stop)); }}.join();
        ::raise(SIGUSR1);
        require_in_child(readable(signals->fd()));
        std::thread{[&] { signals.reset(); }}.join();
        require_in_child(action_of(SIGUSR1).sa_handler == SIG_DFL);
    });
}

TEST_CASE("threads may build and destroy guards of the same signals at once", "[guard]") {
    in_child([] {
        ::signal(SIGUSR1, &foreign);
        auto const before = action_of(SIGUSR1);
        std::vector<std::thread> builders;
        for (int i = 0; i < 4; ++i)
            builders.emplace_back([] {
                for (int round = 0; round < 500; ++round) {
                    guard signals{on<SIGUSR1>(in_handler(add_ten), chain), on<SIGUSR2, rt<1>>(wake),
                                  on<SIGTERM>(request_stop)};
                    ::raise(SIGUSR1);
                }
            });
        for (std::thread& each : builders) each.join();
        require_in_child(same_action(action_of(SIGUSR1), before));
        require_in_child(action_of(SIGUSR2).sa_handler == SIG_DFL && threads() == 2);
    });
}

TEST_CASE("a static guard is removed at exit, in its turn", "[guard]") {
    auto process = child::run([] {
        struct last {
            ~last() {
                say(action_of(SIGUSR1).sa_handler == SIG_DFL ? "removed" : "still there");
                ::_exit(0);
            }
        };
        static last const check;
        static guard signals{on<SIGUSR1>(wake), on<SIGHUP>(call([] {})), on<SIGTERM>(request_stop)};
        ::raise(SIGUSR1);
        require_in_child(readable(signals.fd()));
        std::exit(1);
    });
    auto const& result = process.wait();
    INFO(result.describe());
    CHECK(result.exited(0));
    CHECK(result.out == "removed\n");
}

TEST_CASE("a call may end the process by exit, with a static guard", "[guard]") {
    auto process = child::run([] {
        static guard signals{on<SIGUSR1>(wake), on<SIGHUP>(call([] { std::exit(7); })), on<SIGTERM>(request_stop)};
        ::raise(SIGHUP);
        for (;;) ::pause();
    });
    auto const& result = process.wait();
    INFO(result.describe());
    CHECK(result.exited(7));
}

namespace {

// Two threads send themselves signals all the time; guards come and go on a third.
void remove_in_a_storm(int removals, void (*before_each)(int)) {
    ::signal(SIGUSR1, SIG_IGN);
    static in_signal::atomic<int> done;
    static in_signal::atomic<int> late;
    static in_signal::atomic<long> ran;
    static in_signal::atomic<int> started;
    struct guarded_state {
        in_signal::atomic<int> alive{1};
    };
    std::vector<std::thread> storm;
    for (int i = 0; i < 2; ++i)
        storm.emplace_back([] {
            started.fetch_add(1);
            while (done.load() == 0) ::syscall(SYS_tgkill, ::getpid(), ::gettid(), SIGUSR1);
        });
    until([] { return started.load() == 2; });
    for (int i = 0; i < removals || (ran.load() == 0 && i < 100 * removals); ++i) {
        before_each(i);
        guarded_state here;
        {
            guard signals{on<SIGUSR1>(in_handler([at = &here](delivery const&) noexcept {
                for (int spin = 0; spin < 20; ++spin) in_signal::relax();
                if (at->alive.load() != 1) late.fetch_add(1);
                ran.fetch_add(1);
            }))};
        }
        here.alive.store(-1);
    }
    done.store(1);
    for (std::thread& each : storm) each.join();
    require_in_child(late.load() == 0);
    require_in_child(ran.load() != 0);
}

}  // namespace

TEST_CASE("when the destructor returns, nobody runs the guard's handler any more", "[guard]") {
    in_child([] { remove_in_a_storm(20'000, [](int) {}); }, milliseconds{60'000});
}

// Where other threads cannot be made to pass a barrier, each has one of its own.
TEST_CASE("nor where membarrier is refused, from the beginning or once guards have come and gone", "[guard]") {
    int const from = GENERATE(0, 500);
    static int refused_from;
    refused_from = from;
    in_child([] {
        remove_in_a_storm(3'000, [](int i) {
            if (i == refused_from) refuse_call(SYS_membarrier, EPERM);
        });
    }, milliseconds{60'000});
}

TEST_CASE("nothing is lost while guards come and go", "[guard]") {
    in_child([] {
        static in_signal::atomic<long> heard;
        ::signal(SIGUSR1, +[](int) { heard.fetch_add(1); });
        static in_signal::atomic<int> done;
        long sent = 0;
        std::thread sender{[&] {
            while (done.load() == 0) {
                ::syscall(SYS_tgkill, ::getpid(), ::gettid(), SIGUSR1);
                ++sent;
            }
        }};
        for (int i = 0; i < 5'000; ++i) {
            guard signals{on<SIGUSR1>(in_handler([](delivery const&) noexcept { heard.fetch_add(1); }))};
        }
        done.store(1);
        sender.join();
        require_in_child(heard.load() == sent);
    }, milliseconds{60'000});
}

TEST_CASE("errno is what it was after every kind of row", "[guard]") {
    in_child([] {
        ::signal(SIGALRM, &foreign);
        guard signals{on<SIGUSR1, rt<0>>(wake), on<SIGUSR2>(defer([] {})), on<SIGHUP>(call([] {})),
                      on<SIGTERM>(request_stop.every()), on<SIGPIPE>(ignore), on<SIGALRM>(chain),
                      on<SIGCHLD>(default_disposition), on<SIGWINCH>(in_handler(nothing), default_disposition)};
        for (int const number : {SIGUSR1, SIGRTMIN, SIGUSR2, SIGHUP, SIGTERM, SIGPIPE, SIGALRM, SIGCHLD, SIGWINCH}) {
            errno = E2BIG;
            ::raise(number);
            require_in_child(errno == E2BIG);
        }
    });
}

TEST_CASE("a descriptor that the program has closed harms nobody", "[guard]") {
    in_child([] {
        guard signals{on<SIGUSR1>(wake)};
        ::close(signals.fd());
        errno = 0;
        ::raise(SIGUSR1);
        require_in_child(errno == 0);
        int seen = 0;
        for (delivery const& d : signals.take()) seen += d.signal();
        require_in_child(seen == SIGUSR1);
    });
}

TEST_CASE("a guard notices who took its signals, and takes them back on request", "[guard]") {
    in_child([] {
        guard signals{on<SIGUSR1, rt<2>>(wake), on<SIGUSR2>(defer([] {})), on<SIGPIPE>(ignore)};
        require_in_child(signals.check_ownership().empty() && signals.reinstall().empty());
        ::signal(SIGUSR1, SIG_DFL);  // as event loops do when they stop
        ::signal(rt<2>, SIG_IGN);
        ::signal(SIGPIPE, SIG_DFL);
        require_in_child(signals.check_ownership() == signal_set(SIGUSR1, SIGPIPE, rt<2>));
        require_in_child(signals.reinstall() == signal_set(SIGUSR1, SIGPIPE, rt<2>));
        require_in_child(signals.check_ownership().empty());
        ::raise(SIGUSR1);
        ::raise(rt<2>);
        ::raise(SIGPIPE);
        int taken = 0;
        for (delivery const& d : signals.take()) taken += d.signal();
        require_in_child(taken == SIGUSR1 + rt<2>);
    });
}

TEST_CASE("after a reinstall the guard still gives back what it had found", "[guard]") {
    in_child([] {
        ::signal(SIGUSR1, &foreign);
        auto const before = action_of(SIGUSR1);
        {
            guard signals{on<SIGUSR1>(wake)};
            ::signal(SIGUSR1, SIG_DFL);
            signals.reinstall();
        }
        require_in_child(same_action(action_of(SIGUSR1), before));
    });
}

TEST_CASE("a handler that a guard took its signal back from is called by chain, again and again", "[guard]") {
    in_child([] {
        guard signals{on<SIGUSR1>(in_handler(add_ten), chain)};
        for (int i = 0; i < 20; ++i) {
            ::signal(SIGUSR1, &other_foreign);
            require_in_child(signals.check_ownership().contains(SIGUSR1));
            signals.reinstall();
            require_in_child(signals.check_ownership().empty());
        }
        ::raise(SIGUSR1);
        require_in_child(steps == 110);
    });
}

TEST_CASE("a guard outside whose signal another guard has is not robbed", "[guard]") {
    in_child([] {
        guard outer{on<SIGUSR1>(in_handler([](delivery const&) noexcept { steps = steps + 1; }))};
        guard inner{on<SIGUSR1>(in_handler(add_ten), chain)};
        require_in_child(outer.check_ownership().empty() && inner.check_ownership().empty());
        ::signal(SIGUSR1, SIG_DFL);
        require_in_child(outer.check_ownership().contains(SIGUSR1));
        outer.reinstall();
        require_in_child(inner.check_ownership().empty());
        ::raise(SIGUSR1);
        require_in_child(steps == 11);
    });
}

TEST_CASE("a guard that could not be built owns nothing", "[guard]") {
    in_child([] {
        guard earlier{on<rt<0>>(wake)};
        int ec = 0;
        guard signals{ec, on<SIGUSR1>(wake), on<kept_by_the_library>(wake)};
        require_in_child(ec == EBUSY && signals.check_ownership().empty() && signals.reinstall().empty());
    });
}
