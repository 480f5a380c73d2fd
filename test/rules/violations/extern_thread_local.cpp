// refused: thread-local storage
extern __thread int elsewhere;

namespace tocsin::in_signal {
int handler() { return elsewhere; }
}  // namespace tocsin::in_signal
