// SPDX-License-Identifier: MIT
#include <tocsin/in_signal/symbolize.hpp>

#include <fcntl.h>
#include <link.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cstring>
#include <string>
#include <vector>

#include "support/catch.hpp"

using namespace tocsin::in_signal;

namespace known {

template <class T>
__attribute__((noinline)) int function(T value) {
    __asm__ volatile("" : : "r"(value) : "memory");
    return 1;
}

struct widget {
    __attribute__((noinline)) int turn(char const* by) const { return function(by); }
};

}  // namespace known

extern "C" __attribute__((noinline, used)) int tocsin_test_plain_name() {
    __asm__ volatile("");
    return 2;
}

namespace {

struct object {
    std::string path;
    std::uintptr_t bias = 0;
    std::uintptr_t header = 0;
};

// The loaded object that holds an address, by the libc: a second opinion.
object object_of(std::uintptr_t address) {
    struct search {
        std::uintptr_t address;
        object found;
    } state{address, {}};
    ::dl_iterate_phdr(
        [](dl_phdr_info* info, std::size_t, void* data) {
            auto& wanted = *static_cast<search*>(data);
            std::uintptr_t first = 0;
            bool inside = false;
            for (int i = 0; i < info->dlpi_phnum; ++i) {
                auto const& one = info->dlpi_phdr[i];
                if (one.p_type != PT_LOAD) continue;
                std::uintptr_t const begin = info->dlpi_addr + one.p_vaddr;
                if (one.p_offset == 0) first = begin;
                inside = inside || wanted.address - begin < one.p_memsz;
            }
            if (inside) wanted.found = {info->dlpi_name, info->dlpi_addr, first};
            return inside ? 1 : 0;
        },
        &state);
    return state.found;
}

template <class F>
std::uintptr_t address_of(F* function) {
    return reinterpret_cast<std::uintptr_t>(function);
}

struct names {
    std::vector<char> text = std::vector<char>(1 << 16);
    naming_memory memory{};
    name_pool pool{text.data(), text.size()};

    std::size_t find(module_file const& where, std::vector<address_query>& queries) {
        return name_addresses(where, queries.data(), queries.size(), memory, pool);
    }
    address_query one(object const& where, std::uintptr_t address) {
        std::vector<address_query> single(1);
        single[0].address = address - where.bias;
        find({where.path.c_str(), where.header}, single);
        return single[0];
    }
};

std::string read_file(char const* path) {
    std::string content;
    int const fd = ::open(path, O_RDONLY | O_CLOEXEC);
    REQUIRE(fd >= 0);
    char some[65536];
    for (ssize_t got; (got = ::read(fd, some, sizeof some)) > 0;)
        content.append(some, static_cast<std::size_t>(got));
    ::close(fd);
    return content;
}

class temporary_file {
  public:
    explicit temporary_file(std::string const& content) : fd_{::mkstemp(path_)} {
        REQUIRE(fd_ >= 0);
        REQUIRE(::write(fd_, content.data(), content.size()) == static_cast<ssize_t>(content.size()));
    }
    ~temporary_file() {
        ::close(fd_);
        ::unlink(path_);
    }
    char const* path() const { return path_; }
    int fd() const { return fd_; }

  private:
    char path_[32] = "/tmp/tocsin-symbols-XXXXXX";
    int fd_;
};

// A small ELF file with what a test wants in its tables.
struct made_symbol {
    std::string name;
    Elf64_Sym symbol;
};

Elf64_Sym symbol(unsigned char type, std::uint64_t value, std::uint64_t size, std::uint16_t section = 1,
                 unsigned char binding = STB_GLOBAL) {
    Elf64_Sym made{};
    made.st_info = static_cast<unsigned char>((binding << 4U) | type);
    made.st_value = value;
    made.st_size = size;
    made.st_shndx = section;
    return made;
}

std::string made_file(std::vector<made_symbol> const& symbols) {
    std::string strings(1, '\0');
    std::string table(sizeof(Elf64_Sym), '\0');
    for (made_symbol one : symbols) {
        one.symbol.st_name = static_cast<Elf64_Word>(strings.size());
        strings += one.name + '\0';
        table.append(reinterpret_cast<char const*>(&one.symbol), sizeof one.symbol);
    }
    Elf64_Ehdr header{};
    for (unsigned i = 0; i < SELFMAG; ++i) header.e_ident[i] = static_cast<unsigned char>(ELFMAG[i]);
    header.e_ident[EI_CLASS] = ELFCLASS64;
    header.e_ident[EI_DATA] = ELFDATA2LSB;
    header.e_shentsize = sizeof(Elf64_Shdr);
    header.e_shnum = 5;
    header.e_shoff = sizeof header;
    Elf64_Shdr sections[5]{};
    sections[1].sh_type = sections[2].sh_type = SHT_PROGBITS;
    sections[1].sh_flags = sections[2].sh_flags = SHF_ALLOC | SHF_EXECINSTR;
    sections[1].sh_addr = 0x1000;
    sections[1].sh_size = 0x8000;
    sections[2].sh_addr = 0x9000;
    sections[2].sh_size = 0x1000;
    sections[3].sh_type = SHT_SYMTAB;
    sections[3].sh_entsize = sizeof(Elf64_Sym);
    sections[3].sh_offset = sizeof header + sizeof sections;
    sections[3].sh_size = table.size();
    sections[3].sh_link = 4;
    sections[4].sh_type = SHT_STRTAB;
    sections[4].sh_offset = sections[3].sh_offset + table.size();
    sections[4].sh_size = strings.size();
    std::string file(reinterpret_cast<char const*>(&header), sizeof header);
    file.append(reinterpret_cast<char const*>(sections), sizeof sections);
    return file + table + strings;
}

std::string name_in(std::vector<made_symbol> const& symbols, std::uint64_t address) {
    temporary_file const file{made_file(symbols)};
    names answer;
    std::vector<address_query> queries(1);
    queries[0].address = address;
    answer.find({file.path()}, queries);
    return queries[0].found ? queries[0].name : "";
}

struct generator {
    std::uint64_t state = 7;
    std::size_t below(std::size_t limit) {
        state = state * 6'364'136'223'846'793'005U + 1'442'695'040'888'963'407U;
        return static_cast<std::size_t>(state >> 33U) % limit;
    }
};

}  // namespace

TEST_CASE("functions of this program have their names and offsets", "[symbolize]") {
    names answer;
    auto const plain = address_of(&tocsin_test_plain_name);
    address_query const named = answer.one(object_of(plain), plain + 3);
    REQUIRE(named.found);
    CHECK(std::string{named.name} == "tocsin_test_plain_name");
    CHECK(named.name_size == std::string{named.name}.size());
    CHECK(named.offset == 3);
    auto const instance = address_of(&known::function<char const*>);
    CHECK(std::string{answer.one(object_of(instance), instance).name} ==
          "int known::function<char const*>(char const*)");
    CHECK(known::widget{}.turn("") == 1);
}

TEST_CASE("functions of libraries without a full symbol table have their exported names", "[symbolize]") {
    names answer;
    auto const address = address_of(&::dl_iterate_phdr);
    address_query const named = answer.one(object_of(address), address + 1);
    REQUIRE(named.found);
    CHECK(std::string{named.name}.find("dl_iterate_phdr") != std::string::npos);
}

TEST_CASE("the vdso, which has no file, is read where it is mapped", "[symbolize]") {
    object vdso;
    ::dl_iterate_phdr(
        [](dl_phdr_info* info, std::size_t, void* data) {
            std::string const path = info->dlpi_name;
            if (path.find("vdso") == std::string::npos) return 0;
            *static_cast<object*>(data) = {path, info->dlpi_addr, info->dlpi_addr};
            return 1;
        },
        &vdso);
    if (vdso.header == 0) return;  // an emulator without one
    elf_image image;
    symbol_table table{};
    REQUIRE(image.open_memory(vdso.header));
    REQUIRE(image.find_loaded_symbols(table));
    Elf64_Sym function{};
    for (std::uint64_t i = 1; i < table.count && function.st_size == 0; ++i)
        REQUIRE(image.read(table.symbols + i * sizeof function, &function, sizeof function));
    names answer;
    std::vector<address_query> queries(1);
    queries[0].address = function.st_value;
    CHECK(answer.find({vdso.path.c_str(), vdso.header}, queries) == 1);
    CHECK(queries[0].name_size > 3);
}

TEST_CASE("many addresses are named in one pass and find their questions again", "[symbolize]") {
    std::vector<made_symbol> symbols;
    for (std::uint64_t i = 0; i < 1000; ++i)
        symbols.push_back({"f" + std::to_string(i), symbol(STT_FUNC, 0x1000 + 16 * i, 10)});
    temporary_file const file{made_file(symbols)};
    std::vector<address_query> queries(3000);
    generator next;
    std::vector<std::uint64_t> asked;
    for (std::size_t i = 0; i < queries.size(); ++i) {
        asked.push_back(0x1000 + next.below(16 * 1000));
        queries[i].address = asked.back();
        queries[i].tag = i;
    }
    names answer;
    std::size_t const found = answer.find({file.path()}, queries);
    std::size_t inside = 0;
    for (address_query const& one : queries) {
        REQUIRE(asked[one.tag] == one.address);
        std::uint64_t const offset = (one.address - 0x1000) % 16;
        REQUIRE(one.found == (offset < 10));
        inside += one.found;
        if (!one.found) continue;
        REQUIRE(std::string{one.name} == "f" + std::to_string((one.address - 0x1000) / 16));
        REQUIRE(one.offset == offset);
    }
    CHECK(found == inside);
    CHECK(answer.pool.used < 1000 * 5);  // equal names are kept once
}

TEST_CASE("a name is given only where the symbol reaches", "[symbolize]") {
    std::vector<made_symbol> const symbols{
        {"outer", symbol(STT_FUNC, 0x1000, 0x100)},
        {"inner", symbol(STT_FUNC, 0x1040, 0x10)},
        {"data", symbol(STT_OBJECT, 0x1200, 0x100)},
        {"unsized", symbol(STT_FUNC, 0x2000, 0)},
        {"sized", symbol(STT_FUNC, 0x2100, 0x10)},
        {"label", symbol(STT_NOTYPE, 0x3000, 0, 1, STB_LOCAL)},
        {"entry", symbol(STT_NOTYPE, 0x3100, 0)},
        {"last", symbol(STT_FUNC, 0x8ff0, 0)},
        {"away", symbol(STT_FUNC, 0x6000, 8, SHN_UNDEF)},
        {"wide", symbol(STT_FUNC, ~std::uint64_t{15}, 64)},
    };
    CHECK(name_in(symbols, 0x0fff).empty());
    CHECK(name_in(symbols, 0x1000) == "outer");
    CHECK(name_in(symbols, 0x1045) == "inner");
    CHECK(name_in(symbols, 0x1050) == "outer");
    CHECK(name_in(symbols, 0x10ff) == "outer");
    CHECK(name_in(symbols, 0x1100).empty());
    CHECK(name_in(symbols, 0x1210).empty());
    CHECK(name_in(symbols, 0x20ff) == "unsized");
    CHECK(name_in(symbols, 0x2108) == "sized");
    CHECK(name_in(symbols, 0x2110).empty());  // the end of `sized` is known, so it is not `unsized` either
    CHECK(name_in(symbols, 0x3050).empty());
    CHECK(name_in(symbols, 0x3110) == "entry");
    CHECK(name_in(symbols, 0x3100 + farthest_unsized) == "entry");
    CHECK(name_in(symbols, 0x3101 + farthest_unsized).empty());
    CHECK(name_in(symbols, 0x6004).empty());
    CHECK(name_in(symbols, 0x8fff) == "last");
    CHECK(name_in(symbols, 0x9000).empty());  // another section
    CHECK(name_in(symbols, ~std::uint64_t{0}) == "wide");
}

TEST_CASE("of several names the exported function's is taken, and versions are left out", "[symbolize]") {
    CHECK(name_in({{"local", symbol(STT_FUNC, 0x1000, 8, 1, STB_LOCAL)},
                   {"weak", symbol(STT_FUNC, 0x1000, 8, 1, STB_WEAK)},
                   {"global@@V_1", symbol(STT_FUNC, 0x1000, 8)},
                   {"mark", symbol(STT_NOTYPE, 0x1000, 8)}},
                  0x1001) == "global");
}

TEST_CASE("names that are not understood stay mangled and say so", "[symbolize]") {
    temporary_file const file{made_file({{"_Z1fIXEEvv", symbol(STT_FUNC, 0x1000, 8)},
                                         {"_Z1fv", symbol(STT_FUNC, 0x1010, 8)},
                                         {std::string(5000, 'x'), symbol(STT_FUNC, 0x1020, 8)}})};
    std::vector<address_query> queries(3);
    for (std::size_t i = 0; i < 3; ++i) queries[i].address = 0x1000 + 16 * i;
    names answer;
    REQUIRE(answer.find({file.path()}, queries) == 3);
    CHECK(std::string{queries[0].name} == "_Z1fIXEEvv");
    CHECK(queries[0].mangled);
    CHECK(std::string{queries[1].name} == "f()");
    CHECK_FALSE(queries[1].mangled);
    CHECK(queries[2].name_size == longest_symbol);
    CHECK(queries[2].name_cut);
}

TEST_CASE("when the room for names is used up, the rest is not found", "[symbolize]") {
    temporary_file const file{made_file(
        {{"first_name", symbol(STT_FUNC, 0x1000, 8)}, {"second_name", symbol(STT_FUNC, 0x1010, 8)}})};
    for (std::size_t room = 0; room < 24; ++room) {
        std::vector<address_query> queries(2);
        queries[0].address = 0x1000;
        queries[1].address = 0x1010;
        std::vector<char> text(room);
        names answer;
        answer.pool = {text.data(), text.size()};
        std::size_t const found = answer.find({file.path()}, queries);
        CAPTURE(room, found);
        CHECK(answer.pool.used <= room);
        CHECK(found == (room < 2 ? 0U : room < 13 ? 1U : 2U));
        CHECK(queries[0].name_cut == (room >= 2 && room < 11));
    }
}

TEST_CASE("a file that is not the one that was mapped names nothing", "[symbolize]") {
    auto const plain = address_of(&tocsin_test_plain_name);
    object const here = object_of(plain);
    std::string other = read_file("/proc/self/exe");
    build_id id{};
    REQUIRE(loaded_build_id(here.header, id));
    std::string const bytes(reinterpret_cast<char const*>(id.bytes), id.size);
    std::size_t const at = other.find(bytes);
    REQUIRE(at != std::string::npos);
    {
        temporary_file const same{other};
        names answer;
        std::vector<address_query> queries(1);
        queries[0].address = plain - here.bias;
        CHECK(answer.find({same.path(), here.header}, queries) == 1);
    }
    other[at] = static_cast<char>(other[at] ^ 1);
    temporary_file const changed{other};
    names answer;
    std::vector<address_query> queries(1);
    queries[0].address = plain - here.bias;
    CHECK(answer.find({changed.path(), here.header}, queries) == 0);
    CHECK(answer.find({"/nonexistent", here.header}, queries) == 0);
    CHECK(answer.find({"/nonexistent"}, queries) == 0);
}

TEST_CASE("a separate debug file beside a stripped program has the names", "[symbolize]") {
    // Stripped: the same file without a symbol table, with a link to a file that has one.
    auto const plain = address_of(&tocsin_test_plain_name);
    object const here = object_of(plain);
    std::string const full = read_file("/proc/self/exe");
    char directory[] = "/tmp/tocsin-symbols-XXXXXX";
    REQUIRE(::mkdtemp(directory) != nullptr);
    std::string const base = directory;
    std::string const debug = base + "/.debug";
    REQUIRE(::mkdir(debug.c_str(), 0700) == 0);
    auto const save = [](std::string const& path, std::string const& content) {
        int const fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        CHECK(::write(fd, content.data(), content.size()) == static_cast<ssize_t>(content.size()));
        ::close(fd);
    };
    Elf64_Ehdr header{};
    std::memcpy(&header, full.data(), sizeof header);
    std::string stripped = full;
    Elf64_Shdr table{};
    for (unsigned i = 0; i < header.e_shnum; ++i) {
        std::size_t const at = header.e_shoff + i * sizeof table;
        std::memcpy(&table, full.data() + at, sizeof table);
        if (table.sh_type != SHT_SYMTAB) continue;
        // Becomes the link: its name is put at the end of the section names, which grow at the file's end.
        Elf64_Shdr strings{};
        std::size_t const strings_at = header.e_shoff + header.e_shstrndx * sizeof strings;
        std::memcpy(&strings, full.data() + strings_at, sizeof strings);
        std::string section_names = full.substr(strings.sh_offset, strings.sh_size);
        table.sh_type = SHT_PROGBITS;
        table.sh_name = static_cast<Elf64_Word>(section_names.size());
        section_names += std::string{".gnu_debuglink"} + '\0';
        strings.sh_offset = stripped.size();
        strings.sh_size = section_names.size();
        stripped += section_names;
        table.sh_offset = stripped.size();
        table.sh_size = 16;
        stripped += std::string{"program.debug"} + std::string(3, '\0');
        std::memcpy(stripped.data() + at, &table, sizeof table);
        std::memcpy(stripped.data() + strings_at, &strings, sizeof strings);
    }
    std::string const program = base + "/program";
    save(program, stripped);
    names answer;
    std::vector<address_query> queries(1);
    queries[0].address = plain - here.bias;
    std::size_t const before = answer.find({program.c_str()}, queries);
    save(debug + "/program.debug", full);
    std::size_t const with_link = answer.find({program.c_str()}, queries);
    // As the loader knows most libraries, and everybody the program itself: by a link that lies somewhere else.
    std::string const aside = base + "/aside";
    std::string const loaders = aside + "/program";
    REQUIRE(::mkdir(aside.c_str(), 0700) == 0);
    REQUIRE(::symlink("../program", loaders.c_str()) == 0);
    std::vector<address_query> by_link(1);
    by_link[0].address = plain - here.bias;
    std::size_t const through_link = answer.find({loaders.c_str()}, by_link);
    ::unlink(loaders.c_str());
    ::rmdir(aside.c_str());
    ::unlink((debug + "/program.debug").c_str());
    ::unlink(program.c_str());
    ::rmdir(debug.c_str());
    ::rmdir(directory);
    if (full == stripped) return;  // the tests themselves were stripped
    CHECK(before == 0);
    REQUIRE(with_link == 1);
    CHECK(std::string{queries[0].name} == "tocsin_test_plain_name");
    REQUIRE(through_link == 1);
    CHECK(std::string{by_link[0].name} == "tocsin_test_plain_name");
}

TEST_CASE("an object whose file is gone still has its exported names", "[symbolize]") {
    auto const address = address_of(&::dl_iterate_phdr);
    object const where = object_of(address);
    names answer;
    std::vector<address_query> queries(1);
    queries[0].address = address - where.bias;
    REQUIRE(answer.find({"/nonexistent", where.header}, queries) == 1);
    CHECK(std::string{queries[0].name}.find("dl_iterate_phdr") != std::string::npos);
}

TEST_CASE("the build-id of a file and of its mapping are the same", "[symbolize]") {
    object const here = object_of(address_of(&tocsin_test_plain_name));
    build_id loaded{};
    build_id file{};
    REQUIRE(loaded_build_id(here.header, loaded));
    REQUIRE(file_build_id("/proc/self/exe", file));
    CHECK(loaded.same_as(file));
    CHECK(loaded.size >= 8);
    CHECK_FALSE(loaded_build_id(8, loaded));
    CHECK_FALSE(loaded.known());
    CHECK_FALSE(file_build_id("/dev/null", file));
}

TEST_CASE("a FIFO, a directory or a device in place of the file holds nobody", "[symbolize]") {
    char directory[] = "/tmp/tocsin-symbols-XXXXXX";
    REQUIRE(::mkdtemp(directory) != nullptr);
    std::string const fifo = std::string{directory} + "/fifo";
    REQUIRE(::mkfifo(fifo.c_str(), 0600) == 0);
    names answer;
    std::vector<address_query> queries(1);
    for (std::string const& path : {fifo, std::string{directory}, std::string{"/dev/zero"}})
        CHECK(answer.find({path.c_str()}, queries) == 0);
    ::unlink(fifo.c_str());
    ::rmdir(directory);
}

TEST_CASE("what cannot be an ELF file is not even opened", "[symbolize]") {
    char directory[] = "/tmp/tocsin-symbols-XXXXXX";
    REQUIRE(::mkdtemp(directory) != nullptr);
    std::string const base = directory;
    std::string const fifo = base + "/fifo";
    std::string const little = base + "/little";
    REQUIRE(::mkfifo(fifo.c_str(), 0600) == 0);
    int const file = ::open(little.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    REQUIRE(::write(file, ELFMAG, SELFMAG) == SELFMAG);
    int const openings = ::inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    REQUIRE(::inotify_add_watch(openings, directory, IN_OPEN) >= 0);
    build_id id{};
    CHECK_FALSE(file_build_id(fifo.c_str(), id));
    CHECK_FALSE(file_build_id(little.c_str(), id));
    char event[4096];
    CHECK(::read(openings, event, sizeof event) == -1);  // opening a FIFO would let a waiting writer go on
    REQUIRE(::write(file, std::string(60, ' ').data(), 60) == 60);
    CHECK_FALSE(file_build_id(little.c_str(), id));
    CHECK(::read(openings, event, sizeof event) > 0);  // so the watch works
    ::close(openings);
    ::close(file);
    ::unlink(little.c_str());
    ::unlink(fifo.c_str());
    ::rmdir(directory);
}

TEST_CASE("a section table that is not loaded is not looked for in memory", "[symbolize]") {
    // One page of headers, of which only the first half is the object's.
    struct note {
        Elf64_Nhdr head;
        char name[4];
        unsigned char id[8];
    };
    struct object_in_memory {
        Elf64_Ehdr header;
        Elf64_Phdr load, note_segment;
        note real;
        Elf64_Shdr sections[2];
        note wrong;
    };
    static object_in_memory mapped{};
    mapped = {};
    for (unsigned i = 0; i < SELFMAG; ++i) mapped.header.e_ident[i] = static_cast<unsigned char>(ELFMAG[i]);
    mapped.header.e_ident[EI_CLASS] = ELFCLASS64;
    mapped.header.e_ident[EI_DATA] = ELFDATA2LSB;
    mapped.header.e_phentsize = sizeof(Elf64_Phdr);
    mapped.header.e_phnum = 2;
    mapped.header.e_phoff = offsetof(object_in_memory, load);
    mapped.header.e_shentsize = sizeof(Elf64_Shdr);
    mapped.header.e_shnum = 2;
    mapped.header.e_shoff = offsetof(object_in_memory, sections);
    mapped.load.p_type = PT_LOAD;
    mapped.load.p_filesz = offsetof(object_in_memory, sections);
    mapped.note_segment.p_type = PT_NOTE;
    mapped.note_segment.p_vaddr = offsetof(object_in_memory, real);
    mapped.note_segment.p_filesz = sizeof(note);
    mapped.real = {{4, 8, NT_GNU_BUILD_ID}, {'G', 'N', 'U', 0}, {1, 2, 3, 4, 5, 6, 7, 8}};
    mapped.wrong = {{4, 8, NT_GNU_BUILD_ID}, {'G', 'N', 'U', 0}, {9, 9, 9, 9, 9, 9, 9, 9}};
    mapped.sections[1].sh_type = SHT_NOTE;
    mapped.sections[1].sh_offset = offsetof(object_in_memory, wrong);
    mapped.sections[1].sh_size = sizeof(note);
    build_id id{};
    REQUIRE(loaded_build_id(reinterpret_cast<std::uintptr_t>(&mapped), id));
    CHECK(id.bytes[0] == 1);
    mapped.load.p_filesz = sizeof mapped;  // as the vdso's
    REQUIRE(loaded_build_id(reinterpret_cast<std::uintptr_t>(&mapped), id));
    CHECK(id.bytes[0] == 9);
}

TEST_CASE("damaged and shortened files are survived", "[symbolize]") {
    std::vector<made_symbol> symbols;
    for (std::uint64_t i = 0; i < 20; ++i)
        symbols.push_back({"_Z1fILi" + std::to_string(i) + "EEvv", symbol(STT_FUNC, 0x1000 + 16 * i, 16)});
    std::string const whole = made_file(symbols);
    generator next;
    temporary_file const file{whole};
    for (int round = 0; round < 3000; ++round) {
        std::string bad = whole;
        if (next.below(4) == 0) bad.resize(next.below(bad.size()));
        for (std::size_t edits = next.below(6); edits != 0 && !bad.empty(); --edits) {
            // Mostly where offsets and sizes are.
            std::size_t const at = next.below(next.below(3) != 0 ? 64 + 5 * 64 : bad.size()) % bad.size();
            bad[at] = static_cast<char>(next.below(3) == 0 ? 0xff : next.below(256));
        }
        REQUIRE(::ftruncate(file.fd(), 0) == 0);
        REQUIRE(::pwrite(file.fd(), bad.data(), bad.size(), 0) == static_cast<ssize_t>(bad.size()));
        std::vector<address_query> queries(3);
        queries[0].address = 0x1008;
        queries[1].address = 0x1138;
        queries[2].address = next.below(0x10000);
        names answer;
        answer.find({file.path()}, queries);
        REQUIRE(answer.pool.used <= answer.pool.capacity);
    }
}

TEST_CASE("a deadline that has passed ends the search", "[symbolize]") {
    std::vector<made_symbol> symbols;
    for (std::uint64_t i = 0; i < 5000; ++i) symbols.push_back({"a", symbol(STT_FUNC, 0x1000, 1)});
    symbols.push_back({"far", symbol(STT_FUNC, 0x2000, 8)});
    temporary_file const file{made_file(symbols)};
    names answer;
    address_query query;
    query.address = 0x2000;
    CHECK(name_addresses({file.path()}, &query, 1, answer.memory, answer.pool, 1) == 0);
    CHECK(name_addresses({file.path()}, &query, 1, answer.memory, answer.pool) == 1);
}
