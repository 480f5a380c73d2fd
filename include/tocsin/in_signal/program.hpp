// SPDX-License-Identifier: MIT
// What a row does in the handler: its parts, one after another, inlined into one function.
//
// Runs in the handler. A part is a trivially copyable object that is called with the arrival; the row's last word
// says what becomes of the signal afterwards.
#pragma once

#include <tocsin/delivery.hpp>
#include <tocsin/in_signal/inbox.hpp>
#include <tocsin/in_signal/reraise.hpp>
#include <tocsin/in_signal/slot.hpp>
#include <tocsin/traits.hpp>

namespace tocsin::in_signal {

using tocsin::detail::copies_as_bytes;

// Posts to an inbox.
struct post_to {
    inbox* box;
    void operator()(arrival& a) const noexcept { post(*box, a); }
};

// Calls the user's function. One that faults while it is dealing with a fault would be called for that as well, until
// no stack is left: the row goes on without it, to the report.
template <class Function, bool MayFault = true>
struct user_code {
    Function function;
    void operator()(arrival& a) noexcept {
        if constexpr (MayFault)
            if (is_fault(a.signal) && faults_under_way(*a.in) > 1) return;
        function(delivery{a.signal, *a.info, a.context});
    }
    // Of a row that has no fault among its signals.
    user_code<Function, false> without_faults() const noexcept { return {function}; }
};

// The last words.
struct finish {
    verdict operator()(arrival&) const noexcept { return verdict::done; }
};
struct finish_by_chain {
    bool or_default;
    verdict operator()(arrival&) const noexcept {
        return or_default ? verdict::chain_or_default : verdict::chain;
    }
};
struct finish_by_reraise {
    verdict operator()(arrival&) const noexcept { return verdict::reraise; }
};
struct finish_by_default {
    verdict operator()(arrival& a) const noexcept {
        take_default(a);
        return verdict::done;
    }
};
struct finish_by_exit {
    int code;
    verdict operator()(arrival&) const noexcept { exit_now(code); }
};

// The parts as a list: no <tuple>, which costs as much to include as all of this.
template <class... Parts>
struct parts {
    void operator()(arrival&) noexcept {}
};
template <class First, class... Rest>
struct parts<First, Rest...> {
    static_assert(copies_as_bytes<First>);
    [[no_unique_address]] First first;
    [[no_unique_address]] parts<Rest...> rest;

    void operator()(arrival& a) noexcept {
        first(a);
        rest(a);
    }
};

template <class Parts, class Last>
struct program {
    [[no_unique_address]] Parts all;
    [[no_unique_address]] Last last;

    verdict operator()(arrival& a) noexcept {
        all(a);
        return last(a);
    }
};

// A claim of one signal by a row. The same type for every row: what is done with it is code that all rows share.
struct row_link : link {
    void* program;
    int number;
    std::uint32_t words;  // what the row says to the kernel; see row_claim.hpp
    bool lost;           // others have taken the signal since, and it could not be claimed again
};

template <class Program>
verdict run_program(link& self, arrival& a) noexcept {
    return (*static_cast<Program*>(static_cast<row_link&>(self).program))(a);
}

// A row that has nothing to do: the kernel ignores the signal, or an empty handler does. A fault that cannot be
// ignored would come back for ever.
inline verdict run_ignore(link&, arrival& a) noexcept {
    if (delivery::is_from_processor(a.signal, a.info->si_code)) take_default(a);
    return verdict::done;
}

// A row that leaves the signal to the kernel's default; reached by a claim above it, or before the kernel has it.
inline verdict run_default(link&, arrival& a) noexcept {
    if (a.asked != verdict::chain || is_fault(a.signal)) take_default(a);
    return verdict::done;
}

}  // namespace tocsin::in_signal
