// SPDX-License-Identifier: MIT
// A python3 that takes its turns with the other contenders: it is asked for one figure a round.
//
// Runs on any ordinary thread. The script defines turn(), which answers nanoseconds.
#pragma once

#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <string>

#include "support/measure.hpp"

namespace tocsin::bench {

class python {
  public:
    explicit python(std::string script) {
        script += "\nimport sys\nfor _ in sys.stdin: print(turn(), flush=True)\n";
        int to[2];
        int from[2];
        if (::pipe(to) != 0 || ::pipe(from) != 0) return;
        pid_ = ::fork();
        if (pid_ == 0) {
            ::prctl(PR_SET_PDEATHSIG, SIGKILL);
            ::dup2(to[0], 0);
            ::dup2(from[1], 1);
            for (int fd : {to[0], to[1], from[0], from[1]}) ::close(fd);
            ::execlp("python3", "python3", "-c", script.c_str(), nullptr);
            ::_exit(127);
        }
        ::close(to[0]);
        ::close(from[1]);
        asks_ = ::fdopen(to[1], "w");
        answers_ = ::fdopen(from[0], "r");
        installed_ = turn() > 0;
    }
    ~python() {
        if (asks_ != nullptr) std::fclose(asks_);
        if (answers_ != nullptr) std::fclose(answers_);
        if (pid_ > 0) ::waitpid(pid_, nullptr, 0);
    }
    python(python const&) = delete;
    python& operator=(python const&) = delete;

    bool installed() const { return installed_; }

    // Nanoseconds.
    double turn() {
        char line[64];
        std::fputs("\n", asks_);
        std::fflush(asks_);
        return std::fgets(line, sizeof line, answers_) != nullptr ? std::strtod(line, nullptr) : no_figure;
    }

  private:
    pid_t pid_ = -1;
    std::FILE* asks_ = nullptr;
    std::FILE* answers_ = nullptr;
    bool installed_ = false;
};

}  // namespace tocsin::bench
