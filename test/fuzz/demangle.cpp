// SPDX-License-Identifier: MIT
// Fuzz target: mangled names. What is answered must be what the C++ runtime's own demangler answers: never a
// wrong name.
#include <tocsin/in_signal/demangle.hpp>

#include <cxxabi.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "must.hpp"

using namespace tocsin::in_signal;
using fuzz::must;

namespace {

constexpr std::size_t most = 16384;

constexpr char const* qualifiers[] = {"const", "volatile", "restrict", "noexcept", "transaction_safe",
                                      "&&",    "&"};

// Around empty packs GCC's demangler leaves commas behind, it leaves out the space between two closing
// brackets, and the qualifiers of a member function stand behind its noexcept.
std::string without_order(std::string text) {
    std::erase_if(text, [](char c) { return c == ' ' || c == ','; });
    std::string result;
    std::vector<std::string> run;
    for (std::size_t at = 0; at <= text.size();) {
        auto const* const next =
            std::find_if(std::begin(qualifiers), std::end(qualifiers),
                         [&](char const* each) { return text.compare(at, std::strlen(each), each) == 0; });
        if (next != std::end(qualifiers)) {
            run.emplace_back(*next);
            at += run.back().size();
            continue;
        }
        std::sort(run.begin(), run.end());
        for (std::string const& each : run) result += each;
        run.clear();
        if (at < text.size()) result += text[at];
        ++at;
    }
    return result;
}

// Where names hold several functions, or conversions, GCC's demangler takes template parameters from the wrong
// one.
bool is_comparable(std::string const& mangled) {
    bool const parameters = mangled.find('T', 2) != std::string::npos;
    bool several = mangled.find('Z', 2) != std::string::npos;
    for (char const* const each : {"Ul", "cv"}) several = several || mangled.find(each) != std::string::npos;
    return !parameters || !several;
}

void compare(std::string const& mangled, std::string const& ours) {
    int status = 0;
    char* const theirs = abi::__cxa_demangle(mangled.c_str(), nullptr, nullptr, &status);
    bool const same = theirs == nullptr || without_order(ours) == without_order(theirs);
    if (!same)
        std::fprintf(stderr, "%s\n  ours:   %s\n  theirs: %s\n", mangled.c_str(), ours.c_str(), theirs);
    std::free(theirs);
    must(same, "the same name as the C++ runtime's");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
    static demangle_tree tree;
    static char out[most];
    if (size == 0 || size > 1024) return 0;
    // Not one byte more than the name: reading behind it is seen.
    std::string const mangled = "_Z" + std::string{reinterpret_cast<char const*>(data) + 1, size - 1};
    char* const exact = static_cast<char*>(std::malloc(mangled.size()));
    std::memcpy(exact, mangled.data(), mangled.size());
    std::size_t written = 0;
    demangled const result = demangle(exact, mangled.size(), tree, out, sizeof out, written, 64 * 1024);
    std::string const whole{out, result == demangled::refused ? 0 : written};
    must(written <= sizeof out, "the output is not overrun");
    // The same again with little room, and with little stack.
    std::size_t const room = data[0];
    std::size_t short_written = 0;
    demangled const again = demangle(exact, mangled.size(), tree, out, room, short_written, 64 * 1024);
    must(again == demangled::refused || short_written <= room, "the output is not overrun");
    if (again == demangled::whole)
        must(whole == std::string(out, short_written), "a name is the same whatever the room");
    demangle(exact, mangled.size(), tree, out, sizeof out, written, room * 64);
    std::free(exact);
    if (result == demangled::whole && is_comparable(mangled)) compare(mangled, whole);
    return 0;
}
