// SPDX-License-Identifier: MIT
#include "support/refuse_call.hpp"
#include "support/signals.hpp"

#include <tocsin/block.hpp>
#include <tocsin/chain.hpp>
#include <tocsin/guard.hpp>
#include <tocsin/guarded.hpp>
#include <tocsin/hold.hpp>
#include <tocsin/in_handler.hpp>
#include <tocsin/simulate.hpp>
#include <tocsin/wake.hpp>

#include <sys/mman.h>
#include <sys/wait.h>

#include <atomic>
#include <memory>
#include <thread>
#include <type_traits>
#include <vector>

using namespace tocsin;
using namespace tocsin::test;

static_assert(!std::is_copy_constructible_v<hold> && !std::is_move_constructible_v<hold>);

namespace {

std::atomic<int> came;
std::atomic<int> last_value;
std::atomic<pid_t> sender;
int values[64];

auto const count = [](delivery const& d) noexcept {
    if (came < 64) values[came] = d.value();
    came = came + 1;
    last_value = d.value();
    sender = d.pid();
};

void queue(int signal, int value) {
    sigval carried{};
    carried.sival_int = value;
    require_in_child(::sigqueue(::getpid(), signal, carried) == 0);
}
void send_to_this_thread(int signal) { ::syscall(SYS_tgkill, ::getpid(), ::gettid(), signal); }

std::uint64_t mask_now() {
    std::uint64_t mask = 0;
    ::syscall(SYS_rt_sigprocmask, SIG_BLOCK, nullptr, &mask, sizeof mask);
    return mask;
}

}  // namespace

TEST_CASE("a reaction waits until the hold ends", "[hold]") {
    in_prompt_child([] {
        guard const signals{on<SIGUSR1>(in_handler(count))};
        {
            hold const here;
            ::raise(SIGUSR1);
            require_in_child(came == 0);
        }
        require_in_child(came == 1 && sender == ::getpid());
        ::raise(SIGUSR1);
        require_in_child(came == 2);
    });
}

TEST_CASE("a hold without a signal changes nothing, and leaves the mask as it was", "[hold]") {
    in_prompt_child([] {
        guard const signals{on<SIGUSR1>(in_handler(count))};
        std::uint64_t const before = mask_now();
        for (int i = 0; i < 3; ++i) {
            hold const here;
            require_in_child(mask_now() == before);
        }
        {
            hold const here;
            ::raise(SIGUSR1);
        }
        require_in_child(mask_now() == before && came == 1);
    });
}

TEST_CASE("a hold may come before every guard", "[hold]") {
    in_prompt_child([] {
        auto here = std::make_unique<hold>();
        guard const signals{on<SIGUSR1>(in_handler(count))};
        ::raise(SIGUSR1);
        require_in_child(came == 0);
        here.reset();
        require_in_child(came == 1);
    });
}

TEST_CASE("holds nest, and the outermost counts", "[hold]") {
    in_prompt_child([] {
        guard const signals{on<SIGUSR1>(in_handler(count))};
        {
            hold const outer;
            {
                hold const inner;
                ::raise(SIGUSR1);
            }
            require_in_child(came == 0);
        }
        require_in_child(came == 1);
    });
}

TEST_CASE("queued signals keep their values and their order", "[hold]") {
    in_prompt_child([] {
        guard const signals{on<rt<1>, rt<2>>(in_handler(count))};
        {
            hold const here;
            for (int i = 0; i < 10; ++i) queue(SIGRTMIN + 1, i);
            require_in_child(came == 0);
        }
        require_in_child(came == 10);
        for (int i = 0; i < 10; ++i) require_in_child(values[i] == i);
    });
}

TEST_CASE("standard signals are merged by the kernel, different ones all come", "[hold]") {
    in_prompt_child([] {
        guard const signals{on<SIGUSR1, SIGUSR2, SIGHUP>(in_handler(count))};
        {
            hold const here;
            for (int const signal : {SIGUSR2, SIGUSR1, SIGHUP, SIGUSR2, SIGHUP}) send_to_this_thread(signal);
            require_in_child(came == 0);
        }
        require_in_child(came == 3);
    });
}

TEST_CASE("what comes while a block inside a hold opens signals again is not lost", "[hold]") {
    in_prompt_child([] {
        guard const signals{on<SIGUSR1, SIGUSR2, SIGHUP>(in_handler(count))};
        {
            hold const here;
            {
                block<SIGTERM> const inside;
                ::raise(SIGUSR1);
            }
            ::raise(SIGUSR2);
            ::raise(SIGHUP);
            require_in_child(came == 0);
        }
        require_in_child(came == 3);
        require_in_child((mask_now() & in_signal::bit_of(SIGUSR1)) == 0);
    });
}

TEST_CASE("a fault is never held", "[hold]") {
    in_prompt_child([] {
        guard const signals{on<SIGUSR1>(in_handler(count))};
        void* const page = ::mmap(nullptr, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        {
            hold const here;
            ::raise(SIGUSR1);
            auto const result = guarded<SIGSEGV>([page] { return *static_cast<int volatile*>(page); });
            require_in_child(!result && came == 0);
        }
        require_in_child(came == 1);
    });
}

TEST_CASE("a hold is for its thread: another one takes the signal", "[hold]") {
    in_prompt_child([] {
        guard const signals{on<SIGUSR1>(in_handler(count))};
        hold const here;
        std::thread other{[] { send_to_this_thread(SIGUSR1); }};
        other.join();
        require_in_child(came == 1);
    });
}

TEST_CASE("each of many threads has its hold, also where cells run out", "[hold]") {
    in_prompt_child([] {
        static std::atomic<int> held;
        static std::atomic<int> go;
        guard const signals{on<SIGUSR1>(in_handler([](delivery const&) noexcept { came.fetch_add(1); }))};
        constexpr int threads = in_signal::own_count + 10;
        std::vector<std::thread> all;
        for (int i = 0; i < threads; ++i)
            all.emplace_back([] {
                hold const here;
                send_to_this_thread(SIGUSR1);
                held.fetch_add(1);
                while (go.load() == 0) ::sched_yield();
            });
        until([] { return held == threads; });
        require_in_child(came == 0);
        go = 1;
        for (std::thread& each : all) each.join();
        require_in_child(came == threads);
    });
}

TEST_CASE("where membarrier is refused, the kernel's mask holds", "[hold]") {
    in_prompt_child([] {
        refuse_call(SYS_membarrier, ENOSYS);
        guard const signals{on<SIGUSR1>(in_handler(count))};
        std::uint64_t const before = mask_now();
        {
            hold const here;
            ::raise(SIGUSR1);
            require_in_child(came == 0);
        }
        require_in_child(came == 1 && mask_now() == before);
    });
}

TEST_CASE("a hold goes on when membarrier is taken away while it lasts", "[hold]") {
    in_prompt_child([] {
        guard const signals{on<SIGUSR1>(in_handler(count))};
        {
            hold const here;
            refuse_call(SYS_membarrier, EPERM);
            std::thread other{[] {
                send_to_this_thread(SIGUSR1);
                guard const gone{on<SIGUSR2>(in_handler(count))};
            }};
            other.join();
            require_in_child(came == 1);
            ::raise(SIGUSR1);
            require_in_child(came == 1);
        }
        require_in_child(came == 2);
    });
}

TEST_CASE("a forked child holds too, and does not get what came for its parent", "[hold]") {
    in_prompt_child([] {
        guard const signals{on<SIGUSR1>(in_handler(count))};
        pid_t child = 0;
        {
            auto const here = std::make_unique<hold>();
            ::raise(SIGUSR1);
            child = ::fork();
            require_in_child(came == 0);
        }
        if (child == 0) {
            bool const quiet = came == 0;
            ::raise(SIGUSR1);
            ::_exit(quiet && came == 1 ? 0 : 1);
        }
        require_in_child(came == 1);
        int status = 0;
        require_in_child(::waitpid(child, &status, 0) == child && status == 0);
    });
}

TEST_CASE("a chain continues at the end of the hold", "[hold]") {
    in_prompt_child([] {
        static std::atomic<int> before;
        ::signal(SIGUSR1, [](int) { before = before + 1; });
        guard const signals{on<SIGUSR1>(in_handler(count), chain)};
        {
            hold const here;
            ::raise(SIGUSR1);
            require_in_child(came == 0 && before == 0);
        }
        require_in_child(came == 1 && before == 1);
    });
}

TEST_CASE("a simulated signal is not held", "[hold]") {
    in_prompt_child([] {
        guard const signals{on<SIGUSR1>(in_handler(count))};
        hold const here;
        simulate(SIGUSR1);
        require_in_child(came == 1);
    });
}

TEST_CASE("a guard may end while another thread holds, and errno stays what it was", "[hold]") {
    in_prompt_child([] {
        guard const signals{on<SIGUSR1>(in_handler(count))};
        static std::atomic<int> state;
        std::thread holder{[] {
            hold const here;
            state = 1;
            while (state != 2) ::sched_yield();
        }};
        until([] { return state == 1; });
        { guard const inner{on<SIGUSR1>(in_handler(count))}; }
        state = 2;
        holder.join();
        errno = 42;
        {
            hold const here;
            ::raise(SIGUSR1);
        }
        require_in_child(errno == 42 && came == 1);
    });
}

TEST_CASE("a hold that another thread ends ends the process with a line", "[hold]") {
    auto process = child::run([] {
        auto here = std::make_unique<hold>();
        std::thread{[&here] { here.reset(); }}.join();
    });
    auto const& result = process.wait();
    INFO(result.describe());
    CHECK(result.killed_by(SIGABRT));
    CHECK(result.err == "tocsin: a hold was begun by one thread and is ended by another\n");
}
