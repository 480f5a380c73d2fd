// SPDX-License-Identifier: MIT
// Signals in a libuv loop: a uv_poll_t on the guard's descriptor.
#include "program.hpp"

#include <uv.h>

namespace {

struct watched {
    program::signals_type& signals;
    program::tally& seen;
};

void readable(uv_poll_t* handle, int, int) {
    auto const& of = *static_cast<watched*>(handle->data);
    if (!of.seen.take(of.signals)) return;
    ::uv_poll_stop(handle);
    ::uv_close(reinterpret_cast<uv_handle_t*>(handle), nullptr);
}

}  // namespace

int main() {
    return program::run([](program::signals_type& signals, program::tally& seen) {
        watched of{signals, seen};
        uv_loop_t loop;
        uv_poll_t handle;
        ::uv_loop_init(&loop);
        ::uv_poll_init(&loop, &handle, signals.fd());
        handle.data = &of;
        ::uv_poll_start(&handle, UV_READABLE, &readable);
        program::say("ready");
        ::uv_run(&loop, UV_RUN_DEFAULT);  // until no handle is left
        bool const closed = ::uv_loop_close(&loop) == 0;
        ::uv_library_shutdown();  // for those who count descriptors: libuv keeps two for signals of its own
        return closed ? 0 : 1;
    });
}
