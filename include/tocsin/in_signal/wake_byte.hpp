// SPDX-License-Identifier: MIT
// A byte for each signal, into a descriptor that belongs to somebody else.
//
// Runs in the handler. Never waits, and raises no SIGPIPE. A byte that the descriptor does not take is counted, and
// its signal noted.
#pragma once

#include <errno.h>

#include <tocsin/in_signal/slot.hpp>

namespace tocsin::in_signal {

// Of sendto(2), as the kernel has them (include/linux/socket.h); the header of libc declares a whole library.
inline constexpr int send_without_waiting = 0x40;    // MSG_DONTWAIT
inline constexpr int send_without_sigpipe = 0x4000;  // MSG_NOSIGNAL

// Where bytes go. A new one stands before the older ones, until it is taken away again.
struct byte_target {
    int descriptor = -1;  // our own duplicate; -1: nowhere
    bool socket = false;
    byte_target* older = nullptr;
};

struct byte_writer {
    atomic<byte_target*> newest;
    atomic<std::uint32_t> inside;   // threads that may still hold a target
    atomic<std::int32_t> process;   // whose descriptors they are
    atomic<std::uint64_t> full;     // bytes that a full buffer refused
    atomic<std::uint64_t> failed;   // bytes that were refused for another reason
    atomic<std::int32_t> reason;    // the last one, an errno
    atomic<std::uint64_t> refused;  // the signals of all of these bytes, by number
};

// A write into a pipe that nobody reads raises SIGPIPE in this thread (write(2), EPIPE). It is blocked meanwhile and
// taken back, unless one was pending before: then they have merged, and that one is somebody else's.
inline long write_without_sigpipe(int descriptor, unsigned char byte) noexcept {
    kernel_set const sigpipe = bit_of(SIGPIPE);
    kernel_set before = 0;
    kernel_set pending = 0;
    change_mask(SIG_BLOCK, &sigpipe, &before);
    system_call(SYS_rt_sigpending, as_word(&pending), sizeof pending);
    long const written = write(descriptor, &byte, 1);
    if (written == -EPIPE && (pending & sigpipe) == 0) {
        timespec const now{};
        system_call(SYS_rt_sigtimedwait, as_word(&sigpipe), 0, as_word(&now), sizeof sigpipe);
    }
    if ((before & sigpipe) == 0) change_mask(SIG_SETMASK, &before, nullptr);
    return written;
}

inline long write_to(byte_target const& to, unsigned char byte) noexcept {
    long written = -EINTR;
    for (int tries = 0; written == -EINTR && tries < 8; ++tries)
        written = to.socket ? system_call(SYS_sendto, to.descriptor, as_word(&byte), 1,
                                          send_without_waiting | send_without_sigpipe, 0, 0)
                            : write_without_sigpipe(to.descriptor, byte);
    return written;
}

// In a forked child nothing is written: the descriptor is the parent's too.
inline void write_byte(byte_writer& of, arrival& a) noexcept {
    if (a.place_of(of.process.load_relaxed()) != place::home) return;
    of.inside.fetch_add(1);
    byte_target const* const to = of.newest.load();
    if (to != nullptr && to->descriptor >= 0) {
        long const written = write_to(*to, static_cast<unsigned char>(a.signal));
        if (written != 1) {
            of.refused.fetch_or(bit_of(a.signal));
            if (written == -EAGAIN) {
                of.full.fetch_add(1);
            } else {
                of.reason.store(static_cast<std::int32_t>(-written));
                of.failed.fetch_add(1);
            }
        }
    }
    of.inside.fetch_sub(1);
}

// What a row does that writes bytes.
struct write_byte_to {
    byte_writer* writer;
    void operator()(arrival& a) const noexcept { write_byte(*writer, a); }
};

}  // namespace tocsin::in_signal
