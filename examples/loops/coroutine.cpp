// SPDX-License-Identifier: MIT
// Signals in a coroutine, without any runtime: co_await next(signals, loop), where the loop is an epoll(7) of a few
// lines.
#include "program.hpp"

#include <sys/epoll.h>
#include <unistd.h>

#include <tocsin/awaitable.hpp>

#if defined(__cpp_impl_coroutine)

#include <coroutine>
#include <optional>

namespace {

// The least that a coroutine needs: it begins at once, and is destroyed by whoever started it.
struct task {
    struct promise_type {
        task get_return_object() { return {std::coroutine_handle<promise_type>::from_promise(*this)}; }
        std::suspend_never initial_suspend() noexcept { return {}; }
        std::suspend_always final_suspend() noexcept { return {}; }
        void return_void() {}
        void unhandled_exception() { throw; }
    };
    std::coroutine_handle<promise_type> handle;
};

// The awaiter of next(): it watches one descriptor at a time.
class epoll_loop {
  public:
    epoll_loop() : loop_{::epoll_create1(EPOLL_CLOEXEC)} {}
    ~epoll_loop() { ::close(loop_); }
    epoll_loop(epoll_loop const&) = delete;
    epoll_loop& operator=(epoll_loop const&) = delete;

    void operator()(int fd, tocsin::go_on then) {
        then_ = then;
        epoll_event interest{};
        interest.events = EPOLLIN | EPOLLONESHOT;
        if (::epoll_ctl(loop_, EPOLL_CTL_MOD, fd, &interest) != 0) ::epoll_ctl(loop_, EPOLL_CTL_ADD, fd, &interest);
    }
    void run(task const& until) {
        epoll_event event{};
        while (!until.handle.done())
            if (::epoll_wait(loop_, &event, 1, -1) == 1) {
                tocsin::go_on const then = *then_;  // may wait anew, and so change it
                then();
            }
    }

  private:
    int loop_;
    std::optional<tocsin::go_on> then_;
};

task count(program::signals_type& signals, epoll_loop& loop, program::tally& seen) {
    while (!seen.stopped()) seen.enter(co_await tocsin::next(signals, loop));
}

}  // namespace

int main() {
    return program::run([](program::signals_type& signals, program::tally& seen) {
        epoll_loop loop;
        task const counting = count(signals, loop, seen);
        program::say("ready");
        loop.run(counting);
        counting.handle.destroy();
        return 0;
    });
}

#else

int main() {
    program::say("skipped: this compiler has no coroutines for this library");
    return 77;
}

#endif
