// SPDX-License-Identifier: MIT
#include "support/signals.hpp"

#include <tocsin/posix/thread_records.hpp>

#include <pthread.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include <set>
#include <string>
#include <thread>
#include <vector>

#include "support/report_text.hpp"

using namespace tocsin;
using namespace tocsin::test;
using in_signal::thread_record;

namespace {

in_signal::table& the_table_here() {
    in_signal::table* in = nullptr;
    require_in_child(!posix::find_table(in));
    return *in;
}

thread_record* record_here() { return in_signal::record_of(the_table_here(), thread_id()); }

unsigned records(bool used_only) {
    unsigned count = 0;
    for (thread_record* each = the_table_here().threads.load(); each != nullptr; each = each->next)
        count += !used_only || each->thread.load() != 0;
    return count;
}

template <class F>
void on_thread(F f) {
    std::thread{f}.join();
}

std::string name_in(thread_record const& of, std::string const& kernel_name) {
    char name[in_signal::longest_thread_name + 1];
    std::size_t const size = in_signal::copy_name(of, kernel_name.data(), kernel_name.size(), name);
    return {name, size};
}

// A child that libc knows nothing of.
template <class F>
void require_bare_fork(F f) {
    auto const made = static_cast<pid_t>(::syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0));
    if (made == 0) {
        f();
        ::_exit(0);
    }
    int status = -1;
    ::waitpid(made, &status, 0);
    require_in_child(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

}  // namespace

TEST_CASE("a thread has one record, for as long as it lives", "[thread_records]") {
    in_child([] {
        on_thread([] {
            require_in_child(record_here() == nullptr);
            thread_record* const own = posix::own_record();
            require_in_child(own != nullptr && record_here() == own);
            require_in_child(posix::own_record() == own && posix::open_own_record() == own);
            require_in_child(own->thread.load() == thread_id() && own->process.load() == ::getpid());
        });
        require_in_child(records(true) == 0);
    });
}

TEST_CASE("threads that live at the same time have each their own", "[thread_records]") {
    in_child([] {
        constexpr unsigned count = 100;
        std::vector<thread_record*> found(count);
        pthread_barrier_t all_there;
        ::pthread_barrier_init(&all_there, nullptr, count);
        std::vector<std::thread> threads;
        for (auto& mine : found)
            threads.emplace_back([&] {
                mine = posix::own_record();
                ::pthread_barrier_wait(&all_there);
                require_in_child(record_here() == mine);
                ::pthread_barrier_wait(&all_there);
            });
        for (auto& each : threads) each.join();
        require_in_child(std::set<thread_record*>(found.begin(), found.end()).size() == count);
        require_in_child(found[0] != nullptr && records(true) == 0);
    });
}

TEST_CASE("a record goes to another thread after its own has ended", "[thread_records]") {
    in_child([] {
        on_thread([] { posix::own_record(); });
        unsigned const before = records(false);
        for (int i = 0; i < 200; ++i)
            on_thread([] {
                thread_record& own = *posix::own_record();
                require_in_child(own.name_size.load() == 0 && own.innermost.load() == nullptr);
                posix::name_record(own, "somebody");
                // As somebody leaves it who has jumped out of a scope and whose stack is gone.
                own.count.store(7);
            });
        require_in_child(records(false) == before);
    });
}

TEST_CASE("the record knows where the stack of its thread lies", "[thread_records]") {
    in_child([] {
        on_thread([] {
            auto const here = reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0));
            auto const stack = posix::own_record()->stack;
            require_in_child(stack.known() && stack.lowest < here && here < stack.highest);
            require_in_child(stack.guard >= 4096);
            require_in_child(!in_signal::readable(stack.lowest - 1) && in_signal::readable(stack.lowest));
        });
        require_in_child(!posix::own_record()->stack.known());  // that of the first thread grows
    });
}

TEST_CASE("a forked child keeps the record of the thread that forked, and no other", "[thread_records]") {
    in_child([] {
        posix::own_record();
        on_thread([] {
            thread_record* const own = posix::own_record();
            posix::name_record(*own, "forks");
            require_fork([&] {
                require_in_child(records(true) == 1);
                require_in_child(record_here() == own && own->thread.load() == ::getpid());
                require_in_child(name_in(*own, "forks") == "forks");
                require_in_child(posix::own_record() == own && posix::open_own_record() == own);
#if !defined(__SANITIZE_THREAD__)  // which starts no threads after a fork
                on_thread([&] { require_in_child(posix::own_record() != own && record_here() != nullptr); });
#endif
                require_fork([&] { require_in_child(record_here() == own); });
            });
            require_in_child(record_here() == own);
        });
        require_in_child(records(true) == 1);
    });
}

TEST_CASE("a thread that forks without a record has none in the child", "[thread_records]") {
    in_child([] {
        posix::own_record();
        on_thread([] {
            require_fork([] {
                require_in_child(record_here() == nullptr && records(true) == 0);
                require_in_child(posix::own_record() != nullptr && record_here() == posix::own_record());
            });
        });
    });
}

TEST_CASE("a child that libc does not know of finds the record by itself", "[thread_records]") {
    in_child([] {
        on_thread([] {
            thread_record* const own = posix::own_record();
            require_bare_fork([&] {
                require_in_child(record_here() == own && own->thread.load() != thread_id());
                require_in_child(posix::open_own_record() == own && own->thread.load() == thread_id());
                require_in_child(own->process.load() == ::getpid() && record_here() == own);
            });
            require_in_child(own->thread.load() == thread_id() && record_here() == own);
        });
    });
}

#if !defined(__SANITIZE_THREAD__)  // which makes a fork of it
TEST_CASE("a vforked child leaves its parent's records alone", "[thread_records]") {
    in_child([] {
        on_thread([] { posix::own_record(); });
        unsigned volatile made = 9;
        pid_t const child = ::vfork();
        if (child == 0) {
            made = posix::own_record() == nullptr ? 0 : 1;
            ::_exit(0);
        }
        ::waitpid(child, nullptr, 0);
        require_in_child(made == 0 && records(true) == 0 && posix::own_record() != nullptr);

        thread_record* volatile found = nullptr;
        pid_t const again = ::vfork();
        if (again == 0) {
            found = record_here();
            ::_exit(0);
        }
        ::waitpid(again, nullptr, 0);
        require_in_child(found == posix::own_record() && found->thread.load() == ::getpid());
    });
}
#endif

TEST_CASE("what a thread says while it ends is given back when it has ended", "[thread_records]") {
    in_child([] {
        static pthread_key_t key;
        ::pthread_key_create(&key, [](void*) {
            thread_record* const own = posix::own_record();  // after the destructors of the thread's objects
            require_in_child(own != nullptr && record_here() == own);
        });
        for (int i = 0; i < 3; ++i)
            on_thread([] {
                posix::own_record();
                ::pthread_setspecific(key, &key);
            });
        unsigned const all = records(false);
        for (int i = 0; i < 200; ++i)
            on_thread([] {
                posix::own_record();
                ::pthread_setspecific(key, &key);
            });
        require_in_child(records(false) == all);
    });
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)  // which need memory of their own
TEST_CASE("without memory there is no record", "[thread_records]") {
    in_child([] {
        the_table_here();
        rlimit before{};
        ::getrlimit(RLIMIT_AS, &before);
        rlimit const none{0, before.rlim_max};
        ::setrlimit(RLIMIT_AS, &none);
        require_in_child(posix::own_record() == nullptr);
        ::setrlimit(RLIMIT_AS, &before);
        require_in_child(posix::own_record() != nullptr);
    });
}
#endif

TEST_CASE("a name is kept up to 63 bytes", "[thread_records]") {
    in_child([] {
        thread_record& own = *posix::own_record();
        std::string const longer(100, 'x');
        posix::name_record(own, longer.c_str());
        require_in_child(name_in(own, longer.substr(0, 15)) == longer.substr(0, 63));
        posix::name_record(own, "short");
        require_in_child(name_in(own, "short") == "short");
        posix::name_record(own, "");
        require_in_child(name_in(own, "").empty() && own.name_size.load() == 0);
    });
}
