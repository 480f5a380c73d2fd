// SPDX-License-Identifier: MIT
// `watchdogs workers{10'000};`: many watchdogs that come and go while the program runs, and one row for all of them.
//
// Members are added, fed and removed on any ordinary thread; feed() may run in a handler too. The watcher thread looks
// and the helper thread reacts, as for `watchdog(d)`, and the same is not a hang. A member takes 64 bytes, has its own
// name and period, and is fed by itself; who has not been fed for its period is reacted to once, at most a quarter of
// it late, and feeding makes it ready for its next hang. Who is to meet another fate belongs to another table.
#pragma once

#include <errno.h>

#include <tocsin/error.hpp>
#include <tocsin/posix/duration_refusal.hpp>
#include <tocsin/posix/refusal.hpp>
#include <tocsin/posix/watch_table.hpp>
#include <tocsin/traits.hpp>
#include <tocsin/watchdog.hpp>

namespace tocsin {

namespace detail {

[[gnu::visibility("hidden")]] inline constexpr posix::duration_words member_words{
    "watchdogs.add: a negative time", "watchdogs.add: no time", "watchdogs.add: not a number", nullptr};

}  // namespace detail

// While it lives, its member need not be fed; it is watched anew from its end on.
class [[nodiscard]] member_rest {
  public:
    explicit member_rest(posix::watch_slot* of) noexcept : slot_{of} {
        if (slot_ != nullptr) slot_->rests.fetch_add(1);
    }
    ~member_rest() {
        if (slot_ == nullptr) return;
        slot_->fed.store(1);
        slot_->rests.fetch_sub(1);
    }
    member_rest(member_rest const&) = delete;
    member_rest& operator=(member_rest const&) = delete;

  private:
    posix::watch_slot* slot_;
};

// A member of a table, and its place there for as long as this lives. It may outlive the table and the guard, and is
// then fed in vain. An empty one is fed in vain too.
class [[nodiscard]] watched_member {
  public:
    watched_member() noexcept = default;
    watched_member(watched_member&& from) noexcept { take(from); }
    watched_member& operator=(watched_member&& from) noexcept {
        watched_member next{detail::moved(from)};
        watched_member const gone{detail::moved(*this)};
        take(next);
        return *this;
    }
    // Does not wait: a reaction about it that has begun goes on, none begins any more.
    ~watched_member() {
        if (*this) table().remove(slot());
    }

    // All is well. One relaxed store; callable anywhere, handlers included.
    void feed() noexcept { fed_->store_relaxed(1); }

    // { auto idle = worker.resting(); poll(…); } Rests nest, on any threads; each ends before the member does.
    member_rest resting() noexcept { return member_rest{*this ? &slot() : nullptr}; }

    explicit operator bool() const noexcept { return fed_ != &in_vain_; }

  private:
    friend class watchdogs;
    watched_member(posix::watch_table const& in, posix::watch_slot& slot) noexcept
        : number_{in.number_of(slot)}, fed_{&slot.fed} {}

    posix::watch_slot& slot() const noexcept {
        static_assert(__is_standard_layout(posix::watch_slot), "`fed` is its first member");
        return *reinterpret_cast<posix::watch_slot*>(fed_);
    }
    posix::watch_table& table() const noexcept { return posix::watch_table::of(&slot() - number_); }

    // Into an empty one.
    void take(watched_member& from) noexcept {
        if (!from) return;
        number_ = from.number_;
        fed_ = from.fed_;
        from.fed_ = &from.in_vain_;
    }

    // An empty one feeds itself: no branch between the place and the store.
    std::uint32_t number_ = 0;  // of its place in the table
    in_signal::atomic<std::uint32_t> in_vain_;
    in_signal::atomic<std::uint32_t>* fed_ = &in_vain_;
};

// A table of watchdogs. watchdog(table)(reactions…) is its row, in one guard at a time (else EBUSY); members may be
// added before, and are watched from the guard's construction on. The table may be destroyed before its guard and its
// members.
class watchdogs {
  public:
    // With room for so many members, 1 to 16,777,216 (else EINVAL). Throws tocsin::error; without exceptions it prints
    // the error and aborts.
    explicit watchdogs(std::size_t room) {
        if (failure const refused = posix::watch_table::make(room, table_)) posix::fail(refused);
    }
    // Reports into `ec` instead: 0, or an errno; then every add() is refused, and so is a guard with its row.
    template <class ErrorCode>
        requires detail::error_place<ErrorCode>
    watchdogs(ErrorCode& ec, std::size_t room) noexcept {
        ec = posix::watch_table::make(room, table_).errno_code;
    }
    ~watchdogs() {
        if (table_ != nullptr) table_->release();
    }
    watchdogs(watchdogs const&) = delete;
    watchdogs& operator=(watchdogs const&) = delete;

    // A member that is to be fed once every `period`, which is taken as watchdog(d) takes it. Reports say the name, up
    // to 23 characters of it, which are copied; null and "" are no name. `about` is what the row's reactions get as
    // the pointer() of their delivery. Throws tocsin::error if the table is full (ENOSPC) and for a zero or negative
    // period and NaN (EINVAL); without exceptions it prints the error and aborts.
    template <class D>
    watched_member add(char const* name, D const& period, void* about = nullptr) {
        watched_member added;
        if (failure const refused = try_add(added, name, period, about)) posix::fail(refused);
        return added;
    }
    // Reports into `ec` instead; the member is empty then.
    template <class ErrorCode, class D>
        requires detail::error_place<ErrorCode>
    watched_member add(ErrorCode& ec, char const* name, D const& period, void* about = nullptr) noexcept {
        watched_member added;
        ec = try_add(added, name, period, about).errno_code;
        return added;
    }

    std::size_t size() const noexcept { return table_ != nullptr ? table_->size() : 0; }
    std::size_t room() const noexcept { return table_ != nullptr ? table_->room() : 0; }

  private:
    friend class table_stage;

    template <class D>
    failure try_add(watched_member& added, char const* name, D const& period, void* about) noexcept {
        constexpr bool fits = detail::duration<D>;
        static_assert(fits, "tocsin: watchdogs take a duration; say the unit: add(name, 30s)");
        if constexpr (fits) {
            auto const length = detail::whole_units<1'000'000'000>(period);
            bool const some = length.is == detail::length::some || length.is == detail::length::too_long;
            if (!some) return posix::refusal(length.is, detail::member_words);
            if (table_ == nullptr) return {EINVAL, "watchdogs", 0};
            constexpr std::uint64_t longest = detail::longest_watch / 2;
            std::uint64_t const kept = length.count < longest ? length.count : longest;
            posix::watch_slot* const slot = table_->add(name, kept, about);
            if (slot == nullptr) return {ENOSPC, "watchdogs.add", 0};
            added = watched_member{*table_, *slot};
        }
        return {};
    }

    posix::watch_table* table_ = nullptr;
};

// The trigger of a table's row.
struct on_silence {
    using state = watch_state;
    static constexpr bool crash = false;
    static constexpr bool hang = true;
    static constexpr unsigned count = 0;
    static constexpr watch_name name = "\n";  // nobody's: the guard's feed() is for its own watchdogs

    posix::watch_table* table;
    in_signal::atomic<std::uint32_t> unanswered{};

    explicit on_silence(posix::watch_table* of) noexcept : table{of} {}
    on_silence(on_silence const& from) noexcept : table{from.table} {}  // a row, before it is installed
    on_silence& operator=(on_silence const&) = delete;

    template <class Program>
    failure attach(posix::watch_list& to, Program& program) noexcept {
        if (table == nullptr) return {EINVAL, "watchdogs", 0};
        return table->attach(to, &program, [](void* self, in_signal::arrival& silence) {
            (*static_cast<Program*>(self))(silence);
        });
    }
    void note_hang() noexcept { unanswered.fetch_add(1); }
    unsigned long take_hangs() noexcept { return unanswered.exchange(0); }
};

// A table that has not been told what to do yet.
class table_stage {
  public:
    explicit table_stage(watchdogs const& of) noexcept : table_{of.table_} {}

    template <class... R>
    auto operator()(R... reactions) && {
        if constexpr (decltype(detail::check_words<R...>())::value) {
            constexpr bool fit = (R::on_hang && ...);
            static_assert(fit,
                          "tocsin: a watchdog has no signal to chain, ignore or take the default of; use call, wake, "
                          "defer, request_stop, dump_threads, in_handler or exit_with");
            if constexpr (fit)
                return row<on_silence, true, R...>{on_silence{table_}, make_list(detail::moved(reactions)...)};
            else
                return detail::refused{};
        } else {
            return detail::refused{};
        }
    }

  private:
    posix::watch_table* table_;
};

// watchdog(workers)(dump_threads, call(f)): these reactions for each member that has not been fed for its period, with
// its name in the report. f gets a delivery whose pointer() is what add() was told. `wake` and `defer` merge members
// that are silent at once: their delivery has the pointer of the first.
[[nodiscard]] inline table_stage watchdog(watchdogs const& table) noexcept { return table_stage{table}; }

}  // namespace tocsin
