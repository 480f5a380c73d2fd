// SPDX-License-Identifier: MIT
#include <tocsin/posix/large_pages.hpp>

#include <sys/mman.h>

#include <cstdio>
#include <cstring>
#include <string>

#include "support/catch.hpp"
#include "support/child.hpp"
#include "support/report_text.hpp"

using namespace tocsin;
using posix::new_memory;

namespace {

constexpr std::size_t large = new_memory::large_page;

// Two large pages and a part of others, away from other mappings; unmapped at the end.
class mapped {
  public:
    explicit mapped(int protection = PROT_READ | PROT_WRITE) noexcept {
        void* const got = ::mmap(nullptr, all, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        whole = static_cast<unsigned char*>(got);
        auto const inner = (reinterpret_cast<std::uintptr_t>(got) + large) & ~(large - 1);
        pages = reinterpret_cast<unsigned char*>(inner);
        if (::mprotect(pages, 2 * large, protection) != 0) whole = nullptr;
    }
    ~mapped() { ::munmap(whole, all); }
    mapped(mapped const&) = delete;
    mapped& operator=(mapped const&) = delete;

    static constexpr std::size_t all = 4 * large;
    unsigned char* whole;
    unsigned char* pages;
};

// KiB of the mapping at an address that are in large pages.
unsigned long large_kib(void const* address) {
    std::string const all = test::contents_of("/proc/self/smaps");
    char begin[20];
    std::snprintf(begin, sizeof begin, "\n%lx-", reinterpret_cast<unsigned long>(address));
    std::size_t const at = all.find("AnonHugePages:", all.find(begin));
    return at == std::string::npos ? 0 : std::stoul(all.substr(at + 14));
}

bool kernel_collapses() {
    mapped probe;
    std::memset(probe.pages, 1, large);
    return ::madvise(probe.pages, large, 25) == 0;
}

}  // namespace

TEST_CASE("memory that is new and in use is put into large pages, and holds what it held", "[large_pages]") {
    new_memory const since;
    mapped here;
    REQUIRE(here.whole != nullptr);
    for (std::size_t i = 0; i < 2 * large; ++i) here.pages[i] = static_cast<unsigned char>(i * 7 >> 3);
    unsigned const made = since.into_large_pages();
    if (kernel_collapses()) {
        CHECK(made >= 2);
        CHECK(large_kib(here.pages) == 2 * large / 1024);
    }
    bool same = true;
    for (std::size_t i = 0; i < 2 * large; ++i) same = same && here.pages[i] == static_cast<unsigned char>(i * 7 >> 3);
    CHECK(same);
}

TEST_CASE("memory that was there before is left as it is", "[large_pages]") {
    mapped here;
    REQUIRE(here.whole != nullptr);
    std::memset(here.pages, 1, 2 * large);
    new_memory const since;
    since.into_large_pages();
    CHECK(large_kib(here.pages) == 0);
}

TEST_CASE("memory that is not in use as a whole does not grow", "[large_pages]") {
    new_memory const since;
    mapped here;
    REQUIRE(here.whole != nullptr);
    std::memset(here.pages, 1, large - 4096);
    std::memset(here.pages + large + 4096, 1, large - 4096);
    since.into_large_pages();
    CHECK(large_kib(here.pages) == 0);
    unsigned char last[2];
    CHECK(::mincore(here.pages + large - 4096, 2 * 4096, last) == 0);
    CHECK((last[0] & 1) == 0);
    CHECK((last[1] & 1) == 0);
}

TEST_CASE("in a process with very many mappings nothing is done", "[large_pages]") {
    auto subject = test::child::run([] {
        // neighbours of other rights are not one mapping
        std::size_t const size = 4096 * 2 * (new_memory::most_mappings + 10);
        auto* const many = static_cast<unsigned char*>(
            ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
        for (std::size_t at = 0; at < size; at += 2 * 4096) ::mprotect(many + at, 4096, PROT_NONE);
        new_memory const since;
        mapped here;
        std::memset(here.pages, 1, 2 * large);
        test::require_in_child(since.into_large_pages() == 0);
        return 0;
    });
    CHECK(subject.wait().exited(0));
}
