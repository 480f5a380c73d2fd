// SPDX-License-Identifier: MIT
// All five jobs in one program: a server that parses and hashes the files it is given, over and over.
//
//   tour FILE…               an ordinary program, to be signalled by hand: HUP reloads, QUIT shows every thread,
//                            USR1 prints figures, TERM stops it, a second TERM ends it
//   tour --demo FILE…        has a child send each signal in turn, and says what happens
//   tour --demo=crash FILE…  ends in a fault on a worker thread
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>
#include <thread>
#include <vector>

#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <tocsin/tocsin.hpp>

using namespace tocsin;

namespace {

// The work: count the words of a file and hash its bytes (FNV-1a).
struct figures {
    std::atomic<unsigned long> files, words, hash;
};

struct server {
    std::vector<std::string> files;
    figures done{};
    std::atomic<unsigned> reloads{0};
    std::atomic<bool> crash{false}, hang{false}, stop{false};
};

std::string read_file(std::string const& path) {
    std::ifstream in{path, std::ios::binary};
    return {std::istreambuf_iterator<char>{in}, {}};
}

[[gnu::noinline]] std::uint64_t hash_bytes(std::string const& text) {
    std::uint64_t hash = 14695981039346656037U;
    for (char const byte : text) hash = (hash ^ static_cast<unsigned char>(byte)) * 1099511628211U;
    return hash;
}

[[gnu::noinline]] unsigned long count_words(std::string const& text) {
    unsigned long words = 0;
    bool inside = false;
    for (char const c : text) {
        bool const letter = c != ' ' && c != '\n' && c != '\t';
        words += letter && !inside;
        inside = letter;
    }
    return words;
}

[[gnu::noinline]] void crash_while_parsing(char volatile* nowhere) { *nowhere = 'x'; }

void work(server& of, unsigned number) {
    std::string const name = "worker " + std::to_string(number);
    thread_guard here{name.c_str()};
    for (std::size_t i = number; !of.stop; ++i) {
        std::string const text = read_file(of.files[i % of.files.size()]);
        of.done.words += count_words(text);
        of.done.hash ^= hash_bytes(text);
        ++of.done.files;
        if (number == 1 && of.crash.exchange(false)) crash_while_parsing(nullptr);
    }
}

[[gnu::noinline]] void forget_to_feed() { std::this_thread::sleep_for(700ms); }

void say(char const* text) {
    std::printf("tour: %s\n", text);
    std::fflush(stdout);
}

void print_figures(server const& of) {
    std::printf("tour: %lu files, %lu words, reloaded %u times\n", of.done.files.load(), of.done.words.load(),
                of.reloads.load());
    std::fflush(stdout);
}

// The loop of the server: sleeps until something arrives, feeds the watchdog, gets stuck when it is told to.
template <class Signals>
void serve(server& of, Signals& signals) {
    while (!signals.stop_requested()) {
        pollfd readable{signals.fd(), POLLIN, 0};
        poll(&readable, 1, 50);
        for (delivery const& d : signals.take()) {
            std::printf("tour: %s woke the loop, sent by process %d\n", name(d.signal()).c_str(), d.pid());
            print_figures(of);
        }
        if (of.hang.exchange(false)) forget_to_feed();
        signals.feed();
    }
}

// The demo's other process: waits until the server is ready, then sends one signal after another.
[[noreturn]] void send_in_turn(pid_t to, int ready) {
    char byte;
    if (read(ready, &byte, 1) != 1) _exit(1);
    struct {
        int signal;
        char const* meaning;
    } const steps[] = {
        {SIGUSR1, "wakes the loop"},         {SIGHUP, "reloads"},
        {SIGQUIT, "shows every thread"},     {SIGUSR2, "makes the loop hang: the watchdog will notice"},
        {SIGTERM, "asks the program to stop"},
    };
    for (auto const& step : steps) {
        std::printf("\n--- kill -%s %d   %s\n", name(step.signal).c_str() + 3, to, step.meaning);
        std::fflush(stdout);
        kill(to, step.signal);
        poll(nullptr, 0, step.signal == SIGUSR2 ? 1000 : 300);  // for the eye: one thing after another
    }
    _exit(0);
}

// Starts it before there are threads; the write end of the pipe tells it that all is ready.
int start_demo() {
    int ready[2];
    if (pipe(ready) != 0) return -1;
    pid_t const server = getpid();
    if (fork() == 0) {
        close(ready[1]);
        send_in_turn(server, ready[0]);
    }
    close(ready[0]);
    return ready[1];
}

}  // namespace

int main(int argc, char** argv) {
    bool const demo = argc > 1 && std::strncmp(argv[1], "--demo", 6) == 0;
    bool const crash = demo && std::strcmp(argv[1], "--demo=crash") == 0;
    server own;
    own.files.assign(argv + (demo ? 2 : 1), argv + argc);
    if (own.files.empty()) own.files.emplace_back(argv[0]);
    int const go = demo && !crash ? start_demo() : -1;

    guard signals{
        on<SIGINT, SIGTERM>(request_stop),          // a second one takes the default disposition
        on<SIGHUP>(call([&] { ++own.reloads; say("SIGHUP: reloaded, on an ordinary thread"); })),
        on<SIGUSR1>(wake),                          // readable descriptor
        on<SIGUSR2>(call([&] { say("SIGUSR2: the loop will forget to feed its watchdog"); own.hang = true; })),
        on<SIGPIPE>(ignore),
        on<SIGQUIT>(dump_threads.to(1)),            // every thread, and the process goes on
        on_crash(dump_threads.to(1)),               // every thread, then the previous disposition, then the core
        watchdog(400ms)(dump_threads.to(1)),        // nobody fed it for 400 ms
    };

    std::vector<std::thread> workers;
    for (unsigned number = 1; number <= 3; ++number) workers.emplace_back([&, number] { work(own, number); });
    std::printf("tour: process %d, %zu files, 3 workers\n", getpid(), own.files.size());
    std::fflush(stdout);
    own.crash = crash;
    if (go >= 0 && write(go, "!", 1) != 1) return 1;

    serve(own, signals);

    own.stop = true;
    for (std::thread& worker : workers) worker.join();
    if (go >= 0) wait(nullptr);
    print_figures(own);
    say("stopped in good order");
}
