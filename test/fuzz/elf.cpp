// SPDX-License-Identifier: MIT
// Fuzz target: an ELF file, read as a file and as an object in memory, and the names of four addresses in it.
//
// The input is the file; its last 32 bytes are also the addresses that are asked for.
#include <tocsin/in_signal/symbolize.hpp>

#include <elf.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <string>

#include "must.hpp"

using namespace tocsin::in_signal;
using fuzz::must;

namespace {

constexpr std::size_t asked = 4;
constexpr std::size_t largest = 1 << 16;

// An anonymous file, filled again for each input.
class file {
  public:
    file() : fd_{::memfd_create("fuzz", MFD_CLOEXEC)}, path_{"/proc/self/fd/" + std::to_string(fd_)} {
        must(fd_ >= 0, "memfd_create");
    }
    char const* fill(std::uint8_t const* data, std::size_t size) const {
        must(::ftruncate(fd_, 0) == 0, "ftruncate");
        must(::pwrite(fd_, data, size, 0) == static_cast<ssize_t>(size), "pwrite");
        return path_.c_str();
    }

  private:
    int fd_;
    std::string path_;
};

// Memory with nothing behind it.
unsigned char* new_memory() {
    void* const all = ::mmap(nullptr, 3 * largest, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    must(all != MAP_FAILED, "mmap");
    auto* const memory = static_cast<unsigned char*>(all) + largest;
    must(::mprotect(memory, largest, PROT_READ | PROT_WRITE) == 0, "mprotect");
    return memory;
}

void check(address_query const& query, name_pool const& pool) {
    if (!query.found) return;
    char const* const end = pool.memory + pool.used;
    must(query.name >= pool.memory && query.name + query.name_size < end, "a name lies in the pool");
    must(query.name[query.name_size] == '\0', "a name ends with a zero");
    must(query.name_size <= longest_symbol, "a name has a bounded length");
    must(query.offset <= query.address, "a function begins at or before the address");
}

void name(module_file const& where, std::uint8_t const* addresses, std::size_t room) {
    static naming_memory memory;
    static char text[8192];
    name_pool pool{text, room};
    address_query queries[asked];
    for (std::size_t i = 0; i < asked; ++i) {
        std::memcpy(&queries[i].address, addresses + i * 8, 8);
        queries[i].tag = i;
    }
    std::size_t const found = name_addresses(where, queries, asked, memory, pool);
    must(pool.used <= room, "the pool is not overrun");
    std::size_t counted = 0;
    for (address_query const& one : queries) {
        check(one, pool);
        counted += one.found;
    }
    must(found == counted, "as many are found as it says");
}

void look_around(elf_image& image) {
    build_id id{};
    must(image.find_build_id(id) == id.known() && id.size <= build_id::longest, "a build-id fits");
    char link[64];
    if (image.find_debug_link(link, sizeof link))
        must(::strnlen(link, sizeof link) < sizeof link, "a link ends with a zero");
    symbol_table table{};
    image.find_symbols(SHT_SYMTAB, table);
    image.find_symbols(SHT_DYNSYM, table);
    image.find_loaded_symbols(table);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
    static file const as_file;
    static unsigned char* const memory = new_memory();
    if (size < asked * 8 || size > largest) return 0;
    std::uint8_t const* const addresses = data + size - asked * 8;
    char const* const path = as_file.fill(data, size);
    unsigned char* const in_memory = memory + (largest - size) / 4096 * 4096;
    std::memset(memory, 0, largest);
    std::memcpy(in_memory, data, size);
    auto const header = reinterpret_cast<std::uintptr_t>(in_memory);
    {
        elf_image image;
        if (image.open_file(path)) look_around(image);
    }
    {
        elf_image image;
        if (image.open_memory(header)) look_around(image);
    }
    name({path}, addresses, 8192);
    name({path, header}, addresses, 8192);
    name({"/nonexistent", header}, addresses, data[size - 1]);
    return 0;
}
