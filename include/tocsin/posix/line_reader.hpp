// SPDX-License-Identifier: MIT
// Files and lines by libbacktrace, which comes with GCC: link with -lbacktrace.
//
// It is opened on an ordinary thread, and asked wherever a report is written, in the handler too. libbacktrace takes
// its memory by mmap(2) and waits for no lock. When cold it opens files and walks the loader's list, under the loader's
// lock; opening a reader does all of that, so that questions need neither. What it does lazily is read a compilation
// unit when a question first falls into it.
//
// Answers are given for objects that were loaded when the reader was opened and still are, from files that are the
// ones that were mapped. The rest has no lines: what was loaded later, what was built without -g or has been stripped
// and has no separate debug file, code in .dwo files (-gsplit-dwarf). libbacktrace trusts the files and maps them: one
// that is malformed, or is cut short afterwards, can make it fault, hang or take much stack. Who asks is prepared for
// that. With sound files it took 13 KiB of stack at most.
#pragma once

#include <errno.h>
#include <link.h>
#include <sys/mman.h>

#include <new>

#include <tocsin/error.hpp>
#include <tocsin/in_signal/elf.hpp>
#include <tocsin/in_signal/lines.hpp>
#include <tocsin/in_signal/module.hpp>
#include <tocsin/posix/directory.hpp>
#include <tocsin/posix/large_pages.hpp>

#if __has_include(<backtrace-supported.h>)
#include <backtrace-supported.h>
static_assert(
    BACKTRACE_SUPPORTED && BACKTRACE_SUPPORTS_THREADS && !BACKTRACE_USES_MALLOC,
    "tocsin: this libbacktrace cannot be asked in a handler; it was configured without mmap or atomics");
#endif

namespace tocsin::posix {

namespace detail {

// backtrace.h, as far as it is needed, under names of our own: GCC keeps the header to itself, where other compilers do
// not look, while the library serves them all.
extern "C" {
using take_error = void (*)(void* data, char const* message, int error);
using take_place = int (*)(void* data, std::uintptr_t pc, char const* file, int line, char const* function);
void* new_line_state(char const* file, int threaded, take_error, void* data) noexcept
    __asm__("backtrace_create_state");
int ask_line_state(void* state, std::uintptr_t pc, take_place, take_error, void* data) noexcept
    __asm__("backtrace_pcinfo");
}

// What tells a loaded object, or a file, from all others: its build-id, or the ELF header where it has none.
struct object_identity {
    in_signal::build_id id;
    in_signal::elf::file_header header;

    void read(in_signal::elf_image& image) noexcept {
        header = image.header();
        image.find_build_id(id);
    }
    bool same_as(object_identity const& other) const noexcept {
        if (id.known() || other.id.known()) return id.same_as(other.id);
        return __builtin_memcmp(&header, &other.header, sizeof header) == 0;
    }
};

}  // namespace detail

// One for the process, in memory that is never given back: libbacktrace has no way to close.
class line_reader {
  public:
    static constexpr std::size_t most_objects = 1024;

    // Finds the debug information of everything that is loaded, and the units in it. That there is none is no error.
    // What libbacktrace keeps of that would be most of the time that a crash takes, when the kernel takes it back.
    failure open() noexcept {
        new_memory const since;
        source_ = {&line_reader::find, this};
        // a state that may be used by several threads is also one that may be left in the middle of an operation
        state_ = detail::new_line_state(nullptr, 1, &line_reader::complain, this);
        if (state_ == nullptr) return {ENOMEM, "backtrace_create_state", 0};
        ::dl_iterate_phdr(&line_reader::remember, this);
        detail::ask_line_state(state_, reinterpret_cast<std::uintptr_t>(&line_reader::find),
                               &line_reader::nobody, &line_reader::complain, this);
        since.into_large_pages();
        return {};
    }

    in_signal::line_source const& source() const noexcept { return source_; }
    // How many of the loaded objects have lines, if their debug information does.
    std::size_t objects() const noexcept { return count_; }

  private:
    struct object {
        std::uintptr_t begin, end;
        detail::object_identity identity;
    };
    struct question {
        in_signal::take_line take;
        void* to;
        unsigned answers;
    };

    static bool find(void* self, std::uintptr_t instruction, in_signal::take_line take, void* to) noexcept {
        auto const& of = *static_cast<line_reader const*>(self);
        if (!of.knows(instruction)) return false;
        question asked{take, to, 0};
        detail::ask_line_state(of.state_, instruction, &line_reader::answer, &line_reader::complain, &asked);
        return asked.answers != 0;
    }

    // Whether the object at this address is the one whose file was read. Another one may lie there by now.
    bool knows(std::uintptr_t address) const noexcept {
        in_signal::module_info const module = in_signal::module_of(address);
        if (!module.found) return false;
        for (std::size_t i = 0; i < count_; ++i) {
            if (objects_[i].begin != module.begin || objects_[i].end != module.end) continue;
            in_signal::elf_image loaded;
            if (!loaded.open_memory(module.begin)) return false;
            detail::object_identity now;
            now.read(loaded);
            return now.same_as(objects_[i].identity);
        }
        return false;
    }

    // A callback of dl_iterate_phdr(3).
    static int remember(dl_phdr_info* info, std::size_t, void* self) {
        auto& to = *static_cast<line_reader*>(self);
        std::uintptr_t inside = 0;
        for (unsigned i = 0; i < info->dlpi_phnum; ++i)
            if (info->dlpi_phdr[i].p_type == PT_LOAD) inside = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr;
        in_signal::module_info const module = in_signal::module_of(inside);
        if (to.count_ == most_objects) return 1;
        in_signal::elf_image loaded;
        in_signal::elf_image file;
        char const* const path = *info->dlpi_name != '\0' ? info->dlpi_name : "/proc/self/exe";
        if (!module.found || !loaded.open_memory(module.begin) || !file.open_file(path)) return 0;
        object& added = to.objects_[to.count_];
        detail::object_identity mapped;
        mapped.read(loaded);
        added.identity.read(file);
        if (!mapped.same_as(added.identity)) return 0;
        added.begin = module.begin;
        added.end = module.end;
        ++to.count_;
        return 0;
    }

    static int answer(void* data, std::uintptr_t, char const* file, int line, char const* function) {
        if (file == nullptr) return 0;
        auto& asked = *static_cast<question*>(data);
        asked.take(asked.to, {file, line, function});
        return ++asked.answers == in_signal::most_lines;
    }
    static int nobody(void*, std::uintptr_t, char const*, int, char const*) { return 0; }
    static void complain(void*, char const*, int) {}

    in_signal::line_source source_;
    void* state_;
    std::size_t count_;
    object objects_[most_objects];
};

// Opens a reader and publishes it, unless the process has one. Runs on any ordinary thread.
[[gnu::visibility("hidden")]] inline failure provide_lines(in_signal::line_place& place) noexcept {
    if (place.load() != nullptr) return {};
    void* const memory =
        ::mmap(nullptr, sizeof(line_reader), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return {errno, "mmap", 0};
    auto* const made = ::new (memory) line_reader;
    failure const refused = made->open();
    if (!refused) detail::pin_this_object();
    // of two threads that come at once, one reads for nothing
    if (refused || !place.replace(nullptr, &made->source())) ::munmap(memory, sizeof(line_reader));
    return refused;
}

}  // namespace tocsin::posix
