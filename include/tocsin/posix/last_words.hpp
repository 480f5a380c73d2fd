// SPDX-License-Identifier: MIT
// What a thread says before it ends the process, for the report of that end.
//
// Runs on any ordinary thread. The first thread that says something is the one that is heard.
#pragma once

#include <new>  // std::exception; <exception> costs more than all that comes with a report
#include <typeinfo>

#include <tocsin/in_signal/report_desk.hpp>
#include <tocsin/libc_functions.hpp>
#include <tocsin/posix/table_lock.hpp>

namespace tocsin::posix {

#if defined(__GXX_RTTI)
inline constexpr bool knows_types = true;
#elif defined(__has_feature)
inline constexpr bool knows_types = __has_feature(cxx_rtti);
#else
inline constexpr bool knows_types = false;
#endif

// Two texts and what stands between them; cut to what fits. False if another thread was first.
inline bool say_last_words(in_signal::report_desk& desk, char const* what, char const* between, char const* detail,
                           std::size_t detail_size) noexcept {
    in_signal::last_words& words = desk.words;
    std::int32_t const self = in_signal::gettid();
    if (words.thread.load() != self && !words.thread.replace(0, -self)) return false;
    std::size_t used = 0;
    auto const append = [&](char const* text, std::size_t size) noexcept {
        for (std::size_t i = 0; i < size && used + 1 < sizeof words.text; ++i) words.text[used++] = text[i];
    };
    append(what, __builtin_strlen(what));
    append(between, __builtin_strlen(between));
    append(detail, detail_size);
    words.text[used] = '\0';
    words.thread.store(self);
    return true;
}

namespace detail {

// Of the C++ ABI; <cxxabi.h> declares the whole of it.
std::type_info* current_exception_type() noexcept __asm__("__cxa_current_exception_type");

// Of <exception>, whose names are the same in GCC's and LLVM's library.
using terminate_handler = void (*)();
terminate_handler get_terminate() noexcept __asm__("_ZSt13get_terminatev");
terminate_handler set_terminate(terminate_handler) noexcept __asm__("_ZSt13set_terminatePFvvE");

// What std::current_exception answers, which is one pointer, handed over as what has a destructor. Never given back:
// it is asked for where the process ends.
struct caught_exception {
    void* object;

    caught_exception(caught_exception const&) = delete;
    ~caught_exception() {}
};
caught_exception current_exception() noexcept __asm__("_ZSt17current_exceptionv");

inline std::size_t length_of(char const* text, std::size_t most) noexcept {
    std::size_t length = 0;
    while (length < most && text[length] != '\0') ++length;
    return length;
}

// The mangled name of the exception that is being handled; null if there is none, or nobody knows.
inline char const* name_of_exception() noexcept {
#if defined(__GXX_RTTI) || !defined(__GNUC__) || defined(__clang__)
    if constexpr (knows_types) {
        std::type_info const* const type = current_exception_type();
        return type != nullptr ? type->name() : nullptr;
    }
#endif
    return nullptr;
}

// An ordinary thread: the heap may be used, and if that fails the mangled name is good enough.
inline void say_exception(in_signal::report_desk& desk, char const* text) noexcept {
    char const* const mangled = name_of_exception();
    if (mangled == nullptr) {
        say_last_words(desk, "terminated without an active exception", "", "", 0);
        return;
    }
    char readable[512];
    __builtin_strcpy(readable, "terminated by ");
    std::size_t const begin = __builtin_strlen(readable);
    char prefixed[256] = "_ZTI";
    std::size_t const size = length_of(mangled, sizeof prefixed - 5);
    __builtin_memcpy(prefixed + 4, mangled, size);
    constexpr char about[] = "typeinfo for ";
    std::size_t written = 0;
    bool const known = in_signal::demangle(prefixed, size + 4, desk.names.tree(), readable + begin,
                                           sizeof readable - begin - 1, written) != in_signal::demangled::refused;
    if (known && written > sizeof about && __builtin_memcmp(readable + begin, about, sizeof about - 1) == 0) {
        written -= sizeof about - 1;
        __builtin_memmove(readable + begin, readable + begin + sizeof about - 1, written);
        readable[begin + written] = '\0';
    } else {
        __builtin_memcpy(readable + begin, mangled, size);
        readable[begin + size] = '\0';
    }
    say_last_words(desk, readable, text != nullptr ? ": " : "", text, text != nullptr ? __builtin_strlen(text) : 0);
}

[[gnu::visibility("hidden")]] inline in_signal::atomic<in_signal::report_desk*> desk_for_exceptions;
[[gnu::visibility("hidden")]] inline in_signal::atomic<terminate_handler> terminate_before;

[[gnu::visibility("hidden")]] inline void say_uncaught(in_signal::report_desk& desk) noexcept {
#if defined(__cpp_exceptions)
    // Null also for an exception of another language, of which nothing can be asked.
    if (current_exception().object == nullptr) {
        say_last_words(desk, "terminated without an active exception of C++", "", "", 0);
        return;
    }
    say_exception(desk, nullptr);  // the type first: what() is somebody else's code
    try {
        throw;
    } catch (std::exception const& active) {
        say_exception(desk, active.what());
    } catch (...) {
    }
#else
    say_last_words(desk, "terminated", "", "", 0);
#endif
}

[[noreturn, gnu::visibility("hidden")]] inline void terminate_with_words() noexcept {
    if (in_signal::report_desk* const desk = desk_for_exceptions.load()) say_uncaught(*desk);
    if (terminate_handler const before = terminate_before.load()) before();
    libc::abort();
}

}  // namespace detail

// While one of these lives, std::terminate says which exception nobody caught before it goes on as it would have. Of
// several the first installs, the last restores, and what somebody else has installed meanwhile stays.
class terminate_words {
  public:
    terminate_words() noexcept = default;
    ~terminate_words() { close(); }
    terminate_words(terminate_words const&) = delete;
    terminate_words& operator=(terminate_words const&) = delete;

    [[gnu::visibility("hidden")]] void open(in_signal::table& in, in_signal::report_desk& desk) noexcept {
        table_lock const locked{in};
        in_ = &in;
        if (users()++ != 0) return;
        detail::desk_for_exceptions.store(&desk);
        detail::terminate_handler const before = detail::get_terminate();
        if (before == &detail::terminate_with_words) return;
        detail::terminate_before.store(before);
        detail::set_terminate(&detail::terminate_with_words);
    }
    [[gnu::visibility("hidden")]] void close() noexcept {
        if (in_ == nullptr) return;
        table_lock const locked{*in_};
        in_ = nullptr;
        if (--users() == 0 && detail::get_terminate() == &detail::terminate_with_words)
            detail::set_terminate(detail::terminate_before.load());
    }

  private:
    [[gnu::visibility("hidden")]] static unsigned& users() noexcept { return count_; }
    [[gnu::visibility("hidden")]] static inline unsigned count_ = 0;  // guarded by the table's lock

    in_signal::table* in_ = nullptr;
};

}  // namespace tocsin::posix
