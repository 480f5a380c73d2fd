// SPDX-License-Identifier: MIT
// The build defines TOCSIN_TEST_LIBBACKTRACE as 1 where it links with libbacktrace, and as 0 where there is none.
#if !defined(TOCSIN_TEST_LIBBACKTRACE)
#if __has_include(<backtrace.h>)
#define TOCSIN_TEST_LIBBACKTRACE 1
#else
#define TOCSIN_TEST_LIBBACKTRACE 0
#endif
#endif

#include "support/catch.hpp"

#if !TOCSIN_TEST_LIBBACKTRACE

TEST_CASE("lines need libbacktrace", "[lines]") {
    WARN("skipped: libbacktrace was not found (it comes with GCC)");
}

#else

#include <dirent.h>
#include <dlfcn.h>
#include <malloc.h>
#include <setjmp.h>
#include <sys/mman.h>
#include <sys/time.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <thread>
#include <tocsin/lines.hpp>
#include <vector>

#include "support/child.hpp"
#include "support/signals.hpp"

using namespace tocsin;
using in_signal::each_line;
using in_signal::line_answer;
using in_signal::line_place;
using in_signal::line_source;
using test::child;
using test::require_in_child;

namespace {

// --- What is asked about -----------------------------------------------------------------------------------

struct asked {
    std::uintptr_t instruction;  // inside the call
    int line;
};

[[gnu::noinline]] std::uintptr_t call_before() {
    return reinterpret_cast<std::uintptr_t>(__builtin_return_address(0)) - 1;
}

[[gnu::noinline]] asked known_place() {
    asked const here{call_before(), __LINE__};
    __asm__ volatile("");  // or the call becomes a jump, and returns elsewhere
    return here;
}

struct inlined {
    std::uintptr_t instruction;
    int innermost, middle, outermost;
};

[[gnu::always_inline]] inline void innermost_call(inlined& to) {
    to.instruction = call_before(), to.innermost = __LINE__;
}
[[gnu::always_inline]] inline void middle_call(inlined& to) { innermost_call(to), to.middle = __LINE__; }
[[gnu::noinline]] inlined outermost_function() {
    inlined to{};
    middle_call(to), to.outermost = __LINE__;
    __asm__ volatile("");
    return to;
}

// --- Asking ------------------------------------------------------------------------------------------------

struct place {
    std::string file, function;
    int line;
};

std::vector<place> ask(line_source const* source, std::uintptr_t instruction) {
    std::vector<place> all;
    bool const any = each_line(source, instruction, [&](line_answer const& one) noexcept {
        all.push_back({one.file, one.function != nullptr ? one.function : "", one.line});
    });
    CHECK(any == !all.empty());
    return all;
}

// The same without memory, for children and handlers: the line of the first answer, 0 without one.
int first_line(line_source const* source, std::uintptr_t instruction) noexcept {
    int line = 0;
    each_line(source, instruction, [&line](line_answer const& one) noexcept {
        if (line == 0) line = one.line;
    });
    return line;
}

bool ends_with(std::string const& text, std::string const& end) {
    return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}
bool contains(std::string const& text, char const* part) { return text.find(part) != std::string::npos; }

// A reader of its own for each test: it can be opened at a moment of the test's choosing. Stays, as any other.
line_source const* open_lines() {
    static line_place all[32];
    static std::size_t used = 0;
    REQUIRE(used < 32);
    line_place& next = all[used++];
    return lines_t::open(next) ? nullptr : next.load();
}

std::string contents_of(std::string const& path) {
    std::ifstream file{path, std::ios::binary};
    return {std::istreambuf_iterator<char>{file}, {}};
}

// Whether this program was built with -g. The word is put together here, or the program would hold it in any case.
bool has_debug_information() {
    static bool const has = [] {
        std::string word = "enil_gubed.";
        std::reverse(word.begin(), word.end());
        return contents_of("/proc/self/exe").find(word) != std::string::npos;
    }();
    if (!has) WARN("skipped: built without debug information (meson configure -Dbuildtype=debug)");
    return has;
}

std::size_t open_descriptors() {
    DIR* const all = ::opendir("/proc/self/fd");
    std::size_t count = 0;
    while (::readdir(all) != nullptr) ++count;
    ::closedir(all);
    return count;
}

// Holds the loader's lock of dl_iterate_phdr(3) on a thread of its own, until the process ends.
void hold_loader_lock() {
    static in_signal::atomic<int> held;
    std::thread{[] {
        ::dl_iterate_phdr(
            [](dl_phdr_info*, std::size_t, void*) {
                held.store(1);
                for (;;) ::pause();
                return 0;
            },
            nullptr);
    }}.detach();
    while (held.load() == 0) std::this_thread::yield();
}

// Where libbacktrace looks first for the debug information of a stripped object.
std::string debug_file(std::string const& path) {
    in_signal::build_id id{};
    if (!in_signal::file_build_id(path.c_str(), id)) return {};
    char text[256];
    in_signal::line to{text, sizeof text};
    to.text("/usr/lib/debug/.build-id/").bytes(id.bytes, 1).character('/').bytes(id.bytes + 1, id.size - 1);
    return std::string{to.data(), to.size()} + ".debug";
}

struct library {
    void* handle;
    std::uintptr_t inside;
    std::string path;

    explicit library(std::string const& name)
        : handle{::dlopen(name.c_str(), RTLD_LAZY)}, inside{0}, path{name} {
        void* const function = handle != nullptr ? ::dlsym(handle, "_nss_compat_setpwent") : nullptr;
        Dl_info info{};
        if (function == nullptr || ::dladdr(function, &info) == 0) return;
        path = info.dli_fname;
        inside = reinterpret_cast<std::uintptr_t>(function) + 4;
    }
};

std::size_t build_id_in(std::string const& image, std::string const& path) {
    in_signal::build_id id{};
    REQUIRE(in_signal::file_build_id(path.c_str(), id));
    std::size_t const at = image.find(std::string{reinterpret_cast<char*>(id.bytes), id.size});
    REQUIRE(at != std::string::npos);
    return at;
}

// The state of a source is its reader.
std::size_t objects_of(line_source const* source) {
    return static_cast<posix::line_reader const*>(source->state)->objects();
}

// Nothing but a database of users in the old form loads it; it comes with libc, and needs nobody else's functions.
constexpr char const* late_library = "libnss_compat.so.2";

}  // namespace

TEST_CASE("a call in a function has its file and its line", "[lines]") {
    if (!has_debug_information()) return;
    asked const where = known_place();
    auto const places = ask(open_lines(), where.instruction);
    REQUIRE(places.size() == 1);
    CHECK(ends_with(places[0].file, "lines.cpp"));
    CHECK(places[0].line == where.line);
    CHECK(contains(places[0].function, "known_place"));
}

TEST_CASE("inlined calls come first, the innermost before all, the function that holds them last",
          "[lines]") {
    if (!has_debug_information()) return;
    inlined const where = outermost_function();
    auto const places = ask(open_lines(), where.instruction);
    REQUIRE(places.size() == 3);
    CHECK(contains(places[0].function, "innermost_call"));
    CHECK(places[0].line == where.innermost);
    CHECK(contains(places[1].function, "middle_call"));
    CHECK(places[1].line == where.middle);
    CHECK(contains(places[2].function, "outermost_function"));
    CHECK(places[2].line == where.outermost);
    for (auto const& each : places) CHECK(ends_with(each.file, "lines.cpp"));
}

TEST_CASE("an address in no object has no line", "[lines]") {
    line_source const* const source = open_lines();
    REQUIRE(source != nullptr);
    auto const heap = std::make_unique<long[]>(100);
    std::uintptr_t const addresses[] = {0,
                                        1,
                                        8,
                                        ~std::uintptr_t{0},
                                        std::uintptr_t{1} << 47,
                                        reinterpret_cast<std::uintptr_t>(heap.get()),
                                        reinterpret_cast<std::uintptr_t>(&source)};
    for (std::uintptr_t const each : addresses) CHECK(ask(source, each).empty());
}

TEST_CASE("data has no line", "[lines]") {
    static int const number = 1;
    CHECK(ask(open_lines(), reinterpret_cast<std::uintptr_t>(&number)).empty());
}

TEST_CASE("where nobody reads lines there are none", "[lines]") {
    CHECK(ask(nullptr, known_place().instruction).empty());
}

TEST_CASE("a stripped object has lines if its separate debug file is there, and otherwise none", "[lines]") {
    Dl_info libc{};
    REQUIRE(::dladdr(::dlsym(RTLD_DEFAULT, "gnu_get_libc_version"), &libc) != 0);
    bool const there = ::access(debug_file(libc.dli_fname).c_str(), R_OK) == 0;
    auto const places =
        ask(open_lines(), reinterpret_cast<std::uintptr_t>(::dlsym(RTLD_DEFAULT, "gnu_get_libc_version")));
    CHECK(places.empty() != there);
}

TEST_CASE("the second guard with lines uses the first one's reader", "[lines]") {
    line_place shared;
    REQUIRE(!lines_t::open(shared));
    line_source const* const first = shared.load();
    REQUIRE(first != nullptr);
    CHECK(!lines_t::open(shared));
    CHECK(shared.load() == first);
}

TEST_CASE("a reader keeps no descriptor open", "[lines]") {
    std::size_t const before = open_descriptors();
    line_source const* const source = open_lines();
    ask(source, known_place().instruction);
    CHECK(open_descriptors() == before);
}

TEST_CASE("the first questions allocate nothing, nor do later ones", "[lines]") {
    line_source const* const source = open_lines();
    std::uintptr_t const place = known_place().instruction;
    auto const libc = reinterpret_cast<std::uintptr_t>(::dlsym(RTLD_DEFAULT, "gnu_get_libc_version"));
    struct mallinfo2 const before = ::mallinfo2();
    for (int i = 0; i < 3; ++i) {
        first_line(source, place);
        first_line(source, libc);
        first_line(source, 8);
    }
    struct mallinfo2 const after = ::mallinfo2();
    CHECK(after.uordblks == before.uordblks);
    CHECK(after.hblkhd == before.hblkhd);
    CHECK(after.arena == before.arena);
}

TEST_CASE("the first questions are answered while another thread is inside the loader", "[lines]") {
    if (!has_debug_information()) return;
    expect_success(child::run([] {
        line_source const* const source = open_lines();
        asked const where = known_place();
        hold_loader_lock();
        require_in_child(first_line(source, where.instruction) == where.line);
        require_in_child(first_line(source, where.instruction) == where.line);
        ::_exit(0);
    }));
}

TEST_CASE("an object that was loaded later has no lines, and harms none of the others", "[lines]") {
    expect_success(child::run([] {
        line_source const* const source = open_lines();
        library const late{late_library};
        require_in_child(late.inside != 0);
        require_in_child(first_line(source, late.inside) == 0);
        asked const where = known_place();
        if (has_debug_information()) require_in_child(first_line(source, where.instruction) == where.line);
        ::dlclose(late.handle);
        require_in_child(first_line(source, late.inside) == 0);
    }));
}

TEST_CASE("what takes the place of an unloaded object does not get its lines", "[lines]") {
    library const first{late_library};
    REQUIRE(first.inside != 0);
    std::string image = contents_of(first.path);
    std::size_t const at = build_id_in(image, first.path);
    bool const has_lines = ::access(debug_file(first.path).c_str(), R_OK) == 0;
    ::dlclose(first.handle);
    if (!has_lines) {
        WARN("skipped: no debug file for " << first.path << " (apt-get install libc6-dbg)");
        return;
    }
    image[at] = static_cast<char>(image[at] + 1);
    expect_success(child::run([&] {
        library const original{late_library};
        line_source const* const source = open_lines();
        require_in_child(first_line(source, original.inside) != 0);
        ::dlclose(original.handle);
        int const copy = ::memfd_create("other", 0);
        require_in_child(::write(copy, image.data(), image.size()) == static_cast<ssize_t>(image.size()));
        library const other{"/proc/self/fd/" + std::to_string(copy)};
        require_in_child(other.inside == original.inside);
        require_in_child(first_line(source, other.inside) == 0);
    }));
}

TEST_CASE("an object whose file was replaced has no lines", "[lines]") {
    library const original{late_library};
    REQUIRE(original.inside != 0);
    std::string image = contents_of(original.path);
    std::size_t const at = build_id_in(image, original.path);
    ::dlclose(original.handle);
    char directory[] = "/tmp/tocsin-lines-XXXXXX";
    REQUIRE(::mkdtemp(directory) != nullptr);
    std::string const path = std::string{directory} + "/library.so";
    std::ofstream{path, std::ios::binary} << image;
    expect_success(child::run([&] {
        library const loaded{path};
        require_in_child(loaded.inside != 0);
        std::size_t const all = objects_of(open_lines());
        ::unlink(path.c_str());
        require_in_child(objects_of(open_lines()) == all - 1);
        image[at] = static_cast<char>(image[at] + 1);
        std::ofstream{path, std::ios::binary} << image;
        require_in_child(objects_of(open_lines()) == all - 1);
        require_in_child(first_line(open_lines(), loaded.inside) == 0);
    }));
    ::unlink(path.c_str());
    ::rmdir(directory);
}

TEST_CASE("many threads may ask at once, cold", "[lines]") {
    if (!has_debug_information()) return;
    line_source const* const source = open_lines();
    asked const where = known_place();
    in_signal::atomic<int> right;
    std::vector<std::thread> threads;
    for (int i = 0; i < 8; ++i)
        threads.emplace_back([&] {
            for (int n = 0; n < 100; ++n)
                if (first_line(source, where.instruction) == where.line) right.fetch_add(1);
        });
    for (auto& each : threads) each.join();
    CHECK(right.load() == 800);
}

namespace {

sigjmp_buf way_out;

}  // namespace

TEST_CASE("a question that is left in the middle does not spoil the next one", "[lines]") {
    if (!has_debug_information()) return;
    line_source const* const source = open_lines();
    asked const where = known_place();
    for (int microseconds = 1; microseconds <= 2000; microseconds += microseconds / 4 + 1) {
        expect_success(child::run([&] {
            ::signal(SIGALRM, [](int) { ::siglongjmp(way_out, 1); });
            itimerval const soon{{0, 0}, {0, microseconds}};
            itimerval const never{};
            if (::sigsetjmp(way_out, 1) == 0) {
                ::setitimer(ITIMER_REAL, &soon, nullptr);
                first_line(source, where.instruction);
            }
            ::setitimer(ITIMER_REAL, &never, nullptr);
            require_in_child(first_line(source, where.instruction) == where.line);
            ::_exit(0);
        }));
    }
}

#endif
