// SPDX-License-Identifier: MIT
// Runs every schedule of a scenario, each state once.
//
// Runs in the model only, depth first: at each state every thread that can go on does so for one step, and every
// thread that can be interrupted takes a delivery. A state is the shared memory and the stacks; one that was met
// before is not entered again.
#pragma once

#include <string>
#include <unordered_set>
#include <vector>

#include "posix/model/world.hpp"

namespace model {

struct scenario {
    void (*programs[max_threads])();  // null: a thread that only takes deliveries
    int deliveries;
    unsigned interruptible;  // threads that take them, one bit each
    void (*at_end)();        // when all is done and one more delivery has been made, see last()
    void (*at_start)() = nullptr;
};

struct outcome {
    std::string failure;  // and the schedule that leads to it; empty if there is none
    std::size_t states = 0;
    std::size_t steps = 0;
    std::size_t ends = 0;
};

class explorer {
  public:
    explicit explorer(scenario const& of) noexcept : of_{of} {}

    outcome run() {
        std::memset(static_cast<void*>(&words), 0, sizeof words);
        do {
            words.learned = false;
            explore();
        } while (words.learned && result_.failure.empty());
        return result_;
    }

  private:
    static constexpr std::size_t max_states = 4'000'000;

    struct choice {
        int thread;
        bool interrupt;
    };
    struct node {
        std::vector<char> image;
        choice choices[2 * max_threads];
        int count;
        int next;
    };

    void explore() {
        result_ = {};
        known_.clear();
        depth_ = 0;
        start();
        enter();
        while (depth_ != 0 && !words.learned) {
            node& at = path_[depth_ - 1];
            if (at.next == at.count) {
                --depth_;
                continue;
            }
            restore(at.image);
            go(at.choices[at.next++]);
            ++result_.steps;
            if (now.failed == nullptr && !words.learned) enter();
            if (now.failed != nullptr) {
                if (!words.learned) report();
                return;
            }
        }
    }

    void start() {
        std::memset(static_cast<void*>(&now), 0, sizeof now);
        std::memset(stacks, 0, sizeof stacks);
        now.operations.entry = &entry;
        now.table.cells_may_be_owned.store(in_signal::ownable);
        now.table.operate = &now.operations;
        now.table.live_process = &now.live_process;
        now.process = 100;
        now.live_process.store(100);
        in_signal::the_table.store(&now.table);
        for (model_claim& each : now.claims) each.answer = in_signal::verdict::chain;
        set_foreign<0>();
        set_foreign<1>();
        set_foreign<2>();
        now.foreign[0].installed = true;
        now.all_chain = true;
        now.most_rounds = 2;
        now.kernel = now.foreign[0].own;
        now.budget = of_.deliveries;
        now.interruptible = of_.interruptible;
        for (int i = 0; i < max_threads; ++i) now.threads[i].id = 100 + i;
        if (of_.at_start != nullptr) of_.at_start();
        for (int i = 0; i < max_threads; ++i) start_thread(i);
    }

    template <int Number>
    static void set_foreign() {
        now.foreign[Number].own = {in_signal::as_handler(&foreign_function<Number>), SA_SIGINFO | SA_ONSTACK,
                                   bit_of(30 + Number)};
    }

    void start_thread(int number) {
        model_thread& thread = now.threads[number];
        thread.program = of_.programs[number];
        ::getcontext(&thread.context);
        thread.context.uc_stack.ss_sp = stacks[number];
        thread.context.uc_stack.ss_size = stack_size;
        ::makecontext(&thread.context, &run_thread, 0);
        go({number, false});
    }

    static void run_thread() {
        if (me().program != nullptr) me().program();
        me().done = true;
        for (;;) stop_at(nullptr);
    }

    static void go(choice what) {
        now.interrupt = what.interrupt;
        if (what.interrupt && !now.last_sent) --now.budget;
        self = what.thread;
        ::swapcontext(&explorer_context, &now.threads[what.thread].context);
        self = -1;
    }

    // Makes the present state the end of the path, unless it is known.
    void enter() {
        if (!known_.insert(hash()).second) return;
        if (++result_.states > max_states) now.failed = "there are more states than expected";
        if (path_.size() == depth_) path_.emplace_back();
        node& at = path_[depth_];
        at.next = at.count = 0;
        find_choices(at);
        if (at.count == 0 && now.failed == nullptr) {
            ++result_.ends;
            if (of_.at_end != nullptr) of_.at_end();
        }
        save(at.image);
        ++depth_;
    }

    static bool busy(model_thread const& of) { return !of.vanished && (!of.done || of.depth != 0); }

    static void find_choices(node& at) {
        if (now.ended) return;
        bool unfinished = false;
        for (int i = 0; i < max_threads; ++i) {
            model_thread const& thread = now.threads[i];
            if (thread.vanished) continue;
            unfinished = unfinished || busy(thread);
            if (busy(thread) && (!thread.waiting || has_changed(thread))) at.choices[at.count++] = {i, false};
            bool const open = (thread.mask & bit_of(signal_number)) == 0 && (now.interruptible >> i & 1) != 0;
            if (open && now.budget > 0) at.choices[at.count++] = {i, true};
        }
        if (at.count != 0) return;
        if (unfinished) {
            now.failed = "nobody can go on";
        } else if (!now.last_sent) {
            now.last_sent = true;
            at.choices[at.count++] = {survivor(), true};
        }
    }

    static int survivor() {
        int i = 0;
        while (now.threads[i].vanished) ++i;
        return i;
    }

    static char* top(int thread) { return stacks[thread] + stack_size; }
    // The stack holds the return address of the call that gave the turn away just below what it is hashed from.
    static char* low(int thread) { return now.threads[thread].low - 128; }

    static void save(std::vector<char>& image) {
        std::size_t size = sizeof now;
        for (int i = 0; i < max_threads; ++i) size += static_cast<std::size_t>(top(i) - low(i));
        image.resize(size);
        char* to = image.data();
        std::memcpy(to, static_cast<void const*>(&now), sizeof now);
        to += sizeof now;
        for (int i = 0; i < max_threads; ++i) {
            auto const used = static_cast<std::size_t>(top(i) - low(i));
            std::memcpy(to, low(i), used);
            to += used;
        }
    }

    static void restore(std::vector<char> const& image) {
        char const* from = image.data();
        std::memcpy(static_cast<void*>(&now), from, sizeof now);
        from += sizeof now;
        for (int i = 0; i < max_threads; ++i) {
            auto const used = static_cast<std::size_t>(top(i) - low(i));
            std::memcpy(low(i), from, used);
            from += used;
        }
    }

    class hasher {
      public:
        void add(void const* from, std::size_t size) {
            auto const* bytes = static_cast<char const*>(from);
            for (; size >= 8; size -= 8, bytes += 8) mix(bytes, 8);
            if (size != 0) mix(bytes, size);
        }
        template <class T>
        void add(T const& value) {
            add(&value, sizeof value);
        }
        std::uint64_t value() const { return value_ ^ value_ >> 32; }

      private:
        void mix(char const* bytes, std::size_t size) {
            std::uint64_t word = 0;
            std::memcpy(&word, bytes, size);
            value_ = (value_ ^ word) * 0x9E3779B97F4A7C15U;
            value_ ^= value_ >> 29;
        }
        std::uint64_t value_ = 0x243F6A8885A308D3U;
    };

    static std::uint64_t hash() {
        hasher sum;
        sum.add(now.table.lock);
        sum.add(now.table.marks_set);
        sum.add(now.table.marks);
        sum.add(now.table.slots[signal_number]);
        for (in_signal::cell const& each : now.table.cells) sum.add(each.holder);
        sum.add(now.table.owners);
        sum.add(now.table.cells_in_use);
        for (in_signal::own_cell const& each : now.table.own) {
            sum.add(each.owner);
            sum.add(each.holder);
        }
        sum.add(now.live_process);
        sum.add(now.kernel);
        sum.add(now.process);
        sum.add(now.budget << 8 | now.sent << 2 | (now.ended ? 2 : 0) | (now.last_sent ? 1 : 0));
        sum.add(now.gone);
        sum.add(now.newest_foreign << 1 | (now.entry_returned ? 1 : 0));
        for (model_claim const& each : now.claims) {
            sum.add(each.link.older);
            sum.add(each.inside << 2 | (each.installed ? 2 : 0) | (each.destroyed ? 1 : 0));
        }
        for (model_foreign const& each : now.foreign) {
            sum.add(each.found);
            sum.add(each.installed);
        }
        for (delivery_record const& each : now.deliveries)
            if (each.under_way || now.last_sent) sum.add(each);
        for (int i = 0; i < max_threads; ++i) add_thread(sum, i);
        return sum.value();
    }

    static void add_thread(hasher& sum, int number) {
        model_thread const& thread = now.threads[number];
        sum.add(thread.vanished);
        if (thread.vanished) return;
        sum.add(thread.depth << 4 | (thread.done ? 8 : 0) | (thread.waiting ? 4 : 0) |
                (thread.resend ? 2 : 0));
        sum.add(thread.mask);
        sum.add(thread.current);
        if (thread.waiting)
            for (int i = 0; i < thread.wait_count; ++i) sum.add(thread.waits[i]);
        sum.add(thread.low, static_cast<std::size_t>(top(number) - thread.low));
    }

    // The schedule that led here, as words of the threads' steps.
    void report() {
        result_.failure = now.failed;
        result_.failure += '\n';
        for (std::size_t i = 0; i < depth_; ++i) {
            node const& at = path_[i];
            if (at.next == 0) continue;
            restore(at.image);
            choice const taken = at.choices[at.next - 1];
            result_.failure += "  thread " + std::to_string(taken.thread) +
                               (taken.interrupt ? ": takes a delivery while at " : ": ") +
                               describe(now.threads[taken.thread].at) + "   (kernel " +
                               name_of(now.kernel.handler) + ", chain " + chain() + ")\n";
        }
    }

    static std::string name_of(void (*handler)(int)) {
        if (handler == SIG_DFL) return "default";
        if (handler == SIG_IGN) return "ignored";
        if (handler == in_signal::as_handler(&entry)) return "E";
        for (int i = 0; i < max_foreign; ++i)
            if (now.foreign[i].own.handler == handler) return std::string(1, static_cast<char>('F' + i));
        return "?";
    }

    static std::string name_of(in_signal::link const* link) {
        for (int i = 0; i < max_claims; ++i)
            if (link == &now.claims[i].link) return std::string(1, static_cast<char>('A' + i));
        return name_of(link->action.handler) + std::to_string(link - now.table.slots[signal_number].foreign);
    }

    static std::string chain() {
        std::string text;
        for (in_signal::link const* at = now.table.slots[signal_number].newest.load();
             at != nullptr && text.size() < 40; at = at->older.load())
            text += name_of(at) + ' ';
        return text;
    }

    static std::string describe(void const* word) {
        in_signal::slot& slot = now.table.slots[signal_number];
        if (word == nullptr) return "start, wait or end";
        if (word == &now.kernel) return "sigaction";
        if (word == &now.table.lock) return "the lock";
        if (word == &now.table.marks_set) return "the number of marks";
        if (word == &now.table.owners) return "the number of owners";
        if (word == &now.table.cells_in_use) return "the use of shared cells";
        if (word == &slot.newest) return "newest";
        if (word == &slot.crowd) return "crowd";
        if (word == now.live_process.address()) return "the live process";
        for (in_signal::link& each : slot.foreign)
            if (word == &each.older || word == &each.action.mask)
                return name_of(&each) + (word == &each.older ? ".older" : ".action");
        for (model_claim& each : now.claims) {
            if (word == &each.link.older) return name_of(&each.link) + ".older";
            if (word == &each.destroyed) return name_of(&each.link) + "'s reaction";
        }
        for (in_signal::cell& each : now.table.cells)
            if (word == &each) return "cell " + std::to_string(&each - now.table.cells);
        for (in_signal::own_cell& each : now.table.own) {
            if (word == &each.owner) return "owner of own cell " + std::to_string(&each - now.table.own);
            if (word == &each.holder) return "own cell " + std::to_string(&each - now.table.own);
        }
        return "a mark";
    }

    scenario of_;
    outcome result_;
    std::unordered_set<std::uint64_t> known_;
    std::vector<node> path_;
    std::size_t depth_ = 0;
};

// Who has seen the delivery that was made at the end, in order, such as "BAF".
inline char const* last() noexcept { return now.deliveries[(now.sent - 1) % max_deliveries].order; }

}  // namespace model
