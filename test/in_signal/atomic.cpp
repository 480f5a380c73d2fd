// SPDX-License-Identifier: MIT
#include "support/catch.hpp"

#include <tocsin/in_signal/atomic.hpp>

#include <cstdint>
#include <thread>
#include <type_traits>
#include <vector>

using tocsin::in_signal::atomic;

TEST_CASE("an atomic starts as zero and holds what is stored", "[atomic]") {
    atomic<int> word;
    CHECK(word.load() == 0);
    word.store(3);
    CHECK(word.load() == 3);
    CHECK(word.load_acquire() == 3);
    CHECK(word.load_relaxed() == 3);
    word.store_release(4);
    word.store_relaxed(5);
    CHECK(word.exchange(6) == 5);
    CHECK(*word.address() == 6);
}

TEST_CASE("compare_exchange says what it found", "[atomic]") {
    atomic<std::uint64_t> word{7};
    std::uint64_t expected = 8;
    CHECK_FALSE(word.compare_exchange(expected, 9));
    CHECK(expected == 7);
    CHECK(word.compare_exchange(expected, 9));
    CHECK(word.load() == 9);
    CHECK_FALSE(word.replace(1, 2));
    CHECK(word.replace(9, 2));
    CHECK(word.load() == 2);
}

TEST_CASE("arithmetic and bits answer with what was there before", "[atomic]") {
    atomic<unsigned> word{12};
    CHECK(word.fetch_add(3) == 12);
    CHECK(word.fetch_sub(5) == 15);
    CHECK(word.fetch_or(1) == 10);
    CHECK(word.fetch_and(8) == 11);
    CHECK(word.load() == 8);
}

TEST_CASE("an atomic is a constant in static storage, as large as its value, and is not copied", "[atomic]") {
    static constinit atomic<void*> pointer;
    CHECK(pointer.load() == nullptr);
    static_assert(sizeof(atomic<std::uint64_t>) == 8);
    static_assert(!std::is_copy_constructible_v<atomic<int>>);
    static_assert(std::is_trivially_destructible_v<atomic<int>>);
}

TEST_CASE("threads that add lose nothing", "[atomic]") {
    atomic<long> sum;
    std::vector<std::thread> adders;
    for (int i = 0; i < 4; ++i)
        adders.emplace_back([&] {
            for (int n = 0; n < 50'000; ++n) sum.fetch_add(1);
        });
    for (std::thread& each : adders) each.join();
    CHECK(sum.load() == 200'000);
}
