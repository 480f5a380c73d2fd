// SPDX-License-Identifier: MIT
// Crashes that wait while the report of another one is written.
//
// Runs in the handler. The thread that crashed leaves word of what it met and where it stood, so that the report shows
// it there and not in the handler that it waits in.
#pragma once

#include <tocsin/in_signal/registers.hpp>
#include <tocsin/in_signal/slot.hpp>

namespace tocsin::in_signal {

enum note_state : std::uint32_t { note_free, note_being_written, note_written, note_shown };

struct crash_note {
    atomic<std::uint32_t> state;
    std::int32_t thread;
    int signal;
    siginfo_t info;
    registers from;
};

inline constexpr unsigned crash_notes = 256;  // more threads are shown where they wait

struct crash_board {
    crash_note notes[crash_notes];

    // What `thread` has left, or null.
    crash_note* of_thread(int thread) noexcept {
        for (crash_note& each : notes) {
            std::uint32_t const state = each.state.load();
            if ((state == note_written || state == note_shown) && each.thread == thread) return &each;
        }
        return nullptr;
    }
    void clear() noexcept {
        for (crash_note& each : notes) each.state.store(note_free);
    }
};

// A note of this thread's crash for as long as it waits.
class noted_crash {
  public:
    noted_crash(crash_board& board, arrival const& a) noexcept {
        if (a.context == nullptr) return;
        for (crash_note& each : board.notes) {
            if (!each.state.replace(note_free, note_being_written)) continue;
            each.thread = gettid();
            each.signal = a.signal;
            each.info = *a.info;
            each.from = registers_of(*a.context);
            each.state.store(note_written);
            note_ = &each;
            return;
        }
    }
    ~noted_crash() { take_back(); }
    noted_crash(noted_crash const&) = delete;
    noted_crash& operator=(noted_crash const&) = delete;

    // True if the report of another crash has told of it.
    bool shown() const noexcept { return note_ != nullptr && note_->state.load() == note_shown; }
    void take_back() noexcept {
        if (note_ != nullptr) note_->state.store(note_free);
        note_ = nullptr;
    }

  private:
    crash_note* note_ = nullptr;
};

}  // namespace tocsin::in_signal
