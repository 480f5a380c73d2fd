// SPDX-License-Identifier: MIT
// The kernel's reason for a signal, in words.
//
// Runs in the handler. Source: sigaction(2), "The siginfo_t argument to a SA_SIGINFO handler".
#pragma once

#include <tocsin/signal.hpp>

namespace tocsin::in_signal {

struct reason {
    int signal;
    int code;
    char const* text;
};

inline constexpr reason reasons [[gnu::visibility("hidden")]][] = {
    {SIGSEGV, SEGV_MAPERR, "address not mapped"},
    {SIGSEGV, SEGV_ACCERR, "no permission for this access"},
    {SIGSEGV, SEGV_BNDERR, "failed bounds check"},
    {SIGSEGV, SEGV_PKUERR, "access denied by protection key"},
    {SIGBUS, BUS_ADRALN, "misaligned address"},
    {SIGBUS, BUS_ADRERR, "no memory behind this address"},
    {SIGBUS, BUS_OBJERR, "hardware error of the object"},
    {SIGBUS, BUS_MCEERR_AR, "memory error, action required"},
    {SIGBUS, BUS_MCEERR_AO, "memory error, action optional"},
    {SIGFPE, FPE_INTDIV, "integer divided by zero"},
    {SIGFPE, FPE_INTOVF, "integer overflow"},
    {SIGFPE, FPE_FLTDIV, "floating-point number divided by zero"},
    {SIGFPE, FPE_FLTOVF, "floating-point overflow"},
    {SIGFPE, FPE_FLTUND, "floating-point underflow"},
    {SIGFPE, FPE_FLTRES, "inexact floating-point result"},
    {SIGFPE, FPE_FLTINV, "invalid floating-point operation"},
    {SIGILL, ILL_ILLOPC, "illegal instruction"},
    {SIGILL, ILL_ILLOPN, "illegal operand"},
    {SIGILL, ILL_ILLADR, "illegal addressing mode"},
    {SIGILL, ILL_ILLTRP, "illegal trap"},
    {SIGILL, ILL_PRVOPC, "privileged instruction"},
    {SIGILL, ILL_BADSTK, "internal stack error"},
    {SIGTRAP, TRAP_BRKPT, "breakpoint"},
    {SIGTRAP, TRAP_TRACE, "trace trap"},
    {SIGSYS, 1, "system call refused by a filter"},  // SYS_SECCOMP, which not every libc names
};

// Empty if there is nothing to say beyond the signal's name.
inline char const* reason_of(int signal, int code) noexcept {
    if (code == SI_KERNEL) return is_fault(signal) ? "by the kernel, which does not know the address" : "by the kernel";
    if (code == SI_TIMER) return "by a timer";
    if (code == SI_MESGQ) return "by a message queue";
    if (code == SI_ASYNCIO) return "by asynchronous input or output";
    for (reason const& known : reasons)
        if (known.signal == signal && known.code == code) return known.text;
    return "";
}

}  // namespace tocsin::in_signal
