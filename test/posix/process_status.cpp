// SPDX-License-Identifier: MIT
#include <tocsin/posix/process_status.hpp>

#include <stdlib.h>
#include <unistd.h>

#include <string>

#include "support/catch.hpp"

using tocsin::failure;
using tocsin::posix::read_status;
using tocsin::posix::status_mask;

namespace {

// A file with this text, for as long as it lives.
class sample {
  public:
    explicit sample(std::string const& text) {
        int const fd = ::mkstemp(path_);
        REQUIRE(::write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size()));
        ::close(fd);
    }
    ~sample() { ::unlink(path_); }
    char const* path() const { return path_; }

  private:
    char path_[32] = "/tmp/tocsin-XXXXXX";
};

}  // namespace

TEST_CASE("masks are found behind lines of any length, wherever a block ends", "[process_status]") {
    for (std::size_t const length : {0U, 1000U, 1013U, 1020U, 1023U, 1024U, 1025U, 100'000U}) {
        sample const file{"Name:\tSigPnd:\nGroups:" + std::string(length, 'f') +
                          "\nSigPnd:\t8000000000000001\nShdPnd:\t00000000deadbeef\n"};
        status_mask wanted[] = {{"SigPnd:"}, {"ShdPnd:"}};
        CHECK_FALSE(read_status(file.path(), wanted, 2));
        CHECK(wanted[0].mask == 0x8000000000000001U);
        CHECK(wanted[1].mask == 0xdeadbeefU);
    }
}

TEST_CASE("a missing field and a missing file are told apart", "[process_status]") {
    sample const file{"SigPnd:\t0000000000000001\n"};
    status_mask wanted[] = {{"SigPnd:"}, {"ShdPnd:"}};
    CHECK(read_status(file.path(), wanted, 2).errno_code == ENODATA);
    CHECK(read_status("/proc/none/status", wanted, 2).errno_code == ENOENT);
    CHECK(read_status("/", wanted, 2).errno_code == EISDIR);
}
