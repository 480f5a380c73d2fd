// SPDX-License-Identifier: MIT
// Signals in a standalone Asio loop: async_wait with every completion token. The argument says which is used:
// "callback", "coroutine" or "future".
#include "program.hpp"

#include <asio.hpp>

#include <string_view>
#include <thread>

namespace {

// asio::signal_set takes the signals away from the process; this one asks a guard that has them.
template <class Guard>
class guard_signals {
  public:
    guard_signals(asio::io_context& loop, Guard& of) : of_{of}, descriptor_{loop, of.fd()} {}
    ~guard_signals() { descriptor_.release(); }  // it is the guard's, which closes it

    // Completes with the next delivery. What has arrived besides stays for the next call.
    template <class Token>
    auto async_wait(Token&& token) {
        return asio::async_compose<Token, void(asio::error_code, tocsin::delivery)>(
            wait_operation{*this}, token, descriptor_);
    }

  private:
    struct wait_operation {
        guard_signals& from;

        template <class Self>
        void operator()(Self& self) {
            from.descriptor_.async_wait(asio::posix::descriptor_base::wait_read, std::move(self));
        }
        template <class Self>
        void operator()(Self& self, asio::error_code failed) {
            if (failed) return self.complete(failed, {});
            for (tocsin::delivery const& d : from.of_.take()) {
                tocsin::delivery const first = d;
                return self.complete({}, first);
            }
            (*this)(self);  // somebody else was faster
        }
    };

    Guard& of_;
    asio::posix::stream_descriptor descriptor_;
};

using waiting = guard_signals<program::signals_type>;

void by_callback(waiting& signals, program::tally& seen) {
    signals.async_wait([&](asio::error_code failed, tocsin::delivery const& d) {
        if (failed) return;
        seen.enter(d);
        if (!seen.stopped()) by_callback(signals, seen);
    });
}

#if defined(ASIO_HAS_CO_AWAIT)
asio::awaitable<void> wait_and_enter(waiting& signals, program::tally& seen) {
    while (!seen.stopped()) seen.enter(co_await signals.async_wait(asio::use_awaitable));
}
int by_coroutine(asio::io_context& loop, waiting& signals, program::tally& seen) {
    asio::co_spawn(loop, wait_and_enter(signals, seen), asio::detached);
    return 0;
}
#else
int by_coroutine(asio::io_context&, waiting&, program::tally&) {
    program::say("skipped: Asio has no coroutines with this compiler");
    return 77;
}
#endif

// The loop runs on a thread of its own, which blocks all signals: values stay in order only if one thread takes them,
// for two that are in handlers at a time may overtake each other.
void by_future(asio::io_context& loop, waiting& signals, program::tally& seen) {
    auto const keep = asio::make_work_guard(loop);
    std::thread runner = [&] {
        tocsin::block inherited{tocsin::blockable_signals};
        return std::thread{[&] { loop.run(); }};
    }();
    while (!seen.stopped()) seen.enter(signals.async_wait(asio::use_future).get());
    loop.stop();
    runner.join();
}

}  // namespace

int main(int count, char** words) {
    std::string_view const token = count > 1 ? words[1] : "callback";
    return program::run([&](program::signals_type& signals, program::tally& seen) {
        asio::io_context loop;
        waiting from{loop, signals};
        if (token == "coroutine")
            if (int const refused = by_coroutine(loop, from, seen)) return refused;
        program::say("ready");
        if (token == "callback") by_callback(from, seen);
        if (token == "future") by_future(loop, from, seen);
        loop.run();  // until nothing is waited for
        return seen.stopped() ? 0 : 1;
    });
}
