// SPDX-License-Identifier: MIT
#include "support/signals.hpp"

#include <tocsin/posix/library.hpp>

#include <cstring>
#include <thread>
#include <vector>

using namespace tocsin;
using namespace tocsin::test;

namespace {
in_signal::atomic<int> furnished;
void furnish(in_signal::table& made) noexcept {
    made.operate = &posix::own_operations;
    furnished.fetch_add(1);
}
in_signal::table* find() {
    in_signal::table* found = nullptr;
    require_in_child(!posix::find_table(&furnish, found));
    return found;
}
// What another copy of the library in this process would do: it has not found the table yet.
in_signal::table* find_as_another_copy() {
    in_signal::the_table.store(nullptr);
    return find();
}
}  // namespace

TEST_CASE("the table is made once, with its limits and the process that lives", "[directory]") {
    in_child([] {
        in_signal::table* const found = find();
        require_in_child(found != nullptr && furnished.load() == 1);
        require_in_child(found->limit.records >= 16 && (found->limit.records & (found->limit.records - 1)) == 0);
        require_in_child(found->live_process->load() == ::getpid());
        require_in_child(found->operate == &posix::own_operations);
        require_in_child(find() == found && furnished.load() == 1);
    });
}

TEST_CASE("another copy of the library finds the same table", "[directory]") {
    in_child([] {
        in_signal::table* const first = find();
        for (int i = 0; i < 10; ++i) require_in_child(find_as_another_copy() == first);
        require_in_child(furnished.load() == 1);
    });
}

TEST_CASE("threads that look for the first time at once find one table", "[directory]") {
    for (int round = 0; round < 20; ++round)
        in_child([] {
            in_signal::atomic<int> ready;
            std::vector<in_signal::table*> found(8);
            std::vector<std::thread> threads;
            for (auto& each : found)
                threads.emplace_back([&ready, &each] {
                    ready.fetch_add(1);
                    while (ready.load() != 8) in_signal::relax();
                    each = find();
                });
            for (std::thread& each : threads) each.join();
            for (auto const* each : found) require_in_child(each == found[0]);
            require_in_child(furnished.load() == 1);
        });
}

TEST_CASE("memory of somebody else at the agreed address is passed over", "[directory]") {
    in_child([] {
        auto const wanted = posix::detail::candidate(0);
        auto const got = posix::detail::map_page(wanted, posix::directory_bytes);
        require_in_child(got == wanted);
        std::memset(reinterpret_cast<void*>(got), 0xa5, posix::directory_bytes);
        in_signal::table* const found = find();
        require_in_child(find_as_another_copy() == found && furnished.load() == 1);
        require_in_child(*reinterpret_cast<unsigned char*>(got) == 0xa5);
    });
}

TEST_CASE("memory of somebody else that is all zero is passed over", "[directory]") {
    in_child([] {
        auto const wanted = posix::detail::candidate(0);
        require_in_child(posix::detail::map_page(wanted, posix::directory_bytes) == wanted);
        in_signal::table* const found = find();
        require_in_child(find_as_another_copy() == found && furnished.load() == 1);
    });
}

TEST_CASE("where no agreed address is free the failure has a name", "[directory]") {
    in_child([] {
        for (unsigned i = 0; i < posix::detail::candidates; ++i) {
            auto const got = posix::detail::map_page(posix::detail::candidate(i), posix::directory_bytes);
            std::memset(reinterpret_cast<void*>(got), 1, posix::directory_bytes);
        }
        in_signal::table* found = nullptr;
        failure const refused = posix::find_table(&furnish, found);
        require_in_child(refused.errno_code == ENOMEM && std::string{refused.call} == "mmap");
        require_in_child(furnished.load() == 0);
    });
}

TEST_CASE("a table of another major version is refused", "[directory]") {
    in_child([] {
        find();
        auto* const page = posix::detail::find_page();
        require_in_child(page != nullptr);
        page->major = posix::table_major + 1;
        in_signal::the_table.store(nullptr);
        in_signal::table* found = nullptr;
        require_in_child(posix::find_table(&furnish, found).errno_code == EPROTO);
    });
}

TEST_CASE("a directory that a thread was making when the process forked is finished by the child", "[directory]") {
    in_child([] {
        auto* const page = posix::detail::find_page();
        require_in_child(page != nullptr && page->magic.load() == 0);
        page->maker.store(1'000'000'000);
        in_signal::table* const found = find();
        require_in_child(found != nullptr && furnished.load() == 1);
        require_in_child(find_as_another_copy() == found);
    });
}

TEST_CASE("the addresses are aligned, apart from each other, and the same whenever asked", "[directory]") {
    for (unsigned i = 0; i < posix::detail::candidates; ++i) {
        CHECK(posix::detail::candidate(i) % posix::directory_bytes == 0);
        CHECK(posix::detail::candidate(i) == posix::detail::candidate(i));
        for (unsigned other = 0; other < i; ++other)
            CHECK(posix::detail::candidate(i) != posix::detail::candidate(other));
    }
}

TEST_CASE("a forked child keeps the table and is noticed", "[directory]") {
    in_child([] {
        in_signal::table* const found = find();
        require_fork([&] {
            require_in_child(found->live_process->load() == 0);
            require_in_child(find_as_another_copy() == found && furnished.load() == 1);
            posix::adopt_process(*found);
            require_in_child(found->live_process->load() == ::getpid());
        });
        require_in_child(found->live_process->load() == ::getpid());
    });
}
