// SPDX-License-Identifier: MIT
// A process that is going to crash, and says when: the time of the fault is in the page that its parent shares with it
// as descriptor 3, and so is what installing the crash handler has added to its resident memory.
//
// Each source of this folder defines install(), for one reporter. Words: main, thread or deep; and a folder of shared
// objects to load first.
#pragma once

#include <dirent.h>
#include <dlfcn.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

namespace tocsin::bench {

struct crash_page {
    double fault;
    double rss_before;  // KiB
    double rss_after;
};

inline double resident() {
    long pages = 0;
    if (std::FILE* const file = std::fopen("/proc/self/statm", "r")) {
        if (std::fscanf(file, "%*d %ld", &pages) != 1) pages = 0;
        std::fclose(file);
    }
    return static_cast<double>(pages * ::sysconf(_SC_PAGESIZE)) / 1024;
}

inline crash_page* page;

[[gnu::noinline]] inline void read_null() {
    timespec now{};
    ::clock_gettime(CLOCK_MONOTONIC, &now);
    page->fault = static_cast<double>(now.tv_sec) * 1e9 + static_cast<double>(now.tv_nsec);
    int volatile* volatile nowhere = nullptr;
    *nowhere = 1;
}

[[gnu::noinline]] inline int descend(int depth) {
    if (depth == 0) return read_null(), 0;
    int const answer = descend(depth - 1) + 1;
    __asm__ volatile("" : : "r"(answer) : "memory");
    return answer;
}

inline void load_all(char const* folder) {
    DIR* const entries = ::opendir(folder);
    while (dirent const* const entry = entries != nullptr ? ::readdir(entries) : nullptr)
        if (entry->d_name[0] != '.') ::dlopen((std::string{folder} + "/" + entry->d_name).c_str(), RTLD_NOW);
    if (entries != nullptr) ::closedir(entries);
}

template <class Install>
int crash(int words, char** word, Install install) {
    void* const memory = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, 3, 0);
    if (memory == MAP_FAILED) return 2;
    page = static_cast<crash_page*>(memory);
    rlimit no_core{0, 0};
    ::setrlimit(RLIMIT_CORE, &no_core);
    std::string const where = words > 1 ? word[1] : "main";
    if (words > 2) load_all(word[2]);
    resident();
    page->rss_before = resident();
    install();
    page->rss_after = resident();
    if (where == "main") descend(10);
    if (where == "deep") descend(10'000);
    pthread_t thread;
    ::pthread_create(&thread, nullptr, [](void*) -> void* { return descend(10), nullptr; }, nullptr);
    ::pthread_join(thread, nullptr);
    return 1;
}

}  // namespace tocsin::bench
