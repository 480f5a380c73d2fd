// error: tocsin: dump_later(d, words) takes repeated, exiting and dump_threads with its words
// SPDX-License-Identifier: MIT
// It is no row.
#include <tocsin/dump_later.hpp>
#include <tocsin/tocsin.hpp>

using namespace tocsin;

int main() {
    dump_later(5s, exit_with(1));
}
