// SPDX-License-Identifier: MIT
// `without_sigpipe here;`: writes into broken pipes and sockets fail with EPIPE in this thread, and nothing
// else happens.
//
// Runs on any ordinary thread; the destructor on the same one, as that of a block. For libraries, which must
// not change a disposition of the process they are in. The kernel sends SIGPIPE to the thread that writes
// (fs/pipe.c, pipe_write; net/core/stream.c, sk_stream_error): here the thread blocks it, and takes it back
// at the end.
#pragma once

#include <signal.h>

#include <tocsin/error.hpp>
#include <tocsin/in_signal/system.hpp>
#include <tocsin/posix/mask.hpp>
#include <tocsin/posix/refusal.hpp>

namespace tocsin {

// Nests. A SIGPIPE that somebody else sends meanwhile is delivered afterwards, but for two: one that this
// process sends to itself as a whole (kill(2)) looks as if the kernel had sent it, and is taken back too; one
// that was pending at the start stays so, and the ones that writes cause are part of it.
class [[nodiscard]] without_sigpipe {
  public:
    // Throws tocsin::error where a seccomp filter refuses the calls.
    without_sigpipe() : mask_{only_sigpipe()} {
        if (failure const refused = mask_.refused()) posix::fail(refused);
        pending_before_ = is_pending();
    }
    ~without_sigpipe() {
        if (suppressed()) take_back();
    }
    without_sigpipe(without_sigpipe const&) = delete;
    without_sigpipe& operator=(without_sigpipe const&) = delete;

    // True if a SIGPIPE has come since the start.
    bool suppressed() const noexcept { return !pending_before_ && is_pending(); }

  private:
    static posix::signals_in only_sigpipe() noexcept {
        posix::signals_in set;
        set.add(SIGPIPE);
        return set;
    }

    static bool is_pending() noexcept {
        in_signal::kernel_set now = 0;
        in_signal::system_call(SYS_rt_sigpending, in_signal::as_word(&now), sizeof now);
        return (now & in_signal::bit_of(SIGPIPE)) != 0;
    }

    // The thread's own comes out before one of the process (kernel/signal.c, dequeue_signal). What comes out
    // and is not from a write goes back to where it was sent. By the bare system call: libc's makes SI_USER
    // of every SI_TKILL.
    static void take_back() noexcept {
        in_signal::kernel_set const one = in_signal::bit_of(SIGPIPE);
        timespec const at_once{};
        siginfo_t info{};
        long const got =
            in_signal::system_call(SYS_rt_sigtimedwait, in_signal::as_word(&one), in_signal::as_word(&info),
                                   in_signal::as_word(&at_once), sizeof one);
        int const self = in_signal::getpid();
        if (got != SIGPIPE || (info.si_code == SI_USER && info.si_pid == self)) return;
        if (info.si_code == SI_TKILL) {
            in_signal::queue_to_thread(self, in_signal::gettid(), SIGPIPE, &info);
            return;
        }
        // the kernel lets only the main thread give a sender's name again
        long const sent =
            in_signal::system_call(SYS_rt_sigqueueinfo, self, SIGPIPE, in_signal::as_word(&info));
        if (sent != 0) in_signal::system_call(SYS_kill, self, SIGPIPE);
    }

    posix::mask mask_;
    bool pending_before_ = false;
};

}  // namespace tocsin
