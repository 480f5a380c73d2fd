// error: tocsin: the detail of a trace is a text or an integer
// SPDX-License-Identifier: MIT
// Reports know no floating point.
#include <tocsin/trace.hpp>

using namespace tocsin;

int main() {
    trace here{"progress", 0.5};
}
