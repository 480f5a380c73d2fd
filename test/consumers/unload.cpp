// SPDX-License-Identifier: MIT
// Plugins that come and go while signals arrive: no handler ever points into what is no longer mapped.
//
//     unload OWNER ROUNDS PLUGIN      OWNER: `e` if the executable installs first, `p` if the plugin does
#include "check.hpp"

#include <pthread.h>

using namespace consumers;

extern "C" copy const* main_copy();

namespace {

journal events;  // of the plugin's guards
journal own;     // of the executable's guard
int over = 0;

// A thread that signals itself as fast as it can, to be inside the handler when the main thread takes a guard away.
void* storm(void*) {
    while (__atomic_load_n(&over, __ATOMIC_SEQ_CST) == 0) ::pthread_kill(::pthread_self(), SIGUSR1);
    return nullptr;
}

// Another process signals this one, whichever of its threads takes it.
pid_t start_sender() {
    pid_t const target = ::getpid();
    pid_t const sender = ::fork();
    if (sender != 0) return sender;
    end_within(60);
    while (::kill(target, SIGUSR1) == 0) {
    }
    ::_exit(0);
}

void check_rounds(char const* plugin, int rounds, bool stays) {
    for (int round = 0; round < rounds; ++round) {
        void* const object = load(plugin);
        copy const* const with = find_copy(object);
        void* const guard = with->open_handler(&events, 2);
        EXPECT(eventually([] { return events.size() > 1; }));  // the storm is on
        EXPECT(with->table() == main_copy()->table() || main_copy()->table() == nullptr);
        with->close_handler(guard);
        int const noted = events.size();
        EXPECT(::dlclose(object) == 0);
        EXPECT(is_mapped(plugin) == stays);
        int const before = own.size();
        EXPECT(eventually([&] { return own.size() > before; }));
        EXPECT(events.size() == noted);
        events.clear();
    }
}

// What runs on the dispatcher belongs to the plugin as well.
void check_calls(char const* plugin, int rounds) {
    for (int round = 0; round < rounds; ++round) {
        void* const object = load(plugin);
        copy const* const with = find_copy(object);
        void* const guard = with->open_call(&events, 3);
        events.clear();
        ::raise(SIGUSR2);
        EXPECT(eventually([] { return events.size() > 0; }));
        ::raise(SIGUSR2);
        with->close_call(guard);  // also while the dispatcher is about to run it
        EXPECT(::dlclose(object) == 0);
    }
    ::raise(SIGUSR2);
}

// A guard of static storage is removed in its turn, by dlclose or, if the plugin stays, by exit.
void check_static_guard(char const* plugin, bool stays) {
    void* const object = load(plugin);
    find_copy(object)->keep_open(&events, 2);
    EXPECT(eventually([] { return events.size() > 1; }));
    EXPECT(::dlclose(object) == 0);
    EXPECT(is_mapped(plugin) == stays);
    int const noted = events.size();
    ::raise(SIGUSR1);
    EXPECT((events.size() > noted) == stays);
}

}  // namespace

int main(int count, char** words) {
    end_within(60);
    if (count != 4) return EXIT_FAILURE;
    bool const plugin_owns = words[1][0] == 'p';
    ::signal(SIGUSR1, SIG_IGN);
    ::signal(SIGUSR2, SIG_IGN);
    if (plugin_owns) {
        void* const object = load(words[3]);
        find_copy(object)->close_handler(find_copy(object)->open_handler(&events, 2));
        ::dlclose(object);
        EXPECT(is_mapped(words[3]));  // the kernel's entry and the table's operations are its own
    }
    void* const mine = main_copy()->open_handler(&own, 1);
    pthread_t thread;
    ::pthread_create(&thread, nullptr, storm, nullptr);
    pid_t const sender = start_sender();
    check_rounds(words[3], std::atoi(words[2]), plugin_owns);
    check_static_guard(words[3], plugin_owns);
    check_calls(words[3], 20);
    ::kill(sender, SIGKILL);
    __atomic_store_n(&over, 1, __ATOMIC_SEQ_CST);
    ::pthread_join(thread, nullptr);
    EXPECT(own.size() > 0);
    main_copy()->close_handler(mine);
    struct sigaction found {};
    ::sigaction(SIGUSR1, nullptr, &found);
    EXPECT(plugin_owns || found.sa_handler == SIG_IGN);
    return verdict();
}
