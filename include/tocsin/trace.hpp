// SPDX-License-Identifier: MIT
// `trace here{"loading", path};`: a breadcrumb. Reports show, for every thread, what it was about.
//
// Runs on any ordinary thread, in static initialisation and while a thread ends. Entering and leaving a scope are a few
// stores; the first one of a thread makes its record. Nothing is copied. In a handler it may be used if the thread has
// had one before; so make the first one, or a thread_guard, outside.
#pragma once

#include <type_traits>

#include <tocsin/posix/thread_records.hpp>

namespace tocsin {

namespace detail {

// Where a function was called that has `source_place here = source_place::current()` as its last parameter. What
// std::source_location is for; clang 14 lacks it.
struct source_place {
    char const* file;
    char const* function;
    int line;

    static constexpr source_place current(char const* file = __builtin_FILE(),
                                          char const* function = __builtin_FUNCTION(),
                                          int line = __builtin_LINE()) noexcept {
        return {file, function, line};
    }
};

template <class T>
concept counted_text = requires(T const& t) {
    static_cast<char const*>(t.data());
    static_cast<std::size_t>(t.size());
};
// A path of the standard library.
template <class T>
concept native_text = requires(T const& t) {
    { t.native() } -> counted_text;
};
template <class T>
concept zero_ended_text = std::is_convertible_v<T const&, char const*>;

template <class T>
inline constexpr bool traceable = counted_text<T> || native_text<T> || zero_ended_text<T> || std::is_integral_v<T> ||
                                  std::is_enum_v<T>;

// A temporary that owns its text takes it along at the end of the line.
template <class T>
inline constexpr bool outlives_its_line = std::is_lvalue_reference_v<T> ||
                                          std::is_trivially_destructible_v<std::remove_reference_t<T>>;

}  // namespace detail

// What the thread is about until the end of the scope, with the place in the source. `what` is a text, usually a
// literal; the detail a text (char const*, or what has data() and size(), or a path) or an integer. Texts are looked
// at only when a report is written, and have to stay until the scope ends. To be destroyed on the same thread, in
// the reverse order of construction, so not to be held across the suspension of a coroutine. Never fails: where no
// memory is left for a record, or in a vforked child that has none, the breadcrumb is not there.
class [[nodiscard]] trace {
  public:
    explicit trace(char const* what, detail::source_place here = detail::source_place::current()) noexcept {
        frame_.kind = in_signal::detail_kind::none;
        enter(what, here);
    }
    template <class T>
    trace(char const* what, T&& about, detail::source_place here = detail::source_place::current()) noexcept {
        using plain = std::remove_cv_t<std::remove_reference_t<T>>;
        constexpr bool known = detail::traceable<plain>;
        constexpr bool stays = detail::outlives_its_line<T>;
        static_assert(known, "tocsin: the detail of a trace is a text or an integer");
        static_assert(stays, "tocsin: this text is gone before the scope ends; give it a name first");
        if constexpr (known && stays) describe(about);
        enter(what, here);
    }
    ~trace() {
        if (record_ == nullptr) return;
        record_->innermost.store_release(frame_.outer);
        frame_.number.store_relaxed(0);
        in_signal::order_stores();  // whatever is written next where the frame was comes later
    }
    trace(trace const&) = delete;
    trace& operator=(trace const&) = delete;

  private:
    template <class T>
    void describe(T const& about) noexcept {
        using in_signal::detail_kind;
        if constexpr (std::is_enum_v<T>) {
            describe(static_cast<std::underlying_type_t<T>>(about));
        } else if constexpr (std::is_integral_v<T>) {
            frame_.kind = std::is_signed_v<T> ? detail_kind::number : detail_kind::unsigned_number;
            frame_.detail = static_cast<std::uintptr_t>(about);
        } else if constexpr (detail::native_text<T>) {
            describe(about.native());
        } else if constexpr (detail::counted_text<T>) {
            frame_.kind = detail_kind::counted_text;
            frame_.detail = reinterpret_cast<std::uintptr_t>(static_cast<char const*>(about.data()));
            frame_.detail_size = static_cast<std::size_t>(about.size());
        } else {
            char const* const text = about;
            frame_.kind = text != nullptr ? detail_kind::text : detail_kind::none;
            frame_.detail = reinterpret_cast<std::uintptr_t>(text);
        }
    }

    void enter(char const* what, detail::source_place here) noexcept {
        record_ = posix::own_record();
        if (record_ == nullptr) [[unlikely]]
            return;
        std::uint64_t const number = record_->count.load_relaxed() + 1;
        frame_.what = what;
        frame_.file = here.file;
        frame_.function = here.function;
        frame_.line = here.line;
        frame_.outer = record_->innermost.load_relaxed();
        frame_.number.store_relaxed(number);
        record_->count.store_relaxed(number);
        record_->innermost.store_release(&frame_);
    }

    posix::thread_record* record_;
    in_signal::trace_frame frame_;
};

}  // namespace tocsin
