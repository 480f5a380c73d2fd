// SPDX-License-Identifier: MIT
// What threads have said of themselves: a long name, where their stacks lie, what they are about.
//
// Runs in the handler: the reading side, for any thread of the process; `posix/thread_records.hpp` makes the records.
// A record is written by its thread alone, without a lock and while others read. It lies in memory of the library's
// own, away from the heap of the program, is never unmapped, and goes to another thread after its own has ended. The
// breadcrumbs lie on the stack of their thread. Whoever reads them copies with care, looks afterwards whether what was
// copied was still there, and leaves out what was not. A thread that ends at that very moment may take the memory
// along: that fault is the reader's.
#pragma once

#include <tocsin/in_signal/format.hpp>
#include <tocsin/in_signal/memory.hpp>
#include <tocsin/in_signal/slot.hpp>

namespace tocsin::in_signal {

// What was stored before is seen before what is stored afterwards; the same of loads. x86-64 keeps both in order by
// itself. Fences of the compiler would make GCC warn wherever ThreadSanitizer compiles a breadcrumb.
inline void order_stores() noexcept {
#if defined(__aarch64__)
    __asm__ volatile("dmb ishst" ::: "memory");
#else
    __asm__ volatile("" ::: "memory");
#endif
}
inline void order_loads() noexcept {
#if defined(__aarch64__)
    __asm__ volatile("dmb ishld" ::: "memory");
#else
    __asm__ volatile("" ::: "memory");
#endif
}

enum class detail_kind : std::uint32_t { none, text, counted_text, number, unsigned_number };

// One breadcrumb, on the stack of its thread. Numbers are told apart by count, so that a new breadcrumb at the address
// of an old one is not taken for it.
struct trace_frame {
    trace_frame const* outer;
    atomic<std::uint64_t> number;  // 0 once it has been left
    char const* what;
    std::uintptr_t detail;         // the address of a text, or a number
    std::size_t detail_size;       // of a counted text
    char const* file;
    char const* function;
    std::int32_t line;
    detail_kind kind;
};

// The stack of a thread as the C library tells: [lowest, highest) is used, `guard` bytes below it are not to be. All 0
// if unknown, as for the first thread of a process, whose stack grows.
struct stack_bounds {
    std::uintptr_t lowest = 0;
    std::uintptr_t highest = 0;
    std::uintptr_t guard = 0;

    bool known() const noexcept { return lowest != 0; }
    std::size_t size() const noexcept { return highest - lowest; }
};

inline constexpr std::size_t longest_thread_name = 63;  // bytes; the kernel keeps the first 15 of them
inline constexpr std::size_t kernel_thread_name = 15;

struct alignas(64) thread_record {
    // The part that a breadcrumb writes.
    atomic<trace_frame const*> innermost;
    atomic<std::uint64_t> count;  // of breadcrumbs so far

    thread_record* next;                // does not change
    atomic<std::int32_t> thread;        // the kernel's number; 0 if free, record_in_making for a moment
    atomic<std::int32_t> process;       // as table::live_process has it
    atomic<std::uintptr_t> pointer;     // the thread pointer, which a fork does not change
    std::uint32_t users;                // copies of the library that know of it; only the thread looks
    atomic<std::uint32_t> may_outlive;  // 1 if its thread can end without giving it back
    stack_bounds stack;                 // written before `thread`
    atomic<std::uint32_t> name_size;    // 0 while the name changes
    char name[longest_thread_name + 1];
};

inline constexpr std::int32_t record_in_making = -1;

// The record of a thread of this process, by the kernel's number for it; null if it has none. A child made by vfork(2)
// or a bare clone(2) goes by another number than its record; it finds it by the thread pointer, for itself.
inline thread_record* record_of(table const& in, int thread) noexcept {
    std::int32_t const live = in.live_process->load_relaxed();
    thread_record* own = nullptr;
    for (thread_record* each = in.threads.load_acquire(); each != nullptr; each = each->next) {
        std::int32_t const of = each->thread.load_acquire();
        if (of == thread && each->process.load_relaxed() == live) return each;
        if (of > 0 && each->pointer.load_relaxed() == thread_pointer()) own = each;
    }
    return own != nullptr && thread == gettid() && thread == getpid() ? own : nullptr;
}

// A bounded copy of a text that somebody else owns. The bytes are as they were: escape them.
template <std::size_t Capacity>
struct text_copy {
    char data[Capacity];
    std::size_t size = 0;
    bool cut = false;  // there was more
};

// The whole name that the thread was given, and its length; 0 if it has none. A thread that has since been renamed by
// other means goes by the kernel's name: `kernel_name` is that, as in /proc/self/task/TID/comm.
inline std::size_t copy_name(thread_record const& of, char const* kernel_name, std::size_t kernel_size,
                             char (&to)[longest_thread_name + 1]) noexcept {
    std::uint32_t const size = of.name_size.load_acquire();
    if (size == 0 || size > longest_thread_name) return 0;
    for (std::size_t i = 0; i < size; ++i) to[i] = __atomic_load_n(&of.name[i], __ATOMIC_RELAXED);
    order_loads();
    if (of.name_size.load_relaxed() != size) return 0;
    to[size] = '\0';
    if (kernel_size != (size < kernel_thread_name ? size : kernel_thread_name)) return 0;
    for (std::size_t i = 0; i < kernel_size; ++i)
        if (to[i] != kernel_name[i]) return 0;
    return size;
}

inline constexpr unsigned most_crumbs = 32;               // that a visitor sees of one thread
inline constexpr unsigned most_counted_crumbs = 10'000;  // then the counting ends

// A breadcrumb as a visitor gets it.
struct crumb {
    text_copy<64> what;
    text_copy<256> detail;  // a text; of a path that does not fit the beginning
    text_copy<256> file;    // of one that does not fit the end
    text_copy<128> function;
    std::int32_t line = 0;
    detail_kind kind = detail_kind::none;
    std::uint64_t number = 0;  // two's complement if `kind` is `number`
};

namespace detail {

struct crumb_place {
    std::uintptr_t at;
    std::uint64_t number;
};

// The innermost breadcrumbs as they lay at one moment, if `steady`; otherwise the thread was faster.
struct crumb_chain {
    crumb_place places[most_crumbs];
    unsigned held;
    unsigned total;
    bool steady;
};

// At once: a number that is put together from two is none. Not instrumented, like the reader.
__attribute__((no_sanitize("address"), no_sanitize("thread"))) inline bool read_word(
    careful_reader& memory, std::uintptr_t address, std::uint64_t& to) noexcept {
    std::uint64_t is_there;
    if (address % alignof(std::uint64_t) != 0 || !memory.read(address, is_there)) return false;
    to = *reinterpret_cast<std::uint64_t const volatile*>(address);
    return true;
}

inline void take_chain(thread_record const& of, careful_reader& memory, crumb_chain& chain) noexcept {
    trace_frame const* const first = of.innermost.load_acquire();
    std::uint64_t const count = of.count.load_acquire();
    chain.held = chain.total = 0;
    bool whole = true;
    for (auto at = reinterpret_cast<std::uintptr_t>(first); at != 0 && chain.total < most_counted_crumbs;) {
        std::uint64_t number = 0;
        std::uint64_t outer = 0;
        whole = read_word(memory, at + offsetof(trace_frame, number), number) && number != 0 &&
                read_word(memory, at + offsetof(trace_frame, outer), outer);
        if (!whole) break;
        if (chain.held < most_crumbs) chain.places[chain.held++] = {at, number};
        ++chain.total;
        at = outer;
    }
    order_loads();
    chain.steady = whole && of.innermost.load_relaxed() == first && of.count.load_relaxed() == count;
}

inline constexpr std::size_t unknown_size = ~std::size_t{0};

// A text that ends at a zero, or at `size`.
template <std::size_t Capacity>
void copy_text(careful_reader& memory, std::uintptr_t from, std::size_t size, text_copy<Capacity>& to) noexcept {
    if (from == 0) return;
    for (std::size_t i = 0; i < size; ++i) {
        char next;
        if (!memory.read(from + i, next)) return;
        if (size == unknown_size && next == '\0') return;
        if (i == Capacity) {
            to.cut = true;
            return;
        }
        to.data[to.size++] = next;
    }
}

// Of a long path the end.
template <std::size_t Capacity>
void copy_path(careful_reader& memory, std::uintptr_t from, text_copy<Capacity>& to) noexcept {
    constexpr std::size_t longest = 4096;
    if (from == 0) return;
    std::size_t size = 0;
    for (char next = '\0'; size < longest && memory.read(from + size, next) && next != '\0';) ++size;
    to.cut = size > Capacity;
    std::size_t const skipped = to.cut ? size - Capacity : 0;
    if (memory.read_bytes(from + skipped, to.data, size - skipped)) to.size = size - skipped;
}

// False if the breadcrumb has been left.
inline bool copy_crumb(crumb_place const& place, careful_reader& memory, crumb& to) noexcept {
    alignas(trace_frame) unsigned char bytes[sizeof(trace_frame)];
    if (!memory.read_bytes(place.at, bytes, sizeof bytes)) return false;
    auto const& frame = *reinterpret_cast<trace_frame const*>(bytes);
    to.line = frame.line;
    to.kind = frame.kind;
    to.number = frame.detail;
    copy_text(memory, reinterpret_cast<std::uintptr_t>(frame.what), unknown_size, to.what);
    copy_path(memory, reinterpret_cast<std::uintptr_t>(frame.file), to.file);
    copy_text(memory, reinterpret_cast<std::uintptr_t>(frame.function), unknown_size, to.function);
    if (frame.kind == detail_kind::text) copy_text(memory, frame.detail, unknown_size, to.detail);
    if (frame.kind == detail_kind::counted_text) copy_text(memory, frame.detail, frame.detail_size, to.detail);
    order_loads();
    std::uint64_t number = 0;
    return read_word(memory, place.at + offsetof(trace_frame, number), number) && number == place.number;
}

}  // namespace detail

// Calls `visit(crumb const&)` for the breadcrumbs of a thread, innermost first, for `most_crumbs` of them at most. The
// result is how many there are (`most_counted_crumbs` if more), less those that were left while they were looked at.
// The thread may run meanwhile: then what is shown was there at one moment, if it stands still for long enough, and
// else each for itself.
template <class Visit>
unsigned each_crumb(thread_record const& of, careful_reader& memory, Visit visit) noexcept {
    constexpr int attempts = 8;
    detail::crumb_chain chain;
    memory.forget();
    for (int i = 0; i < attempts; ++i) {
        detail::take_chain(of, memory, chain);
        if (chain.steady) break;
    }
    for (unsigned i = 0; i < chain.held; ++i) {
        crumb each;
        if (detail::copy_crumb(chain.places[i], memory, each))
            visit(static_cast<crumb const&>(each));
        else
            --chain.total;
    }
    return chain.total;
}

namespace detail {

template <std::size_t Capacity>
void append_copy(line& to, text_copy<Capacity> const& text) noexcept {
    to.escaped(text.data, text.size, longest_name);
    if (text.cut) to.text("...");
}

}  // namespace detail

// `loading "settings.conf", read_all at source/settings.cpp:12`: the function by its bare name, as compilers give it
// to a default argument; none at namespace scope.
inline void append_crumb(line& to, crumb const& of) noexcept {
    detail::append_copy(to, of.what);
    if (of.kind == detail_kind::text || of.kind == detail_kind::counted_text) {
        detail::append_copy(to.text(" \""), of.detail);
        to.character('"');
    }
    if (of.kind == detail_kind::number) to.character(' ').decimal(static_cast<std::int64_t>(of.number));
    if (of.kind == detail_kind::unsigned_number) to.character(' ').decimal(of.number);
    if (of.function.size != 0) detail::append_copy(to.text(", "), of.function);
    to.text(" at ");
    if (of.file.cut) to.text("...");
    to.escaped(of.file.data, of.file.size).character(':').decimal(of.line);
}

}  // namespace tocsin::in_signal
