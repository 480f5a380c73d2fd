// refused: an exception allocates
namespace tocsin::in_signal {
void handler(int number) {
    if (number == 0) throw number;
}
}  // namespace tocsin::in_signal
