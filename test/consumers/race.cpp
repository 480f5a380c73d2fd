// SPDX-License-Identifier: MIT
// The executable and two plugins install for the first time, all at once.
//
//     race PLUGIN PLUGIN
#include "check.hpp"

#include <pthread.h>

using namespace consumers;

extern "C" copy const* main_copy();

namespace {

constexpr int racers = 3;

journal events;
int ready = 0;
int start = 0;

struct racer {
    copy const* with;
    int tag;
    void* guard = nullptr;
    pthread_t thread{};
};

void* run(void* argument) {
    auto& self = *static_cast<racer*>(argument);
    __atomic_fetch_add(&ready, 1, __ATOMIC_SEQ_CST);
    while (__atomic_load_n(&start, __ATOMIC_SEQ_CST) == 0) {
    }
    self.guard = self.with->open_handler(&events, self.tag);
    return nullptr;
}

}  // namespace

int main(int count, char** words) {
    end_within(30);
    if (count != racers) return EXIT_FAILURE;
    racer all[racers] = {{main_copy(), 1}, {find_copy(load(words[1])), 2}, {find_copy(load(words[2])), 3}};
    for (racer& each : all) ::pthread_create(&each.thread, nullptr, run, &each);
    while (__atomic_load_n(&ready, __ATOMIC_SEQ_CST) != racers) ::sched_yield();
    __atomic_store_n(&start, 1, __ATOMIC_SEQ_CST);
    for (racer& each : all) ::pthread_join(each.thread, nullptr);
    for (racer& each : all) EXPECT(each.with->table() == all[0].with->table());
    ::signal(SIGUSR2, SIG_IGN);
    ::raise(SIGUSR1);
    EXPECT(events.size() == racers);
    int sum = 0;
    for (int i = 0; i < events.size(); ++i) sum += events.tags[i];
    EXPECT(sum == 1 + 2 + 3);
    for (racer& each : all) each.with->close_handler(each.guard);
    return verdict();
}
