// error: tocsin: no value goes to a process group; send it to each process, or use send_signal
// SPDX-License-Identifier: MIT
// kill(2) takes no value, and sigqueue(3) no group.
#include <tocsin/send.hpp>

using namespace tocsin;

int main() {
    send_value(process_group::current(), SIGUSR1, 1);
}
