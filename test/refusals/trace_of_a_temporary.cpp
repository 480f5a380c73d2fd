// error: tocsin: this text is gone before the scope ends; give it a name first
// SPDX-License-Identifier: MIT
// A breadcrumb copies nothing, and a temporary string ends with its line.
#include <tocsin/trace.hpp>

#include <string>

using namespace tocsin;

int main() {
    trace here{"loading", std::string{"a"} + "b"};
}
