// SPDX-License-Identifier: MIT
// Signals and their names: the floor that everything else stands on.
//
// Runs anywhere, handlers included. Signals are plain `int`s, spelled as POSIX spells them. What is valid is
// asked from the system where it is not a constant: SIGRTMIN is a function call in glibc, which keeps the
// first real-time signals for itself.
#pragma once

#include <signal.h>

#include <cstddef>

namespace tocsin {

// A real-time signal by its distance from SIGRTMIN: `rt<3>` is SIGRTMIN + 3. Converts to the number that it
// has in this process, so that `delivery.signal() == rt<3>` and `kill(pid, rt<3>)` say what they seem to.
struct realtime {
    int offset;

    operator int() const noexcept { return SIGRTMIN + offset; }
};

template <int Offset>
inline constexpr realtime rt = [] {
    static_assert(Offset >= 0 && Offset <= 30,
                  "tocsin: this real-time signal does not exist; rt<0> to rt<30> lie between SIGRTMIN and SIGRTMAX");
    return realtime{Offset};
}();

// The name of a signal: a view of static text that compares with strings by content. Empty for a number that
// is no signal. `c_str()` ends in a zero byte. Converts to whatever is made from a pointer and a size, such as
// std::string_view.
class signal_name {
  public:
    constexpr signal_name() noexcept = default;
    constexpr signal_name(char const* characters) noexcept : data_{characters} {
        while (data_[size_] != '\0') ++size_;
    }

    constexpr char const* c_str() const noexcept { return data_; }
    constexpr char const* data() const noexcept { return data_; }
    constexpr std::size_t size() const noexcept { return size_; }
    constexpr bool empty() const noexcept { return size_ == 0; }

    template <class View>
        requires requires(char const* data, std::size_t size) { View{data, size}; }
    constexpr operator View() const noexcept(noexcept(View{data_, size_})) {
        return View{data_, size_};
    }

    friend constexpr bool operator==(signal_name left, signal_name right) noexcept {
        if (left.size_ != right.size_) return false;
        for (std::size_t i = 0; i < left.size_; ++i)
            if (left.data_[i] != right.data_[i]) return false;
        return true;
    }

  private:
    char const* data_ = "";
    std::size_t size_ = 0;
};

// What `parse` found: a signal number, or nothing.
class parsed_signal {
  public:
    constexpr parsed_signal() noexcept = default;
    constexpr explicit parsed_signal(int number) noexcept : number_{number} {}

    constexpr bool has_value() const noexcept { return number_ != 0; }
    constexpr explicit operator bool() const noexcept { return has_value(); }
    // 0 if there is none; no signal has that number.
    constexpr int value() const noexcept { return number_; }
    constexpr int operator*() const noexcept { return number_; }

    friend constexpr bool operator==(parsed_signal found, int number) noexcept {
        return found.has_value() && found.number_ == number;
    }

  private:
    int number_ = 0;
};

namespace detail {

// The tables hold the characters themselves: pointers to them would each cost a program a relocation.

struct described_signal {
    unsigned char number;
    char text[35];
};

// Each ends in a zero byte, in the order of their numbers, from 1 on.
[[gnu::visibility("hidden")]] inline constexpr char standard_names[] =
    "SIGHUP\0SIGINT\0SIGQUIT\0SIGILL\0SIGTRAP\0SIGABRT\0SIGBUS\0SIGFPE\0SIGKILL\0SIGUSR1\0SIGSEGV\0SIGUSR2\0"
    "SIGPIPE\0SIGALRM\0SIGTERM\0SIGSTKFLT\0SIGCHLD\0SIGCONT\0SIGSTOP\0SIGTSTP\0SIGTTIN\0SIGTTOU\0SIGURG\0"
    "SIGXCPU\0SIGXFSZ\0SIGVTALRM\0SIGPROF\0SIGWINCH\0SIGIO\0SIGPWR\0SIGSYS";
// The numbers of x86-64 and aarch64 (include/uapi/asm-generic/signal.h).
static_assert(SIGTRAP == 5 && SIGBUS == 7 && SIGUSR1 == 10 && SIGUSR2 == 12 && SIGSTKFLT == 16 && SIGCHLD == 17 &&
              SIGSTOP == 19 && SIGURG == 23 && SIGVTALRM == 26 && SIGIO == 29 && SIGPWR == 30 && SIGSYS == 31);

// Other names that are understood.
struct named_signal {
    unsigned char number;
    char name[7];
};
[[gnu::visibility("hidden")]] inline constexpr named_signal other_names[] = {
    {SIGABRT, "IOT"}, {SIGIO, "POLL"}, {SIGCHLD, "CLD"},
};

[[gnu::visibility("hidden")]] inline constexpr described_signal signal_texts[] = {
    {SIGHUP, "terminal hung up"},
    {SIGINT, "interrupted"},
    {SIGQUIT, "quit"},
    {SIGILL, "illegal instruction"},
    {SIGTRAP, "trace or breakpoint trap"},
    {SIGABRT, "aborted"},
    {SIGBUS, "bus error"},
    {SIGFPE, "arithmetic exception"},
    {SIGKILL, "killed"},
    {SIGUSR1, "user-defined signal 1"},
    {SIGSEGV, "segmentation fault"},
    {SIGUSR2, "user-defined signal 2"},
    {SIGPIPE, "broken pipe"},
    {SIGALRM, "alarm clock"},
    {SIGTERM, "terminated"},
    {SIGSTKFLT, "coprocessor stack fault"},
    {SIGCHLD, "child changed its state"},
    {SIGCONT, "continued"},
    {SIGSTOP, "stopped"},
    {SIGTSTP, "stopped from the terminal"},
    {SIGTTIN, "stopped, reading from the terminal"},
    {SIGTTOU, "stopped, writing to the terminal"},
    {SIGURG, "urgent data on a socket"},
    {SIGXCPU, "processor time limit exceeded"},
    {SIGXFSZ, "file size limit exceeded"},
    {SIGVTALRM, "virtual timer expired"},
    {SIGPROF, "profiling timer expired"},
    {SIGWINCH, "window size changed"},
    {SIGIO, "input or output possible"},
    {SIGPWR, "power failure"},
    {SIGSYS, "bad system call"},
};

[[gnu::visibility("hidden")]] inline constexpr char realtime_names[][12] = {
    "SIGRTMIN", "SIGRTMIN+1", "SIGRTMIN+2", "SIGRTMIN+3", "SIGRTMIN+4", "SIGRTMIN+5", "SIGRTMIN+6",
    "SIGRTMIN+7", "SIGRTMIN+8", "SIGRTMIN+9", "SIGRTMIN+10", "SIGRTMIN+11", "SIGRTMIN+12", "SIGRTMIN+13",
    "SIGRTMIN+14", "SIGRTMIN+15", "SIGRTMIN+16", "SIGRTMIN+17", "SIGRTMIN+18", "SIGRTMIN+19", "SIGRTMIN+20",
    "SIGRTMIN+21", "SIGRTMIN+22", "SIGRTMIN+23", "SIGRTMIN+24", "SIGRTMIN+25", "SIGRTMIN+26", "SIGRTMIN+27",
    "SIGRTMIN+28", "SIGRTMIN+29", "SIGRTMIN+30", "SIGRTMIN+31", "SIGRTMIN+32",
};
inline constexpr int realtime_name_count = static_cast<int>(sizeof(realtime_names) / sizeof(realtime_names[0]));

[[gnu::visibility("hidden")]] inline constexpr char realtime_texts[][20] = {
    "real-time signal 0", "real-time signal 1", "real-time signal 2", "real-time signal 3",
    "real-time signal 4", "real-time signal 5", "real-time signal 6", "real-time signal 7",
    "real-time signal 8", "real-time signal 9", "real-time signal 10", "real-time signal 11",
    "real-time signal 12", "real-time signal 13", "real-time signal 14", "real-time signal 15",
    "real-time signal 16", "real-time signal 17", "real-time signal 18", "real-time signal 19",
    "real-time signal 20", "real-time signal 21", "real-time signal 22", "real-time signal 23",
    "real-time signal 24", "real-time signal 25", "real-time signal 26", "real-time signal 27",
    "real-time signal 28", "real-time signal 29", "real-time signal 30", "real-time signal 31",
    "real-time signal 32",
};

inline constexpr int standard_signals = 31;
inline constexpr int last_signal = 64;

constexpr char const* behind_zero(char const* text) noexcept {
    while (*text++ != '\0') {}
    return text;
}

// Empty for what is none of them.
constexpr char const* standard_name(int signal) noexcept {
    if (signal < 1 || signal > standard_signals) return "";
    char const* name = standard_names;
    while (--signal != 0) name = behind_zero(name);
    return name;
}

// The distance from SIGRTMIN; negative for a number without a name.
constexpr int realtime_offset(int signal) noexcept {
    if (signal <= standard_signals || signal > last_signal) return -1;
    int const offset = signal - SIGRTMIN;
    return offset < realtime_name_count ? offset : -1;
}

// Text with a length, from whatever has one: a literal, a signal_name, std::string, std::string_view.
struct characters {
    char const* data = "";
    std::size_t size = 0;

    constexpr characters(char const* text) noexcept : data{text} {
        if (text != nullptr)
            while (text[size] != '\0') ++size;
    }
    template <class Text>
        requires requires(Text const& text, char const*& begin, std::size_t& length) {
            begin = text.data();
            length = text.size();
        }
    constexpr characters(Text const& text) noexcept : data{text.data()}, size{text.size()} {}

    constexpr bool starts_with(characters other) const noexcept {
        if (size < other.size) return false;
        for (std::size_t i = 0; i < other.size; ++i)
            if (data[i] != other.data[i]) return false;
        return true;
    }
    constexpr bool is(characters other) const noexcept { return size == other.size && starts_with(other); }
    constexpr characters behind(std::size_t count) const noexcept {
        characters rest{*this};
        rest.data += count;
        rest.size -= count;
        return rest;
    }
};

// A decimal number of at most three digits; -1 if the text is anything else.
constexpr int small_number(characters text) noexcept {
    if (text.size == 0 || text.size > 3) return -1;
    int number = 0;
    for (std::size_t i = 0; i < text.size; ++i) {
        if (text.data[i] < '0' || text.data[i] > '9') return -1;
        number = number * 10 + (text.data[i] - '0');
    }
    return number;
}

// "RTMIN", "RTMIN+n", "RTMAX", "RTMAX-n"; 0 if the text is none of them or leaves the range.
inline int parse_realtime(characters text) noexcept {
    bool const from_first = text.starts_with("RTMIN");
    if (!from_first && !text.starts_with("RTMAX")) return 0;
    characters const rest = text.behind(5);
    int distance = 0;
    if (rest.size != 0) {
        if (rest.data[0] != (from_first ? '+' : '-')) return 0;
        distance = small_number(rest.behind(1));
        if (distance < 0) return 0;
    }
    int const number = from_first ? SIGRTMIN + distance : SIGRTMAX - distance;
    return number >= SIGRTMIN && number <= SIGRTMAX ? number : 0;
}

}  // namespace detail

// True for the signals that an instruction of the thread itself causes, and for SIGABRT: blocked, or deferred,
// they mean the end of the process (POSIX, sigprocmask: "the result is undefined").
constexpr bool is_fault(int signal) noexcept {
    return signal == SIGSEGV || signal == SIGBUS || signal == SIGFPE || signal == SIGILL ||
           signal == SIGTRAP || signal == SIGSYS || signal == SIGABRT;
}

// True if a program may give this signal a disposition: 1 to 31 without SIGKILL and SIGSTOP, and SIGRTMIN to
// SIGRTMAX; the numbers between belong to libc.
inline bool can_be_caught(int signal) noexcept {
    if (signal >= 1 && signal <= detail::standard_signals) return signal != SIGKILL && signal != SIGSTOP;
    return signal >= SIGRTMIN && signal <= SIGRTMAX;
}

// "SIGTERM" for SIGTERM, "SIGRTMIN+3" for rt<3>, empty for what is no signal. Constant for standard signals.
constexpr signal_name name(int signal) noexcept {
    if (signal <= detail::standard_signals) return detail::standard_name(signal);
    int const offset = detail::realtime_offset(signal);
    return offset >= 0 ? signal_name{detail::realtime_names[offset]} : signal_name{};
}

// What a signal means, in words that strsignal(3) need not be asked for: "terminated" for SIGTERM, "real-time signal 3"
// for rt<3>, empty for what is no signal. English in every locale. Constant for standard signals.
constexpr signal_name describe(int signal) noexcept {
    for (auto const& known : detail::signal_texts)
        if (known.number == signal) return known.text;
    int const offset = detail::realtime_offset(signal);
    return offset >= 0 ? signal_name{detail::realtime_texts[offset]} : signal_name{};
}

// Understands "SIGTERM", "TERM", "15", "RTMIN+3", "SIGRTMAX-1": a literal, or anything with data() and size(), such as
// std::string. Signal names are upper case, as POSIX has them; numbers that are no signal of this system give nothing.
constexpr parsed_signal parse(detail::characters text) noexcept {
    if (text.data == nullptr) return {};
    bool const prefixed = text.size > 3 && text.starts_with("SIG");
    detail::characters const wanted = prefixed ? text.behind(3) : text;
    char const* known = detail::standard_names;
    for (int signal = 1; signal <= detail::standard_signals; ++signal, known = detail::behind_zero(known))
        if (wanted.is(known + 3)) return parsed_signal{signal};
    for (auto const& other : detail::other_names)
        if (wanted.is(other.name)) return parsed_signal{other.number};
    if (int const number = detail::parse_realtime(wanted); number != 0) return parsed_signal{number};
    int const number = detail::small_number(text);
    bool const standard = number >= 1 && number <= detail::standard_signals;
    return standard || (number > 0 && can_be_caught(number)) ? parsed_signal{number} : parsed_signal{};
}

}  // namespace tocsin
