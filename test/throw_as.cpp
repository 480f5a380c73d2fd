// SPDX-License-Identifier: MIT
#include "support/signals.hpp"

#include <tocsin/guard.hpp>
#include <tocsin/ignore.hpp>
#include <tocsin/retry.hpp>
#include <tocsin/throw_as.hpp>

#include <stdexcept>
#include <string>

using namespace tocsin;
using namespace tocsin::test;

namespace {

struct going_down {
    int signal;
    pid_t from;
    explicit going_down(delivery const& what) : signal{what.signal()}, from{what.pid()} {}
};

struct plain {};

struct holder {  // an aggregate
    delivery what;
};

// What check() threw: E's, or null.
template <class E, class Guard, class Look>
bool thrown(Guard& signals, Look look) {
    try {
        signals.check();
    } catch (E const& e) {
        look(e);
        return true;
    }
    return false;
}

}  // namespace

TEST_CASE("a signal becomes an exception in check, and not before", "[throw_as]") {
    in_child([] {
        guard signals{on<SIGUSR1>(throw_as<going_down>)};
        require_in_child(signals.check() == 0);
        ::raise(SIGUSR1);
        require_in_child(signals.pending());
        require_in_child(thrown<going_down>(signals, [](going_down const& e) {
            require_in_child(e.signal == SIGUSR1 && e.from == ::getpid());
        }));
        require_in_child(!signals.pending() && signals.check() == 0);
    });
}

TEST_CASE("the exception is made of the delivery, in either way, or of nothing", "[throw_as]") {
    in_child([] {
        guard signals{on<SIGUSR1>(throw_as<plain>), on<rt<1>>(throw_as<holder>), on<SIGTERM>(throw_as<>)};
        ::raise(SIGUSR1);
        require_in_child(thrown<plain>(signals, [](plain const&) {}));
        queue_value(::getpid(), rt<1>, 4711);
        require_in_child(thrown<holder>(signals, [](holder const& e) { require_in_child(e.what.value() == 4711); }));
        ::raise(SIGTERM);
        ::raise(SIGTERM);
        require_in_child(thrown<interrupted>(signals, [](interrupted const& e) {
            require_in_child(e.by().signal() == SIGTERM && e.by().merged() == 2 && e.by().context() == nullptr);
            require_in_child(std::string{e.what()} == "tocsin: interrupted by SIGTERM");
        }));
    });
}

TEST_CASE("every queued signal is thrown for itself, and the rest stays pending", "[throw_as]") {
    in_child([] {
        guard signals{on<rt<0>>(throw_as<>), on<SIGUSR1>(throw_as<going_down>)};
        for (int i = 1; i <= 3; ++i) queue_value(::getpid(), rt<0>, i);
        ::raise(SIGUSR1);
        require_in_child(thrown<going_down>(signals, [](going_down const&) {}));
        for (int i = 1; i <= 3; ++i)
            require_in_child(thrown<interrupted>(signals, [i](interrupted const& e) {
                require_in_child(e.by().value() == i);
            }));
        require_in_child(!signals.pending());
    });
}

TEST_CASE("Ctrl-C ends an interrupted call as a keyboard interrupt", "[throw_as]") {
    in_child([] {
        guard signals{on<SIGINT>(throw_keyboard_interrupt)};
        std::string what;
        try {
            retry(signals, [] {
                ::raise(SIGINT);
                errno = EINTR;
                return -1;
            });
        } catch (keyboard_interrupt const& e) {
            what = e.what();
        }
        require_in_child(what == "tocsin: interrupted by SIGINT");
        ::raise(SIGINT);
        require_in_child(thrown<std::exception>(signals, [](std::exception const&) {}));
    });
}

TEST_CASE("an inherited ignore of Ctrl-C is respected", "[throw_as]") {
    in_child([] {
        ::signal(SIGINT, SIG_IGN);
        {
            guard signals{on<SIGINT>(throw_keyboard_interrupt)};
            require_in_child(action_of(SIGINT).sa_handler == SIG_IGN);
            ::raise(SIGINT);
            require_in_child(!signals.pending());
        }
        require_in_child(action_of(SIGINT).sa_handler == SIG_IGN);
    });
}

TEST_CASE("an ignore of a guard outside is not respected", "[throw_as]") {
    in_child([] {
        guard quiet{on<SIGINT>(ignore)};
        guard signals{on<SIGINT>(throw_keyboard_interrupt)};
        ::raise(SIGINT);
        require_in_child(signals.pending());
    });
}
