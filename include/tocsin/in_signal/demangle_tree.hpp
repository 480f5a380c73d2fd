// SPDX-License-Identifier: MIT
// The parts of a mangled name as a tree in fixed memory.
//
// Runs in the handler. Between reading a name and printing it lies this tree, because C++ prints what is
// read first (a return type, a pointer to a function) around what is read later. Parts are numbered, refer
// to each other by number and to the mangled text by offset: 8 bytes each. When the memory is used up, the
// name is refused.
#pragma once

#include <cstddef>
#include <cstdint>

namespace tocsin::in_signal {

// The number of a part; 0 is none, and what every reading function returns when it does not understand.
using part_number = std::uint16_t;

enum class part : std::uint8_t {
    none,
    identifier,     // first = offset, second = length in the mangled text
    word,           // first = index in demangle_words
    anonymous,      // (anonymous namespace)
    qualified,      // first::second
    instance,       // first<second>
    list,           // first = item, second = rest of the list
    argument_pack,  // first = list: prints all
    parameter,      // second = index in the arguments of the function being printed, flags = value
    expansion,      // first, once for each element of the packs inside
    constructor,    // first = the class's own name
    destructor,
    operator_name,  // first = index in demangle_operators
    conversion,     // operator first
    literal_operator,
    tagged,  // first[abi:second]
    qualified_type,
    pointer,
    lvalue_reference,
    rvalue_reference,
    complex,
    imaginary,
    function,        // first = result or 0, second = list, flags = qualifiers
    array,           // first = element, second = bound or 0
    member_pointer,  // first = class, second = member
    vendor_qualified,
    vector,   // first = element, second = number
    literal,  // first = type, second = offset, third = length, flags = negative
    braced,   // first = type, second = list: a value of a class, or an array in one
    address,  // of first
    lambda,   // first = list, second = number
    unnamed,  // second = number
    local,    // first = function, second = entity
    string_literal,
    default_argument,  // first = entity, second = number
    special,           // first = index in demangle_words, second = what it is for
    construction_vtable,
    reference_temporary,
    encoding,  // first = name, second = function
    clone,     // first = encoding, second = offset, third = length
};

// Flags of a type or a function.
inline constexpr std::uint8_t is_const = 1;
inline constexpr std::uint8_t is_volatile = 2;
inline constexpr std::uint8_t is_restrict = 4;
inline constexpr std::uint8_t is_lvalue = 8;
inline constexpr std::uint8_t is_rvalue = 16;
inline constexpr std::uint8_t is_noexcept = 32;
inline constexpr std::uint8_t is_transaction_safe = 64;
// Flag of a literal.
inline constexpr std::uint8_t is_negative = 1;
// Flag of a parameter.
inline constexpr std::uint8_t is_value = 1;

struct demangle_part {
    part kind;
    std::uint8_t flags;
    std::uint16_t first;
    std::uint16_t second;
    std::uint16_t third;
};

// The memory of one demangling, 10 KiB. Needs no initialisation and can be used again at once.
struct demangle_tree {
    static constexpr std::size_t most_parts = 1024;
    static constexpr std::size_t most_substitutions = 384;

    demangle_part parts[most_parts];
    part_number substitutions[most_substitutions];
    std::uint16_t part_count;
    std::uint16_t substitution_count;

    void clear() noexcept {
        parts[0] = {};
        part_count = 1;
        substitution_count = 0;
    }

    part_number add(part kind, part_number first = 0, part_number second = 0, std::uint16_t third = 0,
                    std::uint8_t flags = 0) noexcept {
        if (part_count >= most_parts) return 0;
        parts[part_count] = {kind, flags, first, second, third};
        return part_count++;
    }

    bool remember(part_number number) noexcept {
        if (number == 0 || substitution_count >= most_substitutions) return false;
        substitutions[substitution_count++] = number;
        return true;
    }
};

// Words with a meaning of their own, by what stands for them: builtin types (itanium-cxx-abi, 5.1.5.2) by
// their letter, those of two letters after 'D', standard abbreviations after 'S', special names after 'T'
// and 'G'.
struct demangle_word {
    char code[3];
    char const* text;
};

[[gnu::visibility("hidden")]] inline constexpr demangle_word demangle_words[] = {
    {"", ""},
    {"v", "void"},
    {"w", "wchar_t"},
    {"b", "bool"},
    {"c", "char"},
    {"a", "signed char"},
    {"h", "unsigned char"},
    {"s", "short"},
    {"t", "unsigned short"},
    {"i", "int"},
    {"j", "unsigned int"},
    {"l", "long"},
    {"m", "unsigned long"},
    {"x", "long long"},
    {"y", "unsigned long long"},
    {"n", "__int128"},
    {"o", "unsigned __int128"},
    {"f", "float"},
    {"d", "double"},
    {"e", "long double"},
    {"g", "__float128"},
    {"z", "..."},
    {"Da", "auto"},
    {"Dc", "decltype(auto)"},
    {"Dn", "decltype(nullptr)"},
    {"Di", "char32_t"},
    {"Ds", "char16_t"},
    {"Du", "char8_t"},
    {"Dd", "decimal64"},
    {"De", "decimal128"},
    {"Df", "decimal32"},
    {"St", "std"},
    {"Sa", "std::allocator"},
    {"Sb", "std::basic_string"},
    {"Ss", "std::string"},
    {"Si", "std::istream"},
    {"So", "std::ostream"},
    {"Sd", "std::iostream"},
    {"TV", "vtable for "},
    {"TT", "VTT for "},
    {"TI", "typeinfo for "},
    {"TS", "typeinfo name for "},
    {"TH", "TLS init function for "},
    {"TW", "TLS wrapper function for "},
    {"Th", "non-virtual thunk to "},
    {"Tv", "virtual thunk to "},
    {"Tc", "covariant return thunk to "},
    {"GV", "guard variable for "},
    {"Gt", "transaction clone for "},
    {"Gn", "non-transaction clone for "},
    {"1s", "std::basic_string<char, std::char_traits<char>, std::allocator<char> >"},
    {"1i", "std::basic_istream<char, std::char_traits<char> >"},
    {"1o", "std::basic_ostream<char, std::char_traits<char> >"},
    {"1d", "std::basic_iostream<char, std::char_traits<char> >"},
    {"2a", "allocator"},
    {"2b", "basic_string"},
    {"2s", "basic_string"},
    {"2i", "basic_istream"},
    {"2o", "basic_ostream"},
    {"2d", "basic_iostream"},
};

// The same for operators (5.1.4). A name that begins with a letter is set off by a space.
[[gnu::visibility("hidden")]] inline constexpr demangle_word demangle_operators[] = {
    {"", ""},      {"nw", "new"}, {"na", "new[]"}, {"dl", "delete"}, {"da", "delete[]"}, {"aw", "co_await"},
    {"ps", "+"},   {"ng", "-"},   {"ad", "&"},     {"de", "*"},      {"co", "~"},        {"pl", "+"},
    {"mi", "-"},   {"ml", "*"},   {"dv", "/"},     {"rm", "%"},      {"an", "&"},        {"or", "|"},
    {"eo", "^"},   {"aS", "="},   {"pL", "+="},    {"mI", "-="},     {"mL", "*="},       {"dV", "/="},
    {"rM", "%="},  {"aN", "&="},  {"oR", "|="},    {"eO", "^="},     {"ls", "<<"},       {"rs", ">>"},
    {"lS", "<<="}, {"rS", ">>="}, {"eq", "=="},    {"ne", "!="},     {"lt", "<"},        {"gt", ">"},
    {"le", "<="},  {"ge", ">="},  {"ss", "<=>"},   {"nt", "!"},      {"aa", "&&"},       {"oo", "||"},
    {"pp", "++"},  {"mm", "--"},  {"cm", ","},     {"pm", "->*"},    {"pt", "->"},       {"cl", "()"},
    {"ix", "[]"},  {"qu", "?"},
};

// The index of the word that `a` and `b` stand for (b is 0 for one letter); 0 if there is none.
template <std::size_t Size>
constexpr std::uint16_t demangle_find(demangle_word const (&words)[Size], char a, char b) noexcept {
    for (std::size_t i = 1; i < Size; ++i)
        if (words[i].code[0] == a && words[i].code[1] == b) return static_cast<std::uint16_t>(i);
    return 0;
}

}  // namespace tocsin::in_signal
