// SPDX-License-Identifier: MIT
#include "support/signals.hpp"

#include <tocsin/awaitable.hpp>
#include <tocsin/guard.hpp>
#include <tocsin/signalfd.hpp>
#include <tocsin/stop.hpp>
#include <tocsin/wake.hpp>

#include <sys/epoll.h>

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#if defined(__cpp_impl_coroutine)
#include <coroutine>
#endif

using namespace tocsin;
using namespace tocsin::test;

namespace {

// An awaiter that remembers what it was called with.
struct remembering {
    std::vector<go_on> asked;
    int fd = -1;
    void operator()(int descriptor, go_on then) {
        fd = descriptor;
        asked.push_back(then);
    }
    void go() {
        go_on const last = asked.back();
        asked.pop_back();
        last();
    }
};

// What stands in for a coroutine: counts how often it is resumed.
struct counted {
    int* count;
    void* address() const { return count; }
    static counted from_address(void* address) { return {static_cast<int*>(address)}; }
    void resume() const { ++*count; }
};

}  // namespace

TEST_CASE("what is there already is taken without waiting, one at a time", "[awaitable]") {
    in_child([] {
        guard signals{on<SIGUSR1, rt<1>>(wake)};
        remembering loop;
        ::raise(SIGUSR1);
        queue_value(::getpid(), rt<1>, 5);
        auto first = next(signals, loop);
        require_in_child(first.await_ready() && first.await_resume().signal() == SIGUSR1);
        require_in_child(readable(signals.fd()));
        auto second = next(signals, loop);
        require_in_child(second.await_ready() && second.await_resume().value() == 5);
        require_in_child(!readable(signals.fd()) && loop.asked.empty());
    });
}

TEST_CASE("a wait goes on when there is a delivery, and looks again when there is none", "[awaitable]") {
    in_child([] {
        guard signals{on<SIGUSR1>(wake)};
        remembering loop;
        int resumed = 0;
        auto wait = next(signals, loop);
        require_in_child(!wait.await_ready());
        wait.await_suspend(counted{&resumed});
        require_in_child(loop.fd == signals.fd() && loop.asked.size() == 1 && resumed == 0);
        loop.go();
        require_in_child(resumed == 0 && loop.asked.size() == 1);
        ::raise(SIGUSR1);
        loop.go();
        require_in_child(resumed == 1 && wait.await_resume().signal() == SIGUSR1 && loop.asked.empty());
    });
}

TEST_CASE("a wait that is cancelled answers signal 0, and takes nothing", "[awaitable]") {
    in_child([] {
        guard signals{on<SIGUSR1>(wake)};
        remembering loop;
        int resumed = 0;
        auto wait = next(signals, loop);
        require_in_child(!wait.await_ready());
        wait.await_suspend(counted{&resumed});
        ::raise(SIGUSR1);
        loop.asked.back().cancel();
        require_in_child(resumed == 1 && wait.await_resume().signal() == 0 && readable(signals.fd()));
    });
}

TEST_CASE("a signalfd can be waited for as well", "[awaitable]") {
    in_child([] {
        signal_descriptor<SIGUSR1> signals;
        remembering loop;
        queue_value(::getpid(), SIGUSR1, 3);
        auto wait = next(signals, loop);
        require_in_child(wait.await_ready());
        waited_signal const got = wait.await_resume();
        require_in_child(got.value() == 3 && got.info().si_pid == ::getpid());
    });
}

#if defined(__cpp_impl_coroutine)

namespace {

// The least that a coroutine needs.
struct task {
    struct promise_type {
        task get_return_object() { return {std::coroutine_handle<promise_type>::from_promise(*this)}; }
        std::suspend_never initial_suspend() noexcept { return {}; }
        std::suspend_always final_suspend() noexcept { return {}; }
        void return_void() {}
        void unhandled_exception() { ::abort(); }
    };
    std::coroutine_handle<promise_type> handle;
    bool done() const { return handle.done(); }
};

// A loop of epoll: the whole adapter.
class epoll_loop {
  public:
    void operator()(int fd, go_on then) {
        then_ = then;
        epoll_event interest{};
        interest.events = EPOLLIN | EPOLLONESHOT;
        if (::epoll_ctl(loop_, EPOLL_CTL_MOD, fd, &interest) != 0) ::epoll_ctl(loop_, EPOLL_CTL_ADD, fd, &interest);
    }
    void run(task const& until) {
        while (!until.done()) {
            epoll_event event{};
            if (::epoll_wait(loop_, &event, 1, -1) != 1) continue;
            go_on const then = *then_;
            then();
        }
    }
    void cancel() { then_->cancel(); }

  private:
    int loop_ = ::epoll_create1(EPOLL_CLOEXEC);
    std::optional<go_on> then_;
};

// Until one with this value, or a cancelled wait.
template <class Signals>
task collect(Signals& signals, epoll_loop& loop, int last, std::vector<int>& values) {
    for (;;) {
        delivery const d = co_await next(signals, loop);
        if (d.signal() == 0) co_return;
        values.push_back(d.value());
        if (d.value() == last) co_return;
    }
}

}  // namespace

TEST_CASE("a coroutine gets every queued signal, in order, from another process", "[awaitable]") {
    in_child([] {
        test::spare_the_queue();
        guard signals{on<rt<1>>(wake)};
        epoll_loop loop;
        std::vector<int> values;
        constexpr int sent = 20'000;
        task const counting = collect(signals, loop, sent - 1, values);
        pid_t const sender = ::fork();
        if (sender == 0) {
            for (int i = 0; i < sent; ++i) queue_value(::getppid(), rt<1>, i);
            ::_exit(0);
        }
        loop.run(counting);
        require_in_child(values.size() == sent);
        for (int i = 0; i < sent; ++i) require_in_child(values[static_cast<std::size_t>(i)] == i);
        counting.handle.destroy();
    });
}

TEST_CASE("a coroutine that waits is ended by a cancelled wait", "[awaitable]") {
    in_child([] {
        guard signals{on<SIGUSR1>(wake)};
        epoll_loop loop;
        std::vector<int> values;
        task const counting = collect(signals, loop, 0, values);
        require_in_child(!counting.done());
        loop.cancel();
        require_in_child(counting.done() && values.empty());
        counting.handle.destroy();
    });
}

#endif

#if defined(__cpp_lib_jthread)

TEST_CASE("a signal ends what waits with a stop_token: a jthread on a condition variable", "[awaitable]") {
    in_child([] {
        guard signals{on<SIGTERM>(request_stop)};
        std::mutex lock;
        std::condition_variable_any changed;
        std::atomic<bool> waits{false};
        bool ready = false;
        std::jthread worker{[&](std::stop_token const& own) {
            // its own token ends with the jthread; the guard's with a signal
            std::stop_source either;
            std::stop_callback const by_owner{own, [&] { either.request_stop(); }};
            std::stop_callback const by_signal{signals.stop_token(), [&] { either.request_stop(); }};
            std::unique_lock held{lock};
            waits.store(true);
            require_in_child(!changed.wait(held, either.get_token(), [&] { return ready; }));
        }};
        until([&] { return waits.load(); });
        ::kill(::getpid(), SIGTERM);
        worker.join();
        require_in_child(signals.stop_requested());
    });
}

#endif
