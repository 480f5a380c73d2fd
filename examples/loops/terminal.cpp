// SPDX-License-Identifier: MIT
// A program that draws on the whole terminal: it follows the window's size, leaves the terminal as it was when it is
// stopped (Ctrl-Z), and takes it again when it goes on (fg). SIGINT, SIGTERM and 'q' end it.
//
// SIGTSTP is caught, so that the terminal can be put back first; then the program stops for real, with SIGSTOP, which
// nobody catches. Whoever started it sees it stopped, as by SIGTSTP itself.
#include <poll.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include <cstdio>

#include <tocsin/tocsin.hpp>

using namespace tocsin;

namespace {

// Without lines and echo, on the other screen, for as long as it is held.
class whole_screen {
  public:
    whole_screen() noexcept { ::tcgetattr(STDIN_FILENO, &before_); }
    ~whole_screen() { put_back(); }
    whole_screen(whole_screen const&) = delete;
    whole_screen& operator=(whole_screen const&) = delete;

    void take() noexcept {
        termios raw = before_;
        raw.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO);  // ISIG stays: Ctrl-C and Ctrl-Z are signals
        // a program in the background that does this is stopped by SIGTTOU (POSIX, tcsetattr)
        ::tcsetattr(STDIN_FILENO, TCSADRAIN, &raw);
        write("\033[?1049h\033[?25l");
        taken_ = true;
    }
    void put_back() noexcept {
        if (!taken_) return;
        write("\033[?25h\033[?1049l");
        ::tcsetattr(STDIN_FILENO, TCSADRAIN, &before_);
        taken_ = false;
    }
    void draw() noexcept {
        winsize size{};
        ::ioctl(STDIN_FILENO, TIOCGWINSZ, &size);
        char text[64];
        int const length = std::snprintf(text, sizeof text, "\033[2J\033[H%d columns, %d lines\r\n", size.ws_col,
                                         size.ws_row);
        if (length > 0) write(text);
    }

  private:
    static void write(char const* text) noexcept {
        std::fputs(text, stdout);
        std::fflush(stdout);
    }

    termios before_{};
    bool taken_ = false;
};

// Stopped by the same signal, the program would be in its own handler again.
void stop(whole_screen& screen) {
    screen.put_back();
    ::raise(SIGSTOP);  // returns when somebody has sent SIGCONT
    screen.take();
    screen.draw();
}

}  // namespace

int main() {
    if (::isatty(STDIN_FILENO) == 0) return std::puts("skipped: this needs a terminal"), 77;
    whole_screen screen;
    guard signals{
        on<SIGWINCH, SIGTSTP, SIGCONT>(wake),
        on<SIGINT, SIGTERM>(request_stop, wake),
    };
    screen.take();
    screen.draw();
    pollfd watched[] = {{STDIN_FILENO, POLLIN, 0}, {signals.fd(), POLLIN, 0}};
    for (char key = 0; key != 'q' && !signals.stop_requested();) {
        if (::poll(watched, 2, -1) <= 0) continue;  // a handler has interrupted it
        for (delivery const& d : signals.take()) {
            if (d.signal() == SIGTSTP) stop(screen);
            // somebody stopped it by SIGSTOP: what others did to the terminal meanwhile is not known
            if (d.signal() == SIGCONT) screen.take();
            if (d.signal() != SIGTSTP) screen.draw();
        }
        if ((watched[0].revents & (POLLIN | POLLHUP)) != 0 && ::read(STDIN_FILENO, &key, 1) <= 0) break;
    }
    screen.put_back();
    std::puts("ended");
}
