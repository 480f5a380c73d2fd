// SPDX-License-Identifier: MIT
// A library that crashes: while it is loaded, if VICTIM_CONSTRUCTOR is set, or in a call after it has been unloaded.
#include <tocsin/testing.hpp>

#include <stdlib.h>

namespace victim {

__attribute__((constructor, noinline, used)) void crash_in_constructor() {
    if (::getenv("VICTIM_CONSTRUCTOR") != nullptr) tocsin::testing::raise_fault(tocsin::testing::fault::write_null);
    __asm__ volatile("");
}

}  // namespace victim

extern "C" int library_function(int number) { return number + 1; }
