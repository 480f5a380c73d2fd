// SPDX-License-Identifier: MIT
// Every system call that reports without a guard make, refused and interrupted: see
// support/every_call.hpp.
#include <fcntl.h>

#include <atomic>
#include <string>

#include <tocsin/dump_on_request.hpp>
#include <tocsin/tocsin.hpp>

#include "support/every_call.hpp"

using namespace tocsin;
using namespace tocsin::test;

TEST_CASE("dump_later: every call refused and interrupted once", "[refused_reports]") {
    require_of_every_call([](life& at) {
        both_ends const ends;
        at.arm();
        dump_later(10ms, dump_threads.to(ends[1]).as(markup).this_thread());
        at.disarm();
        at.works(soon([&] { return readable(ends[0]); }));
        at.arm();
        cancel_dump_later();
        at.disarm();
    }, {SYS_fstat});  // of a descriptor that is open; what cannot be told from others is not written to
}

TEST_CASE("doctor: every call refused and interrupted once", "[refused_reports]") {
    require_of_every_call([](life& at) {
        int const fd = ::open("/dev/null", O_WRONLY | O_CLOEXEC);
        at.arm();
        doctor(fd);
        at.disarm();
        ::close(fd);
    });
}

TEST_CASE("dump_on_request: every call refused and interrupted once", "[refused_reports]") {
    scratch_directory place;
    require_of_every_call([&](life& at) {
        std::string const path = place.file("s-{pid}");
        std::string const file = place.file("s-" + std::to_string(::getpid()));
        at.whole_life([&] { return dump_on_request{path.c_str()}; },
                      [&](auto&) { return !names_in(place.path()).empty(); });
        ::unlink(file.c_str());
    });
    require_of_every_call([&](life& at) {
        std::string const path = place.file("f-{pid}");
        auto const report = dump_threads.as(markup).this_thread();
        at.whole_life([&] { return dump_on_request{path.c_str(), request_file, report}; },
                      [&](auto& here) {
                          ::close(::open(here.path(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
                          return soon([&] { return ::access(here.path(), F_OK) != 0; });
                      });
        for (auto const& each : names_in(place.path())) ::unlink(place.file(each).c_str());
    });
}
