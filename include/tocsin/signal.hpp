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

struct named_signal {
    int number;
    char const* name;
};

// The first name of a number is the one `name` answers with; the others are only understood.
[[gnu::visibility("hidden")]] inline constexpr named_signal signal_names[] = {
    {SIGHUP, "SIGHUP"},   {SIGINT, "SIGINT"},       {SIGQUIT, "SIGQUIT"}, {SIGILL, "SIGILL"},
    {SIGTRAP, "SIGTRAP"}, {SIGABRT, "SIGABRT"},     {SIGBUS, "SIGBUS"},   {SIGFPE, "SIGFPE"},
    {SIGKILL, "SIGKILL"}, {SIGUSR1, "SIGUSR1"},     {SIGSEGV, "SIGSEGV"}, {SIGUSR2, "SIGUSR2"},
    {SIGPIPE, "SIGPIPE"}, {SIGALRM, "SIGALRM"},     {SIGTERM, "SIGTERM"}, {SIGSTKFLT, "SIGSTKFLT"},
    {SIGCHLD, "SIGCHLD"}, {SIGCONT, "SIGCONT"},     {SIGSTOP, "SIGSTOP"}, {SIGTSTP, "SIGTSTP"},
    {SIGTTIN, "SIGTTIN"}, {SIGTTOU, "SIGTTOU"},     {SIGURG, "SIGURG"},   {SIGXCPU, "SIGXCPU"},
    {SIGXFSZ, "SIGXFSZ"}, {SIGVTALRM, "SIGVTALRM"}, {SIGPROF, "SIGPROF"}, {SIGWINCH, "SIGWINCH"},
    {SIGIO, "SIGIO"},     {SIGPWR, "SIGPWR"},       {SIGSYS, "SIGSYS"},   {SIGABRT, "SIGIOT"},
    {SIGIO, "SIGPOLL"},   {SIGCHLD, "SIGCLD"},
};

[[gnu::visibility("hidden")]] inline constexpr signal_name realtime_names[] = {
    "SIGRTMIN",    "SIGRTMIN+1",  "SIGRTMIN+2",  "SIGRTMIN+3",  "SIGRTMIN+4",  "SIGRTMIN+5",  "SIGRTMIN+6",
    "SIGRTMIN+7",  "SIGRTMIN+8",  "SIGRTMIN+9",  "SIGRTMIN+10", "SIGRTMIN+11", "SIGRTMIN+12", "SIGRTMIN+13",
    "SIGRTMIN+14", "SIGRTMIN+15", "SIGRTMIN+16", "SIGRTMIN+17", "SIGRTMIN+18", "SIGRTMIN+19", "SIGRTMIN+20",
    "SIGRTMIN+21", "SIGRTMIN+22", "SIGRTMIN+23", "SIGRTMIN+24", "SIGRTMIN+25", "SIGRTMIN+26", "SIGRTMIN+27",
    "SIGRTMIN+28", "SIGRTMIN+29", "SIGRTMIN+30", "SIGRTMIN+31", "SIGRTMIN+32",
};
inline constexpr int realtime_name_count = static_cast<int>(sizeof(realtime_names) / sizeof(realtime_names[0]));

inline constexpr int standard_signals = 31;
inline constexpr int last_signal = 64;

// The text without "SIG" in front, if that is there.
constexpr signal_name without_prefix(signal_name text) noexcept {
    char const* s = text.c_str();
    return text.size() > 3 && s[0] == 'S' && s[1] == 'I' && s[2] == 'G' ? signal_name{s + 3} : text;
}

// A decimal number of at most three digits; -1 if the text is anything else.
constexpr int small_number(char const* text) noexcept {
    int number = 0;
    int digits = 0;
    for (; text[digits] != '\0'; ++digits) {
        if (text[digits] < '0' || text[digits] > '9' || digits == 3) return -1;
        number = number * 10 + (text[digits] - '0');
    }
    return digits == 0 ? -1 : number;
}

// "RTMIN", "RTMIN+n", "RTMAX", "RTMAX-n"; 0 if the text is none of them or leaves the range.
inline int parse_realtime(char const* text) noexcept {
    char const prefix[] = "RTM";
    for (int i = 0; i < 3; ++i)
        if (text[i] != prefix[i]) return 0;
    bool const from_first = text[3] == 'I' && text[4] == 'N';
    if (!from_first && (text[3] != 'A' || text[4] != 'X')) return 0;
    int distance = 0;
    if (text[5] != '\0') {
        if (text[5] != (from_first ? '+' : '-')) return 0;
        distance = small_number(text + 6);
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
    if (signal >= 1 && signal <= detail::standard_signals)
        for (auto const& known : detail::signal_names)
            if (known.number == signal) return known.name;
    if (signal <= detail::standard_signals || signal > detail::last_signal) return {};
    int const offset = signal - SIGRTMIN;
    return offset >= 0 && offset < detail::realtime_name_count ? detail::realtime_names[offset] : signal_name{};
}

// Understands "SIGTERM", "TERM", "15", "RTMIN+3", "SIGRTMAX-1". Signal names are upper case, as POSIX has them;
// numbers that are no signal of this system give nothing.
constexpr parsed_signal parse(signal_name text) noexcept {
    signal_name const wanted = detail::without_prefix(text);
    for (auto const& known : detail::signal_names)
        if (signal_name{known.name + 3} == wanted) return parsed_signal{known.number};
    if (int const number = detail::parse_realtime(wanted.c_str()); number != 0) return parsed_signal{number};
    int const number = detail::small_number(text.c_str());
    bool const standard = number >= 1 && number <= detail::standard_signals;
    return standard || (number > 0 && can_be_caught(number)) ? parsed_signal{number} : parsed_signal{};
}

}  // namespace tocsin
