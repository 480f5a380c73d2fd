#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Runs the benchmark's programs one after another and makes one table of what they say.

Each program prints JSON lines (support/measure.hpp). What no program can say of itself is measured here: system calls
(strace), what headers cost to compile, how much code a guard is, and the instructions of a check. The table goes to
standard output; a JSON copy for comparison between commits and a picture for each question go into the build folder.
A target that is missed is no failure: the exit status says only whether everything ran.
"""

import argparse
import collections
import json
import os
import pathlib
import platform
import re
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True  # no traces in the source folder
import plot  # noqa: E402
import table  # noqa: E402

QUICK = 'BENCH_QUICK' in os.environ


# System calls.

# A guard looks at what the kernel holds before each of its two changes: what it finds is in the chain before the first
# delivery needs it, and a handler that somebody else has installed since is not overwritten, not even for a moment.
LOOKS = 2


def count_system_calls(results, program):
    row = 'system calls, install + uninstall'
    if shutil.which('strace') is None:
        return results.absent('install', row, 'strace')
    for word, role, target in (('sigaction', 'floor', None), ('libev', 'peer', None), ('libevent', 'peer', None),
                               ('asio', 'peer', None), ('libuv', 'peer', None), ('GLib', 'peer', None),
                               ('guard', 'tocsin', LOOKS + 2)):
        counts = counted(program, word)
        add_count(results, 'install', row, word, role, counts, target)
    add_count(results, 'install', 'system calls, a row with a descriptor', 'wake', 'tocsin', counted(program, 'wake'),
              None)
    add_count(results, 'mask', 'system calls', 'mask', 'floor', counted(program, 'mask'), None)
    add_count(results, 'mask', 'system calls', 'block', 'tocsin', counted(program, 'block'), 2)


def counted(program, word):
    """System calls of one pair, by name: what lies between the first and the last alarm(0), for ten pairs."""
    with tempfile.NamedTemporaryFile('r') as trace:
        done = subprocess.run(['strace', '-o', trace.name, program, word], capture_output=True)
        if done.returncode != 0:
            return None
        names = [line.split('(')[0] for line in trace if '(' in line]
    marks = [i for i, name in enumerate(names) if name == 'alarm']
    between = names[marks[0] + 1:marks[-1]]
    return {name: between.count(name) / 10 for name in dict.fromkeys(between)}


def add_count(results, question, row, who, role, counts, target):
    if not counts:
        return
    note = ', '.join(f'{name} {number:g}' for name, number in counts.items())
    results.add(question, row, who, role, sum(counts.values()), 'calls', target_value=target, note=note)


# Instructions.

def compare_instructions(results, program):
    if shutil.which('objdump') is None:
        return results.absent('pending', 'instructions', 'objdump')
    text = subprocess.run(['objdump', '-d', '--no-show-raw-insn', program], capture_output=True, text=True).stdout
    by_hand, ours = (mnemonics(text, name) for name in ('look_by_hand', 'look_by_guard'))
    differ = abs(len(by_hand) - len(ours)) + sum(a != b for a, b in zip(by_hand, ours))
    results.add('pending', 'instructions', 'relaxed load', 'floor', len(by_hand), 'instructions')
    results.add('pending', 'instructions', 'guard.pending()', 'tocsin', differ, 'differ', target_value=0.5,
                note=' '.join(ours))


def mnemonics(text, function):
    body = re.search(rf'<{function}>:\n(.*?)\n\n', text + '\n\n', re.S).group(1)
    found = [line.split('\t')[1].split()[0] for line in body.splitlines() if '\t' in line]
    return found[:found.index('ret') + 1] if 'ret' in found else found


# Headers.

LEAN = ('cstddef', 'cstdint', 'type_traits', 'concepts', 'utility', 'signal.h', 'errno.h', 'unistd.h')
CORE = ('tocsin/guard.hpp', 'tocsin/on.hpp', 'tocsin/wake.hpp', 'tocsin/ignore.hpp', 'tocsin/in_handler.hpp')
OURS = {
    'guard, on, wake, ignore, in_handler': (CORE, 60),
    'the same with dump and watchdog': ((*CORE, 'tocsin/dump.hpp', 'tocsin/watchdog.hpp'), 110),
    'the umbrella': (('tocsin/tocsin.hpp',), None),
}
PEERS = {'fmt/core.h': 'fmt', 'asio/signal_set.hpp': 'asio', 'boost/stacktrace.hpp': 'Boost.Stacktrace',
         'backward.hpp': 'backward', 'uv.h': 'libuv', 'ev.h': 'libev', 'event2/event.h': 'libevent'}


def cpu_of(command):
    """Milliseconds of processor time of a command and what it started; None if it fails."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return (used.ru_utime + used.ru_stime) * 1000 if status == 0 else None


class Headers:
    def __init__(self, folder, include):
        self.folder = pathlib.Path(folder)
        self.include = include
        self.sources = {}

    def source(self, headers):
        if headers not in self.sources:
            path = self.folder / f'headers{len(self.sources)}.cpp'
            path.write_text(''.join(f'#include <{header}>\n' for header in headers))
            self.sources[headers] = path
        return self.sources[headers]

    def command(self, compiler, headers):
        return [compiler, '-std=c++20', '-O2', '-I', self.include, '-c', self.source(headers), '-o', os.devnull]

    def lines(self, compiler, headers):
        done = subprocess.run([compiler, '-std=c++20', '-I', self.include, '-E', '-P', self.source(headers)],
                              capture_output=True, text=True)
        return sum(bool(line.strip()) for line in done.stdout.splitlines())

    def measure(self, compiler, sets, rounds):
        """Milliseconds above an empty file, by set: the median of rounds in which the sets take turns."""
        spent = {headers: [] for headers in sets}
        for _ in range(rounds):
            empty = cpu_of(self.command(compiler, ()))
            for headers in sets:
                cost = cpu_of(self.command(compiler, headers))
                if cost is not None:
                    spent[headers].append(cost - empty)
        return {headers: statistics.median(costs) for headers, costs in spent.items() if costs}


def compile_headers(results, folder, include):
    headers = Headers(folder, include)
    rounds = 1 if QUICK else 3
    for compiler in ('g++', 'clang++'):
        if shutil.which(compiler) is None:
            results.absent('headers', f'{compiler}, ms above an empty file', compiler)
            continue
        peers = [(header,) for header in PEERS] if compiler == 'g++' else []
        sets = [LEAN, ('stop_token',), *(each for each, _ in OURS.values())]
        cost = headers.measure(compiler, sets, rounds) | headers.measure(compiler, peers, 1)
        for name, (included, target) in OURS.items():
            row = f'{compiler}, {name}'
            results.add('headers', row, 'signal.h, 7 small ones', 'floor', cost[LEAN], 'ms')
            if target is None:
                target = round(cost[('stop_token',)] + 60)
            elif compiler == 'clang++':
                target += 5
            results.add('headers', row, name, 'tocsin', cost.get(included), 'ms', target_value=target,
                        ratio=cost[included] / max(cost[LEAN], 1))
        for (header,) in peers:
            row = f'{compiler}, {next(iter(OURS))}'
            if (header,) in cost:
                results.add('headers', row, PEERS[header], 'peer', cost[(header,)], 'ms')
            else:
                results.absent('headers', row, PEERS[header])
    results.add('headers', 'lines', 'signal.h, 7 small ones', 'floor', headers.lines('g++', LEAN), 'lines')
    results.add('headers', 'lines', 'guard, on, wake, ignore, in_handler', 'tocsin', headers.lines('g++', CORE), 'lines',
                target_value=8000)


# Program text.

RAW = '''#include <signal.h>
volatile int seen;
{handlers}
int main() {{
    struct sigaction action{{}};
    action.sa_flags = SA_RESTART;
{calls}
}}
'''
GUARD = '''#include <tocsin/guard.hpp>
#include <tocsin/in_handler.hpp>
volatile int seen;
int main() {{
    using namespace tocsin;
    guard signals{{{rows}}};
}}
'''
LIBEV = '''#include <ev.h>
volatile int seen;
int main() {
    struct ev_loop* const loop = ev_default_loop(0);
    static ev_signal watcher;
    ev_signal_init(&watcher, [](struct ev_loop*, ev_signal*, int) { seen = 1; }, 10);
    ev_signal_start(loop, &watcher);
    ev_run(loop, 0);
}
'''
SIGNALS = ('SIGUSR1', 'SIGUSR2', 'SIGHUP', 'SIGTERM', 'SIGINT')


def raw_program(count):
    handlers = '\n'.join(f'static void take{i}(int) {{ seen = {i + 1}; }}' for i in range(count))
    calls = '\n'.join(f'    action.sa_handler = take{i};\n    sigaction({SIGNALS[i]}, &action, nullptr);'
                      for i in range(count))
    return RAW.format(handlers=handlers, calls=calls)


def guard_program(count):
    rows = ', '.join(f'on<{SIGNALS[i]}>(in_handler([](delivery const&) noexcept {{ seen = {i + 1}; }}))'
                     for i in range(count))
    return GUARD.format(rows=rows)


def text_of(folder, include, name, source, libraries=()):
    """Bytes of a program's text, and the program; None where it cannot be built."""
    path = pathlib.Path(folder) / f'{name}.cpp'
    path.write_text(source)
    program = path.with_suffix('')
    done = subprocess.run(['g++', '-std=c++20', '-O2', '-I', include, path, '-o', program, *libraries],
                          capture_output=bool(libraries))
    if done.returncode != 0:
        return None, program
    sizes = subprocess.run(['size', program], capture_output=True, text=True, check=True).stdout.splitlines()[1]
    return int(sizes.split()[0]), program


# What the first row of a guard pays for, by the functions that are there for it.
PARTS = {
    'one table for every copy of the library':
        r'find_table|candidate|is_directory|make_table|map_page|fill_in|note_fork|note_exit|adopt_process',
    'claims that nothing is lost by, and an end that waits':
        r'claim_signal|withdraw_signal|wait_|pass_barrier|detail::(is_ours|same|remember|forget|put_back|unlink)|'
        r'_disposition|table_lock|patience|row_links|prepare_link|guard_',
    'the way of a signal, and on to handlers that were there before':
        r'tocsin_entry|tocsin::is_fault|in_signal::(deliver|enter|walk_chain|link_behind_caller|carries_interruption|'
        r'take_own_cell|find_own_cell)',
    'the default disposition, as if without us': r'take_default|reraise|send_again|exit_now|stop_and_go_on',
    'the exception and its text': r'tocsin::error|posix::fail|standard_names',
}


def parts_of(program, empty):
    """Bytes of code and constants by part, and those of what compiler and linker add to code: unwind tables, imports."""
    symbols = subprocess.run(['nm', '-S', '-C', program], capture_output=True, text=True, check=True).stdout
    # by address: a constructor has two names
    sized = {address: (int(size, 16), name)
             for address, size, name in re.findall(r'^([0-9a-f]+) ([0-9a-f]+) \w (.*)$', symbols, re.M)}
    bytes_of = dict.fromkeys(PARTS, 0)
    for size, name in sized.values():
        if name.startswith(('vtable for', 'typeinfo for')):
            continue  # data
        part = next((part for part, pattern in PARTS.items() if re.search(pattern, name)), None)
        if part is not None:
            bytes_of[part] += size
    added = sections_of(program)
    added.subtract(sections_of(empty))
    bytes_of['unwind tables'] = sum(added[name] for name in added if name.startswith('.eh_frame'))
    linking = ('.dynsym', '.dynstr', '.gnu', '.rela', '.plt')  # what `size` takes for data is not counted
    bytes_of['what the dynamic linker reads'] = sum(added[name] for name in added if name.startswith(linking))
    return bytes_of


def sections_of(program):
    listed = subprocess.run(['size', '-A', program], capture_output=True, text=True, check=True).stdout
    return collections.Counter({name: int(size) for name, size in re.findall(r'^(\.\S+)\s+(\d+)', listed, re.M)})


def program_text(results, folder, include):
    if shutil.which('g++') is None or shutil.which('size') is None:
        return results.absent('text', 'one guard', 'g++')
    empty, empty_program = text_of(folder, include, 'empty', 'int main() {}\n')
    raw = [text_of(folder, include, f'raw{n}', raw_program(n))[0] - empty for n in (1, 5)]
    ours, programs = [], []
    for n in (1, 3, 5):
        text, program = text_of(folder, include, f'guard{n}', guard_program(n))
        ours.append(text - empty)
        programs.append(program)
        results.point('text', 'rows in a guard', n, text - empty, 'bytes', 'linear')
    row = 'one guard with one row, above an empty main'
    results.add('text', row, 'sigaction', 'floor', raw[0], 'bytes')
    libev, _ = text_of(folder, include, 'libev', LIBEV, ['-lev'])
    if libev is None:
        results.absent('text', row, 'libev')
    else:
        results.add('text', row, 'libev, and a shared library', 'peer', libev - empty, 'bytes',
                    ratio=(libev - empty) / raw[0])
    results.add('text', row, 'guard{on<…>(in_handler(f))}', 'tocsin', ours[0], 'bytes', target_value=6144,
                ratio=ours[0] / raw[0])
    parts = parts_of(programs[0], empty_program)
    parts['the rest: the row itself, texts, gaps between functions'] = ours[0] - sum(parts.values())
    for part, size in parts.items():
        results.add('text', row, part, 'part', size, 'bytes')
    more_raw, more = ((each[-1] - each[0]) / 4 for each in (raw, ours))
    row = 'each further row'
    results.add('text', row, 'sigaction', 'floor', more_raw, 'bytes')
    results.add('text', row, 'on<…>(in_handler(f))', 'tocsin', more, 'bytes', target_ratio=1.5, ratio=more / more_raw)
    names = subprocess.run(['nm', '-C', program], capture_output=True, text=True).stdout
    unused = [word for word in ('unwind', 'report<', 'watch_list', 'symbol_file', 'dispatcher_loop') if word in names]
    results.add('text', 'pulled in that no row uses', 'guard', 'tocsin', len(unused), 'parts', target_value=0.5,
                note=', '.join(unused))


# Growth of a crash: with the objects that are loaded, and with the size of the program.

def crash_growth(folder, victim_object, libraries, victim):
    """Words for the program `crash`: a victim for each point."""
    words = []
    folder = pathlib.Path(folder)
    source = folder / 'object.cpp'
    source.write_text('int tocsin_bench_object() { return 1; }\n')
    shared = folder / 'object.so'
    subprocess.run(['g++', '-O2', '-fPIC', '-shared', source, '-o', shared], check=True)
    for count in (1, 10, 30) if QUICK else (1, 100, 300):
        objects = folder / f'objects{count}'
        objects.mkdir()
        for i in range(count):
            shutil.copy(shared, objects / f'object{i}.so')
        words.append(f'growth:objects loaded:{count}={victim}:{objects}')
    for megabytes in (2, 7, 20) if QUICK else (2, 70, 200):
        program = fat_program(folder, victim_object, libraries, megabytes)
        if program is not None:
            words.append(f'growth:MB of the program:{megabytes}={program}')
    return words


def fat_program(folder, victim_object, libraries, megabytes):
    """The victim with that much more: a tenth of it symbols, the rest debug information."""
    name = '_ZN4some9namespace8function{:08}Ei'
    functions = '\n'.join(f'{each}: ret\n.globl {each}\n.type {each},@function\n.size {each},.-{each}'
                          for each in map(name.format, range(megabytes * 1200)))
    units = folder / 'units'
    unit = debug_unit(name)
    units.write_bytes(unit * (megabytes * 900_000 // len(unit)))
    source = folder / f'fat{megabytes}.s'
    source.write_text(f'.text\n{functions}\n{DEBUG_SECTIONS.format(units)}')
    program = folder / f'fat{megabytes}'
    # first, because a unit says where its abbreviations are: at the beginning
    done = subprocess.run(['g++', source, victim_object, *libraries, '-pthread', '-o', program], capture_output=True)
    source.unlink()
    units.unlink()
    return program if done.returncode == 0 else None


# DWARF 4, section 7.5.3: a unit with children has a name; a subprogram has a name, an address, a size and a line.
DEBUG_SECTIONS = '''
.section .debug_abbrev,"",@progbits
.byte 1,0x11,1, 0x03,0x08, 0,0
.byte 2,0x2e,0, 0x03,0x08, 0x11,0x01, 0x12,0x06, 0x3b,0x05, 0,0
.byte 0
.section .debug_info,"",@progbits
.incbin "{}"
.section .note.GNU-stack,"",@progbits
'''


def debug_unit(name):
    """A compilation unit of 200 functions (section 7.5.1.1)."""
    functions = b''.join(b'\x02' + name.format(i).encode() + struct.pack('<xQIH', 0x1000 + i, 1, i)
                         for i in range(200))
    body = struct.pack('<HIB', 4, 0, 8) + b'\x01unit.cpp\0' + functions + b'\0'
    return struct.pack('<I', len(body)) + body


# All of it.

def run_program(results, program, words=()):
    started = time.monotonic()
    done = subprocess.run([program, *words], capture_output=True, text=True)
    results.take(done.stdout)
    name = os.path.basename(program)
    print(f'{name}: {time.monotonic() - started:.1f} s', file=sys.stderr, flush=True)
    if done.stderr:
        print(done.stderr, file=sys.stderr, flush=True)
    return done.returncode == 0


def run_all(results, programs, victims, include, compiled_victim, everything):
    with tempfile.TemporaryDirectory() as folder:
        words = [f'{name}={path}' for name, path in victims.items()]
        if compiled_victim is not None and shutil.which('g++') is not None:
            words += crash_growth(folder, compiled_victim[0], compiled_victim[1:], victims['tocsin'])
        works = [run_program(results, program, words if name == 'crash' else ()) for name, program in programs.items()]
        if 'install' in programs:
            count_system_calls(results, programs['install'])
        if 'pending' in programs:
            compare_instructions(results, programs['pending'])
        started = time.monotonic()
        if everything:
            compile_headers(results, folder, include)
            program_text(results, folder, include)
            print(f'headers and text: {time.monotonic() - started:.1f} s', file=sys.stderr)
    return all(works)


def commit_of(source):
    done = subprocess.run(['git', '-C', source, 'describe', '--always', '--dirty'], capture_output=True, text=True)
    return done.stdout.strip()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--out', required=True, help='folder for results.json and the pictures')
    parser.add_argument('--source', required=True, help="the project's root")
    parser.add_argument('--program', action='append', default=[], metavar='NAME=PATH')
    parser.add_argument('--victim', action='append', default=[], metavar='NAME=PATH')
    parser.add_argument('--only', default='', help='names of programs, separated by commas')
    parser.add_argument('--compare', metavar='RESULTS', help='an earlier results.json; table.py compares two of them')
    parser.add_argument('--plots', metavar='FOLDER', help="the README's pictures, too")
    given = parser.parse_args()
    programs = dict(each.split('=', 1) for each in given.program)
    if given.only:
        programs = {name: programs[name] for name in given.only.split(',') if name in programs}
    victims = dict(each.split('=', 1) for each in given.victim)
    include = pathlib.Path(given.source) / 'include'
    out = pathlib.Path(given.out)
    out.mkdir(parents=True, exist_ok=True)

    results = table.Results()
    started = time.monotonic()
    compiled = compile_victim(out, given.source, include) if 'crash' in programs else None
    works = run_all(results, programs, victims, include, compiled, not given.only)
    results.add_growth()
    report = {'commit': commit_of(given.source), 'machine': platform.processor() or platform.machine(),
              'kernel': platform.release(), 'processors': os.cpu_count(), 'seconds': time.monotonic() - started,
              'results': results.lines}
    (out / 'results.json').write_text(json.dumps(report, indent=1) + '\n')
    plot.draw_all(results, out)
    if given.plots:
        plot.draw_readme(results, pathlib.Path(given.plots))
    table.print_table(results, sys.stdout)
    print(f'{report["seconds"]:.0f} s; {out}/results.json and the pictures beside it')
    if given.compare:
        table.compare(json.loads(pathlib.Path(given.compare).read_text()), report, sys.stdout)
    return 0 if works else 1


def compile_victim(out, source, include):
    """The victim as an object, to be linked into programs of several sizes."""
    if shutil.which('g++') is None:
        return None
    path = out / 'victim.o'
    bench = pathlib.Path(source) / 'bench'
    done = subprocess.run(['g++', '-std=c++20', '-O2', '-g', '-I', bench, '-I', include, '-c',
                           bench / 'victims' / 'tocsin.cpp', '-o', path])
    return (path,) if done.returncode == 0 else None


if __name__ == '__main__':
    sys.exit(main())
