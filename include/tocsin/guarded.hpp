// SPDX-License-Identifier: MIT
// `guarded<SIGSEGV, SIGBUS>(f)`: what f answers, or the fault that it met.
//
// Runs on any ordinary thread. The first call in a process claims the signals, and they stay claimed: a call with
// nothing raised costs no system call. The first call in a thread gives it an alternate stack, where memory allows, so
// that a stack overflow is a fault like others.
//
// After a fault the thread goes on behind f as after longjmp(3): destructors of what f had on the stack are not run,
// locks stay locked, and of what f was writing anything may be there. So f should do one thing that may fault, such as
// reading a mapped file. A compiler may drop or move an access whose value nobody wants; make it volatile if the fault
// is what is asked for. The mask stays as f had it.
//
// Guarded calls nest, and each thread has its own. A fault takes the innermost call that names its signal. A fault
// elsewhere, in a handler too, is a crash as without guarded calls, with the report that a row has for it; one inside
// is none, whoever of guarded call and guard came first. It is not seen by handlers that others installed before the
// first call; one that is installed later has to pass the signal on. Nor does a guarded call see a signal that was sent
// and is no fault: abort(3), or kill(2) with SIGSEGV.
#pragma once

#include <new>
#include <type_traits>

#include <tocsin/in_signal/guarded.hpp>
#include <tocsin/in_signal/unless_guarded.hpp>
#include <tocsin/on.hpp>
#include <tocsin/posix/kept_stack.hpp>
#include <tocsin/posix/refusal.hpp>
#include <tocsin/traits.hpp>

namespace tocsin {

// What ended a guarded call.
class fault {
  public:
    constexpr fault() noexcept = default;
    constexpr fault(int signal, int code, void* address) noexcept
        : signal_{signal}, code_{code}, address_{address} {}

    // SIGSEGV, …; 0 if there was none.
    constexpr int signal() const noexcept { return signal_; }
    // The siginfo's si_code: SEGV_MAPERR, BUS_ADRERR, FPE_INTDIV, …
    constexpr int code() const noexcept { return code_; }
    // For SIGSEGV and SIGBUS the address that was accessed, null where the processor does not tell (SI_KERNEL); for
    // SIGFPE, SIGILL and SIGTRAP that of the instruction, for SIGSYS that behind the system call (sigaction(2)).
    constexpr void* address() const noexcept { return address_; }

  private:
    int signal_ = 0;
    int code_ = 0;
    void* address_ = nullptr;
};

namespace detail {

// The claims of this copy of the library.
struct guarded_claims {
    in_signal::atomic<in_signal::kernel_set> held;
    in_signal::atomic<std::uint64_t> lock;  // process and thread, as in posix/table_lock.hpp
    in_signal::link links[standard_signals + 1];
};
[[gnu::visibility("hidden")]] inline constinit guarded_claims all_guarded{};
[[gnu::visibility("hidden")]] inline constinit thread_local in_signal::guarded_thread* guarded_here = nullptr;

// Taken over from a thread that a fork left behind.
class guarded_lock {
  public:
    [[gnu::visibility("hidden")]] guarded_lock() noexcept {
        std::uint64_t const self = static_cast<std::uint64_t>(in_signal::getpid()) << 32 |
                                   static_cast<std::uint32_t>(in_signal::gettid());
        posix::patience turn;
        for (;; turn.wait()) {
            std::uint64_t found = 0;
            if (all_guarded.lock.compare_exchange(found, self)) return;
            if (found >> 32 != self >> 32 && all_guarded.lock.replace(found, self)) return;
        }
    }
    [[gnu::visibility("hidden")]] ~guarded_lock() { all_guarded.lock.store(0); }
    guarded_lock(guarded_lock const&) = delete;
    guarded_lock& operator=(guarded_lock const&) = delete;
};

// What another thread had begun when this process was forked off.
inline void withdraw_half_done(in_signal::table& in, int signal, in_signal::link& claim) noexcept {
    for (in_signal::link* at = in.slots[signal].newest.load(); at != nullptr; at = at->older.load())
        if (at == &claim) return in.operate->withdraw(in, signal, claim);
}

[[gnu::visibility("hidden")]] inline failure claim_guarded(in_signal::kernel_set wanted) noexcept {
    in_signal::table* in = nullptr;
    if (failure const refused = posix::find_table(in)) return refused;
    posix::adopt_process(*in);
    guarded_lock const locked;
    for (int signal = 1; signal <= standard_signals; ++signal) {
        in_signal::kernel_set const bit = in_signal::bit_of(signal);
        if ((wanted & ~all_guarded.held.load() & bit) == 0) continue;
        in_signal::link& claim = all_guarded.links[signal];
        withdraw_half_done(*in, signal, claim);
        claim.run = &in_signal::run_guarded;
        claim.action = {in_signal::as_handler(in->operate->entry), SA_SIGINFO | SA_ONSTACK | SA_RESTART | SA_NODEFER,
                        nullptr, posix::all_but_faults(*in)};
        if (failure const refused = posix::claim_link(*in, signal, claim)) return refused;
        all_guarded.held.fetch_or(bit);
    }
    return {};
}

// Gives the record back when its thread ends.
struct guarded_leaver {
    [[gnu::visibility("hidden")]] ~guarded_leaver() {
        if (guarded_here != nullptr) guarded_here->thread.store_release(0);
        guarded_here = nullptr;
    }
};

// One that a thread with our thread pointer has left, one that is free, or a new one.
[[gnu::visibility("hidden")]] inline in_signal::guarded_thread* take_guarded_record() noexcept {
    std::uintptr_t const self = in_signal::thread_pointer();
    if (in_signal::guarded_thread* const left = in_signal::find_guarded_thread(self)) return left;
    for (auto* at = in_signal::guarded_threads.load(); at != nullptr; at = at->next)
        if (at->thread.load() == 0 && at->thread.replace(0, self)) return at;
    auto* const made = ::new (std::nothrow) in_signal::guarded_thread;
    if (made == nullptr) return nullptr;
    made->thread.store(self);
    in_signal::way_out_of_guarded.store(&in_signal::leave_guarded);
    made->next = in_signal::guarded_threads.load();
    while (!in_signal::guarded_threads.compare_exchange(made->next, made)) {
    }
    return made;
}

[[gnu::visibility("hidden"), gnu::noinline]] inline failure open_guarded(in_signal::kernel_set wanted) noexcept {
    if (failure const refused = claim_guarded(wanted)) return refused;
    if (guarded_here != nullptr) return {};
    in_signal::guarded_thread* const mine = take_guarded_record();
    if (mine == nullptr) return {ENOMEM, "operator new", 0};
    mine->innermost.store(nullptr);
    static_cast<void>(posix::keep_alternate_stack(*in_signal::the_table.load()));
    static thread_local guarded_leaver leaver;
    static_cast<void>(&leaver);
    guarded_here = mine;
    return {};
}

// Apart from run_guarded, whose frame must hold nothing that changes.
template <class Run>
[[gnu::noinline]] void run_within(Run& run) {
    run();
}

// False after a fault: then the thread's innermost call is the one outside, and its record says what happened. See
// in_signal/recover.hpp for what may be used then.
template <class Run>
__attribute__((noinline, no_sanitize("address"), no_sanitize("thread"))) bool run_guarded(
    in_signal::guarded_thread& thread, in_signal::kernel_set signals, Run& run) {
    in_signal::guarded_frame call;
    call.outer = thread.innermost.load_relaxed();
    call.signals = signals;
    if (!in_signal::machine::remember(call.back)) {
        in_signal::machine::settle(call.back);
        return false;
    }
    thread.innermost.store_release(&call);
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    run_within(run);
    return true;
}

// The record of this thread, with the signals claimed.
[[gnu::visibility("hidden")]] inline in_signal::guarded_thread& ready_for_guarded(in_signal::kernel_set signals) {
    in_signal::guarded_thread* const mine = guarded_here;
    if (mine != nullptr && (all_guarded.held.load_acquire() & signals) == signals) [[likely]]
        return *mine;
    if (failure const refused = open_guarded(signals)) posix::fail(refused);
    return *guarded_here;
}

// However the call ends.
struct guarded_end {
    in_signal::guarded_thread& thread;
    in_signal::guarded_frame* outer;

    ~guarded_end() {
        __atomic_signal_fence(__ATOMIC_SEQ_CST);
        thread.innermost.store_release(outer);
    }
};

// False after a fault, and what it was.
template <class Run>
bool guard_call(in_signal::kernel_set signals, Run& run, fault& met) {
    in_signal::guarded_thread& mine = ready_for_guarded(signals);
    guarded_end const end{mine, mine.innermost.load_relaxed()};
    if (run_guarded(mine, signals, run)) [[likely]]
        return true;
    met = {mine.signal, mine.code, mine.address};
    return false;
}

template <auto... Signals>
constexpr auto check_guarded() {
    using signals = decltype(check_signals<Signals...>());
    constexpr bool faults = !signals::value || ((names_a_fault<Signals>() && Signals != SIGABRT) && ...);
    static_assert(faults, "tocsin: guarded is for SEGV BUS FPE ILL TRAP SYS, which an instruction causes; what is sent "
                          "is for on<SIG...>");
    return std::bool_constant<signals::value && faults>{};
}

template <class T>
struct guarded_storage {
    union {
        T value;
    };
    guarded_storage() noexcept {}
    ~guarded_storage() {}
    guarded_storage(guarded_storage const&) = delete;
    guarded_storage& operator=(guarded_storage const&) = delete;
};

}  // namespace detail

// What a guarded call came to: a value, or a fault.
template <class T>
class [[nodiscard]] guarded_result {
  public:
    // Made by `guarded` alone.
    template <class F>
    guarded_result(in_signal::kernel_set signals, F& f) {
        auto run = [this, &f] { ::new (static_cast<void*>(__builtin_addressof(place_.value))) T(f()); };
        detail::guard_call(signals, run, fault_);
    }
    guarded_result(guarded_result&& other) noexcept(std::is_nothrow_move_constructible_v<T>)
        requires std::is_move_constructible_v<T>
        : fault_{other.fault_} {
        if (*this) ::new (static_cast<void*>(__builtin_addressof(place_.value))) T(detail::moved(other.place_.value));
    }
    ~guarded_result() {
        if (*this) place_.value.~T();
    }
    guarded_result(guarded_result const&) = delete;
    guarded_result& operator=(guarded_result const&) = delete;

    // True if f came to its end.
    explicit operator bool() const noexcept { return fault_.signal() == 0; }

    // What f answered; only if it did.
    T& operator*() & noexcept { return place_.value; }
    T const& operator*() const& noexcept { return place_.value; }
    T&& operator*() && noexcept { return detail::moved(place_.value); }
    T* operator->() noexcept { return __builtin_addressof(place_.value); }
    T const* operator->() const noexcept { return __builtin_addressof(place_.value); }

    // The same; throws tocsin::error (EFAULT) with the fault's signal if f did not. Without exceptions it prints the
    // error and aborts.
    T& value() & {
        require();
        return place_.value;
    }
    T const& value() const& {
        require();
        return place_.value;
    }
    T&& value() && {
        require();
        return detail::moved(place_.value);
    }
    template <class U>
    T value_or(U&& other) const& {
        return *this ? place_.value : static_cast<T>(static_cast<U&&>(other));
    }

    // What happened; its signal is 0 if nothing did.
    tocsin::fault const& fault() const noexcept { return fault_; }

  private:
    void require() const {
        if (!*this) posix::fail({EFAULT, "guarded", fault_.signal()});
    }

    detail::guarded_storage<T> place_;
    tocsin::fault fault_;
};

template <class T>
class [[nodiscard]] guarded_result<T&> {
  public:
    template <class F>
    guarded_result(in_signal::kernel_set signals, F& f) {
        auto run = [this, &f] { at_ = __builtin_addressof(f()); };
        detail::guard_call(signals, run, fault_);
    }
    explicit operator bool() const noexcept { return fault_.signal() == 0; }
    T& operator*() const noexcept { return *at_; }
    T* operator->() const noexcept { return at_; }
    T& value() const {
        if (!*this) posix::fail({EFAULT, "guarded", fault_.signal()});
        return *at_;
    }
    tocsin::fault const& fault() const noexcept { return fault_; }

  private:
    T* at_ = nullptr;
    tocsin::fault fault_;
};

template <>
class [[nodiscard]] guarded_result<void> {
  public:
    template <class F>
    guarded_result(in_signal::kernel_set signals, F& f) {
        auto run = [&f] { f(); };
        detail::guard_call(signals, run, fault_);
    }
    explicit operator bool() const noexcept { return fault_.signal() == 0; }
    void value() const {
        if (!*this) posix::fail({EFAULT, "guarded", fault_.signal()});
    }
    tocsin::fault const& fault() const noexcept { return fault_; }

  private:
    tocsin::fault fault_;
};

// Calls f, and answers what it answers, or the fault of one of these signals that it met. An exception of f leaves
// guarded. Throws tocsin::error if the signals cannot be claimed, or there is no memory for the thread's first call,
// with f not called.
template <auto... Signals, class F>
auto guarded(F&& f) {
    constexpr bool callable = std::is_invocable_v<F&>;
    static_assert(callable, "tocsin: the function of guarded<SIG...>(f) is called as f(); give it such a shape");
    if constexpr (callable && decltype(detail::check_guarded<Signals...>())::value) {
        constexpr in_signal::kernel_set signals = (in_signal::bit_of(Signals) | ...);
        return guarded_result<std::remove_cv_t<std::invoke_result_t<F&>>>{signals, f};
    }
}

// Gives back the claims that guarded calls of this copy of the library have, for a shared object that is about to be
// unloaded. No thread may be in a guarded call of it; a later one claims anew.
[[gnu::visibility("hidden")]] inline void release_guarded() noexcept {
    in_signal::table* const in = in_signal::the_table.load();
    if (in == nullptr) return;
    detail::guarded_lock const locked;
    for (int signal = 1; signal <= detail::standard_signals; ++signal) {
        in_signal::kernel_set const bit = in_signal::bit_of(signal);
        if ((detail::all_guarded.held.fetch_and(~bit) & bit) == 0) continue;
        in->operate->withdraw(*in, signal, detail::all_guarded.links[signal]);
    }
}

}  // namespace tocsin
