// SPDX-License-Identifier: MIT
// The lines of the self-check, and the text files of /proc that it reads.
//
// Runs on any ordinary thread. Every line begins with "tocsin doctor: " and its level, so that it can be searched for;
// what comes from outside is escaped and bounded. Nothing here allocates.
#pragma once

#include <errno.h>

#include <tocsin/in_signal/format.hpp>
#include <tocsin/in_signal/memory.hpp>
#include <tocsin/in_signal/write.hpp>
#include <tocsin/signal.hpp>

namespace tocsin::posix {

inline constexpr std::uint64_t doctor_patience = 3'000'000'000;  // for all writing of a self-check, in ns
inline constexpr unsigned most_lines_of_a_kind = 32;             // the rest is counted

// Writes findings and counts them. A line is begun by its level, filled, and put.
class checkup {
  public:
    explicit checkup(int fd) noexcept : out_{fd, doctor_patience, gathered_, sizeof gathered_} {}

    in_signal::line& ok() noexcept { return begin("ok: ", oks_); }
    // What is worth knowing and may be meant so, or what could not be found out.
    in_signal::line& note() noexcept { return begin("note: ", notes_); }
    // What will cost a report, a part of it, or the core.
    in_signal::line& warning() noexcept { return begin("warning: ", warnings_); }

    // The line that has been begun.
    in_signal::line& line() noexcept { return line_; }

    void put(char const* remedy = nullptr) noexcept {
        if (remedy != nullptr) line_.text(" (").text(remedy).character(')');
        out_.put(line_);
    }

    // The summary. Answers the number of warnings, or a negated errno if not all could be written.
    int end() noexcept {
        line_.clear()
            .text("tocsin doctor: summary: warnings ")
            .decimal(warnings_)
            .text(", notes ")
            .decimal(notes_);
        out_.put(line_.text(", ok ").decimal(oks_));
        out_.flush();
        return out_.failed() ? -out_.error() : static_cast<int>(warnings_);
    }

    bool failed() const noexcept { return out_.failed(); }

  private:
    in_signal::line& begin(char const* level, unsigned& count) noexcept {
        ++count;
        return line_.clear().text("tocsin doctor: ").text(level);
    }

    char gathered_[2048];
    in_signal::output out_;
    in_signal::fixed_line<1024> line_;
    unsigned oks_ = 0;
    unsigned notes_ = 0;
    unsigned warnings_ = 0;
};

// A text file, line by line; of a longer line, its first 511 characters.
class text_lines {
  public:
    explicit text_lines(char const* path) noexcept
        : fd_{in_signal::openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC | O_NOCTTY)} {}
    ~text_lines() {
        if (fd_ >= 0) in_signal::close(fd_);
    }
    text_lines(text_lines const&) = delete;
    text_lines& operator=(text_lines const&) = delete;

    // Why it cannot be read: an errno, or 0.
    int error() const noexcept { return fd_ < 0 ? -fd_ : 0; }

    bool next() noexcept {
        size_ = 0;
        for (bool any = false;; any = true) {
            char c;
            if (!take(c)) return finish(any);
            if (c == '\n') return finish(true);
            if (size_ + 1 < sizeof text_) text_[size_++] = c;
        }
    }

    // Without its newline; ends in a zero.
    char const* text() const noexcept { return text_; }
    std::size_t size() const noexcept { return size_; }

    // What follows "Name:" and white space if this is that line of a status file (proc(5)), else null.
    char const* value_of(char const* field) const noexcept {
        std::size_t const length = in_signal::length_of(field);
        for (std::size_t i = 0; i < length; ++i)
            if (text_[i] != field[i]) return nullptr;
        char const* at = text_ + length;
        if (*at != ':') return nullptr;
        for (++at; *at == ' ' || *at == '\t';) ++at;
        return at;
    }

    bool contains(char const* part) const noexcept {
        for (char const* at = text_; *at != '\0'; ++at) {
            std::size_t i = 0;
            while (part[i] != '\0' && at[i] == part[i]) ++i;
            if (part[i] == '\0') return true;
        }
        return false;
    }

  private:
    bool finish(bool any) noexcept {
        text_[size_] = '\0';
        return any;
    }

    bool take(char& c) noexcept {
        if (at_ == held_) {
            long const got = fd_ < 0 ? 0 : in_signal::read(fd_, buffer_, sizeof buffer_);
            if (got <= 0) return false;
            held_ = static_cast<std::size_t>(got);
            at_ = 0;
        }
        c = buffer_[at_++];
        return true;
    }

    int fd_;
    std::size_t size_ = 0;
    std::size_t at_ = 0;
    std::size_t held_ = 0;
    char text_[512] = {};
    char buffer_[1024];
};

// Moves on behind the digits.
inline std::uint64_t parse_decimal(char const*& at) noexcept {
    std::uint64_t value = 0;
    for (; *at >= '0' && *at <= '9'; ++at) value = value * 10 + static_cast<std::uint64_t>(*at - '0');
    return value;
}

inline std::uint64_t parse_hex(char const* at) noexcept {
    std::uint64_t value = 0;
    for (;; ++at) {
        if (*at >= '0' && *at <= '9')
            value = value << 4 | static_cast<std::uint64_t>(*at - '0');
        else if (*at >= 'a' && *at <= 'f')
            value = value << 4 | static_cast<std::uint64_t>(*at - 'a' + 10);
        else
            return value;
    }
}

// " SIGSEGV SIGBUS" and so on: the signals of a set.
inline void append_signals(in_signal::line& to, in_signal::kernel_set set) noexcept {
    for (int signal = 1; signal <= tocsin::detail::last_signal; ++signal)
        if ((set & in_signal::bit_of(signal)) != 0) {
            to.character(' ');
            signal_name const known = name(signal);
            if (known.empty())
                to.text("signal ").decimal(signal);
            else
                to.text(known.c_str());
        }
}

inline void append_errno(in_signal::line& to, int code) noexcept {
    switch (code) {
        case EPERM:
            to.text("EPERM");
            return;
        case EACCES:
            to.text("EACCES");
            return;
        case ENOSYS:
            to.text("ENOSYS");
            return;
        case ENOENT:
            to.text("ENOENT");
            return;
        case EROFS:
            to.text("EROFS");
            return;
        case EMFILE:
            to.text("EMFILE");
            return;
        default:
            to.text("errno ").decimal(code);
    }
}

}  // namespace tocsin::posix
