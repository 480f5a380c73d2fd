// SPDX-License-Identifier: MIT
// Prints the tree of a demangled name: how each part is written.
//
// Runs in the handler. Left and right halves as explained in demangle_printer.hpp; each function here
// writes one kind of part.
#pragma once

#include <tocsin/in_signal/demangle_printer.hpp>

namespace tocsin::in_signal {

inline void demangle_printer::left(part_number number) noexcept {
    if (!step()) return;
    place const target = resolved(number);
    visit const there{*this, target};
    demangle_part const& here = at(target.number);
    // A pack that nothing expands: not C++.
    if (here.kind == part::argument_pack && target.number != number) failed_ = true;
    if (here.kind <= part::tagged)
        left_of_name(here);
    else if (here.kind <= part::vector)
        left_of_type(here);
    else
        left_of_rest(here);
}

inline void demangle_printer::left_of_name(demangle_part const& here) noexcept {
    switch (here.kind) {
        case part::identifier:
            return put(here.first, here.second);
        case part::word:
            return put(demangle_words[here.first].text);
        case part::anonymous:
            return put("(anonymous namespace)");
        case part::qualified:
            print(here.first);
            put("::");
            return print(here.second);
        case part::instance:
            return instance(here);
        case part::argument_pack:
            return list(here.first);
        case part::parameter:
            if (scope_ == nullptr || !scope_->generic_lambda || here.flags != 0) break;
            put("auto:");
            return put_number(static_cast<std::uint16_t>(here.second + 1));
        case part::expansion:
            return expansion(here.first);
        case part::destructor:
            put('~');
            [[fallthrough]];
        case part::constructor:
            return print(here.first);
        case part::operator_name:
            return operator_name(here);
        case part::conversion:
            put("operator ");
            return print(here.first);
        case part::literal_operator:
            put("operator\"\" ");
            return print(here.first);
        case part::tagged:
            print(here.first);
            put("[abi:");
            print(here.second);
            return put(']');
        default:
            break;
    }
    failed_ = true;
}

inline void demangle_printer::left_of_type(demangle_part const& here) noexcept {
    switch (here.kind) {
        case part::qualified_type:
            left(here.first);
            if (at(resolved(here.first).number).kind == part::function) return;  // see declarator
            return qualifiers(new_flags(here));
        case part::pointer:
            return declarator(here.first, "*");
        case part::lvalue_reference:
        case part::rvalue_reference:
            return reference(here);
        case part::complex:
            return followed(here.first, " _Complex");
        case part::imaginary:
            return followed(here.first, " _Imaginary");
        case part::function:
            if (here.first == 0) return;
            left(here.first);
            if (!has_right(here.first)) put(' ');
            return;
        case part::array:
            return left(here.first);
        case part::member_pointer:
            left(here.second);
            if (last_ != ' ') put(' ');
            if (declares_around(here.second)) put('(');
            print(here.first);
            return put("::*");
        case part::vendor_qualified:
            followed(here.first, " ");
            return print(here.second);
        case part::vector:
            followed(here.first, " __vector(");
            put_number(here.second);
            return put(')');
        default:
            failed_ = true;
    }
}

// A mark behind a whole type; on one that declares around something it would have to stand in the middle, and
// no compiler allows it there.
inline void demangle_printer::followed(part_number type, char const* mark) noexcept {
    if (has_right(type)) failed_ = true;
    print(type);
    put(mark);
}

inline void demangle_printer::left_of_rest(demangle_part const& here) noexcept {
    switch (here.kind) {
        case part::literal:
            return literal(here);
        case part::braced:
            print(here.first);
            put('{');
            list(here.second);
            return put('}');
        case part::address:
            return address(at(here.first), here.first);
        case part::lambda:
            return lambda(here);
        case part::unnamed:
            put("{unnamed type#");
            put_number(here.second);
            return put('}');
        case part::local:
            print(here.first);
            put("::");
            return print(here.second);
        case part::string_literal:
            return put("string literal");
        case part::default_argument:
            put("{default arg#");
            put_number(static_cast<std::uint16_t>(here.second + 1));
            put("}::");
            return print(here.first);
        case part::special:
            put(demangle_words[here.first].text);
            return print(here.second);
        case part::construction_vtable:
            put("construction vtable for ");
            print(here.second);
            put("-in-");
            return print(here.first);
        case part::reference_temporary:
            put("reference temporary #");
            put_number(here.second);
            put(" for ");
            return print(here.first);
        case part::encoding:
            return encoding(here);
        case part::clone:
            print(here.first);
            put(" [clone ");
            put(here.second, here.third);
            return put(']');
        default:
            failed_ = true;
    }
}

inline void demangle_printer::right(part_number number) noexcept {
    if (!step()) return;
    place const target = resolved(number);
    visit const there{*this, target};
    demangle_part const& here = at(target.number);
    switch (here.kind) {
        case part::qualified_type:
            return right(here.first);
        case part::pointer:
            return declarator_end(here.first);
        case part::lvalue_reference:
        case part::rvalue_reference: {
            part kind = here.kind;
            place const inner = referred(here.first, kind);
            visit const deeper{*this, inner};
            return declarator_end(inner.number);
        }
        case part::member_pointer:
            return declarator_end(here.second);
        case part::function:
            return function_end(here);
        case part::array:
            if (last_ != ']') put(' ');
            put('[');
            if (here.second != 0) bound(here.second);
            put(']');
            return right(here.first);
        default:
            return;
    }
}

inline void demangle_printer::bound(part_number number) noexcept {
    part const kind = at(resolved(number).number).kind;
    if (kind != part::identifier && kind != part::literal) failed_ = true;
    print(number);
}

// Qualifiers of a function type, which only a template parameter can add, mean nothing ([dcl.fct]); GCC
// shows them before the mark.
inline void demangle_printer::declarator(part_number inner, char const* mark) noexcept {
    left(inner);
    if (declares_around(inner)) {
        demangle_part const& what = at(resolved(inner).number);
        bool const nested = what.kind == part::function && (last_ == '(' || last_ == '*');
        if (last_ != ' ' && !nested) put(' ');
        put('(');
        if (qualified_function(inner)) qualifiers(what.flags);
    }
    put(mark);
}

inline bool demangle_printer::qualified_function(part_number number) const noexcept {
    place const here = resolved(number);
    demangle_part const& what = at(here.number);
    return what.kind == part::qualified_type &&
           at(resolved({what.first, here.where, here.element}).number).kind == part::function;
}

inline void demangle_printer::declarator_end(part_number inner) noexcept {
    if (declares_around(inner)) put(')');
    right(inner);
}

// References to references collapse ([dcl.ref]); a template parameter makes them.
inline demangle_printer::place demangle_printer::referred(part_number number, part& kind) const noexcept {
    place here = resolved(number);
    for (unsigned hops = 0; hops < 16; ++hops) {
        demangle_part const& what = at(here.number);
        if (what.kind == part::lvalue_reference)
            kind = what.kind;
        else if (what.kind != part::rvalue_reference)
            break;
        here.number = what.first;
        here = resolved(here);
    }
    return here;
}

inline void demangle_printer::reference(demangle_part const& here) noexcept {
    part kind = here.kind;
    place const inner = referred(here.first, kind);
    if (at(inner.number).kind == part::argument_pack) failed_ = true;  // as in left
    visit const there{*this, inner};
    declarator(inner.number, kind == part::lvalue_reference ? "&" : "&&");
}

// An item that prints nothing, an empty pack, takes its comma with it.
inline void demangle_printer::list(part_number number) noexcept {
    bool first = true;
    for (; number != 0 && step(); number = at(number).second) {
        if (at(number).first == 0) continue;
        std::size_t const before = size_;
        if (!first) put(", ");
        std::size_t const begin = size_;
        print(at(number).first);
        if (size_ == begin && !cut_) {
            size_ = before;  // last_ stays: GCC writes "A<B<C>>" where an empty pack came after the C
        } else {
            first = false;
        }
    }
}

// Two angle brackets in a row are kept apart, as C++03 wanted it.
inline void demangle_printer::instance(demangle_part const& here) noexcept {
    print(here.first);
    if (last_ == '<') put(' ');
    put('<');
    list(here.second);
    if (last_ == '>') put(' ');
    put('>');
}

// A const parameter of const type is const once ([dcl.type.cv]), and an array is what its elements are.
inline std::uint8_t demangle_printer::new_flags(demangle_part const& here) const noexcept {
    unsigned flags = here.flags;
    place inner = resolved(here.first);
    for (unsigned hops = 0; hops < 16; ++hops) {
        part const kind = at(inner.number).kind;
        if (kind != part::qualified_type && kind != part::array) break;
        flags &= ~static_cast<unsigned>(at(inner.number).flags);  // an array has none itself
        inner.number = at(inner.number).first;
        inner = resolved(inner);
    }
    return static_cast<std::uint8_t>(flags);
}

inline void demangle_printer::qualifiers(std::uint8_t flags) noexcept {
    if ((flags & is_const) != 0) put(" const");
    if ((flags & is_volatile) != 0) put(" volatile");
    if ((flags & is_restrict) != 0) put(" restrict");
    if ((flags & is_lvalue) != 0) put(" &");
    if ((flags & is_rvalue) != 0) put(" &&");
    if ((flags & is_transaction_safe) != 0) put(" transaction_safe");
    if ((flags & is_noexcept) != 0) put(" noexcept");
}

inline void demangle_printer::function_end(demangle_part const& here) noexcept {
    put('(');
    list(here.second);
    put(')');
    qualifiers(here.flags);
    if (here.first != 0) right(here.first);
}

inline void demangle_printer::encoding(demangle_part const& here) noexcept {
    demangle_part const& function = at(here.second);
    part_number named = here.first;
    while (at(named).kind == part::local || at(named).kind == part::default_argument)
        named = at(named).kind == part::local ? at(named).second : at(named).first;
    scope const own{at(named).second, false, scope_};
    visit const there{*this, {here.first, at(named).kind == part::instance ? &own : scope_, no_element}};
    if (function.first != 0) {
        left(function.first);
        if (!has_right(function.first)) put(' ');
    }
    print(here.first);
    function_end(function);
}

// Of a function whose name has a scope and no arguments of its own, the name alone.
inline void demangle_printer::address(demangle_part const& of, part_number number) noexcept {
    put('&');
    if (of.kind != part::encoding) return print(number);
    if (at(of.first).kind == part::qualified && at(of.second).flags == 0) return print(of.first);
    put('(');
    print(number);
    put(')');
}

inline void demangle_printer::lambda(demangle_part const& here) noexcept {
    scope const own{0, true, scope_};
    put("{lambda(");
    {
        visit const inside{*this, {here.first, &own, no_element}};
        list(here.first);
    }
    put(")#");
    put_number(here.second);
    put('}');
}

inline void demangle_printer::operator_name(demangle_part const& here) noexcept {
    char const* const sign = demangle_operators[here.first].text;
    put("operator");
    if (sign[0] >= 'a' && sign[0] <= 'z') put(' ');
    put(sign);
}

// Integers in the notation of C++ where it has one; else the type in parentheses. Bits of floating point
// numbers in brackets.
inline void demangle_printer::literal(demangle_part const& here) noexcept {
    demangle_part const& type = at(resolved(here.first).number);
    char const code = type.kind == part::word && demangle_words[type.first].code[1] == '\0'
                          ? demangle_words[type.first].code[0]
                          : '\0';
    bool const negative = (here.flags & is_negative) != 0;
    if (code == 'b' && here.third == 1 && !negative && mangled_[here.second] <= '1')
        return put(mangled_[here.second] == '1' ? "true" : "false");
    bool const plain = code == 'i' || code == 'j' || code == 'l' || code == 'm' || code == 'x' || code == 'y';
    bool const bits = code == 'f' || code == 'd' || code == 'e' || code == 'g';
    if (!plain) {
        put('(');
        print(here.first);
        put(')');
    }
    if (negative) put('-');
    if (bits) put('[');
    put(here.second, here.third);
    if (bits) put(']');
    if (code == 'j' || code == 'm' || code == 'y') put('u');
    if (plain && code != 'i' && code != 'j') put('l');
    if (code == 'x' || code == 'y') put('l');
}

}  // namespace tocsin::in_signal
