// SPDX-License-Identifier: MIT
// Names for addresses: the functions that hold them, from the symbol tables of an object.
//
// Runs in the handler. Takes no heap and little stack: the caller lends memory. All addresses of one object
// are named in one pass over each table, so that the cost is that of reading the table. A name is given only
// if the symbol's extent holds the address; without an extent only close by in the same section. A file is
// used only if it is the one that was mapped (build-id, else the ELF header). Names come from a file and are
// untrusted: print them escaped. Tried in turn: .symtab, a separate debug file by build-id or debug link,
// .dynsym, the loader's tables in memory.
#pragma once

#include <tocsin/in_signal/demangle.hpp>
#include <tocsin/in_signal/elf.hpp>

namespace tocsin::in_signal {

// Characters of a name that are kept.
inline constexpr std::size_t longest_symbol = 1024;
// How far behind a symbol of unknown size an address may be.
inline constexpr std::uint64_t farthest_unsized = 4096;

// One symbol that may be the answer.
struct symbol_choice {
    std::uint64_t value;
    std::uint64_t size;
    std::uint32_t name;
    std::uint16_t section;
    std::uint8_t rank;
    bool any;
};

// One question, and its answer. Arrays of them are put into another order: `tag` is the caller's.
struct address_query {
    std::uint64_t address = 0;  // in the object: its bias subtracted, and 1 for a return address
    std::size_t tag = 0;

    char const* name = nullptr;  // in the pool, ends with a zero
    std::size_t name_size = 0;
    std::uint64_t offset = 0;  // of `address` in the function
    bool found = false;
    bool name_cut = false;
    bool mangled = false;  // begins with _Z and was not understood

    symbol_choice around{};  // while searching: holds the address
    symbol_choice before{};  // while searching: last before the address, and after the query before it
};

// Memory to work in; needs no initialisation.
struct naming_memory {
    static constexpr std::size_t scratch_size = 16 * 1024;
    alignas(8) unsigned char scratch[scratch_size];
    demangle_tree tree;
};

// Where names are kept.
struct name_pool {
    char* memory;
    std::size_t capacity;
    std::size_t used = 0;
};

// The object that the addresses are in.
struct module_file {
    char const* path;           // "": the program's own file
    std::uintptr_t header = 0;  // where its ELF header is mapped; 0: not known, the file is taken as it is
};

class address_namer {
  public:
    // `deadline`: of monotonic(), 0 for none. Only the reading of tables is bounded by it.
    address_namer(address_query* queries, std::size_t count, naming_memory& memory, name_pool& pool,
                  std::uint64_t deadline) noexcept
        : queries_{queries}, count_{count}, memory_{memory}, pool_{pool}, deadline_{deadline} {}

    std::size_t name_all(module_file const& module) noexcept;

  private:
    static constexpr std::uint64_t most_symbols = 20'000'000;
    static constexpr std::uint64_t most_steps = 100'000'000;
    static constexpr std::size_t longest_read = 4096;  // of a mangled name
    static constexpr std::size_t usual_read = 256;

    void sort() noexcept;
    void sink(std::size_t root, std::size_t end) noexcept;
    bool from_table(elf_image& image, symbol_table const& table) noexcept;
    bool from_sections(elf_image& image, std::uint32_t type) noexcept;
    void from_debug_files(elf_image& image, char const* path, build_id const& id) noexcept;
    void from_linked_file(elf_image& image, char const* path, build_id const& id) noexcept;
    bool from_debug_file(line const& path, build_id const& id) noexcept;
    bool is_mapped_one(elf_image& image, std::uintptr_t header, build_id& id) noexcept;
    bool scan(elf_image& image, symbol_table const& table) noexcept;
    void consider(elf::symbol const& symbol) noexcept;
    void answer(elf_image& image, symbol_table const& table) noexcept;
    bool close_enough(elf_image& image, symbol_choice const& choice, std::uint64_t address) noexcept;
    void give_name(elf_image& image, symbol_table const& table, address_query& query,
                   symbol_choice const& choice) noexcept;
    bool store_name(elf_image& image, symbol_table const& table, address_query& query,
                    std::uint64_t at) noexcept;
    bool all_found() const noexcept { return found_ == count_; }

    address_query* queries_;
    std::size_t count_;
    naming_memory& memory_;
    name_pool& pool_;
    std::uint64_t deadline_;
    std::uint64_t steps_ = 0;
    std::size_t found_ = 0;
    address_query const* last_named_ = nullptr;
    std::uint64_t last_value_ = 0;
};

// Names what it can and returns how many. The queries come back in the order of their addresses.
inline std::size_t name_addresses(module_file const& module, address_query* queries, std::size_t count,
                                  naming_memory& memory, name_pool& pool,
                                  std::uint64_t deadline = 0) noexcept {
    return address_namer{queries, count, memory, pool, deadline}.name_all(module);
}

inline std::size_t address_namer::name_all(module_file const& module) noexcept {
    if (count_ == 0) return 0;
    sort();
    char first = '\0';
    careful_reader{}.read(reinterpret_cast<std::uintptr_t>(module.path), first);
    char const* const path = first == '\0' ? "/proc/self/exe" : module.path;
    {
        elf_image image;
        build_id id{};
        if (image.open_file(path) && is_mapped_one(image, module.header, id)) {
            if (!from_sections(image, elf::symbols_section)) from_debug_files(image, path, id);
            if (!all_found()) from_sections(image, elf::dynamic_symbols_section);
        }
    }
    elf_image loaded;
    if (all_found() || !loaded.open_memory(module.header)) return found_;
    symbol_table table{};
    if (!from_sections(loaded, elf::dynamic_symbols_section) && loaded.find_loaded_symbols(table))
        from_table(loaded, table);
    return found_;
}

// A file replaced since it was mapped has other addresses: its names would be wrong. Tells the file's build-id.
inline bool address_namer::is_mapped_one(elf_image& image, std::uintptr_t header, build_id& id) noexcept {
    image.find_build_id(id);
    if (header == 0) return true;
    elf_image loaded;
    if (!loaded.open_memory(header)) return false;
    build_id in_memory{};
    if (loaded.find_build_id(in_memory)) return id.same_as(in_memory);
    auto const* const a = reinterpret_cast<unsigned char const*>(&image.header());
    auto const* const b = reinterpret_cast<unsigned char const*>(&loaded.header());
    for (std::size_t i = 0; i < sizeof(elf::file_header); ++i)
        if (a[i] != b[i]) return false;
    return true;
}

inline bool address_namer::from_sections(elf_image& image, std::uint32_t type) noexcept {
    symbol_table table{};
    return image.find_symbols(type, table) && from_table(image, table);
}

// True if the table was read, whether or not it knew anything.
inline bool address_namer::from_table(elf_image& image, symbol_table const& table) noexcept {
    for (std::size_t i = 0; i < count_; ++i) queries_[i].around = queries_[i].before = {};
    if (table.count == 0 || !scan(image, table)) return false;
    answer(image, table);
    return true;
}

// Where debuggers look (gdb manual, "Debugging Information in Separate Files"). Only with the same build-id.
// The paths are in the scratch memory, which is used for something else only once a file is the right one.
inline void address_namer::from_debug_files(elf_image& image, char const* path, build_id const& id) noexcept {
    if (id.size < 2) return;
    auto* const text = reinterpret_cast<char*>(memory_.scratch);
    line candidate{text, longest_read};
    candidate.text("/usr/lib/debug/.build-id/").bytes(id.bytes, 1).character('/');
    candidate.bytes(id.bytes + 1, id.size - 1).text(".debug").character('\0');
    if (from_debug_file(candidate, id)) return;
    // Beside the file itself: the loader's path is often that of a symbolic link somewhere else, and in the
    // directory of /proc/self/exe nobody puts anything. By the thread, as the process has no descriptors left
    // when its main thread has ended.
    candidate.clear().text("/proc/thread-self/fd/").decimal(image.fd()).character('\0');
    char* const real = text + 2 * longest_read;
    long const length = system_call(SYS_readlinkat, AT_FDCWD, as_word(text), as_word(real), longest_read - 1);
    if (length > 0) real[length] = '\0';
    from_linked_file(image, length > 0 && real[0] == '/' ? real : path, id);
}

// By the name in the file, in the directories that belong to `path`.
inline void address_namer::from_linked_file(elf_image& image, char const* path, build_id const& id) noexcept {
    auto* const text = reinterpret_cast<char*>(memory_.scratch);
    char* const name = text + longest_read;
    std::size_t directory = 0;
    for (std::size_t i = 0; i < longest_read && path[i] != '\0'; ++i)
        if (path[i] == '/') directory = i + 1;
    if (directory == 0 || !image.find_debug_link(name, 256)) return;
    for (std::size_t i = 0; name[i] != '\0'; ++i)
        if (name[i] == '/') return;
    line candidate{text, longest_read};
    candidate.text(path, directory).text(name).character('\0');
    if (from_debug_file(candidate, id)) return;
    candidate.clear().text(path, directory).text(".debug/").text(name).character('\0');
    if (from_debug_file(candidate, id)) return;
    candidate.clear().text("/usr/lib/debug").text(path, directory).text(name).character('\0');
    from_debug_file(candidate, id);
}

inline bool address_namer::from_debug_file(line const& path, build_id const& id) noexcept {
    elf_image image;
    build_id own{};
    if (path.cut() || !image.open_file(path.data()) || !image.find_build_id(own) || !own.same_as(id))
        return false;
    return from_sections(image, elf::symbols_section);
}

// Heap sort: no recursion, no memory, no bad case.
inline void address_namer::sort() noexcept {
    for (std::size_t i = count_ / 2; i != 0; --i) sink(i - 1, count_);
    for (std::size_t end = count_; end > 1; --end) {
        address_query const largest = queries_[0];
        queries_[0] = queries_[end - 1];
        queries_[end - 1] = largest;
        sink(0, end - 1);
    }
}

inline void address_namer::sink(std::size_t root, std::size_t end) noexcept {
    for (;;) {
        std::size_t child = 2 * root + 1;
        if (child >= end) return;
        if (child + 1 < end && queries_[child].address < queries_[child + 1].address) ++child;
        if (queries_[root].address >= queries_[child].address) return;
        address_query const swapped = queries_[root];
        queries_[root] = queries_[child];
        queries_[child] = swapped;
        root = child;
    }
}

inline bool address_namer::scan(elf_image& image, symbol_table const& table) noexcept {
    constexpr std::size_t batch = naming_memory::scratch_size / sizeof(elf::symbol);
    std::uint64_t const count = table.count < most_symbols ? table.count : most_symbols;
    for (std::uint64_t index = 0; index < count; index += batch) {
        std::uint64_t const left = count - index;
        std::size_t const wanted = (left < batch ? left : batch) * sizeof(elf::symbol);
        std::uint64_t const from = table.symbols + index * sizeof(elf::symbol);
        std::size_t const got = image.read_some(from, memory_.scratch, wanted);
        for (std::size_t at = 0; at + sizeof(elf::symbol) <= got; at += sizeof(elf::symbol)) {
            elf::symbol symbol;
            __builtin_memcpy(&symbol, memory_.scratch + at, sizeof symbol);
            consider(symbol);
        }
        if (got < wanted || steps_ > most_steps) break;
        if (deadline_ != 0 && monotonic() > deadline_) break;
    }
    return true;
}

inline void address_namer::consider(elf::symbol const& symbol) noexcept {
    ++steps_;
    // The many that lie behind all addresses, or end before the first and are not the nearest there.
    std::uint64_t const value = symbol.st_value;
    std::uint64_t const first = queries_[0].address;
    if (value > queries_[count_ - 1].address) return;
    symbol_choice const& nearest = queries_[0].before;
    if (value < first && first - value >= symbol.st_size && nearest.any && value < nearest.value) return;
    unsigned const type = symbol.type();
    unsigned const binding = symbol.binding();
    bool const function = type == elf::function_symbol || type == elf::resolved_symbol;
    // Without type and size only what other files can see is a function's name, not a label inside one.
    bool const label = type == elf::untyped_symbol && (symbol.st_size != 0 || binding != elf::local_binding);
    if ((!function && !label) || symbol.st_shndx == elf::nowhere || symbol.st_shndx == elf::in_no_section)
        return;
    std::size_t low = 0;
    for (std::size_t high = count_; low < high;) {
        std::size_t const middle = low + (high - low) / 2;
        if (queries_[middle].address < value)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == count_) return;
    unsigned const visible = binding == elf::global_binding ? 2 : binding == elf::weak_binding ? 1 : 0;
    symbol_choice const choice{value,
                               symbol.st_size,
                               symbol.st_name,
                               symbol.st_shndx,
                               static_cast<std::uint8_t>((function ? 4U : 0U) + visible),
                               true};
    symbol_choice& before = queries_[low].before;
    // Of two at one place the one with an extent knows where the function ends.
    bool const knows_more =
        (choice.size != 0) != (before.size != 0) ? choice.size != 0 : choice.rank > before.rank;
    if (!before.any || value > before.value || (value == before.value && knows_more)) before = choice;
    for (std::size_t i = low; i < count_ && queries_[i].address - value < symbol.st_size; ++i, ++steps_) {
        if (steps_ > most_steps) return;
        symbol_choice& around = queries_[i].around;
        if (!around.any || value > around.value || (value == around.value && choice.rank > around.rank))
            around = choice;
    }
}

inline void address_namer::answer(elf_image& image, symbol_table const& table) noexcept {
    symbol_choice before{};
    last_named_ = nullptr;
    for (std::size_t i = 0; i < count_; ++i) {
        address_query& query = queries_[i];
        if (query.before.any) before = query.before;
        if (query.found) continue;
        if (query.around.any)
            give_name(image, table, query, query.around);
        else if (before.any && before.size == 0 && table.has_sections &&
                 close_enough(image, before, query.address))
            give_name(image, table, query, before);
    }
}

inline bool address_namer::close_enough(elf_image& image, symbol_choice const& choice,
                                        std::uint64_t address) noexcept {
    elf::section section{};
    return address - choice.value <= farthest_unsized && image.section(choice.section, section) &&
           (section.sh_flags & elf::section_is_code) != 0 && choice.value >= section.sh_addr &&
           address - section.sh_addr < section.sh_size;
}

inline void address_namer::give_name(elf_image& image, symbol_table const& table, address_query& query,
                                     symbol_choice const& choice) noexcept {
    bool const again = last_named_ != nullptr && last_value_ == choice.value;
    if (again) {
        query.name = last_named_->name;
        query.name_size = last_named_->name_size;
        query.name_cut = last_named_->name_cut;
        query.mangled = last_named_->mangled;
    } else if (!store_name(image, table, query, choice.name)) {
        return;
    }
    query.offset = query.address - choice.value;
    query.found = true;
    ++found_;
    last_named_ = &query;
    last_value_ = choice.value;
}

// Reads a name, makes it readable and keeps it in the pool.
inline bool address_namer::store_name(elf_image& image, symbol_table const& table, address_query& query,
                                      std::uint64_t at) noexcept {
    if (at == 0 || at >= table.strings_size || pool_.capacity - pool_.used < 2) return false;
    std::uint64_t const left = table.strings_size - at;
    auto* const text = reinterpret_cast<char*>(memory_.scratch);
    std::size_t got = image.read_some(table.strings + at, text, left < usual_read ? left : usual_read);
    std::size_t size = length_of(text, got);
    if (size == usual_read) {
        got = image.read_some(table.strings + at, text, left < longest_read ? left : longest_read);
        size = length_of(text, got);
    }
    bool const whole = size < got;
    for (std::size_t i = 1; i < size; ++i)
        if (text[i] == '@') size = i;  // "name@@VERSION"
    if (size == 0) return false;
    std::size_t const room = pool_.capacity - pool_.used - 1;
    std::size_t const most = room < longest_symbol ? room : longest_symbol;
    char* const to = pool_.memory + pool_.used;
    query.mangled = size > 2 && text[0] == '_' && text[1] == 'Z';
    demangled const result = query.mangled && whole
                                 ? demangle(text, size, memory_.tree, to, most, query.name_size)
                                 : demangled::refused;
    query.name_cut = result == demangled::cut;
    if (result == demangled::refused) {
        query.name_size = size < most ? size : most;
        query.name_cut = !whole || query.name_size < size;
        __builtin_memcpy(to, text, query.name_size);
    } else {
        query.mangled = false;
    }
    to[query.name_size] = '\0';
    pool_.used += query.name_size + 1;
    query.name = to;
    return true;
}

}  // namespace tocsin::in_signal
