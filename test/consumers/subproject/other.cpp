// SPDX-License-Identifier: MIT
// A second unit: everything in the headers is inline.
#include <tocsin/tocsin.hpp>

bool is_idle() { return tocsin::guard{tocsin::on<SIGUSR2>(tocsin::wake)}.fd() < 0; }
