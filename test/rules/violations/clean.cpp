// accepted
// SPDX-License-Identifier: MIT
// What handlers do: a switch, a copy, a recursion, the thread pointer.
struct big {
    char bytes[4096];
};

namespace tocsin::in_signal {
big from, to;

char const* name(int number) {
    switch (number) {
        case 1:
            return "one";
        case 2:
            return "two";
        case 3:
            return "three";
        case 4:
            return "four";
        case 5:
            return "five";
        case 6:
            return "six";
        default:
            return "many";
    }
}

int sum(int n) { return n < 2 ? n : sum(n - 1) + sum(n - 2); }

void* handler(int number) {
    to = from;
    to.bytes[0] = name(number)[0];
    to.bytes[1] = static_cast<char>(sum(number));
    return __builtin_thread_pointer();
}
}  // namespace tocsin::in_signal
