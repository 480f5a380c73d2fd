// SPDX-License-Identifier: MIT
// The self-check's look at dispositions: what the kernel holds, and what the table says it should.
//
// Runs on any ordinary thread. Handlers are named by the symbol tables at hand. A sanitizer that wraps sigaction(3)
// answers what the program has installed, as it does to the table.
#pragma once

#include <sys/mman.h>

#include <tocsin/in_signal/entry.hpp>
#include <tocsin/in_signal/module.hpp>
#include <tocsin/in_signal/symbolize.hpp>
#include <tocsin/posix/doctor_lines.hpp>
#include <tocsin/posix/registry.hpp>

namespace tocsin::posix {

// What one signal meets, copied under the table's lock: links may go when it is given back.
struct signal_view {
    disposition live{};
    disposition below[in_signal::foreign_links]{};  // foreign, from the newest
    unsigned below_count = 0;
    bool known = false;
    bool claimed = false;  // by a guard that lives
    bool ours = false;     // the kernel holds what the newest claim put there
};

inline bool is_handler(disposition const& of) noexcept {
    return of.handler != SIG_DFL && of.handler != SIG_IGN;
}

inline void view_chain(table& in, int signal, signal_view& view) noexcept {
    link* const newest = in.slots[signal].newest.load();
    view.claimed = newest != nullptr && newest->is_claim();
    view.ours = view.claimed && detail::is_ours(in, newest, view.live);
    for (link* at = newest; view.claimed && at != nullptr; at = at->older.load())
        if (!at->is_claim() && view.below_count < in_signal::foreign_links)
            view.below[view.below_count++] = at->action;
}

inline signal_view view_signal(table* in, int signal) noexcept {
    signal_view view;
    if (in == nullptr) {
        view.known = read_disposition(signal, view.live) == 0;
        return view;
    }
    table_lock const locked{*in};
    view.known = read_disposition(signal, view.live) == 0;
    if (view.known) view_chain(*in, signal, view);
    return view;
}

// Memory to name functions in: too much for a small stack.
class naming_room {
  public:
    naming_room() noexcept {
        void* const memory =
            ::mmap(nullptr, sizeof(content), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (memory != MAP_FAILED) room_ = static_cast<content*>(memory);
    }
    ~naming_room() {
        if (room_ != nullptr) ::munmap(room_, sizeof(content));
    }
    naming_room(naming_room const&) = delete;
    naming_room& operator=(naming_room const&) = delete;

    // "function+0x0 in module", as far as it is known.
    void append(in_signal::line& to, std::uintptr_t address) noexcept {
        in_signal::module_info const module = in_signal::module_of(address);
        if (!module.found) {
            to.address(address).text(" in no loaded object");
            return;
        }
        append_function(to, address, module);
        to.text(" in ");
        if (*module.path == '\0')
            to.text("the program");
        else
            to.quoted(module.path);
    }

  private:
    struct content {
        in_signal::naming_memory memory;
        char names[4096];
    };

    void append_function(in_signal::line& to, std::uintptr_t address,
                         in_signal::module_info const& module) noexcept {
        in_signal::address_query query{};
        query.address = address - module.bias;
        if (room_ != nullptr) {
            in_signal::name_pool pool{room_->names, sizeof room_->names};
            std::uint64_t const deadline = in_signal::monotonic() + 2'000'000'000;
            in_signal::name_addresses({module.path, module.begin}, &query, 1, room_->memory, pool, deadline);
        }
        if (query.found)
            to.escaped(query.name, query.name_size).character('+').hexadecimal(query.offset);
        else
            to.hexadecimal(query.address);
    }

    content* room_ = nullptr;
};

inline void append_handler(in_signal::line& to, naming_room& names, disposition const& of) noexcept {
    if (of.handler == SIG_DFL)
        to.text("the default");
    else if (of.handler == SIG_IGN)
        to.text("ignoring it");
    else
        names.append(to, reinterpret_cast<std::uintptr_t>(of.handler));
}

// A claim that the kernel does not know of any more.
inline void warn_of_loss(checkup& to, naming_room& names, int signal, signal_view const& view) noexcept {
    to.warning().text(name(signal).c_str()).text(" was taken from its guard by ");
    append_handler(to.line(), names, view.live);
    to.put("whatever installs it goes before the guard");
}

inline void check_chained(checkup& to, naming_room& names, int signal, signal_view const& view) noexcept {
    for (unsigned i = 0; i < view.below_count; ++i) {
        if (view.below[i].handler == SIG_IGN && is_fault(signal)) {
            to.warning()
                .text(name(signal).c_str())
                .text(" was ignored before its guard: one that is sent is survived");
            to.put("the parent left it ignored; give it the default before the guard");
        } else if (is_handler(view.below[i])) {
            to.note().text(name(signal).c_str()).text(" has a foreign handler behind its guard: ");
            append_handler(to.line(), names, view.below[i]);
            to.put();
        }
    }
}

inline void check_foreign(checkup& to, naming_room& names, int signal, signal_view const& view) noexcept {
    if (view.live.handler == SIG_IGN) {
        to.warning().text(name(signal).c_str()).text(" is ignored: nobody reports one that is sent");
        return to.put("the parent left it ignored; give it the default");
    }
    to.note().text(name(signal).c_str()).text(" has a foreign handler and no guard: ");
    append_handler(to.line(), names, view.live);
    if ((view.live.flags & SA_ONSTACK) == 0) to.line().text(", not on the alternate stack");
    to.put();
}

inline void check_signals(checkup& to, table* in) noexcept {
    naming_room names;
    in_signal::kernel_set held = 0;
    in_signal::kernel_set unclaimed = 0;
    for (int signal = 1; signal <= tocsin::detail::last_signal; ++signal) {
        if (!can_be_caught(signal)) continue;
        signal_view const view = view_signal(in, signal);
        if (!view.known) continue;
        if (view.claimed && !view.ours) {
            warn_of_loss(to, names, signal, view);
        } else if (view.claimed) {
            held |= in_signal::bit_of(signal);
            check_chained(to, names, signal, view);
        } else if (is_fault(signal) && view.live.handler != SIG_DFL) {
            check_foreign(to, names, signal, view);
        } else if (is_fault(signal)) {
            unclaimed |= in_signal::bit_of(signal);
        }
    }
    if (held != 0) append_signals(to.ok().text("guards hold"), held), to.put();
    if (unclaimed == 0) return;
    append_signals(to.note().text("nobody reports"), unclaimed);
    to.put("on_crash(dump_threads)");
}

// --- Who unwinds, and who watches ---------------------------------------------------------------------------

namespace detail {

// Weak, and by the names that the loader knows them by: whatever is first among the loaded objects, without dlsym,
// which a static program cannot name without a warning of its linker.
extern "C" __attribute__((weak)) int found_unwinder() __asm__("_Unwind_Backtrace");
extern "C" __attribute__((weak)) void found_sanitizer() __asm__("__sanitizer_set_death_callback");

inline std::uintptr_t address_of(void (*function)()) noexcept {
    __asm__("" : "+r"(function));  // or compilers take a function never to be null
    return reinterpret_cast<std::uintptr_t>(function);
}

// The last part of a path that begins with `name`, or null.
inline char const* file_called(char const* path, char const* name) noexcept {
    char const* file = path;
    for (char const* at = path; *at != '\0'; ++at)
        if (*at == '/') file = at + 1;
    char const* rest = file;
    for (; *name != '\0'; ++name, ++rest)
        if (*rest != *name) return nullptr;
    return file;
}

}  // namespace detail

// Both libunwinds take locks when they unwind: nongnu's on every call, LLVM's on the first.
inline void check_unwinder(checkup& to) noexcept {
    auto const unwinder = detail::address_of(reinterpret_cast<void (*)()>(&detail::found_unwinder));
    in_signal::module_info const module = in_signal::module_of(unwinder);
    char const* const supplier = module.found ? module.path : "";
    if (detail::file_called(supplier, "libunwind") != nullptr) {
        to.warning()
            .text("_Unwind_Backtrace comes from ")
            .quoted(supplier)
            .text(", which takes the loader's lock");
        return to.put("handlers of others that unwind can hang, ours do not; link libgcc_s before it");
    }
    // A program that is not position independent sees its own stub instead of the function.
    text_lines maps{"/proc/self/maps"};
    while (*supplier == '\0' && maps.next()) {
        if (!maps.contains("/libunwind.so") && !maps.contains("/libunwind-x86_64.so")) continue;
        to.note().text("libunwind is loaded; if it comes before libgcc_s, unwinding takes the loader's lock");
        return to.put("handlers of others that unwind can hang, ours do not");
    }
    to.ok().text("_Unwind_Backtrace comes from ");
    if (unwinder == 0)
        to.line().text("nowhere");
    else if (*supplier == '\0')
        to.line().text("the program");
    else
        to.line().quoted(supplier);
    to.put();
}

inline void check_sanitizer(checkup& to) noexcept {
    auto const present = detail::address_of(reinterpret_cast<void (*)()>(&detail::found_sanitizer));
    if (present == 0) return;
    to.note().text("a sanitizer is linked: it may keep fault signals and alternate stacks for itself");
    to.put("handle_segv=0 and its like in ASAN_OPTIONS or TSAN_OPTIONS leave them to the guard");
}

}  // namespace tocsin::posix
