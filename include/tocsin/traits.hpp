// SPDX-License-Identifier: MIT
// What the core needs of <type_traits>, <concepts> and <utility>, which would be half of all that it includes.
//
// Compile time, but for `moved` and `swap`, which run anywhere.
#pragma once

namespace tocsin::detail {

// std::move.
template <class T>
constexpr T&& moved(T& from) noexcept {
    return static_cast<T&&>(from);
}

// std::swap, of what can be copied.
template <class T>
constexpr void swap(T& left, T& right) noexcept {
    T const kept = left;
    left = right;
    right = kept;
}

// std::declval, for what is never evaluated.
template <class T>
T&& some() noexcept;

template <class Left, class Right>
inline constexpr bool same = false;
template <class T>
inline constexpr bool same<T, T> = true;

template <class T, class... Others>
inline constexpr bool one_of = (same<T, Others> || ...);

// A number that counts; bool does not.
template <class T>
inline constexpr bool whole_number = one_of<T, int, unsigned, long, unsigned long, long long, unsigned long long, short,
                                            unsigned short, signed char, unsigned char, char>;

// What the language itself can count with: whole numbers, bool, characters and __int128 among them, and what has
// fractions. GCC has no builtin for that; nothing else has a remainder, or is multiplied and has
// an order.
template <class T>
concept builtin_number = !__is_class(T) && !__is_union(T) && !__is_enum(T);
template <class T>
concept whole = builtin_number<T> && requires(T const& some) { some % some; };
template <class T>
concept fractional = builtin_number<T> && !whole<T> && requires(T const& some) {
    some * some;
    some < some;
};
template <class T>
concept arithmetic = whole<T> || fractional<T>;

// Where an errno can be put, and 0 for success: an int, or what takes one.
template <class T>
concept error_place = __is_assignable(T&, int);

template <bool Value>
struct truth {
    static constexpr bool value = Value;
};

template <bool, class Then, class>
struct choice {
    using type = Then;
};
template <class Then, class Else>
struct choice<false, Then, Else> {
    using type = Else;
};
template <bool First, class Then, class Else>
using chosen = typename choice<First, Then, Else>::type;

template <class T>
struct plain_type {
    using type = T;
};
template <class T>
struct plain_type<T const> {
    using type = T;
};
template <class T>
struct plain_type<T&> {
    using type = T;
};
// Without a const, or without a reference.
template <class T>
using plain = typename plain_type<T>::type;

// What a T can be made from by itself.
template <class T>
void accept(T) noexcept;

// What has a function of this shape.
template <class F, class... Arguments>
concept callable = requires(F& f) { f(some<Arguments>()...); };
template <class F, class... Arguments>
concept callable_calmly = requires(F& f) {
    { f(some<Arguments>()...) } noexcept;
};

// What std::is_trivially_copyable means for what is never assigned to. GCC 12 answers no to that one for a closure
// with captures, once anybody has looked at its deleted assignment.
template <class T>
inline constexpr bool copies_as_bytes = __is_trivially_constructible(T, T const&) &&
                                        __is_trivially_constructible(T, T&&) &&
#if defined(__clang__)
                                        __is_trivially_destructible(T);
#else
                                        __has_trivial_destructor(T);
#endif

}  // namespace tocsin::detail
