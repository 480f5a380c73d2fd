// SPDX-License-Identifier: MIT
// A report taken apart again, and where the threads of a child stand.
//
// Runs on any ordinary thread of a test program or of its child.
#pragma once

#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

namespace tocsin::test {

inline std::vector<std::string> lines_of(std::string_view text) {
    std::vector<std::string> lines;
    while (!text.empty()) {
        std::size_t const end = text.find('\n');
        lines.emplace_back(text.substr(0, end));
        text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    }
    return lines;
}

// One thread of a report: its line, and those of its frames.
struct reported_thread {
    std::string head;
    std::vector<std::string> frames;

    bool names(std::string_view function) const {
        for (auto const& frame : frames)
            if (frame.find(function) != std::string::npos) return true;
        return false;
    }
    // True if frame `number` is in this function.
    bool frame_is(std::size_t number, std::string_view function) const {
        return number < frames.size() && frames[number].find(" " + std::string{function} + "+0x") != std::string::npos;
    }
    // True if the thread waits in this function of a library: it is the innermost that has a name, and what it calls
    // lies in the same library. Where the C library has one function for all system calls at which threads may be
    // cancelled, and no names of its own functions, that is two or three frames.
    bool waits_in(std::string_view function) const {
        for (std::size_t i = 0; i < frames.size(); ++i) {
            if (object_of(frames[i]) != object_of(frames[0])) return false;
            if (frame_is(i, function)) return true;
            if (has_name(frames[i])) return false;
        }
        return false;
    }

  private:
    // "  #0 0x00007f8db191a26f __poll+0x4f in /lib/libc.so.6+0xfc26f", the function only where it has a name
    static bool has_name(std::string_view frame) {
        std::size_t const address = frame.find(" 0x");
        return frame.find(" in ", address) != frame.find(' ', address + 1);
    }
    static std::string_view object_of(std::string_view frame) {
        std::size_t const begin = frame.rfind(" in ");
        return begin == std::string_view::npos ? std::string_view{} : frame.substr(begin, frame.rfind("+0x") - begin);
    }
};

inline std::vector<reported_thread> threads_of(std::string_view report) {
    std::vector<reported_thread> threads;
    for (auto const& line : lines_of(report)) {
        if (line.rfind("thread ", 0) == 0)
            threads.push_back({line, {}});
        else if (line.rfind("  #", 0) == 0 && !threads.empty())
            threads.back().frames.push_back(line);
    }
    return threads;
}

// The first thread whose line contains `text`; an empty one if there is none.
inline reported_thread thread_with(std::string_view report, std::string_view text) {
    for (auto const& each : threads_of(report))
        if (each.head.find(text) != std::string::npos) return each;
    return {};
}

inline std::size_t count_of(std::string_view text, std::string_view part) {
    std::size_t count = 0;
    for (std::size_t at = 0; (at = text.find(part, at)) != std::string_view::npos; at += part.size()) ++count;
    return count;
}

inline std::string contents_of(std::string const& path) {
    std::string text;
    int const fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    char buffer[4096];
    for (ssize_t got; fd >= 0 && (got = ::read(fd, buffer, sizeof buffer)) > 0;)
        text.append(buffer, static_cast<std::size_t>(got));
    if (fd >= 0) ::close(fd);
    return text;
}

inline std::vector<std::string> names_in(std::string const& directory) {
    std::vector<std::string> names;
    if (DIR* const open = ::opendir(directory.c_str())) {
        while (dirent const* const entry = ::readdir(open))
            if (entry->d_name[0] != '.') names.emplace_back(entry->d_name);
        ::closedir(open);
    }
    return names;
}

inline int thread_id() { return static_cast<int>(::syscall(SYS_gettid)); }

inline char state_of(int thread) {
    std::string const stat = contents_of("/proc/self/task/" + std::to_string(thread) + "/stat");
    std::size_t const name_end = stat.rfind(')');
    return name_end == std::string::npos || name_end + 2 >= stat.size() ? '?' : stat[name_end + 2];
}

// Returns when `thread` of this process waits in the kernel.
inline void until_asleep(int thread) {
    while (state_of(thread) != 'S') ::sched_yield();
}

// Until another thread has set a flag, without going to sleep.
template <class Flag>
void until_set(Flag const& flag) {
    while (!flag) ::sched_yield();
}

// An empty directory, removed with what is in it.
class scratch_directory {
  public:
    scratch_directory() {
        if (::mkdtemp(path_) == nullptr) std::abort();
    }
    ~scratch_directory() {
        for (auto const& name : names_in(path_)) ::unlink(file(name).c_str());
        ::rmdir(path_);
    }
    scratch_directory(scratch_directory const&) = delete;
    scratch_directory& operator=(scratch_directory const&) = delete;

    std::string path() const { return path_; }
    std::string file(std::string const& name) const { return path() + "/" + name; }

  private:
    char path_[32] = "/tmp/tocsin-test-XXXXXX";
};

}  // namespace tocsin::test
