// refused: calls malloc (malloc)
// SPDX-License-Identifier: MIT
#include <cstdlib>

namespace tocsin::in_signal {
template <class T>
struct slot {
    T* get() const { return static_cast<T*>(std::malloc(sizeof(T))); }
};
template struct slot<int>;
}  // namespace tocsin::in_signal
