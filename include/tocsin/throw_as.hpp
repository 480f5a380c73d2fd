// SPDX-License-Identifier: MIT
// `throw_as<E>`: a signal as an exception, thrown where the owner calls check().
//
// Runs on any ordinary thread: remembered in the handler and thrown from guard.check(), as by `defer(f)`; nothing is
// ever thrown out of a handler. Not for programs without exceptions.
#pragma once

#include <concepts>
#include <exception>
#include <type_traits>

#include <tocsin/delivery.hpp>
#include <tocsin/on.hpp>
#include <tocsin/posix/safe_point.hpp>
#include <tocsin/signal.hpp>

namespace tocsin {

// A signal on its way to whoever catches it. Visible, as `error` is.
class [[gnu::visibility("default")]] interrupted : public std::exception {
  public:
    explicit interrupted(delivery const& by) noexcept : by_{by} {
        char const* const what = by.signal() == 0 ? "a watchdog that nobody fed" : "a signal without a name";
        if (name(by.signal()).empty())
            __builtin_snprintf(text_, sizeof text_, "tocsin: interrupted by %s", what);
        else
            __builtin_snprintf(text_, sizeof text_, "tocsin: interrupted by %s", name(by.signal()).c_str());
    }

    // One line, such as "tocsin: interrupted by SIGTERM".
    char const* what() const noexcept override { return text_; }
    // What arrived: from whom, how often, carrying what. It has no context: the handler has returned.
    delivery const& by() const noexcept { return by_; }

  private:
    delivery by_;
    char text_[64];
};

// Ctrl-C.
class [[gnu::visibility("default")]] keyboard_interrupt : public interrupted {
  public:
    using interrupted::interrupted;
};

namespace detail {

template <class E>
inline constexpr bool takes_a_delivery = std::is_constructible_v<E, delivery const&> ||
                                         requires(delivery const& what) { E{what}; };

template <class E>
constexpr auto check_thrown() {
#if defined(__cpp_exceptions)
    constexpr bool exceptions = true;
#else
    constexpr bool exceptions = false;
#endif
    static_assert(exceptions || sizeof(E) == 0,
                  "tocsin: throw_as needs exceptions, which this program is compiled without");
    constexpr bool made = takes_a_delivery<E> || std::is_default_constructible_v<E>;
    static_assert(made, "tocsin: throw_as<E> makes an E of a delivery const&, or of nothing; give it such a "
                        "constructor");
    return std::bool_constant<exceptions && made>{};
}

template <class E>
[[noreturn]] void throw_for([[maybe_unused]] delivery const& what) {
#if defined(__cpp_exceptions)
    if constexpr (std::is_constructible_v<E, delivery const&>)
        throw E(what);
    else if constexpr (takes_a_delivery<E>)
        throw E{what};
    else
        throw E();
#else
    __builtin_abort();
#endif
}

}  // namespace detail

template <class E>
struct throw_as_t {
    static constexpr stage where = stage::safe_point;
    static constexpr bool on_fault = false;
    static constexpr bool on_hang = true;
    using state = posix::safe_point_state<feature::safe_point>;

    [[noreturn]] void run(delivery const& what) const { detail::throw_for<E>(what); }
};

struct throw_keyboard_interrupt_t : throw_as_t<keyboard_interrupt> {
    static constexpr bool unless_ignored = true;
};

namespace detail {

template <class E>
constexpr auto make_throw_as() {
    if constexpr (decltype(check_thrown<E>())::value)
        return throw_as_t<E>{};
    else
        return refused{};
}

}  // namespace detail

// on<SIGTERM>(throw_as<time_to_go>): guard.check() throws a time_to_go, made of the delivery const& if it can be, else
// of nothing. What had not run yet stays pending, as after any exception out of a deferred reaction. throw_as<> throws
// an `interrupted`, which has the delivery inside.
template <class E = interrupted>
[[gnu::visibility("hidden")]] inline constexpr auto throw_as = detail::make_throw_as<E>();

// on<SIGINT>(throw_keyboard_interrupt): guard.check() throws a keyboard_interrupt after Ctrl-C. A SIGINT that is
// ignored when the guard is built, by no guard, stays so; see `unless_ignored`.
[[gnu::visibility("hidden")]] inline constexpr throw_keyboard_interrupt_t throw_keyboard_interrupt{};

}  // namespace tocsin
