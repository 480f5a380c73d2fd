// SPDX-License-Identifier: MIT
#include "support/signals.hpp"

#include <tocsin/posix/wakeup.hpp>

#include <fcntl.h>
#include <sys/resource.h>

#include <utility>

using namespace tocsin;
using namespace tocsin::test;

namespace {
void write_to(int fd) {
    std::uint64_t const one = 1;
    require_in_child(::write(fd, &one, sizeof one) == sizeof one);
}
}  // namespace

TEST_CASE("a wakeup is readable between a write and a drain", "[wakeup]") {
    posix::wakeup descriptor;
    REQUIRE_FALSE(descriptor.open());
    CHECK_FALSE(readable(descriptor.fd()));
    write_to(descriptor.fd());
    write_to(descriptor.fd());
    CHECK(readable(descriptor.fd()));
    descriptor.drain();
    CHECK_FALSE(readable(descriptor.fd()));
    descriptor.drain();  // does not block
    CHECK((::fcntl(descriptor.fd(), F_GETFD) & FD_CLOEXEC) != 0);
}

TEST_CASE("closing gives the descriptor back, and may be repeated", "[wakeup]") {
    unsigned const before = descriptors();
    {
        posix::wakeup descriptor;
        REQUIRE_FALSE(descriptor.open());
        CHECK(descriptors() == before + 1);
        descriptor.close();
        descriptor.close();
        CHECK(descriptor.fd() == -1);
    }
    {
        posix::wakeup descriptor;
        REQUIRE_FALSE(descriptor.open());
    }
    CHECK(descriptors() == before);
}

TEST_CASE("replacing gives a child a descriptor of its own under the same number", "[wakeup]") {
    in_child([] {
        posix::wakeup descriptor;
        require_in_child(!descriptor.open());
        int const number = descriptor.fd();
        unsigned const before = descriptors();
        require_fork([&] {
            require_in_child(!descriptor.replace());
            require_in_child(descriptor.fd() == number && descriptors() == before);
            write_to(descriptor.fd());
            require_in_child(readable(number));
            require_in_child((::fcntl(number, F_GETFD) & FD_CLOEXEC) != 0);
        });
        require_in_child(!readable(number));
    });
}

TEST_CASE("a descriptor that the child has closed is replaced all the same", "[wakeup]") {
    in_child([] {
        posix::wakeup descriptor;
        require_in_child(!descriptor.open());
        ::close(descriptor.fd());
        require_in_child(!descriptor.replace());
        write_to(descriptor.fd());
        require_in_child(readable(descriptor.fd()));
    });
}

TEST_CASE("without a descriptor to be had, opening and replacing fail by name and change nothing", "[wakeup]") {
    in_child([] {
        posix::wakeup descriptor;
        posix::wakeup other;
        require_in_child(!descriptor.open());
        rlimit limit{};
        ::getrlimit(RLIMIT_NOFILE, &limit);
        rlimit const usual = limit;
        limit.rlim_cur = 0;
        ::setrlimit(RLIMIT_NOFILE, &limit);
        failure const opened = other.open();
        require_in_child(opened.errno_code == EMFILE && std::string{opened.call} == "eventfd");
        require_in_child(descriptor.replace().errno_code == EMFILE);
        ::setrlimit(RLIMIT_NOFILE, &usual);  // poll looks at it too
        write_to(descriptor.fd());
        require_in_child(readable(descriptor.fd()));
    });
}
