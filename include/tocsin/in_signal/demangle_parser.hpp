// SPDX-License-Identifier: MIT
// Reads a mangled name into a tree: what the readers of names, types and expressions share.
//
// Runs in the handler. A recursive reader of the grammar of the Itanium C++ ABI (section 5.1). The text is
// not trusted: every look ahead is checked, numbers are bounded, and recursion ends when a given number of
// bytes of stack is used up, whatever the compiler made of these functions. What it does not know, it
// refuses; it never guesses.
#pragma once

#include <tocsin/in_signal/demangle_tree.hpp>

namespace tocsin::in_signal {

// How much of the stack a recursion has used since this was made.
class stack_budget {
  public:
    explicit stack_budget(std::size_t bytes) noexcept : begin_{here()}, bytes_{bytes} {}
    bool left() const noexcept {
        std::uintptr_t const now = here();
        return (now < begin_ ? begin_ - now : now - begin_) < bytes_;
    }

  private:
    // Not the address of a local variable: sanitizers keep those on a stack of their own.
    __attribute__((always_inline)) static std::uintptr_t here() noexcept {
        return reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0));
    }
    std::uintptr_t begin_;
    std::size_t bytes_;
};

class demangle_parser {
  public:
    demangle_parser(demangle_tree& tree, char const* text, std::size_t size, stack_budget budget) noexcept
        : tree_{tree}, text_{text}, size_{size}, budget_{budget} {}

    // The whole of "_Z...", clone suffixes included; 0 if it is not understood to the last character.
    part_number mangled_name() noexcept;

  private:
    // What the end of a name says about the function type that follows it.
    struct name_facts {
        bool templated = false;   // ends with template arguments
        bool resultless = false;  // constructor, destructor or conversion: no result type is given
        std::uint8_t qualifiers = 0;
    };

    // Names.
    part_number encoding(bool outermost) noexcept;
    part_number special_name() noexcept;
    part_number special_of_t() noexcept;
    part_number special_of_g() noexcept;
    part_number thunk(char kind) noexcept;
    bool call_offset(char kind) noexcept;
    part_number name(name_facts& facts) noexcept;
    part_number nested_name(name_facts& facts) noexcept;
    part_number nested_part(part_number scope, name_facts& facts) noexcept;
    part_number local_name(name_facts& facts) noexcept;
    part_number unqualified_name(part_number scope, name_facts& facts) noexcept;
    part_number unqualified_core(part_number scope, name_facts& facts) noexcept;
    part_number constructor_or_destructor(part_number scope) noexcept;
    part_number own_name(part_number scope) const noexcept;
    part_number source_name() noexcept;
    part_number operator_name(name_facts& facts) noexcept;
    part_number closure() noexcept;
    part_number tags(part_number named) noexcept;
    bool discriminator() noexcept;
    part_number clone_suffixes(part_number whole) noexcept;

    // Types.
    part_number type() noexcept;
    part_number type_unguarded() noexcept;
    part_number wrapped(part kind) noexcept;
    bool is_reference(part_number number) const noexcept;
    bool is_class(part_number number) const noexcept;
    part_number qualified_type() noexcept;
    part_number builtin_type() noexcept;
    part_number type_of_d() noexcept;
    part_number type_of_s() noexcept;
    part_number type_of_t() noexcept;
    part_number class_type() noexcept;
    part_number vendor_qualified_type() noexcept;
    part_number function_type() noexcept;
    part_number result_type() noexcept;
    bool array_bound(part_number& bound) noexcept;
    part_number array_type() noexcept;
    part_number member_pointer_type() noexcept;
    part_number parameters() noexcept;
    std::uint8_t qualifiers() noexcept;
    std::uint8_t function_qualifiers() noexcept;

    // Templates.
    part_number substitution(bool is_scope) noexcept;
    part_number abbreviation(char letter, bool is_scope) noexcept;
    part_number template_parameter() noexcept;
    part_number value_parameter() noexcept;
    part_number value_argument() noexcept;
    part_number template_arguments() noexcept;
    part_number template_argument() noexcept;
    part_number argument_pack() noexcept;
    part_number braced() noexcept;
    part_number literal() noexcept;

    // Characters.
    char peek(std::size_t ahead = 0) const noexcept {
        return ahead < size_ - at_ ? text_[at_ + ahead] : '\0';
    }
    bool take(char c) noexcept {
        if (c == '\0' || peek() != c) return false;
        ++at_;
        return true;
    }
    bool take(char a, char b) noexcept {
        if (peek() != a || peek(1) != b) return false;
        at_ += 2;
        return true;
    }
    static bool is_digit(char c) noexcept { return c >= '0' && c <= '9'; }
    static bool is_lower(char c) noexcept { return c >= 'a' && c <= 'z'; }
    static bool is_upper(char c) noexcept { return c >= 'A' && c <= 'Z'; }
    // Letters of all languages are written in UTF-8; '$' and '.' are the compilers' own.
    static bool is_in_names(char c) noexcept {
        bool const ours = is_digit(c) || is_lower(c) || is_upper(c) || c == '_' || c == '$' || c == '.';
        return ours || static_cast<unsigned char>(c) >= 0x80;
    }

    static constexpr std::size_t largest_number = 9999;

    // A decimal number of at least one digit; false if there is none or it is absurd.
    bool number(std::size_t& value) noexcept {
        if (!is_digit(peek())) return false;
        for (value = 0; is_digit(peek()); ++at_) {
            value = value * 10 + static_cast<std::size_t>(peek() - '0');
            if (value > largest_number) return false;
        }
        return true;
    }
    // "_" is 0, "0_" is 1 and so on: how the ABI numbers what mostly comes once.
    bool compact_number(std::uint16_t& value) noexcept {
        std::size_t given = 0;
        value = 0;
        if (take('_')) return true;
        if (!number(given)) return false;
        value = static_cast<std::uint16_t>(given + 1);
        return take('_');
    }

    part_number add(part kind, part_number first = 0, part_number second = 0, std::uint16_t third = 0,
                    std::uint8_t flags = 0) noexcept {
        return tree_.add(kind, first, second, third, flags);
    }
    // The same for kinds whose `first` is the number of a part: passes failure on.
    part_number wrap(part kind, part_number first, part_number second = 0) noexcept {
        return first == 0 ? part_number{0} : add(kind, first, second);
    }
    part_number join(part kind, part_number first, part_number second) noexcept {
        return first == 0 || second == 0 ? part_number{0} : add(kind, first, second);
    }
    demangle_part& at(part_number number) noexcept { return tree_.parts[number]; }
    demangle_part const& at(part_number number) const noexcept { return tree_.parts[number]; }
    part_number remembered(part_number number) noexcept {
        return tree_.remember(number) ? number : part_number{0};
    }
    part_number word(char a, char b) noexcept {
        std::uint16_t const index = demangle_find(demangle_words, a, b);
        return index == 0 ? part_number{0} : add(part::word, index);
    }

    // Appends to a list of which the head and the last element are known.
    bool append(part_number& head, part_number& last, part_number item) noexcept {
        part_number const element = wrap(part::list, item);
        if (element == 0) return false;
        if (head == 0)
            head = element;
        else
            at(last).second = element;
        last = element;
        return true;
    }

    demangle_tree& tree_;
    char const* text_;
    std::size_t size_;
    std::size_t at_ = 0;
    stack_budget budget_;
    // Whether what stands in front of 'M' can be repeated depends on the compiler: up to version 12
    // (-fabi-version=17) GCC does not count it. The numbers from there on may mean one part or the next, and
    // are refused.
    std::size_t certain_ = demangle_tree::most_substitutions + 1;
    bool in_conversion_ = false;  // template arguments belong to the operator, not to its type
};

}  // namespace tocsin::in_signal
