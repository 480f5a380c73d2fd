// refused: calls malloc (malloc)
#include <cstdlib>

void* kept;

extern "C" void tocsin_entry(int) { kept = std::malloc(16); }
