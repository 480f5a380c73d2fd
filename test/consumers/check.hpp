// SPDX-License-Identifier: MIT
// What the programs of this folder share: an expectation that prints, and an end that nothing can hold up.
#pragma once

#include <dlfcn.h>
#include <signal.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "copy.hpp"

namespace consumers {

inline int failures = 0;

inline void expect_at(bool ok, char const* what, int line) {
    if (ok) return;
    std::fprintf(stderr, "line %d: %s\n", line, what);
    ++failures;
}
#define EXPECT(...) ::consumers::expect_at(static_cast<bool>(__VA_ARGS__), #__VA_ARGS__, __LINE__)

inline void end_within(unsigned seconds) { ::alarm(seconds); }

// For what another thread does: true once it is so, false after ten seconds.
template <class Condition>
bool eventually(Condition is_so) {
    for (int round = 0; round < 10000; ++round) {
        if (is_so()) return true;
        ::usleep(1000);
    }
    return false;
}

// Writes the journal as "1 2 3" for messages and comparisons.
inline char const* written(journal const& of) {
    static char text[journal::room * 4];
    char* at = text;
    *at = '\0';
    for (int i = 0; i < of.size() && i < 100; ++i) at += std::sprintf(at, i == 0 ? "%d" : " %d", of.tags[i]);
    return text;
}

inline bool reads(journal const& of, char const* wanted) {
    if (std::strcmp(written(of), wanted) == 0) return true;
    std::fprintf(stderr, "the journal reads \"%s\", not \"%s\"\n", written(of), wanted);
    return false;
}

// SCOPE: of the plugins' symbols. SPACE: where they and the libraries that they need are loaded.
#if !defined(SCOPE)
#define SCOPE RTLD_LOCAL
#endif
#if !defined(SPACE)
#define SPACE LM_ID_BASE
#endif

inline void* load(char const* path) {
    void* const object = ::dlmopen(SPACE, path, RTLD_NOW | SCOPE);
    if (object != nullptr) return object;
    std::fprintf(stderr, "%s\n", ::dlerror());
    std::exit(EXIT_FAILURE);
}

inline copy const* find_copy(void* object, char const* name = "plugin_copy") {
    void* const found = ::dlsym(object, name);
    if (found == nullptr) std::exit(EXIT_FAILURE);
    return reinterpret_cast<copy_of>(found)();
}

// Is the object with this file name mapped?
inline bool is_mapped(char const* path) {
    char const* const slash = std::strrchr(path, '/');
    char const* const name = slash != nullptr ? slash + 1 : path;
    std::FILE* const maps = std::fopen("/proc/self/maps", "r");
    if (maps == nullptr) return false;
    char line[4096];
    bool found = false;
    while (std::fgets(line, sizeof line, maps) != nullptr)
        found = found || std::strstr(line, name) != nullptr;
    std::fclose(maps);
    return found;
}

inline int verdict() {
    if (failures == 0) std::puts("as it should be");
    return failures == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

}  // namespace consumers
