#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Runs the benchmark's programs one after another and makes one table of what they say.

Each program prints JSON lines (support/measure.hpp). What no program can say of itself is measured here: system calls
(strace), what headers cost to compile, how much code a guard is, and the instructions of a check. The table goes to
standard output; a JSON copy for comparison between commits and a picture for each question go into the build folder.
A target that is missed is no failure: the exit status says only whether everything ran.
"""

import argparse
import json
import os
import pathlib
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import textwrap
import time

sys.dont_write_bytecode = True  # no traces in the source folder
import plot  # noqa: E402

QUICK = 'BENCH_QUICK' in os.environ


class Results:
    """What has been measured, as dictionaries with the keys of support/measure.hpp."""

    def __init__(self):
        self.lines = []

    def add(self, question, row, who, role, value=None, unit='', ratio=None, target_ratio=None, target_value=None,
            note=''):
        line = {'question': question, 'row': row, 'who': who, 'role': role, 'unit': unit}
        for key, given in (('value', value), ('ratio', ratio), ('target_ratio', target_ratio),
                           ('target_value', target_value), ('note', note)):
            if given not in (None, ''):
                line[key] = given
        self.lines.append(line)

    def absent(self, question, row, who):
        self.add(question, row, who, 'absent')

    def point(self, question, curve, x, value, unit):
        self.lines.append({'question': question, 'curve': curve, 'role': 'point', 'x': x, 'value': value,
                           'unit': unit})

    def take(self, text):
        self.lines += [json.loads(line) for line in text.splitlines() if line.startswith('{')]

    def rows(self):
        """Question and row, and the lines of each, in the order of their first line."""
        grouped = {}
        for line in self.lines:
            if 'row' in line:
                grouped.setdefault((line['question'], line['row']), []).append(line)
        return grouped

    def curves(self):
        grouped = {}
        for line in self.lines:
            if line['role'] == 'point':
                grouped.setdefault((line['question'], line['curve']), []).append(line)
        return grouped


def met(line):
    """True, False, or None where nothing was promised."""
    if 'target_ratio' in line:
        return line.get('ratio', float('inf')) <= line['target_ratio']
    if 'target_value' in line:
        return line['value'] <= line['target_value']
    return None


def figure(value):
    if value == 0:
        return '0'
    if abs(value) >= 100:
        return f'{value:,.0f}'
    return f'{value:.3g}'


def amount(line):
    return f'{figure(line["value"])} {line["unit"]}'.strip()


def target_of(line):
    if 'target_ratio' in line:
        return f'≤ {line["target_ratio"]:g} x'
    if 'target_value' in line:
        return f'≤ {line["target_value"]:g} {line["unit"]}' if line['target_value'] != 0.5 else '0'
    return ''


def with_ratio(line):
    ratio = f' {figure(line["ratio"])} x' if line.get('ratio') else f' {amount(line)}'
    return line['who'] + ratio


WIDTHS = (34, 22, 44, 30, 7, 12, 4)
TITLES = ('question', 'floor', 'peers, and (prices)', 'tocsin', 'ratio', 'target', 'met')


def cells(question, row, lines):
    """One line of the table for each contender of ours."""
    floors = [line for line in lines if line['role'] == 'floor']
    others = [with_ratio(line) for line in lines if line['role'] == 'peer']
    others += [f'({with_ratio(line)})' for line in lines if line['role'] == 'part']
    absent = [line['who'] for line in lines if line['role'] == 'absent']
    if absent:
        others.append('absent: ' + ', '.join(absent))
    floor = f'{floors[0]["who"]}: {amount(floors[0])}' if floors else ''
    ours = [line for line in lines if line['role'] == 'tocsin']
    yield_first = (f'{question}: {row}', floor, '; '.join(others))
    if not ours:
        yield (*yield_first, '', '', '', '')
    for line in ours:
        text = f'{line["who"]}: {amount(line)}' + (f' [{line["note"]}]' if 'note' in line else '')
        ratio = f'{line["ratio"]:.3g}' if line.get('ratio') else ''
        verdict = {True: 'yes', False: 'NO', None: ''}[met(line)]
        yield (*yield_first, text, ratio, target_of(line), verdict)
        yield_first = ('', '', '')


def print_table(results, to):
    rule = '+'.join('-' * (width + 2) for width in WIDTHS)
    print_row(TITLES, to)
    for (question, row), lines in results.rows().items():
        print(rule, file=to)
        for line in cells(question, row, lines):
            print_row(line, to)
    print(rule, file=to)
    promised = [line for line in results.lines if line.get('role') == 'tocsin' and met(line) is not None]
    kept = sum(met(line) for line in promised)
    print(f'{kept} of {len(promised)} targets met', file=to)


def print_row(texts, to):
    wrapped = [textwrap.wrap(text, width) or [''] for text, width in zip(texts, WIDTHS)]
    for i in range(max(len(lines) for lines in wrapped)):
        parts = [(lines[i] if i < len(lines) else '').ljust(width) for lines, width in zip(wrapped, WIDTHS)]
        print(' ' + ' | '.join(parts).rstrip(), file=to)


# System calls.

def count_system_calls(results, program):
    row = 'system calls, install + uninstall'
    if shutil.which('strace') is None:
        return results.absent('install', row, 'strace')
    for word, role, target in (('sigaction', 'floor', None), ('libev', 'peer', None), ('libevent', 'peer', None),
                               ('asio', 'peer', None), ('libuv', 'peer', None), ('GLib', 'peer', None),
                               ('guard', 'tocsin', 2)):
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
            results.add('headers', row, 'LEAN', 'floor', cost[LEAN], 'ms')
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
    results.add('headers', 'lines', 'LEAN', 'floor', headers.lines('g++', LEAN), 'lines')
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


def text_of(folder, include, name, source):
    """Bytes of a program's text, and the program."""
    path = pathlib.Path(folder) / f'{name}.cpp'
    path.write_text(source)
    program = path.with_suffix('')
    subprocess.run(['g++', '-std=c++20', '-O2', '-I', include, path, '-o', program], check=True)
    sizes = subprocess.run(['size', program], capture_output=True, text=True, check=True).stdout.splitlines()[1]
    return int(sizes.split()[0]), program


def program_text(results, folder, include):
    if shutil.which('g++') is None or shutil.which('size') is None:
        return results.absent('text', 'one guard', 'g++')
    empty, _ = text_of(folder, include, 'empty', 'int main() {}\n')
    raw = [text_of(folder, include, f'raw{n}', raw_program(n))[0] - empty for n in (1, 5)]
    ours = []
    for n in (1, 5):
        text, program = text_of(folder, include, f'guard{n}', guard_program(n))
        ours.append(text - empty)
        results.point('text', 'bytes above an empty main', n, text - empty, 'bytes')
    row = 'one guard with one row, above an empty main'
    results.add('text', row, 'sigaction', 'floor', raw[0], 'bytes')
    results.add('text', row, 'guard{on<…>(in_handler(f))}', 'tocsin', ours[0], 'bytes', target_value=6144,
                ratio=ours[0] / raw[0])
    more_raw, more = ((each[1] - each[0]) / 4 for each in (raw, ours))
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
    for count in (1, 30) if QUICK else (1, 30, 300):
        objects = folder / f'objects{count}'
        objects.mkdir()
        for i in range(count):
            shutil.copy(shared, objects / f'object{i}.so')
        words.append(f'growth:fault to exit, objects loaded:{count}={victim}:{objects}')
    for megabytes in (2, 20) if QUICK else (2, 20, 200):
        program = fat_program(folder, victim_object, libraries, megabytes)
        if program is not None:
            words.append(f'growth:fault to exit, MB of the program:{megabytes}={program}')
    return words


def fat_program(folder, victim_object, libraries, megabytes):
    """The victim with that much more: a tenth of it symbols, the rest debug information."""
    source = folder / f'fat{megabytes}.s'
    functions = megabytes * 1200
    with source.open('w') as file:
        file.write('.text\n')
        for i in range(functions):
            file.write(f'.globl _ZN4some9namespace8function{i:08}Ei\n.type _ZN4some9namespace8function{i:08}Ei,@function\n'
                       f'_ZN4some9namespace8function{i:08}Ei: ret\n.size _ZN4some9namespace8function{i:08}Ei,.-'
                       f'_ZN4some9namespace8function{i:08}Ei\n')
        file.write('.section .debug_filler,"",@progbits\n')
        file.write(f'.fill {megabytes * 900_000 // 8},8,0x0123456789abcdef\n')
        file.write('.section .note.GNU-stack,"",@progbits\n')
    program = folder / f'fat{megabytes}'
    done = subprocess.run(['g++', victim_object, source, *libraries, '-pthread', '-o', program], capture_output=True)
    source.unlink()
    return program if done.returncode == 0 else None


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


def run_all(results, programs, victims, include, compiled_victim):
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
        if len(programs) > 1:  # not for a look at one program
            compile_headers(results, folder, include)
            program_text(results, folder, include)
        print(f'headers and text: {time.monotonic() - started:.1f} s', file=sys.stderr)
    return all(works)


def commit_of(source):
    done = subprocess.run(['git', '-C', source, 'describe', '--always', '--dirty'], capture_output=True, text=True)
    return done.stdout.strip()


def compare(results, other, to):
    """Ratios that differ by more than a tenth from those of an earlier run."""
    key = lambda line: (line.get('question'), line.get('row'), line.get('who'))
    before = {key(line): line for line in json.loads(pathlib.Path(other).read_text())['results']}
    for line in results.lines:
        old = before.get(key(line))
        if line.get('role') != 'tocsin' or old is None:
            continue
        field = 'ratio' if line.get('ratio') and old.get('ratio') else 'value'
        now, then = line.get(field, 0), old.get(field, 0)
        if then and abs(now / then - 1) > 0.1:
            print(f'{" / ".join(key(line))}: {field} {figure(then)} -> {figure(now)}', file=to)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--out', required=True, help='folder for results.json and the pictures')
    parser.add_argument('--source', required=True, help="the project's root")
    parser.add_argument('--program', action='append', default=[], metavar='NAME=PATH')
    parser.add_argument('--victim', action='append', default=[], metavar='NAME=PATH')
    parser.add_argument('--only', default='', help='names of programs, separated by commas')
    parser.add_argument('--compare', metavar='RESULTS', help='an earlier results.json')
    given = parser.parse_args()
    programs = dict(each.split('=', 1) for each in given.program)
    if given.only:
        programs = {name: programs[name] for name in given.only.split(',') if name in programs}
    victims = dict(each.split('=', 1) for each in given.victim)
    include = pathlib.Path(given.source) / 'include'
    out = pathlib.Path(given.out)
    out.mkdir(parents=True, exist_ok=True)

    results = Results()
    started = time.monotonic()
    compiled = compile_victim(out, given.source, include) if 'crash' in programs else None
    works = run_all(results, programs, victims, include, compiled)
    report = {'commit': commit_of(given.source), 'machine': platform.processor() or platform.machine(),
              'kernel': platform.release(), 'processors': os.cpu_count(), 'seconds': time.monotonic() - started,
              'results': results.lines}
    (out / 'results.json').write_text(json.dumps(report, indent=1) + '\n')
    plot.draw_all(results, out)
    print_table(results, sys.stdout)
    print(f'{report["seconds"]:.0f} s; {out}/results.json and the pictures beside it')
    if given.compare:
        compare(results, given.compare, sys.stdout)
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
