// SPDX-License-Identifier: MIT
// glog's failure signal handler.
#include <glog/logging.h>

#include "victims/victim.hpp"

int main(int words, char** word) {
    return tocsin::bench::crash(words, word, [word] {
        google::InitGoogleLogging(word[0]);
        google::InstallFailureSignalHandler();
    });
}
