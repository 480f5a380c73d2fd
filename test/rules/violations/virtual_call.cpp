// refused: indirect call, not listed
// SPDX-License-Identifier: MIT
struct reaction {
    virtual void react(int) = 0;
};

namespace tocsin::in_signal {
void handler(reaction& of, int number) { of.react(number); }
}  // namespace tocsin::in_signal
