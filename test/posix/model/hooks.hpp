// SPDX-License-Identifier: MIT
// What the replaced headers of this folder ask the model world; `world.hpp` answers.
//
// Each operation on a word that threads share is one step: before it the thread stops, and the explorer decides who
// goes on.
#pragma once

#include <cstddef>
#include <cstdint>

namespace model {

// Stops in front of an operation on `word` if another thread has to do with it.
void before(void const* word) noexcept;
// Notes what has been read, for threads that wait until it changes.
void read(void const* word, std::size_t size, std::uint64_t value) noexcept;
void wrote(void const* word) noexcept;

// A turn of a waiting loop that does not sleep: until it does, the loop is one step, because in between it only
// sees what it saw.
void spin() noexcept;
// Returns when one of the words that the loop has read since its last turn holds another value.
void wait_for_change() noexcept;

std::int32_t process() noexcept;
std::int32_t thread() noexcept;
std::uintptr_t thread_pointer() noexcept;
int send_to_thread(int signal) noexcept;
[[noreturn]] void end_process() noexcept;

}  // namespace model
