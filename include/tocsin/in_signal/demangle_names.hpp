// SPDX-License-Identifier: MIT
// Reads the names in a mangled name: encodings, scopes, operators, closures, special names.
//
// Runs in the handler. Sections 5.1.1 to 5.1.4 and 5.1.6 to 5.1.8 of the Itanium C++ ABI.
#pragma once

#include <tocsin/in_signal/demangle_parser.hpp>

namespace tocsin::in_signal {

inline part_number demangle_parser::mangled_name() noexcept {
    if (size_ > largest_number || !take('_', 'Z')) return 0;
    part_number const whole = clone_suffixes(encoding(true));
    return at_ == size_ ? whole : part_number{0};
}

// What the optimiser appends to the names of its copies: ".isra.0", ".cold".
inline part_number demangle_parser::clone_suffixes(part_number whole) noexcept {
    auto const word_letter = [](char c) noexcept { return is_lower(c) || c == '_' || is_digit(c); };
    while (whole != 0 && peek() == '.' && word_letter(peek(1))) {
        std::size_t const begin = at_;
        bool const digits_only = is_digit(peek(1));
        for (++at_; digits_only ? is_digit(peek()) : word_letter(peek()); ++at_) {
        }
        while (peek() == '.' && is_digit(peek(1)))
            for (++at_; is_digit(peek()); ++at_) {
            }
        whole =
            add(part::clone, whole, static_cast<part_number>(begin), static_cast<std::uint16_t>(at_ - begin));
    }
    return whole;
}

// A function with its parameters, or an object. A function template shows its result only where it is the outermost, or
// an argument of a template.
inline part_number demangle_parser::encoding(bool outermost) noexcept {
    if (!budget_.left()) return 0;
    if (peek() == 'T' || peek() == 'G') return special_name();
    bool const outer_conversion = in_conversion_;
    in_conversion_ = false;
    name_facts facts;
    part_number whole = name(facts);
    if (whole != 0 && peek() != '\0' && peek() != 'E' && peek() != '.') {
        bool const templated = facts.templated && !facts.resultless;
        part_number const result = templated ? result_type() : part_number{0};
        part_number const list = templated && result == 0 ? part_number{0} : parameters();
        part_number const function =
            list == 0 ? part_number{0}
                      : add(part::function, outermost ? result : part_number{0}, list, 0, facts.qualifiers);
        whole = join(part::encoding, whole, function);
    } else if (facts.qualifiers != 0) {
        whole = 0;
    }
    in_conversion_ = outer_conversion;
    return whole;
}

inline part_number demangle_parser::special_name() noexcept {
    return take('T') ? special_of_t() : take('G') ? special_of_g() : part_number{0};
}

inline part_number demangle_parser::special_of_t() noexcept {
    char const kind = peek();
    std::uint16_t const words = demangle_find(demangle_words, 'T', kind);
    if (kind == '\0') return 0;
    ++at_;
    if (kind == 'h' || kind == 'v' || kind == 'c') {
        bool const offsets = kind == 'c' ? call_offset('\0') && call_offset('\0') : call_offset(kind);
        part_number const target = offsets ? encoding(false) : part_number{0};
        // Only virtual functions have thunks, and no template is one ([temp.mem]).
        if (at(target).kind == part::encoding && at(at(target).first).kind == part::instance) return 0;
        return target != 0 ? add(part::special, words, target) : part_number{0};
    }
    if (kind == 'C') {
        std::size_t offset = 0;
        part_number const derived = type();
        if (derived == 0 || !number(offset) || !take('_')) return 0;
        return join(part::construction_vtable, derived, type());
    }
    if (words == 0) return 0;
    name_facts facts;
    part_number const target = kind == 'H' || kind == 'W' ? name(facts) : type();
    return target != 0 ? add(part::special, words, target) : part_number{0};
}

inline part_number demangle_parser::special_of_g() noexcept {
    name_facts facts;
    if (take('V')) {
        part_number const target = name(facts);
        std::uint16_t const words = demangle_find(demangle_words, 'G', 'V');
        return target != 0 ? add(part::special, words, target) : part_number{0};
    }
    if (take('R')) {
        part_number const target = name(facts);
        std::uint16_t count = 0;
        // Older compilers gave no number.
        if (target == 0 || (at_ != size_ && !compact_number(count))) return 0;
        return add(part::reference_temporary, target, count);
    }
    if (peek() == 'T' && (peek(1) == 't' || peek(1) == 'n')) {  // transaction_safe functions, in two copies
        std::uint16_t const words = demangle_find(demangle_words, 'G', peek(1));
        at_ += 2;
        part_number const target = encoding(false);
        return target != 0 ? add(part::special, words, target) : part_number{0};
    }
    return 0;
}

// h <number> _  or  v <number> _ <number> _; with kind 0 the letter comes first.
inline bool demangle_parser::call_offset(char kind) noexcept {
    std::size_t value = 0;
    if (kind == '\0') {
        kind = peek();
        if (!take('h') && !take('v')) return false;
    }
    take('n');
    if (!number(value) || !take('_')) return false;
    if (kind == 'h') return true;
    take('n');
    return number(value) && take('_');
}

inline part_number demangle_parser::name(name_facts& facts) noexcept {
    if (!budget_.left()) return 0;
    if (take('N')) return nested_name(facts);
    if (take('Z')) return local_name(facts);
    part_number whole = 0;
    bool known = false;
    if (peek() == 'S' && peek(1) != 't') {
        whole = substitution(false);
        if (!is_class(whole)) return 0;
        known = true;
    } else if (take('S', 't')) {
        whole = join(part::qualified, word('S', 't'), unqualified_name(0, facts));
    } else {
        whole = unqualified_name(0, facts);
    }
    if (whole == 0 || peek() != 'I') return whole;
    if (!known && !tree_.remember(whole)) return 0;
    facts.templated = true;
    part_number const list = template_arguments();
    return join(part::instance, whole, list);
}

// N [qualifiers] <part>... E. Each prefix is a substitution, but not the whole: that is for the caller to
// decide, who knows whether it is a type.
inline part_number demangle_parser::nested_name(name_facts& facts) noexcept {
    facts.qualifiers = function_qualifiers();
    part_number whole = 0;
    while (!take('E')) {
        if (whole != 0 && take('M')) {  // scope of a closure in a member's or variable's initializer
            if (certain_ > tree_.substitution_count) certain_ = tree_.substitution_count;
            continue;
        }
        bool const known = peek() == 'S' && peek(1) != 't';
        bool const space = peek() == 'S' && peek(1) == 't';
        if (peek() == 'S' && whole != 0) return 0;
        if (peek() == 'I') {
            if (whole == 0 || facts.templated) return 0;
            facts.templated = true;
            whole = join(part::instance, whole, template_arguments());
        } else {
            facts.templated = facts.resultless = false;
            whole = nested_part(whole, facts);
        }
        if (whole == 0) return 0;
        if (!known && !space && peek() != 'E' && !tree_.remember(whole)) return 0;
    }
    return whole;
}

inline part_number demangle_parser::nested_part(part_number scope, name_facts& facts) noexcept {
    char const c = peek();
    if (c == 'S') {
        part_number const known = take('S', 't') ? word('S', 't') : substitution(true);
        return is_class(known) ? known : part_number{0};
    }
    if (c == 'T') return scope == 0 ? template_parameter() : part_number{0};
    if (c == 'D' && (peek(1) == 't' || peek(1) == 'T')) return 0;
    part_number const inner = unqualified_name(scope, facts);
    return scope == 0 ? inner : join(part::qualified, scope, inner);
}

// Z <function> E <entity>; also string literals and what default arguments contain.
inline part_number demangle_parser::local_name(name_facts& facts) noexcept {
    part_number const function = encoding(false);
    if (function == 0 || !take('E')) return 0;
    if (take('s')) {
        if (!discriminator()) return 0;
        return join(part::local, function, add(part::string_literal));
    }
    if (take('d')) {
        std::uint16_t index = 0;
        if (!compact_number(index)) return 0;
        part_number const inner = name(facts);
        return join(part::local, function, wrap(part::default_argument, inner, index));
    }
    part_number const inner = name(facts);
    if (inner == 0) return 0;
    part const kind = at(inner).kind;  // closures carry their own numbers
    if (kind != part::lambda && kind != part::unnamed && !discriminator()) return 0;
    return join(part::local, function, inner);
}

// Nothing, "_" and one digit, or "__" and a number and "_". More digits after one "_" some demanglers take for
// one number, others for the begin of what follows.
inline bool demangle_parser::discriminator() noexcept {
    std::size_t value = 0;
    if (!take('_')) return true;
    if (take('_')) return number(value) && take('_');
    if (!is_digit(peek()) || is_digit(peek(1))) return false;
    ++at_;
    return true;
}

inline part_number demangle_parser::unqualified_name(part_number scope, name_facts& facts) noexcept {
    return tags(unqualified_core(scope, facts));
}

inline part_number demangle_parser::unqualified_core(part_number scope, name_facts& facts) noexcept {
    char const c = peek();
    if (is_digit(c)) return source_name();
    if (is_lower(c)) return operator_name(facts);
    if (c == 'C' || c == 'D') {
        facts.resultless = true;
        return scope == 0 ? part_number{0} : constructor_or_destructor(scope);
    }
    if (take('L')) {  // internal linkage
        part_number const inner = source_name();
        return inner != 0 && discriminator() ? inner : part_number{0};
    }
    return c == 'U' ? closure() : part_number{0};
}

inline part_number demangle_parser::constructor_or_destructor(part_number scope) noexcept {
    part_number const own = own_name(scope);
    if (own == 0) return 0;
    if (take('C')) {
        bool const inherited = take('I');
        if (peek() < '1' || peek() > '5') return 0;
        ++at_;
        // One that is inherited goes by the name of the class it comes from.
        return wrap(part::constructor, inherited ? own_name(type()) : own);
    }
    if (!take('D') || peek() < '0' || peek() > '5' || peek() == '3') return 0;
    ++at_;
    return add(part::destructor, own);
}

// The last name of a class without its arguments: what its constructors are called.
inline part_number demangle_parser::own_name(part_number scope) const noexcept {
    while (scope != 0) {
        demangle_part const& here = at(scope);
        if (here.kind == part::identifier || here.kind == part::anonymous) return scope;
        if (here.kind == part::word) return here.second;
        if (here.kind == part::qualified || here.kind == part::local)
            scope = here.second;
        else if (here.kind == part::instance || here.kind == part::tagged)
            scope = here.first;
        else
            return 0;
    }
    return 0;
}

inline part_number demangle_parser::source_name() noexcept {
    std::size_t length = 0;
    if (!number(length) || length == 0 || length > size_ - at_) return 0;
    char const* const from = text_ + at_;
    auto const offset = static_cast<part_number>(at_);
    at_ += length;
    for (std::size_t i = 0; i < length; ++i)
        if (!is_in_names(from[i])) return 0;
    // GCC's and Clang's mark of an unnamed namespace: _GLOBAL__N_1, with '.' or '$' where allowed.
    bool anonymous = length >= 10 && from[9] == 'N' && (from[8] == '_' || from[8] == '.' || from[8] == '$');
    for (std::size_t i = 0; anonymous && i < 8; ++i) anonymous = from[i] == "_GLOBAL_"[i];
    if (anonymous) return add(part::anonymous);
    return add(part::identifier, offset, static_cast<part_number>(length));
}

inline part_number demangle_parser::operator_name(name_facts& facts) noexcept {
    if (take('c', 'v')) {
        facts.resultless = true;
        bool const outer = in_conversion_;
        in_conversion_ = true;
        part_number const target = type();
        in_conversion_ = outer;
        return wrap(part::conversion, target);
    }
    if (take('l', 'i')) return wrap(part::literal_operator, source_name());
    std::uint16_t const index = demangle_find(demangle_operators, peek(), peek(1));
    if (index == 0) return 0;
    at_ += 2;
    return add(part::operator_name, index);
}

// Closure types and unnamed classes: numbered within their scope.
inline part_number demangle_parser::closure() noexcept {
    std::uint16_t index = 0;
    if (take('U', 't'))
        return compact_number(index) ? add(part::unnamed, 0, static_cast<part_number>(index + 1))
                                     : part_number{0};
    if (!take('U', 'l')) return 0;
    part_number const list = parameters();
    if (list == 0 || !take('E') || !compact_number(index)) return 0;
    return add(part::lambda, list, static_cast<part_number>(index + 1));
}

inline part_number demangle_parser::tags(part_number named) noexcept {
    while (named != 0 && take('B')) named = join(part::tagged, named, source_name());
    return named;
}

}  // namespace tocsin::in_signal
