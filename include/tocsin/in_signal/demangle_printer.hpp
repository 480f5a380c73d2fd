// SPDX-License-Identifier: MIT
// Prints the tree of a demangled name into a bounded buffer: the printer and what T_ means to it.
//
// Runs in the handler. The text is that of the C++ runtime library of GCC, spaces included, so that it can
// be compared with what other tools print. Types are printed in two halves, left and right of what they
// declare: "void (*" and ")(int)". Steps, stack and output are bounded: repetitions in a mangled name make
// the text grow exponentially.
#pragma once

#include <tocsin/in_signal/demangle_parser.hpp>
#include <tocsin/in_signal/format.hpp>

namespace tocsin::in_signal {

class demangle_printer {
  public:
    demangle_printer(demangle_tree const& tree, char const* mangled, char* out, std::size_t capacity,
                     stack_budget budget) noexcept
        : tree_{tree}, mangled_{mangled}, out_{out}, capacity_{capacity}, budget_{budget} {}

    void print(part_number number) noexcept {
        left(number);
        right(number);
    }
    std::size_t size() const noexcept { return size_; }
    bool cut() const noexcept { return cut_; }        // the text is longer than the buffer
    bool failed() const noexcept { return failed_; }  // the tree was too deep, too long or made no sense

  private:
    static constexpr unsigned most_steps = 20'000;
    static constexpr std::uint16_t no_element = 0xffff;

    // The template arguments that T_ counts, and those of the function around. Only printing knows them:
    // a substitution may repeat a T_ that was read in another function. In the parameters of a generic
    // lambda T_ has no arguments and is "auto".
    struct scope {
        part_number arguments;
        bool generic_lambda;
        scope const* outer;
    };
    // A part and what its parameters mean.
    struct place {
        part_number number;
        scope const* where;
        std::uint16_t element;
    };
    // Works in another place for a while.
    class visit {
      public:
        visit(demangle_printer& printer, place to) noexcept
            : printer_{printer}, scope_{printer.scope_}, element_{printer.element_} {
            printer.scope_ = to.where;
            printer.element_ = to.element;
        }
        ~visit() {
            printer_.scope_ = scope_;
            printer_.element_ = element_;
        }
        visit(visit const&) = delete;
        visit& operator=(visit const&) = delete;

      private:
        demangle_printer& printer_;
        scope const* scope_;
        std::uint16_t element_;
    };

    demangle_part const& at(part_number number) const noexcept { return tree_.parts[number]; }

    bool step() noexcept {
        if (++steps_ > most_steps || !budget_.left()) failed_ = true;
        return !failed_ && !cut_;
    }
    void put(char c) noexcept {
        if (size_ >= capacity_)
            cut_ = true;
        else
            out_[size_++] = last_ = c;
    }
    void put(char const* text) noexcept {
        for (; *text != '\0'; ++text) put(*text);
    }
    void put(std::size_t offset, std::size_t length) noexcept {
        for (std::size_t i = 0; i < length; ++i) put(mangled_[offset + i]);
    }
    void put_number(std::uint16_t value) noexcept {
        if (value >= 10) put_number(static_cast<std::uint16_t>(value / 10));
        put(static_cast<char>('0' + value % 10));
    }

    // What a part stands for where it is printed: a parameter is its argument, one of a pack the element
    // of the moment.
    place resolved(part_number number) const noexcept { return resolved({number, scope_, element_}); }
    place resolved(place from) const noexcept;
    part_number argument(scope const* where, std::uint16_t index) const noexcept;
    part_number nth(part_number list, std::uint16_t index) const noexcept;
    bool has_right(part_number number) noexcept;
    bool declares_around(part_number number) noexcept;
    void left(part_number number) noexcept;
    void left_of_name(demangle_part const& here) noexcept;
    void left_of_type(demangle_part const& here) noexcept;
    void left_of_rest(demangle_part const& here) noexcept;
    void followed(part_number type, char const* mark) noexcept;
    void right(part_number number) noexcept;
    void bound(part_number number) noexcept;
    void declarator(part_number inner, char const* mark) noexcept;
    bool qualified_function(part_number number) const noexcept;
    void declarator_end(part_number inner) noexcept;
    void reference(demangle_part const& here) noexcept;
    place referred(part_number number, part& kind) const noexcept;
    void list(part_number number) noexcept;
    void instance(demangle_part const& here) noexcept;
    void expansion(part_number inner) noexcept;
    std::size_t pack_size(part_number number, unsigned depth) noexcept;
    void function_end(demangle_part const& here) noexcept;
    std::uint8_t new_flags(demangle_part const& here) const noexcept;
    void qualifiers(std::uint8_t flags) noexcept;
    void encoding(demangle_part const& here) noexcept;
    void lambda(demangle_part const& here) noexcept;
    void literal(demangle_part const& here) noexcept;
    void address(demangle_part const& of, part_number number) noexcept;
    void operator_name(demangle_part const& here) noexcept;

    demangle_tree const& tree_;
    char const* mangled_;
    char* out_;
    std::size_t capacity_;
    std::size_t size_ = 0;
    stack_budget budget_;
    unsigned steps_ = 0;
    scope const* scope_ = nullptr;
    std::uint16_t element_ = no_element;  // of the packs in the expansion being printed
    char last_ = '\0';
    bool cut_ = false;
    bool failed_ = false;
};

inline part_number demangle_printer::nth(part_number list, std::uint16_t index) const noexcept {
    for (; list != 0 && index != 0; --index) list = at(list).second;
    return list != 0 ? at(list).first : part_number{0};
}

inline part_number demangle_printer::argument(scope const* where, std::uint16_t index) const noexcept {
    return where != nullptr ? nth(where->arguments, index) : part_number{0};
}

inline demangle_printer::place demangle_printer::resolved(place from) const noexcept {
    while (at(from.number).kind == part::parameter) {
        part_number item = argument(from.where, at(from.number).second);
        if (item != 0 && at(item).kind == part::argument_pack && from.element != no_element)
            item = nth(at(item).first, from.element);
        if (item == 0) break;
        from = {item, from.where->outer, no_element};  // an argument speaks of the parameters outside
    }
    return from;
}

inline bool demangle_printer::has_right(part_number number) noexcept {
    place here = resolved(number);
    while (step()) {
        demangle_part const& what = at(here.number);
        switch (what.kind) {
            case part::function:
            case part::array:
                return true;
            case part::pointer:
            case part::lvalue_reference:
            case part::rvalue_reference:
            case part::qualified_type:
            case part::vendor_qualified:
            case part::complex:
            case part::imaginary:
            case part::vector:
                here.number = what.first;
                break;
            case part::member_pointer:
                here.number = what.second;
                break;
            default:
                return false;
        }
        here = resolved(here);
    }
    return false;
}

// A pointer to one of these needs parentheses.
inline bool demangle_printer::declares_around(part_number number) noexcept {
    place const here = resolved(number);
    demangle_part const& what = at(here.number);
    if (what.kind == part::qualified_type) {
        part const inner = at(resolved({what.first, here.where, here.element}).number).kind;
        return inner == part::array || inner == part::function;
    }
    return what.kind == part::function || what.kind == part::array;
}

// Elements of the first pack found below a part; no_element if there is none.
inline std::size_t demangle_printer::pack_size(part_number number, unsigned depth) noexcept {
    if (number == 0 || depth > 64 || !step()) return no_element;
    demangle_part const& here = at(number);
    switch (here.kind) {
        case part::parameter: {
            part_number const pack = argument(scope_, here.second);
            if (pack == 0 || at(pack).kind != part::argument_pack) return no_element;
            std::size_t count = 0;
            for (part_number item = at(pack).first; item != 0; item = at(item).second)
                count += at(item).first != 0;
            return count;
        }
        case part::pointer:
        case part::lvalue_reference:
        case part::rvalue_reference:
        case part::complex:
        case part::imaginary:
        case part::qualified_type:
        case part::vector:
            return pack_size(here.first, depth + 1);
        case part::qualified:
        case part::instance:
        case part::list:
        case part::function:
        case part::array:
        case part::member_pointer:
        case part::vendor_qualified: {
            std::size_t const found = pack_size(here.first, depth + 1);
            return found != no_element ? found : pack_size(here.second, depth + 1);
        }
        default:
            return no_element;
    }
}

inline void demangle_printer::expansion(part_number inner) noexcept {
    std::size_t const count = element_ == no_element ? pack_size(inner, 0) : no_element;
    if (count == no_element) {
        if (scope_ == nullptr || !scope_->generic_lambda) failed_ = true;  // there is no pack
        put('(');
        print(inner);
        return put(")...");
    }
    for (std::size_t i = 0; i < count && step(); ++i) {
        element_ = static_cast<std::uint16_t>(i);
        if (i != 0) put(", ");
        print(inner);
    }
    element_ = no_element;
}

}  // namespace tocsin::in_signal
