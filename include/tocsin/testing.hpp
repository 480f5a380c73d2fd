// SPDX-License-Identifier: MIT
// `testing::raise_fault(fault)`: crashes for the tests of crash handlers; `testing::no_core`: without core files.
//
// Runs on any ordinary thread. Each fault is caused and never only sent: what a handler sees (siginfo, registers, the
// stack that it stands on) is what it would see in earnest. The function that does it bears the name of the fault, as
// `tocsin::testing::faults::read_null`, and is never inlined, so that a report can be asked for it. No optimisation
// changes what happens, since the deed itself is in assembly or behind a pointer that the compiler cannot see through;
// a sanitizer does not speak first, but AddressSanitizer's and ThreadSanitizer's own allocators have their own word for
// `double_free`, and their options decide who gets the signals (`handle_segv=0` and so on).
//
//     if (pid_t const child = ::fork(); child == 0) {
//         testing::no_core no_file_here;
//         guard signals{on_crash(dump_threads)};
//         testing::raise_fault(testing::fault::read_null);
//         ::_exit(1);  // was not reached if waitpid() then says WTERMSIG(status) == expected_signal(…)
//     }
//
// It cannot undo anything: what has been raised is meant to end the process, and belongs in a child of the test.
#pragma once

#include <cxxabi.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <exception>

namespace tocsin::testing {

// While it lives a crash of this process, and of children started meanwhile, leaves no core. Only the soft limit is
// lowered, and the destructor puts back what was there. Not by way of PR_SET_DUMPABLE, which would give the process's
// /proc files to root (proc(5)) and so change what a report can read.
class [[nodiscard]] no_core {
  public:
    no_core() noexcept {
        if (::getrlimit(RLIMIT_CORE, &before_) != 0) return;
        rlimit none = before_;
        // A program that takes cores from a pipe is started at a limit of 0 too, but not at 1 (do_coredump in the
        // kernel's fs/coredump.c, which keeps that number for it); 1 byte is too little for a file as well.
        none.rlim_cur = cores_are_piped() && before_.rlim_max >= 1 ? 1 : 0;
        lowered_ = ::setrlimit(RLIMIT_CORE, &none) == 0;
    }
    ~no_core() {
        if (lowered_) ::setrlimit(RLIMIT_CORE, &before_);
    }
    no_core(no_core const&) = delete;
    no_core& operator=(no_core const&) = delete;

  private:
    static bool cores_are_piped() noexcept {
        int const fd = ::open("/proc/sys/kernel/core_pattern", O_RDONLY | O_CLOEXEC);
        if (fd < 0) return false;
        char first = 0;
        bool const piped = ::read(fd, &first, 1) == 1 && first == '|';
        ::close(fd);
        return piped;
    }

    rlimit before_{};
    bool lowered_ = false;
};

enum class fault : unsigned char {
    read_null,
    write_null,
    execute_null,
    read_wild,  // an address that nothing is mapped at
    write_wild,
    execute_wild,
    read_non_canonical,  // an address that no process can have; the kernel does not tell a handler which
    execute_non_canonical,
    read_protected,  // a page without permissions
    write_constant,
    execute_heap,
    stack_overflow,    // endless recursion
    past_end_of_file,  // in a mapped file
    misaligned,        // with alignment checked: by a flag on x86-64, by an exclusive load on aarch64
    divide_by_zero,    // x86-64: aarch64 answers 0
    divide_float,      // by zero, with the exception unmasked; x86-64
    illegal_instruction,
    privileged_instruction,
    breakpoint,
    bad_system_call,  // one that a seccomp filter, installed for it in this thread, answers with SIGSYS
    abort,
    pure_virtual_call,
    double_free,         // noticed by the C library's allocator
    uncaught_exception,  // out of a noexcept function; without exceptions std::terminate() alone
};

// Every fault that can be raised on this machine, to iterate over.
[[gnu::visibility("hidden")]] inline constexpr fault all_faults[] = {
    fault::read_null, fault::write_null, fault::execute_null, fault::read_wild, fault::write_wild, fault::execute_wild,
    fault::read_non_canonical, fault::execute_non_canonical, fault::read_protected, fault::write_constant,
    fault::execute_heap, fault::stack_overflow, fault::past_end_of_file, fault::misaligned,
#if defined(__x86_64__)
    fault::divide_by_zero, fault::divide_float,
#endif
    fault::illegal_instruction, fault::privileged_instruction, fault::breakpoint, fault::bad_system_call, fault::abort,
    fault::pure_virtual_call, fault::double_free, fault::uncaught_exception};

namespace detail {

// The machine's part. Plain accesses in assembly: a sanitizer would look at C++ ones first, and say its own.
#if defined(__x86_64__)

[[gnu::always_inline]] inline void load(void const* from) noexcept {
    char byte;
    __asm__ volatile("movb (%1), %0" : "=q"(byte) : "r"(from));
}
[[gnu::always_inline]] inline void store(void* to) noexcept {
    __asm__ volatile("movb $42, (%0)" : : "r"(to) : "memory");
}
// Bit 18 of the flags (AC) has the processor check; the words go below the red zone.
[[gnu::always_inline]] inline void load_misaligned(void const* from) noexcept {
    int word;
    __asm__ volatile(
        "lea -128(%%rsp), %%rsp\n\t"
        "pushfq\n\t"
        "orl $0x40000, (%%rsp)\n\t"
        "popfq\n\t"
        "lea 128(%%rsp), %%rsp\n\t"
        "movl 1(%1), %0"
        : "=&r"(word)
        : "r"(from)
        : "cc", "memory");
}
[[gnu::always_inline]] inline void divide_integers() noexcept {
    int quotient = 1;
    int remainder = 0;
    __asm__ volatile("idivl %2" : "+a"(quotient), "+d"(remainder) : "r"(0) : "cc");
}
// Bit 9 of the control register masks division by zero (Intel's manual, volume 1, 10.2.3).
[[gnu::always_inline]] inline void divide_floats() noexcept {
    unsigned control;
    __asm__ volatile("stmxcsr %0" : "=m"(control));
    control &= ~0x200U;
    float quotient = 1;
    float zero = 0;
    __asm__ volatile("ldmxcsr %1\n\tdivss %2, %0" : "+x"(quotient) : "m"(control), "x"(zero));
}
[[gnu::always_inline]] inline void undefined() noexcept { __asm__ volatile("ud2"); }
[[gnu::always_inline]] inline void privileged() noexcept { __asm__ volatile("hlt"); }
inline constexpr int privileged_signal = SIGSEGV;  // a general protection fault, as with a bad address
[[gnu::always_inline]] inline void trap() noexcept { __asm__ volatile("int3"); }
[[gnu::always_inline]] inline void call_kernel(long number) noexcept {
    __asm__ volatile("syscall" : "+a"(number) : : "rcx", "r11", "memory");
}

#elif defined(__aarch64__)

[[gnu::always_inline]] inline void load(void const* from) noexcept {
    int byte;
    __asm__ volatile("ldrb %w0, [%1]" : "=r"(byte) : "r"(from));
}
[[gnu::always_inline]] inline void store(void* to) noexcept {
    __asm__ volatile("strb wzr, [%0]" : : "r"(to) : "memory");
}
// Across the end of 16 bytes: within them newer processors are content (FEAT_LSE2).
[[gnu::always_inline]] inline void load_misaligned(void const* from) noexcept {
    int word;
    __asm__ volatile("ldxr %w0, [%1]\n\tclrex" : "=&r"(word) : "r"(static_cast<char const*>(from) + 13) : "memory");
}
[[gnu::always_inline]] inline void divide_integers() noexcept {}
[[gnu::always_inline]] inline void divide_floats() noexcept {}
[[gnu::always_inline]] inline void undefined() noexcept { __asm__ volatile("udf #0"); }
[[gnu::always_inline]] inline void privileged() noexcept {
    long control;
    __asm__ volatile("mrs %0, sctlr_el1" : "=r"(control));
}
inline constexpr int privileged_signal = SIGILL;
[[gnu::always_inline]] inline void trap() noexcept { __asm__ volatile("brk #0"); }
[[gnu::always_inline]] inline void call_kernel(long number) noexcept {
    register long x8 __asm__("x8") = number;
    register long x0 __asm__("x0") = 0;
    __asm__ volatile("svc #0" : "+r"(x0) : "r"(x8) : "memory");
}

#else
#error "tocsin supports Linux on x86-64 and aarch64"
#endif

// The same pointer, of which the compiler knows nothing any more.
template <class T>
[[gnu::always_inline]] inline T* opaque(T* pointer) noexcept {
    __asm__ volatile("" : "+r"(pointer) : : "memory");
    return pointer;
}
inline void* at_address(std::uintptr_t number) noexcept { return opaque(reinterpret_cast<void*>(number)); }

// Behind a call, so that it does not become a jump and its caller keeps a frame.
[[gnu::always_inline]] inline void stay() noexcept { __asm__ volatile(""); }

// A part of the address space that neither programs nor the sanitizers' shadows use.
inline constexpr std::uintptr_t wild = 0x456789abc000;
inline constexpr std::uintptr_t non_canonical = 0xdead456789abc000;

// Calls it while it is being made, when it has no function behind its name yet.
struct unfinished {
    __attribute__((noinline, no_sanitize("undefined"))) unfinished() { opaque(this)->call(); }
    virtual ~unfinished() = default;
    virtual void call() = 0;
};
struct finished final : unfinished {
    void call() override {}
};

struct nobody_catches_this final : std::exception {
    char const* what() const noexcept override { return "tocsin::testing: an exception that nobody catches"; }
};
[[gnu::noinline]] inline void throw_something() {
#if defined(__cpp_exceptions)
    throw nobody_catches_this{};
#else
    std::terminate();
#endif
}

// No kernel has it, so that nobody else misses it.
inline constexpr unsigned no_system_call = 0xbad;

// Threads made later inherit it, others keep theirs. Needs no privilege (seccomp(2)).
inline bool trap_system_call() noexcept {
    sock_filter const program[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, no_system_call, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    sock_fprog const whole{sizeof program / sizeof program[0], const_cast<sock_filter*>(program)};
    return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &whole, 0, 0) == 0;
}

inline void* map_page(int protection, int flags, int file) noexcept {
    void* const page = ::mmap(nullptr, static_cast<std::size_t>(::sysconf(_SC_PAGESIZE)), protection, flags, file, 0);
    return page == MAP_FAILED ? nullptr : page;
}

using function = void (*)();

}  // namespace detail

// Each returns only if it could not be raised here, or if a handler has repaired it.
namespace faults {

[[gnu::noinline]] inline void read_null() { detail::load(detail::at_address(0)); }
[[gnu::noinline]] inline void write_null() { detail::store(detail::at_address(0)); }
[[gnu::noinline]] inline void read_wild() { detail::load(detail::at_address(detail::wild)); }
[[gnu::noinline]] inline void write_wild() { detail::store(detail::at_address(detail::wild)); }
[[gnu::noinline]] inline void read_non_canonical() { detail::load(detail::at_address(detail::non_canonical)); }
[[gnu::noinline]] inline void write_constant() { detail::store(detail::opaque(const_cast<fault*>(all_faults))); }

__attribute__((noinline, no_sanitize("undefined"))) inline void execute_null() {
    reinterpret_cast<detail::function>(detail::at_address(0))();
    detail::stay();
}
__attribute__((noinline, no_sanitize("undefined"))) inline void execute_wild() {
    reinterpret_cast<detail::function>(detail::at_address(detail::wild))();
    detail::stay();
}
__attribute__((noinline, no_sanitize("undefined"))) inline void execute_non_canonical() {
    reinterpret_cast<detail::function>(detail::at_address(detail::non_canonical))();
    detail::stay();
}
__attribute__((noinline, no_sanitize("undefined"))) inline void execute_heap() {
    reinterpret_cast<detail::function>(detail::opaque(::malloc(64)))();
    detail::stay();
}

[[gnu::noinline]] inline void read_protected() {
    void* const page = detail::map_page(PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
    if (page != nullptr) detail::load(page);
}

[[gnu::noinline]] inline void past_end_of_file() {
    int const file = ::memfd_create("tocsin-testing", MFD_CLOEXEC);
    if (file < 0) return;
    void* const page = detail::map_page(PROT_READ, MAP_SHARED, file);
    ::close(file);
    if (page != nullptr) detail::load(page);  // the file is empty
}

[[gnu::noinline]] inline void misaligned() {
    alignas(16) char volatile bytes[32] = {};
    detail::load_misaligned(const_cast<char const*>(bytes));
}

[[gnu::noinline]] inline void divide_by_zero() { detail::divide_integers(); }
[[gnu::noinline]] inline void divide_float() { detail::divide_floats(); }
[[gnu::noinline]] inline void illegal_instruction() { detail::undefined(); }
[[gnu::noinline]] inline void privileged_instruction() { detail::privileged(); }
[[gnu::noinline]] inline void breakpoint() { detail::trap(); }

[[gnu::noinline]] inline void bad_system_call() {
    if (detail::trap_system_call()) detail::call_kernel(detail::no_system_call);
}

[[gnu::noinline]] inline void abort() {
    detail::function const end = ::abort;
    detail::opaque(end)();  // or the compiler would know that nothing comes after it
    detail::stay();
}

[[gnu::noinline]] inline void pure_virtual_call() {
    // g++ names the one for pure virtual functions weakly, so that it would be missing from a static program. The
    // other one comes with it.
    static_cast<void>(detail::opaque(&abi::__cxa_deleted_virtual));
    detail::finished never;
    detail::stay();
}

[[gnu::noinline]] inline void double_free() {
    void* const memory = ::malloc(64);
    ::free(detail::opaque(memory));
    ::free(detail::opaque(memory));
    detail::stay();
}

[[gnu::noinline]] inline void uncaught_exception() noexcept {
    detail::throw_something();
    detail::stay();
}

// Calls itself by way of a pointer, each time with two kilobytes more, which is less than a guard page. False once more
// of the stack has been used than any usual limit allows: then it is unlimited, and memory would end first.
__attribute__((noinline, no_sanitize("address", "thread"))) inline bool stack_overflow(char const* top) {
    constexpr std::ptrdiff_t most = std::ptrdiff_t{100} << 20;
    char room[2048];
    *detail::opaque(room) = 1;
    auto const here = static_cast<char const*>(__builtin_frame_address(0));
    if (top - here > most) return false;
    bool (*const again)(char const*) = stack_overflow;
    bool const below = detail::opaque(again)(top);
    return below && *detail::opaque(room) == 1;  // the room is needed after the call, so it is no loop
}
[[gnu::noinline]] inline void stack_overflow() { stack_overflow(static_cast<char const*>(__builtin_frame_address(0))); }

}  // namespace faults

namespace detail {

struct fault_kind {
    char const* name;
    int signal;
    function raise;
};
// In the order of the enumeration.
[[gnu::visibility("hidden")]] inline constexpr fault_kind fault_kinds[] = {
    {"read_null", SIGSEGV, faults::read_null},
    {"write_null", SIGSEGV, faults::write_null},
    {"execute_null", SIGSEGV, faults::execute_null},
    {"read_wild", SIGSEGV, faults::read_wild},
    {"write_wild", SIGSEGV, faults::write_wild},
    {"execute_wild", SIGSEGV, faults::execute_wild},
    {"read_non_canonical", SIGSEGV, faults::read_non_canonical},
    {"execute_non_canonical", SIGSEGV, faults::execute_non_canonical},
    {"read_protected", SIGSEGV, faults::read_protected},
    {"write_constant", SIGSEGV, faults::write_constant},
    {"execute_heap", SIGSEGV, faults::execute_heap},
    {"stack_overflow", SIGSEGV, faults::stack_overflow},
    {"past_end_of_file", SIGBUS, faults::past_end_of_file},
    {"misaligned", SIGBUS, faults::misaligned},
    {"divide_by_zero", SIGFPE, faults::divide_by_zero},
    {"divide_float", SIGFPE, faults::divide_float},
    {"illegal_instruction", SIGILL, faults::illegal_instruction},
    {"privileged_instruction", privileged_signal, faults::privileged_instruction},
    {"breakpoint", SIGTRAP, faults::breakpoint},
    {"bad_system_call", SIGSYS, faults::bad_system_call},
    {"abort", SIGABRT, faults::abort},
    {"pure_virtual_call", SIGABRT, faults::pure_virtual_call},
    {"double_free", SIGABRT, faults::double_free},
    {"uncaught_exception", SIGABRT, faults::uncaught_exception},
};
constexpr fault_kind const& kind_of(fault what) noexcept { return fault_kinds[static_cast<unsigned>(what)]; }

}  // namespace detail

// As it is written in the enumeration: "read_null".
constexpr char const* name(fault what) noexcept { return detail::kind_of(what).name; }

// The signal that a process without handlers dies of.
constexpr int expected_signal(fault what) noexcept { return detail::kind_of(what).signal; }

// Causes it. False if it cannot be raised here: the machine does not know it, the stack has no end (it is left after
// 100 MiB), the kernel has no seccomp filters; or if a handler has gone on behind it, as some do after a breakpoint.
[[gnu::noinline]] inline bool raise_fault(fault what) {
    detail::kind_of(what).raise();
    detail::stay();
    return false;
}

}  // namespace tocsin::testing
