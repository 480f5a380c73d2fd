// SPDX-License-Identifier: MIT
// `query<SIG>()`, `query(sig)`: what the process does with a signal, asked from the kernel;
// `inherited_ignored()`, `inherited_blocked()`: what it was started with.
//
// Runs on any ordinary thread. Nothing is remembered: each query is about now, whoever has changed the
// disposition.
#pragma once

#include <errno.h>
#include <signal.h>
#include <unistd.h>

#include <new>

#include <tocsin/error.hpp>
#include <tocsin/in_signal/module.hpp>
#include <tocsin/in_signal/symbolize.hpp>
#include <tocsin/posix/inherited.hpp>
#include <tocsin/posix/refusal.hpp>
#include <tocsin/signal_set.hpp>
#include <tocsin/traits.hpp>

namespace tocsin {

// Whose a disposition is.
enum class disposition_owner : unsigned char {
    by_default,  // the kernel's default
    ignored,     // nobody's: the signal has no effect
    ours,        // a row of a tocsin guard, of whichever copy of the library
    foreign,     // anybody else's handler
};

// Where a function is. Empty texts and 0 where nothing is known: a stripped object, or memory of no object,
// as a just-in-time compiler makes it.
class function_name {
  public:
    function_name() noexcept = default;
    explicit function_name(void* function) noexcept { look_up(reinterpret_cast<std::uintptr_t>(function)); }

    // Demangled and cut at 255 bytes. It comes from a file and is untrusted: print it escaped.
    char const* function() const noexcept { return function_; }
    // The path of the object, cut at 255 bytes; of the program itself what /proc/self/exe says.
    char const* module() const noexcept { return module_; }
    // Of the address, from the beginning of the function, and in the object's file.
    std::uint64_t offset() const noexcept { return offset_; }
    std::uint64_t in_module() const noexcept { return in_module_; }

  private:
    void look_up(std::uintptr_t address) noexcept {
        if (address == 0) return;
        in_signal::module_info const found = in_signal::module_of(address);
        if (!found.found) return;
        in_module_ = address - found.bias;
        bool const program = *found.path == '\0';
        if (program) {
            [[maybe_unused]] ssize_t const size = ::readlink("/proc/self/exe", module_, sizeof module_ - 1);
        } else {
            for (std::size_t i = 0; i + 1 < sizeof module_ && found.path[i] != '\0'; ++i)
                module_[i] = found.path[i];
        }
        auto* const memory = new (std::nothrow) in_signal::naming_memory;
        if (memory == nullptr) return;
        in_signal::name_pool pool{function_, sizeof function_};
        in_signal::address_query asked{};
        asked.address = in_module_;
        // by a name that lasts: that of the process is gone once the main thread has ended
        in_signal::name_addresses({program ? "/proc/thread-self/exe" : found.path, found.begin}, &asked, 1,
                                  *memory, pool);
        offset_ = asked.found ? asked.offset : 0;
        delete memory;
    }

    char function_[256] = {};
    char module_[256] = {};
    std::uint64_t offset_ = 0;
    std::uint64_t in_module_ = 0;
};

// A disposition as the kernel has it.
class live_disposition {
  public:
    live_disposition() noexcept = default;
    live_disposition(int signal, in_signal::disposition const& found, disposition_owner whose) noexcept
        : signal_{signal}, owner_{whose}, found_{found} {}

    // 0 if the query was refused.
    int signal() const noexcept { return signal_; }
    disposition_owner owner() const noexcept { return owner_; }
    // The handler; null for a signal that is default or ignored. A guard's rows have one handler in common.
    void* address() const noexcept {
        bool const handled = owner_ == disposition_owner::ours || owner_ == disposition_owner::foreign;
        return handled ? reinterpret_cast<void*>(found_.handler) : nullptr;
    }
    // The handler's function and object. Reads symbol tables, which takes milliseconds.
    function_name symbol() const noexcept { return function_name{address()}; }
    // SA_RESTART, SA_SIGINFO and so on, without what only libc and the kernel mean by them.
    int flags() const noexcept {
        constexpr unsigned long with_restorer = 0x04000000;  // SA_RESTORER (asm/signal.h)
        return static_cast<int>(found_.flags & ~with_restorer);
    }
    bool restarts() const noexcept { return (flags() & SA_RESTART) != 0; }
    bool on_alternate_stack() const noexcept { return (flags() & SA_ONSTACK) != 0; }
    bool only_once() const noexcept { return (static_cast<unsigned>(flags()) & SA_RESETHAND) != 0; }
    // What is blocked while the handler runs, besides the signal itself unless SA_NODEFER says otherwise.
    signal_set mask() const noexcept { return signal_set::of_bits(found_.mask); }

  private:
    int signal_ = 0;
    disposition_owner owner_ = disposition_owner::by_default;
    in_signal::disposition found_{};
};

namespace detail {

[[gnu::visibility("hidden")]] inline disposition_owner owner_of(
    in_signal::disposition const& found) noexcept {
    if (found.handler == SIG_DFL) return disposition_owner::by_default;
    if (found.handler == SIG_IGN) return disposition_owner::ignored;
    posix::look_up_table();
    in_signal::table const* const in = in_signal::the_table.load_acquire();
    bool const ours = in != nullptr && found.handler == in_signal::as_handler(in->operate->entry);
    return ours ? disposition_owner::ours : disposition_owner::foreign;
}

[[gnu::visibility("hidden")]] inline failure ask(int signal, live_disposition& answer) noexcept {
    in_signal::disposition found{};
    if (int const code = posix::read_disposition(signal, found)) return {code, "sigaction", signal};
    answer = {signal, found, owner_of(found)};
    return {};
}

}  // namespace detail

// Throws tocsin::error (EINVAL) for a number that is no signal. SIGKILL and SIGSTOP are always default.
[[gnu::visibility("hidden")]] inline live_disposition query(int signal) {
    live_disposition answer;
    if (failure const refused = detail::ask(signal, answer)) posix::fail(refused);
    return answer;
}

// Reports into `ec` instead: 0 for success, else an errno, and the answer has signal 0.
template <class ErrorCode>
    requires detail::error_place<ErrorCode>
[[gnu::visibility("hidden")]] inline live_disposition query(ErrorCode& ec, int signal) {
    live_disposition answer;
    ec = detail::ask(signal, answer).errno_code;
    return answer;
}

template <auto Signal>
[[gnu::visibility("hidden")]] inline live_disposition query() {
    constexpr bool known = detail::names_a_member<Signal>();
    static_assert(known,
                  "tocsin: this number is no signal; standard signals are 1 to 31, real-time ones are "
                  "written rt<N>");
    return query(static_cast<int>(Signal));
}

// The signals that were ignored, and that the main thread blocked, when the process was started: nohup(1)
// leaves SIGHUP ignored, a shell without job control SIGINT and SIGQUIT of what it starts in the background.
// Both are written down together when one of these functions is first called, for the life of the process
// and its forked children: call one early in main, before the program changes dispositions and masks by other
// means than guards. What guards have changed by then is seen through. Each shared object that has a copy of
// the library writes down its own. (execve(2) hands on nothing else, and the kernel keeps no copy.)
[[gnu::visibility("hidden")]] inline signal_set inherited_ignored() noexcept {
    return signal_set::of_bits(posix::inherited().ignored) & valid_signals();
}
[[gnu::visibility("hidden")]] inline signal_set inherited_blocked() noexcept {
    return signal_set::of_bits(posix::inherited().blocked) & valid_signals();
}

}  // namespace tocsin
