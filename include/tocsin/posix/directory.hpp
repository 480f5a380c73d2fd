// SPDX-License-Identifier: MIT
// How all copies of the library in a process find the same table.
//
// Runs on any ordinary thread. Units, shared objects with hidden visibility and plugins each have variables of
// their own, so no variable can be the meeting place. An address can: every copy computes the same few candidate
// pages from what the kernel told the process at its start (getauxval(3)), looks whether one of them is the
// directory, and claims the first free one with mmap(2) if none is. The kernel places a mapping at most once at an
// address, so it is the arbiter of the race. The directory's layout is frozen.
#pragma once

#include <errno.h>
#include <sys/mman.h>
#if defined(__PIC__) && !defined(__PIE__)
#include <dlfcn.h>
#endif

#include <tocsin/failure.hpp>
#include <tocsin/in_signal/entry.hpp>
#include <tocsin/in_signal/readable.hpp>
#include <tocsin/libc_functions.hpp>
#include <tocsin/posix/table_lock.hpp>

namespace tocsin::posix {

// Memory for the table and the limits it was made with, as the generated source file provides them.
struct raw_storage {
    void* memory;
    std::size_t bytes;
    in_signal::limits limit;
};

}  // namespace tocsin::posix

// Defined by the generated source file, if the program links it.
extern "C" [[gnu::weak]] tocsin::posix::raw_storage const* tocsin_raw_storage() noexcept;

namespace tocsin::posix {

inline constexpr std::uint64_t directory_magic = 0x31206e6973636f74;  // "tocsin 1"
inline constexpr std::uint32_t table_major = 1;
inline constexpr std::uint32_t table_minor = 0;
inline constexpr std::size_t directory_bytes = 4096;

struct directory {
    in_signal::atomic<std::uint64_t> magic;  // published last
    std::uint32_t major;
    std::uint32_t minor;
    std::uint64_t table_bytes;
    in_signal::table* table;
    in_signal::atomic<std::int32_t> maker;  // the process whose thread fills the page in
};

namespace detail {

inline constexpr unsigned candidates = 4;

// 64 to 256 GiB below the stack nobody is likely to be: programs are loaded low, libraries and heaps grow from
// just below the stack. Sanitizers keep their shadow elsewhere. Where the stack itself is low, as under valgrind and
// some emulators, that far above it.
inline std::uintptr_t candidate(unsigned number) noexcept {
    constexpr std::uintptr_t gibi = std::uintptr_t{1} << 30;
    std::uintptr_t const stack = libc::getauxval(libc::at_random);
    std::uint64_t mixed = stack ^ (libc::getauxval(libc::at_vdso) << 7) ^ (number * 0x9e3779b97f4a7c15U);
    mixed = (mixed ^ mixed >> 31) * 0xbf58476d1ce4e5b9U;
    mixed = (mixed ^ mixed >> 29) * 0x94d049bb133111ebU;
    std::uintptr_t const distance = 64 * gibi + (mixed ^ mixed >> 32) % (192 * gibi);
    return (stack > 320 * gibi ? stack - distance : stack + distance) & ~std::uintptr_t{directory_bytes * 16 - 1};
}

inline directory* at(std::uintptr_t address) noexcept { return reinterpret_cast<directory*>(address); }

// By the bare system call: a sanitizer that watches mmap would take the race that is meant for one that is not.
[[gnu::noinline, gnu::cold]] inline std::uintptr_t map_page(std::uintptr_t hint, std::size_t bytes) noexcept {
    long const result = in_signal::system_call(SYS_mmap, static_cast<long>(hint), static_cast<long>(bytes),
                                               PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return result < 0 && result > -4096 ? 0 : static_cast<std::uintptr_t>(result);
}

inline void unmap(std::uintptr_t address, std::size_t bytes) noexcept {
    in_signal::system_call(SYS_munmap, static_cast<long>(address), static_cast<long>(bytes));
}

// True if the page is there and can be read. First by madvise(2), which answers ENOMEM where there is none and changes
// nothing: valgrind takes the other question for an error of the program.
inline bool is_readable_page(std::uintptr_t address) noexcept {
    long const answer = in_signal::system_call(SYS_madvise, static_cast<long>(address), directory_bytes, MADV_NORMAL);
    return answer != -ENOMEM && in_signal::readable(address);
}

// A page that reads as zero may be a directory in the making; one that stays so is somebody else's.
[[gnu::visibility("hidden"), gnu::noinline, gnu::cold]] inline bool is_directory(std::uintptr_t address) noexcept {
    if (!is_readable_page(address)) return false;
    patience turn;
    while (at(address)->magic.load() == 0) {
        if (at(address)->maker.load() != 0) return true;
        if (turn.exhausted(4000)) return false;
        turn.wait();
    }
    return at(address)->magic.load() == directory_magic;
}

// Takes a page at this very address; false if something is there already.
inline bool claim_page(std::uintptr_t address) noexcept {
    std::uintptr_t const got = map_page(address, directory_bytes);
    if (got != address && got != 0) unmap(got, directory_bytes);
    return got == address;
}

// Looks at all candidates before it claims the first free one: the directory may lie behind one that has become free
// since. Whoever is slower in claiming finds what was faster. Null if nothing is free.
[[gnu::always_inline]] inline directory* find_page() noexcept {
    for (unsigned step = 0; step < 2 * candidates; ++step) {
        std::uintptr_t const address = candidate(step % candidates);
        if ((step >= candidates && claim_page(address)) || is_directory(address)) return at(address);
    }
    return nullptr;
}

// The object that holds this code must stay: the kernel and helper threads call it. An executable stays by itself,
// and its objects are compiled as such; in a static program, naming dlopen would draw a warning from the linker.
[[gnu::visibility("hidden")]] inline void pin_this_object() noexcept {
#if defined(__PIC__) && !defined(__PIE__)
    Dl_info self{};
    void* const inside = reinterpret_cast<void*>(&pin_this_object);
    if (::dladdr(inside, &self) != 0) ::dlopen(self.dli_fname, RTLD_LAZY | RTLD_NOLOAD | RTLD_NODELETE);
#endif
}

// The limits of a program that says none.
[[gnu::visibility("hidden")]] inline constexpr raw_storage no_storage{nullptr, 0, {1024, 64, 65536}};

[[gnu::visibility("hidden"), gnu::always_inline]] inline in_signal::table* make_table() noexcept {
    raw_storage const* from = &tocsin_raw_storage != nullptr ? tocsin_raw_storage() : nullptr;
    // an older shared library's may be too small for this table
    if (from == nullptr || from->bytes < sizeof(in_signal::table)) from = &no_storage;
    std::uintptr_t const wiped = map_page(0, directory_bytes);
    auto* const memory = from->memory != nullptr ? from->memory : at(map_page(0, sizeof(in_signal::table)));
    if (memory == nullptr || wiped == 0) return nullptr;
    // without the advice (Linux before 4.14) a forked child is taken for a vforked one: it records nothing
    in_signal::system_call(SYS_madvise, static_cast<long>(wiped), static_cast<long>(directory_bytes), MADV_WIPEONFORK);
    auto* const made = static_cast<in_signal::table*>(memory);
    made->limit = from->limit;
    made->live_process = reinterpret_cast<in_signal::atomic<std::int32_t>*>(wiped);
    made->live_process->store(in_signal::getpid());
    return made;
}

// Fills in a claimed page and publishes it. A forked child may find a page that no thread of its own is filling
// in: whoever names himself the maker does it.
template <class Furnish>
[[gnu::visibility("hidden"), gnu::always_inline]] inline bool fill_in(directory& page, Furnish furnish) noexcept {
    std::int32_t const self = in_signal::getpid();
    std::int32_t maker = page.maker.load();
    if (maker == self || !page.maker.compare_exchange(maker, self)) return true;
    in_signal::table* const made = make_table();
    if (made == nullptr) {
        page.maker.store(0);
        return false;
    }
    pin_this_object();
    furnish(*made);
    page.major = table_major;
    page.minor = table_minor;
    page.table_bytes = sizeof(in_signal::table);
    page.table = made;
    page.magic.store(directory_magic);
    return true;
}

}  // namespace detail

// Finds the table if another copy of the library has made it, and makes none. Waits for nobody: async-signal-safe.
[[gnu::visibility("hidden")]] inline void look_up_table() noexcept {
    if (in_signal::the_table.load_acquire() != nullptr) return;
    for (unsigned i = 0; i < detail::candidates; ++i) {
        std::uintptr_t const address = detail::candidate(i);
        if (!detail::is_readable_page(address)) continue;
        directory const& page = *detail::at(address);
        if (page.magic.load() != directory_magic || page.major != table_major) continue;
        return in_signal::the_table.store(page.table);
    }
}

// The table of the process, made on the first call, and furnished once in the process, by the copy that made it. Fails
// with ENOMEM where no memory can be had at any agreed address, and with EPROTO if another major version of the library
// has made the table.
template <class Furnish>
[[gnu::visibility("hidden"), gnu::cold]] inline failure find_table(Furnish furnish, in_signal::table*& found) noexcept {
    found = in_signal::the_table.load_acquire();
    if (found != nullptr) return {};
    directory* const page = detail::find_page();
    if (page == nullptr) return {ENOMEM, "mmap", 0};
    patience turn;
    while (page->magic.load() == 0) {
        if (!detail::fill_in(*page, furnish)) return {ENOMEM, "mmap", 0};
        turn.wait();
    }
    if (page->major != table_major) return {EPROTO, "tocsin table of another major version", 0};
    found = page->table;
    in_signal::the_table.store(found);
    return {};
}

}  // namespace tocsin::posix
