// SPDX-License-Identifier: MIT
// Reads the types and template arguments in a mangled name.
//
// Runs in the handler. Sections 5.1.5, 5.1.6.1 (literals) and 5.1.10 of the Itanium C++ ABI. Each type but
// a builtin one becomes a substitution when it has been read, in the order in which it ends.
#pragma once

#include <tocsin/in_signal/demangle_parser.hpp>

namespace tocsin::in_signal {

inline part_number demangle_parser::type() noexcept {
    return budget_.left() ? type_unguarded() : part_number{0};
}

inline part_number demangle_parser::type_unguarded() noexcept {
    switch (peek()) {
        case 'r':
        case 'V':
        case 'K':
            return qualified_type();
        case 'P':
            return wrapped(part::pointer);
        case 'R':
            return wrapped(part::lvalue_reference);
        case 'O':
            return wrapped(part::rvalue_reference);
        case 'C':
            return wrapped(part::complex);
        case 'G':
            return wrapped(part::imaginary);
        case 'F':
            return remembered(function_type());
        case 'A':
            return remembered(array_type());
        case 'M':
            return remembered(member_pointer_type());
        case 'U':
            return remembered(vendor_qualified_type());
        case 'D':
            return type_of_d();
        case 'S':
            return type_of_s();
        case 'T':
            return type_of_t();
        case 'u':
            ++at_;
            return remembered(source_name());
        default:
            return is_lower(peek()) ? builtin_type() : remembered(class_type());
    }
}

inline part_number demangle_parser::wrapped(part kind) noexcept {
    ++at_;
    part_number const inner = type();
    if (at(inner).kind == part::expansion) return 0;  // of these there are lists only
    bool const reference = kind == part::lvalue_reference || kind == part::rvalue_reference;
    if (reference && is_reference(inner)) return 0;
    bool const two_numbers = kind == part::complex || kind == part::imaginary;
    if (two_numbers && at(inner).kind != part::word && at(inner).kind != part::parameter) return 0;
    return remembered(wrap(kind, inner));
}

// There are no references to references and no const references ([dcl.ref]), except by way of a template
// parameter.
inline bool demangle_parser::is_reference(part_number number) const noexcept {
    part const kind = at(number).kind;
    return kind == part::lvalue_reference || kind == part::rvalue_reference;
}

inline part_number demangle_parser::builtin_type() noexcept {
    part_number const found = word(peek(), '\0');
    ++at_;
    return found;
}

// r V K, in this order.
inline std::uint8_t demangle_parser::qualifiers() noexcept {
    unsigned flags = 0;
    if (take('r')) flags |= is_restrict;
    if (take('V')) flags |= is_volatile;
    if (take('K')) flags |= is_const;
    return static_cast<std::uint8_t>(flags);
}

// The same and the reference qualifier, at the begin of a member function's scope.
inline std::uint8_t demangle_parser::function_qualifiers() noexcept {
    unsigned flags = qualifiers();
    if (take('R'))
        flags |= is_lvalue;
    else if (take('O'))
        flags |= is_rvalue;
    return static_cast<std::uint8_t>(flags);
}

// What can be the scope of a name, have template arguments or members: not a pointer, not a function's type.
inline bool demangle_parser::is_class(part_number number) const noexcept {
    demangle_part const& here = at(number);
    switch (here.kind) {
        case part::identifier:
        case part::anonymous:
        case part::qualified:
        case part::instance:
        case part::parameter:
        case part::tagged:
        case part::lambda:
        case part::unnamed:
        case part::local:
            return true;
        case part::word:
            return demangle_words[here.first].code[0] == 'S' || demangle_words[here.first].code[0] == '1';
        default:
            return false;
    }
}

// A qualified function type is one type: the qualifiers are those of `this`. All qualifiers of a type are
// written at once.
inline part_number demangle_parser::qualified_type() noexcept {
    std::uint8_t const flags = qualifiers();
    if (peek() == 'F' || (peek() == 'D' && (peek(1) == 'o' || peek(1) == 'x'))) {
        part_number const inner = function_type();
        if (inner != 0) at(inner).flags = static_cast<std::uint8_t>(at(inner).flags | flags);
        return remembered(inner);
    }
    part_number const inner = type();
    part const kind = at(inner).kind;
    if (inner == 0 || kind == part::function || kind == part::qualified_type || is_reference(inner)) return 0;
    if (kind == part::expansion) return 0;
    bool const can_be_restrict =
        kind == part::pointer || kind == part::member_pointer || kind == part::parameter;
    if ((flags & is_restrict) != 0 && !can_be_restrict) return 0;
    return remembered(add(part::qualified_type, inner, 0, 0, flags));
}

inline part_number demangle_parser::type_of_d() noexcept {
    switch (peek(1)) {
        case 'p': {
            at_ += 2;
            return remembered(wrap(part::expansion, type()));
        }
        case 'v': {
            std::size_t count = 0;
            at_ += 2;
            if (!number(count) || !take('_')) return 0;
            return remembered(wrap(part::vector, type(), static_cast<part_number>(count)));
        }
        case 'o':
        case 'x':
            return remembered(function_type());
        case 't':
        case 'T':
            return 0;
        default:
            break;
    }
    part_number const found = word('D', peek(1));
    at_ += found != 0 ? 2 : 0;
    return found;
}

// std::, an abbreviation or a repetition; only with arguments does that make a new type.
inline part_number demangle_parser::type_of_s() noexcept {
    if (peek(1) == 't') return remembered(class_type());
    part_number const known = substitution(false);
    if (known == 0 || peek() != 'I') return known;
    if (!is_class(known)) return 0;
    return remembered(join(part::instance, known, template_arguments()));
}

inline part_number demangle_parser::type_of_t() noexcept {
    part_number const parameter = remembered(template_parameter());
    // After a conversion to T_ arguments belong to the operator.
    if (parameter == 0 || peek() != 'I' || in_conversion_) return parameter;
    return remembered(join(part::instance, parameter, template_arguments()));
}

inline part_number demangle_parser::class_type() noexcept {
    if (peek() != 'N' && peek() != 'Z' && peek() != 'S' && !is_digit(peek())) return 0;
    bool const outer = in_conversion_;
    in_conversion_ = false;
    name_facts facts;
    part_number const whole = name(facts);
    in_conversion_ = outer;
    return facts.qualifiers == 0 && !facts.resultless ? whole : part_number{0};
}

inline part_number demangle_parser::vendor_qualified_type() noexcept {
    if (!take('U')) return 0;
    part_number qualifier = source_name();
    if (qualifier != 0 && peek() == 'I') qualifier = join(part::instance, qualifier, template_arguments());
    return qualifier == 0 ? part_number{0} : join(part::vendor_qualified, type(), qualifier);
}

// [Dx] [Do] F [Y] <result> <parameters> [R | O] E
inline part_number demangle_parser::function_type() noexcept {
    unsigned flags = 0;
    if (take('D', 'x')) flags |= is_transaction_safe;
    if (take('D', 'o')) flags |= is_noexcept;
    if (!take('F')) return 0;
    take('Y');
    part_number const result = result_type();
    part_number const list = result == 0 ? part_number{0} : parameters();
    if (take('R'))
        flags |= is_lvalue;
    else if (take('O'))
        flags |= is_rvalue;
    if (list == 0 || !take('E')) return 0;
    return add(part::function, result, list, 0, static_cast<std::uint8_t>(flags));
}

// Functions return neither functions nor arrays ([dcl.fct]).
inline part_number demangle_parser::result_type() noexcept {
    part_number const result = type();
    part const kind = at(at(result).kind == part::qualified_type ? at(result).first : result).kind;
    bool const refused = kind == part::function || kind == part::array || kind == part::expansion;
    return refused ? part_number{0} : result;
}

// One or more types; "v" alone is none.
inline part_number demangle_parser::parameters() noexcept {
    part_number head = 0;
    part_number last = 0;
    auto const over = [this](std::size_t ahead) noexcept {
        char const c = peek(ahead);
        return c == '\0' || c == 'E' || c == '.' || ((c == 'R' || c == 'O') && peek(ahead + 1) == 'E');
    };
    if (peek() == 'v' && over(1)) {
        ++at_;
        return add(part::list);
    }
    while (!over(0))
        if (part_number const one = type(); one == 0 || !append(head, last, one)) return 0;
    return head;
}

// The bound of an array: digits, a value parameter, or nothing.
inline bool demangle_parser::array_bound(part_number& bound) noexcept {
    if (peek() == 'T') return (bound = value_parameter()) != 0;
    auto const begin = static_cast<part_number>(at_);
    while (is_digit(peek())) ++at_;
    auto const length = static_cast<part_number>(at_ - begin);
    return length == 0 || (bound = add(part::identifier, begin, length)) != 0;
}

// A [<bound>] _ <element>
inline part_number demangle_parser::array_type() noexcept {
    part_number bound = 0;
    if (!take('A') || !array_bound(bound)) return 0;
    part_number const element = take('_') ? type() : part_number{0};
    if (at(element).kind == part::function || is_reference(element)) return 0;
    return wrap(part::array, element, bound);
}

inline part_number demangle_parser::member_pointer_type() noexcept {
    if (!take('M')) return 0;
    part_number const owner_class = type();
    return !is_class(owner_class) ? part_number{0} : join(part::member_pointer, owner_class, type());
}

// S_ S0_ ... by number, the others by letter.
inline part_number demangle_parser::substitution(bool is_scope) noexcept {
    if (!take('S')) return 0;
    if (is_lower(peek())) {
        char const letter = peek();
        ++at_;
        return abbreviation(letter, is_scope);
    }
    std::size_t const begin = at_;
    std::size_t index = 0;
    for (; is_digit(peek()) || is_upper(peek()); ++at_) {
        auto const digit = static_cast<std::size_t>(is_digit(peek()) ? peek() - '0' : peek() - 'A' + 10);
        index = index * 36 + digit;
        if (index >= demangle_tree::most_substitutions) return 0;
    }
    if (at_ != begin) ++index;
    if (!take('_') || index >= tree_.substitution_count || index + 1 >= certain_) return 0;
    return tree_.substitutions[index];
}

// std::string and the streams are shown in full where a member of theirs has the class's own name.
inline part_number demangle_parser::abbreviation(char letter, bool is_scope) noexcept {
    if (peek() == 'B') return 0;
    bool const in_full = is_scope && (peek() == 'C' || peek() == 'D');
    std::uint16_t index = demangle_find(demangle_words, 'S', letter);
    std::uint16_t const full = demangle_find(demangle_words, '1', letter);
    if (in_full && full != 0) index = full;
    part_number const own = word('2', letter);
    return index == 0 || own == 0 ? part_number{0} : add(part::word, index, own);
}

// T_ T0_ ...
inline part_number demangle_parser::template_parameter() noexcept {
    std::uint16_t index = 0;
    if (!take('T') || !compact_number(index)) return 0;
    return add(part::parameter, 0, index);
}

// The same where a value is meant: in a generic lambda there is no argument to show, and no word for it.
inline part_number demangle_parser::value_parameter() noexcept {
    std::uint16_t index = 0;
    if (!take('T') || !compact_number(index)) return 0;
    return add(part::parameter, 0, index, 0, is_value);
}

inline part_number demangle_parser::template_arguments() noexcept {
    if (!take('I')) return 0;
    bool const outer_conversion = in_conversion_;
    in_conversion_ = false;
    part_number head = 0;
    part_number last = 0;
    while (!take('E'))
        if (part_number const one = template_argument(); one == 0 || !append(head, last, one)) return 0;
    in_conversion_ = outer_conversion;
    return head != 0 ? head : add(part::list);
}

// Of expressions four: a parameter, each of a pack of them (sp), the address of what has a name (ad), and a value of a
// class.
inline part_number demangle_parser::value_argument() noexcept {
    if (peek() == 'T') return value_parameter();
    if (take('a', 'd')) {
        part_number const of = literal();
        return of != 0 && at(of).kind != part::literal ? wrap(part::address, of) : part_number{0};
    }
    return take('s', 'p') ? wrap(part::expansion, value_parameter()) : braced();
}

inline part_number demangle_parser::template_argument() noexcept {
    switch (peek()) {
        case 'L':
            return literal();
        case 'I':
        case 'J':
            return argument_pack();
        case 'X': {
            ++at_;
            part_number const value = value_argument();
            return value != 0 && take('E') ? value : part_number{0};
        }
        default:
            return type();
    }
}

inline part_number demangle_parser::argument_pack() noexcept {
    if (!budget_.left()) return 0;
    ++at_;
    part_number head = 0;
    part_number last = 0;
    while (!take('E')) {
        part_number const one = template_argument();
        if (one == 0 || !append(head, last, one)) return 0;
    }
    if (head == 0) head = add(part::list);
    return wrap(part::argument_pack, head);
}

// tl <type> <value>* E, where a value is a literal or a value argument itself: how a template argument of class type is
// written.
inline part_number demangle_parser::braced() noexcept {
    if (!budget_.left() || !take('t', 'l')) return 0;
    part_number const of = type();
    if (of == 0) return 0;
    part_number head = 0;
    part_number last = 0;
    while (!take('E')) {
        part_number const one = peek() == 'L' ? literal() : value_argument();
        if (one == 0 || !append(head, last, one)) return 0;
    }
    if (head == 0) head = add(part::list);
    return join(part::braced, of, head);
}

// L <type> [n] <value> E  or the name of an object or function: L _Z <encoding> E
inline part_number demangle_parser::literal() noexcept {
    if (!take('L')) return 0;
    if (take('_', 'Z') || take('Z')) {
        part_number const target = encoding(true);
        return take('E') ? target : part_number{0};
    }
    part_number const kind = type();
    if (kind == 0) return 0;
    std::uint8_t const flags = take('n') ? is_negative : std::uint8_t{0};
    std::size_t const begin = at_;
    while (is_digit(peek()) || (peek() >= 'a' && peek() <= 'f')) ++at_;
    auto const length = static_cast<std::uint16_t>(at_ - begin);
    if (!take('E')) return 0;
    bool const null = length == 0 && at(kind).kind == part::word && demangle_words[at(kind).first].code[1] == 'n';
    if (length == 0) return null ? kind : part_number{0};
    return add(part::literal, kind, static_cast<part_number>(begin), length, flags);
}

}  // namespace tocsin::in_signal
