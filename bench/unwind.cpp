// SPDX-License-Identifier: MIT
// Nanoseconds a frame of walking up a stack, at depths of 10, 100 and 1,000. Built with frame pointers, for the sake of
// the walks that need them. libunwind is loaded and not linked: linked, it would replace the others.
#include <dlfcn.h>
#include <execinfo.h>
#include <pthread.h>
#include <unwind.h>

#if __has_include(<libunwind.h>)
#define UNW_LOCAL_ONLY
#include <libunwind.h>
#endif
#if __has_include(<boost/stacktrace/safe_dump_to.hpp>)
#include <boost/stacktrace/safe_dump_to.hpp>
#endif
#if HAVE_ABSL
#include <absl/debugging/stacktrace.h>
#endif

#include <tocsin/in_signal/unwind.hpp>

#include "support/measure.hpp"

using namespace tocsin;
using namespace tocsin::bench;

namespace {

constexpr std::size_t most = 1200;
void* addresses[most];
in_signal::frame frames[most];
in_signal::known_rows rows;

std::uintptr_t stack_end() {
    pthread_attr_t attributes;
    void* begin = nullptr;
    std::size_t size = 0;
    ::pthread_getattr_np(::pthread_self(), &attributes);
    ::pthread_attr_getstack(&attributes, &begin, &size);
    ::pthread_attr_destroy(&attributes);
    return reinterpret_cast<std::uintptr_t>(begin) + size;
}

// Each answers the number of frames.
[[gnu::noinline]] std::size_t by_frame_pointers() {
    static std::uintptr_t const end = stack_end();
    auto at = reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0));
    std::size_t count = 0;
    while (count < most && at != 0 && at % 8 == 0 && at < end - 16) {
        auto const* const record = reinterpret_cast<std::uintptr_t const*>(at);
        addresses[count++] = reinterpret_cast<void*>(record[1]);
        if (record[0] <= at) break;
        at = record[0];
    }
    return count;
}

// The same with every page asked for before it is read.
[[gnu::noinline]] std::size_t by_frame_pointers_asking() {
    in_signal::careful_reader memory;
    auto at = reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0));
    std::size_t count = 0;
    std::uintptr_t record[2];
    while (count < most && at != 0 && memory.read(at, record)) {
        addresses[count++] = reinterpret_cast<void*>(record[1]);
        if (record[0] <= at) break;
        at = record[0];
    }
    return count;
}

[[gnu::noinline]] std::size_t by_tables() {
    in_signal::careful_reader memory;
    return in_signal::unwind(in_signal::here(), frames, most, memory).frames;
}

// As in a report of many threads: what one walk has looked up, the next one knows.
[[gnu::noinline]] std::size_t by_known_rows() {
    in_signal::careful_reader memory;
    return in_signal::unwind(in_signal::here(), frames, most, memory, &rows).frames;
}

struct collected {
    std::size_t count = 0;
};
[[gnu::noinline]] std::size_t by_libgcc() {
    collected all;
    ::_Unwind_Backtrace(
        [](_Unwind_Context* context, void* to) {
            auto& so_far = *static_cast<collected*>(to);
            if (so_far.count == most) return _URC_END_OF_STACK;
            addresses[so_far.count++] = reinterpret_cast<void*>(::_Unwind_GetIP(context));
            return _URC_NO_REASON;
        },
        &all);
    return all.count;
}

[[gnu::noinline]] std::size_t by_libc() {
    return static_cast<std::size_t>(::backtrace(addresses, static_cast<int>(most)));
}

#if __has_include(<libunwind.h>) && defined(__x86_64__)
constexpr char libunwind_name[] = "libunwind.so.8";
int (*get_context)(unw_tdep_context_t*);
int (*init_local)(unw_cursor_t*, unw_context_t*);
int (*step)(unw_cursor_t*);
int (*get_register)(unw_cursor_t*, int, unw_word_t*);
int (*cached_backtrace)(void**, int);

template <class F>
bool load(void* library, char const* name, F& to) {
    void* const found = ::dlsym(library, name);
    __builtin_memcpy(&to, &found, sizeof found);
    return found != nullptr;
}
bool load_libunwind() {
    void* const library = ::dlopen(libunwind_name, RTLD_NOW | RTLD_LOCAL);
    return library != nullptr && load(library, "_Ux86_64_getcontext", get_context) &&
           load(library, "_ULx86_64_init_local", init_local) && load(library, "_ULx86_64_step", step) &&
           load(library, "_ULx86_64_get_reg", get_register) && load(library, "unw_backtrace", cached_backtrace);
}
[[gnu::noinline]] std::size_t by_libunwind() {
    unw_context_t context;
    unw_cursor_t cursor;
    get_context(&context);
    init_local(&cursor, &context);
    std::size_t count = 0;
    do {
        unw_word_t address = 0;
        get_register(&cursor, UNW_REG_IP, &address);
        addresses[count++] = reinterpret_cast<void*>(address);
    } while (count < most && step(&cursor) > 0);
    return count;
}
[[gnu::noinline]] std::size_t by_libunwind_cached() {
    return static_cast<std::size_t>(cached_backtrace(addresses, static_cast<int>(most)));
}
#else
bool load_libunwind() { return false; }
std::size_t by_libunwind() { return 0; }
std::size_t by_libunwind_cached() { return 0; }
#endif

std::size_t (*walk_at_the_end)();
double cost_at_the_end;
std::size_t frames_at_the_end;

constexpr int walked_functions = 16;

// Deep enough, then walked often; nanoseconds a frame. Several functions take turns: in a recursion of one, all frames
// have the same row of the same table.
template <int Which>
[[gnu::noinline]] int descend(int depth) {
    int volatile more[static_cast<std::size_t>(Which) + 1] = {};
    if (depth > 0) {
        int const answer = descend<(Which + 1) % walked_functions>(depth - 1) + 1;
        more[Which] = answer;
        return more[Which];
    }
    int const times = frames_at_the_end > 500 ? 20 : 100;
    frames_at_the_end = walk_at_the_end();
    cost_at_the_end = each_call(times, [] { use(walk_at_the_end()); }) / static_cast<double>(frames_at_the_end + 1);
    return 0;
}

double cost_of(std::size_t (*walk)(), int depth) {
    walk_at_the_end = walk;
    frames_at_the_end = static_cast<std::size_t>(depth);
    descend<0>(depth);
    // a walk that stops at once is no walk
    return frames_at_the_end < static_cast<std::size_t>(depth) ? no_figure : cost_at_the_end;
}

void measure(int depth, bool libunwind) {
    contest all{"unwind", rounds(31)};
    std::string const row = "a frame at depth " + std::to_string(depth);
    auto const by = [depth](std::size_t (*walk)()) { return [walk, depth] { return cost_of(walk, depth); }; };
    all.row(row).floor("frame pointers, inside the stack's bounds", by(by_frame_pointers));
    all.part("frame pointers, each page asked for", by(by_frame_pointers_asking));
    all.peer("_Unwind_Backtrace", by(by_libgcc));
    all.peer("backtrace()", by(by_libc));
    if (libunwind) {
        all.peer("libunwind, unw_step", by(by_libunwind));
        all.peer("libunwind, cached", by(by_libunwind_cached));
    } else {
        all.absent("libunwind");
    }
#if __has_include(<boost/stacktrace/safe_dump_to.hpp>)
    all.peer("Boost.Stacktrace, safe_dump_to(memory)", by([]() -> std::size_t {
        static void* memory[most];
        return boost::stacktrace::safe_dump_to(memory, sizeof memory);
    }));
#else
    all.absent("Boost.Stacktrace");
#endif
#if HAVE_ABSL
    all.peer("absl::GetStackTrace", by([]() -> std::size_t {
        return static_cast<std::size_t>(absl::GetStackTrace(addresses, static_cast<int>(most), 0));
    }));
#else
    all.absent("abseil");
#endif
    all.ours("unwind", target::at_most(100), by(by_tables),
             "by tables, every read asked for, no lock, no cache: at depth 10, a quarter is questions to the kernel");
    all.ours("unwind, rows known", target::at_most(20), by(by_known_rows),
             "every read asked for: at depth 10, a third is the question whether the stack can be read");
    all.run();
    print_point("unwind", "depth, a frame", depth, all.median_of("unwind"), "ns", growth::each);
}

}  // namespace

int main() {
    bool const libunwind = load_libunwind();
    for (int const depth : {10, 100, 1000}) measure(depth, libunwind);
}
