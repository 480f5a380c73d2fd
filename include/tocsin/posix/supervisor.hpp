// SPDX-License-Identifier: MIT
// The socket to the service manager, and the word that all is well.
//
// Runs on any ordinary thread, and on the watcher thread (the word). Nothing here waits: a datagram that the manager
// has no room for is dropped, and the next word comes in time.
#pragma once

#include <errno.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <tocsin/libc_functions.hpp>
#include <tocsin/posix/registry.hpp>
#include <tocsin/posix/watcher.hpp>

namespace tocsin::posix {

namespace detail {

// A decimal number that is all of the text; false if it is none.
inline bool parse_number(char const* text, std::uint64_t& number) noexcept {
    if (text == nullptr || *text == '\0') return false;
    std::uint64_t sum = 0;
    for (; *text != '\0'; ++text) {
        auto const digit = static_cast<std::uint64_t>(*text - '0');
        if (*text < '0' || *text > '9' || sum > (~std::uint64_t{0} - digit) / 10) return false;
        sum = sum * 10 + digit;
    }
    number = sum;
    return true;
}

// Nanoseconds that systemd gives this process between two words; 0 if it wants none. sd_watchdog_enabled(3).
inline std::uint64_t allowed_silence() noexcept {
    std::uint64_t microseconds = 0;
    std::uint64_t process = 0;
    if (!parse_number(libc::getenv("WATCHDOG_USEC"), microseconds) || microseconds == 0) return 0;
    char const* const wanted = libc::getenv("WATCHDOG_PID");
    bool const ours = wanted == nullptr || (parse_number(wanted, process) &&
                                            process == static_cast<std::uint64_t>(in_signal::getpid()));
    constexpr std::uint64_t longest = ~std::uint64_t{0} / 4000;
    return ours ? (microseconds < longest ? microseconds : longest) * 1000 : 0;
}

// A path, or with '@' in front a name of the abstract namespace, which in the kernel begins with a zero (unix(7)).
inline failure connect_to(char const* name, int& connected) noexcept {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::size_t const size = __builtin_strlen(name);
    if (size < 2 || (*name != '/' && *name != '@')) return {EINVAL, "NOTIFY_SOCKET", 0};
    if (size >= sizeof address.sun_path) return {ENAMETOOLONG, "NOTIFY_SOCKET", 0};
    __builtin_memcpy(address.sun_path, name, size);
    if (*name == '@') address.sun_path[0] = '\0';
    int const made = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (made < 0) return {errno, "socket", 0};
    auto const length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + size);
    void const* const generic = &address;
    if (::connect(made, static_cast<sockaddr const*>(generic), length) != 0) {
        int const reason = errno;
        ::close(made);
        return {reason, "connect(NOTIFY_SOCKET)", 0};
    }
    connected = made;
    return {};
}

// Under the table's lock. What another process has armed is not fed here, and does not hang.
inline bool anything_hangs(watch_room const& room) noexcept {
    for (watch_level const& level : room.levels)
        for (watched const* each = level.first; each != nullptr; each = each->next)
            if (each->hung) return true;
    return false;
}

}  // namespace detail

class supervisor : watched {
  public:
    // Success, too, where there is nobody to talk to.
    failure open() noexcept {
        char const* const name = libc::getenv("NOTIFY_SOCKET");
        if (name == nullptr || *name == '\0') return {};
        if (failure const refused = detail::connect_to(name, socket_)) return refused;
        process_ = in_signal::getpid();
        silence_ = detail::allowed_silence();
        if (silence_ == 0) return {};
        failure const refused = watch();
        if (refused) close();
        return refused;
    }

    void close() noexcept {
        if (in_ != nullptr) {
            table_lock const locked{*in_};
            detail::unlink_watched(room_of(*in_), *this);
        }
        in_ = nullptr;
        if (socket_ >= 0) ::close(socket_);
        socket_ = -1;
    }

    // Answers an errno.
    int say(char const* text) const noexcept {
        if (socket_ < 0 || process_ != in_signal::getpid()) return 0;
        ssize_t const sent = ::send(socket_, text, __builtin_strlen(text), MSG_NOSIGNAL | MSG_DONTWAIT);
        return sent < 0 ? errno : 0;
    }

    bool connected() const noexcept { return socket_ >= 0; }
    bool watched() const noexcept { return silence_ != 0; }

  private:
    failure watch() noexcept {
        if (failure const refused = find_table(in_)) return refused;
        adopt_process(*in_);
        tick = [](posix::watched& self, look& at) noexcept { static_cast<supervisor&>(self).look_at_all(at); };
        {
            table_lock const locked{*in_};
            watch_room* const room = find_room(*in_);
            if (room == nullptr) {
                in_ = nullptr;
                return {ENOMEM, "malloc", 0};
            }
            due = in_signal::monotonic();
            detail::link_watched(*room, *this, silence_ / 2);
        }
        return start_watcher(*in_);
    }

    void look_at_all(look& at) noexcept {
        if (process_ != at.process) {
            due = never;
            return;
        }
        if (due > at.now) return;
        due = at.now + silence_ / 2;
        if (!detail::anything_hangs(room_of(*in_))) say("WATCHDOG=1");
    }

    int socket_ = -1;
    std::int32_t process_ = 0;
    std::uint64_t silence_ = 0;
    table* in_ = nullptr;
};

}  // namespace tocsin::posix
