// SPDX-License-Identifier: MIT
// A reference that keeps the storage's shared library in a program that is linked with --as-needed.
//
// Compiled into each target that uses the dependency, with the option storage=shared. Calls nothing.
extern "C" void const* tocsin_raw_storage();

namespace {

[[gnu::used]] constexpr auto* reference = &tocsin_raw_storage;

}  // namespace
