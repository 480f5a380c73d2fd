// SPDX-License-Identifier: MIT
// Against a local datagram socket that stands for systemd's; and against libsystemd, where that is installed.
#include <tocsin/systemd.hpp>

#include <dlfcn.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstddef>
#include <string>
#include <string_view>

#include <tocsin/guard.hpp>
#include <tocsin/wake.hpp>
#include <tocsin/watchdog.hpp>

#include "support/catch.hpp"
#include "support/child.hpp"
#include "support/report_text.hpp"
#include "support/signals.hpp"

using namespace tocsin;
using namespace std::chrono_literals;
using test::child;
using test::require_in_child;

namespace {

using steady = std::chrono::steady_clock;

// A socket that systemd would have made, and its words in the environment. In a child.
class manager {
  public:
    explicit manager(std::string const& name, char const* microseconds = nullptr) {
        socket_ = ::socket(AF_UNIX, SOCK_DGRAM, 0);
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        name.copy(address.sun_path, sizeof address.sun_path - 1);
        if (name[0] == '@') address.sun_path[0] = '\0';
        auto const size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size());
        void const* const generic = &address;
        require_in_child(::bind(socket_, static_cast<sockaddr const*>(generic), size) == 0);
        ::setenv("NOTIFY_SOCKET", name.c_str(), 1);
        ::unsetenv("WATCHDOG_PID");
        ::unsetenv("WATCHDOG_USEC");
        if (microseconds != nullptr) ::setenv("WATCHDOG_USEC", microseconds, 1);
        if (microseconds != nullptr) ::setenv("WATCHDOG_PID", std::to_string(::getpid()).c_str(), 1);
    }
    ~manager() { ::close(socket_); }
    manager(manager const&) = delete;
    manager& operator=(manager const&) = delete;

    // The next datagram; empty if none comes.
    std::string hear(std::chrono::milliseconds deadline = test::patience) const {
        pollfd ready{socket_, POLLIN, 0};
        if (::poll(&ready, 1, static_cast<int>(deadline.count())) != 1) return {};
        char text[256];
        ssize_t const got = ::recv(socket_, text, sizeof text, 0);
        return {text, static_cast<std::size_t>(got > 0 ? got : 0)};
    }
    bool silent_for(std::chrono::milliseconds time) const {
        for (auto const end = steady::now() + time; steady::now() < end;)
            if (!hear(10ms).empty()) return false;
        return true;
    }

  private:
    int socket_ = -1;
};

std::string abstract_name() { return "@tocsin-test-" + std::to_string(::getpid()); }

}  // namespace

TEST_CASE("ready and stopping are said, to a socket with a path or an abstract name", "[systemd]") {
    bool const abstract = GENERATE(false, true);
    expect_success(child::run([abstract] {
        test::scratch_directory folder;
        manager systemd{abstract ? abstract_name() : folder.file("notify")};
        {
            sd_watchdog service;
            require_in_child(service.is_supervised() && !service.is_watched());
            require_in_child(service.ready() == 0);
            require_in_child(systemd.hear() == "READY=1");
        }
        require_in_child(systemd.hear() == "STOPPING=1");
        require_in_child(systemd.silent_for(20ms));
    }));
}

TEST_CASE("stopping is said once", "[systemd]") {
    expect_success(child::run([] {
        manager systemd{abstract_name()};
        {
            sd_watchdog service;
            require_in_child(service.stopping() == 0 && service.stopping() == 0);
        }
        require_in_child(systemd.hear() == "STOPPING=1");
        require_in_child(systemd.silent_for(20ms));
    }));
}

TEST_CASE("without systemd nothing is said", "[systemd]") {
    expect_success(child::run([] {
        ::unsetenv("NOTIFY_SOCKET");
        ::setenv("WATCHDOG_USEC", "1000", 1);
        sd_watchdog service;
        require_in_child(!service.is_supervised() && !service.is_watched());
        require_in_child(service.ready() == 0);
    }));
}

TEST_CASE("the word comes at half of the time that systemd allows", "[systemd]") {
    expect_success(child::run([] {
        manager systemd{abstract_name(), "200000"};
        sd_watchdog service;
        require_in_child(service.is_watched());
        require_in_child(systemd.hear() == "WATCHDOG=1");
        auto const begin = steady::now();
        for (int i = 0; i < 4; ++i) require_in_child(systemd.hear() == "WATCHDOG=1");
        auto const took = steady::now() - begin;
        require_in_child(took >= 370ms && took < 2s);
    }));
}

TEST_CASE("it comes only while every watchdog of the process is fed", "[systemd]") {
    expect_success(child::run([] {
        manager systemd{abstract_name(), "40000"};
        guard one{watchdog<"render">(100ms)(wake)};
        guard another{watchdog(60s)(wake)};
        sd_watchdog service;
        require_in_child(systemd.hear() == "WATCHDOG=1");
        pollfd fired{one.fd(), POLLIN, 0};
        require_in_child(::poll(&fired, 1, 20'000) == 1);
        while (!systemd.hear(0ms).empty()) {
        }
        require_in_child(systemd.silent_for(100ms));
        one.feed<"render">();
        require_in_child(systemd.hear() == "WATCHDOG=1");
        {
            guard third{watchdog(20ms)(wake)};
            pollfd hangs{third.fd(), POLLIN, 0};
            require_in_child(::poll(&hangs, 1, 20'000) == 1);
        }
        one.feed<"render">();
        while (!systemd.hear(0ms).empty()) {
        }
        require_in_child(systemd.hear() == "WATCHDOG=1");  // what is gone does not hang
    }));
}

TEST_CASE("words for another process, and words that are none, are not taken", "[systemd]") {
    expect_success(child::run([] {
        manager systemd{abstract_name(), "20000"};
        ::setenv("WATCHDOG_PID", "1", 1);
        {
            sd_watchdog service;
            require_in_child(service.is_supervised() && !service.is_watched());
            require_in_child(systemd.silent_for(60ms));
        }
        require_in_child(systemd.hear() == "STOPPING=1");
        ::unsetenv("WATCHDOG_PID");
        for (char const* const odd : {"", "0", "-1", "1s", "99999999999999999999999"}) {
            ::setenv("WATCHDOG_USEC", odd, 1);
            sd_watchdog service;
            require_in_child(!service.is_watched());
        }
        ::setenv("WATCHDOG_USEC", "18446744073709551615", 1);
        sd_watchdog service;
        require_in_child(service.is_watched());
    }));
}

TEST_CASE("a socket that cannot be reached is an error", "[systemd]") {
    expect_success(child::run([] {
        auto const code_for = [](std::string const& name) {
            ::setenv("NOTIFY_SOCKET", name.c_str(), 1);
            try {
                sd_watchdog service;
            } catch (error const& what) {
                return what.code();
            }
            return 0;
        };
        require_in_child(code_for("relative") == EINVAL);
        require_in_child(code_for("@") == EINVAL);
        require_in_child(code_for("/nowhere/at/all") == ENOENT);
        require_in_child(code_for("/" + std::string(200, 'x')) == ENAMETOOLONG);
    }));
}

TEST_CASE("a manager that does not read holds nobody", "[systemd]") {
    expect_success(child::run([] {
        manager systemd{abstract_name(), "2000"};
        sd_watchdog service;
        for (int i = 0; i < 1000 && service.ready() == 0; ++i) {
        }
        require_in_child(service.ready() == EAGAIN);
        guard signals{watchdog(20ms)(wake)};
        pollfd fired{signals.fd(), POLLIN, 0};
        require_in_child(::poll(&fired, 1, 20'000) == 1);
    }));
}

TEST_CASE("a forked child says nothing for its parent", "[systemd]") {
    expect_success(child::run([] {
        manager systemd{abstract_name(), "60000000"};
        auto* const service = new sd_watchdog;
        require_in_child(systemd.hear() == "WATCHDOG=1");
        pid_t const forked = ::fork();
        if (forked == 0) {
            service->ready();
            guard signals{watchdog(10ms)(wake)};  // a watcher of its own
            pollfd fired{signals.fd(), POLLIN, 0};
            require_in_child(::poll(&fired, 1, 20'000) == 1);
            delete service;
            ::exit(0);
        }
        int status = 0;
        require_in_child(::waitpid(forked, &status, 0) == forked && status == 0);
        require_in_child(systemd.silent_for(20ms));
        delete service;
        require_in_child(systemd.hear() == "STOPPING=1");
    }));
}

TEST_CASE("libsystemd reads the same from the environment, and says the same", "[systemd]") {
    void* const library = ::dlopen("libsystemd.so.0", RTLD_NOW);
    if (library == nullptr) {
        WARN("skipped: libsystemd.so.0 is not installed (apt-get install libsystemd0)");
        return;
    }
    auto const enabled = reinterpret_cast<int (*)(int, std::uint64_t*)>(::dlsym(library, "sd_watchdog_enabled"));
    auto const notify = reinterpret_cast<int (*)(int, char const*)>(::dlsym(library, "sd_notify"));
    REQUIRE(enabled != nullptr);
    REQUIRE(notify != nullptr);
    expect_success(child::run([&] {
        manager systemd{abstract_name(), "250000"};
        std::uint64_t microseconds = 0;
        for (char const* const words : {"250000", "1", "60000000", "0", "-1", "x", ""}) {
            ::setenv("WATCHDOG_USEC", words, 1);
            bool const theirs = enabled(0, &microseconds) > 0;
            require_in_child(posix::detail::allowed_silence() == (theirs ? microseconds * 1000 : 0));
        }
        ::setenv("WATCHDOG_USEC", "250000", 1);
        for (std::string const& process : {std::to_string(::getpid()), std::string{"1"}}) {
            ::setenv("WATCHDOG_PID", process.c_str(), 1);
            bool const theirs = enabled(0, &microseconds) > 0;
            require_in_child(theirs == (process != "1"));
            require_in_child((posix::detail::allowed_silence() != 0) == theirs);
        }
        require_in_child(notify(0, "READY=1") > 0);
        std::string const theirs = systemd.hear();
        sd_watchdog service;
        service.ready();
        require_in_child(systemd.hear() == theirs);
    }));
}
