// SPDX-License-Identifier: MIT
// What /proc says about the threads of this process, by name.
#pragma once

#include <dirent.h>
#include <sys/types.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

namespace tocsin::bench {

inline std::string first_line_of(std::string const& path) {
    char line[512] = "";
    if (std::FILE* const file = std::fopen(path.c_str(), "r")) {
        if (std::fgets(line, sizeof line, file) == nullptr) line[0] = '\0';
        std::fclose(file);
    }
    return line;
}

// "/proc/self/task/N" of the thread with this name; empty if there is none.
inline std::string task_named(char const* name) {
    std::string found;
    DIR* const tasks = ::opendir("/proc/self/task");
    while (dirent const* const entry = ::readdir(tasks)) {
        std::string const task = std::string{"/proc/self/task/"} + entry->d_name;
        if (entry->d_name[0] != '.' && first_line_of(task + "/comm") == std::string{name} + "\n")
            found = task;
    }
    ::closedir(tasks);
    return found;
}

// How often the thread has gone to sleep by itself, so how often it was woken.
inline double sleeps_of(std::string const& task) {
    double count = 0;
    std::FILE* const file = std::fopen((task + "/status").c_str(), "r");
    char line[256];
    constexpr char field[] = "voluntary_ctxt_switches:";
    while (file != nullptr && std::fgets(line, sizeof line, file) != nullptr)
        if (std::strncmp(line, field, sizeof field - 1) == 0)
            count = std::strtod(line + sizeof field - 1, nullptr);
    if (file != nullptr) std::fclose(file);
    return count;
}

// Nanoseconds that it has run (Documentation/scheduler/sched-stats: the first field).
inline double time_of(std::string const& task) {
    return std::strtod(first_line_of(task + "/schedstat").c_str(), nullptr);
}

}  // namespace tocsin::bench
