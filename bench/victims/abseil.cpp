// SPDX-License-Identifier: MIT
// abseil's failure signal handler, with its symbolizer.
#include <absl/debugging/failure_signal_handler.h>
#include <absl/debugging/symbolize.h>

#include "victims/victim.hpp"

int main(int words, char** word) {
    return tocsin::bench::crash(words, word, [word] {
        absl::InitializeSymbolizer(word[0]);
        absl::InstallFailureSignalHandler(absl::FailureSignalHandlerOptions{});
    });
}
