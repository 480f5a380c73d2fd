#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What the benchmark's programs have said, as one table; and what has changed between two runs.

    table.py RESULTS        the table of a results.json, again
    table.py OLD NEW        what differs between two of them

A line of results is a dictionary with the keys of support/measure.hpp. Contenders of the same question and row share a
line of the table; a curve becomes a row of the question `growth`.
"""

import json
import pathlib
import sys
import textwrap

# What each question asks. One that is not here is shown by its name alone.
QUESTIONS = {
    'delivery': 'what a real signal costs the thread that it interrupts',
    'handler body': 'what of that is the handler, called as a function',
    'install': 'what it costs to install a row and to put back what was there',
    'mask': 'what it costs to block a signal for a scope',
    'pending': '"has a signal arrived?", when none has',
    'signal to loop': 'from the signal to the callback of an event loop, all on one processor',
    'storm': 'what is lost when signals come faster than they are taken',
    'heartbeat': 'what it costs to say that all is well',
    'deadline': 'what it costs to watch a scope, and to ask for a dump and take it back',
    'watcher': 'how often the thread that watches wakes up',
    'watchdogs': 'many of them: a feed, a look of the watcher at each, memory',
    'guarded': 'what it costs to be ready for a fault, and to recover from one',
    'unwind': 'what a frame costs when a stack is walked',
    'dump of 100 threads': 'the stacks of a live process',
    'capture': 'the stacks of all threads, without names',
    'crash': 'how much longer a death takes that is reported',
    'headers': 'what an include costs the compiler, above an empty file',
    'text': 'how much code a guard is',
    'growth': 'what becomes of a cost when there is more of something; ratios: to the first point where the cost '
              'has to be constant, elsewhere to the straight line through the first and the middle one',
}
CONSTANT, LINEAR = 1.05, 1.25  # how far a point may lie above, because of noise
SAME = 1.05  # the same of what costs as much as hand-written code with the same promises


class Results:
    """What has been measured."""

    def __init__(self, lines=()):
        self.lines = list(lines)

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

    def point(self, question, curve, x, value, unit, growth=None, who='tocsin'):
        line = {'question': question, 'curve': curve, 'who': who, 'role': 'point', 'x': x, 'value': value, 'unit': unit}
        if growth is not None:
            line['growth'] = growth
        self.lines.append(line)

    def take(self, text):
        self.lines += [json.loads(line) for line in text.splitlines() if line.startswith('{')]

    def rows(self):
        """Question and row, and the lines of each: questions together, otherwise in the order of their first line."""
        grouped = {}
        for line in self.lines:
            if 'row' in line:
                grouped.setdefault(line['question'], {}).setdefault(line['row'], []).append(line)
        return {(question, row): lines for question, rows in grouped.items() for row, lines in rows.items()}

    def curves(self):
        """Question and curve, and by whom the points of each, from left to right."""
        grouped = {}
        for line in self.lines:
            if line['role'] == 'point':
                series = grouped.setdefault((line['question'], line['curve']), {})
                series.setdefault(line['who'], []).append(line)
        for series in grouped.values():
            for points in series.values():
                points.sort(key=lambda point: point['x'])
        return grouped

    def add_growth(self):
        """The rows of the curves that something is promised of."""
        self.lines = [line for line in self.lines if line['question'] != 'growth']
        for (question, curve), series in self.curves().items():
            points = series.get('tocsin', [])
            kind = points[0].get('growth') if points else None
            if kind is None:
                continue
            row = f'{question}: {curve}'
            if len(points) < (2 if kind == 'constant' else 3):
                self.absent('growth', row, 'points enough for a curve')
                continue
            first, *between, last = points
            self.add('growth', row, f'at {figure(first["x"])}', 'floor', first['value'], first['unit'])
            for each in between:
                self.add('growth', row, f'at {figure(each["x"])}', 'part', each['value'], each['unit'])
            note = {'constant': 'constant', 'linear': 'at most linear', 'each': 'of each, so at most constant'}[kind]
            self.add('growth', row, f'at {figure(last["x"])}', 'tocsin', last['value'], last['unit'],
                     ratio=growth_of(points, kind), target_ratio=CONSTANT if kind == 'constant' else LINEAR, note=note)


def growth_of(points, kind):
    """How far the worst point lies above what was promised: 1 is a cost that is constant, or that is a straight line.

    `each` are costs of one of x: their sum has to be a line.
    """
    if kind == 'constant':
        return max(point['value'] for point in points) / points[0]['value']
    whole = [(point['x'], point['value'] * (point['x'] if kind == 'each' else 1)) for point in points]
    middle = len(whole) // 2
    (x0, y0), (x1, y1) = whole[0], whole[middle]
    slope = (y1 - y0) / (x1 - x0)
    # a line that falls is noise, and nothing has to be cheaper because of it
    return max(y / max(y0 + slope * (x - x0), y0, y1) for x, y in whole[middle + 1:])


def met(line):
    """True, False, or None where nothing was promised."""
    if 'target_ratio' in line:
        return line.get('ratio', float('inf')) <= line['target_ratio']
    if 'target_value' in line:
        return line.get('value', float('inf')) <= line['target_value']
    return None


def is_price(line):
    """True for a target that is missed by what hand-written code pays as well for the same promises."""
    return met(line) is False and line.get('to_same', float('inf')) <= SAME


def verdict(line):
    if is_price(line):
        return 'price'
    return {True: 'yes', False: 'NO', None: ''}[met(line)]


def promised(results):
    return [line for line in results.lines if line.get('role') == 'tocsin' and met(line) is not None]


def figure(value):
    if value == 0:
        return '0'
    if abs(value) >= 100:
        return f'{value:,.0f}'
    return f'{value:.3g}'


def unit_of(line):
    return {'us': 'µs'}.get(line['unit'], line['unit'])


def amount(line):
    if 'value' not in line:
        return 'failed'
    return f'{figure(line["value"])} {unit_of(line)}'.strip()


def target_of(line):
    if 'target_ratio' in line:
        return f'≤ {line["target_ratio"]:g} x'
    if 'target_value' in line:
        return f'≤ {line["target_value"]:,g} {unit_of(line)}' if line['target_value'] != 0.5 else 'none'
    return ''


def ratio_of(line):
    """With as many digits as it takes to see that it is above the target, where it is."""
    if not line.get('ratio'):
        return ''
    shown = figure(line['ratio'])
    if 'target_ratio' in line and not met(line) and float(shown.replace(',', '')) <= line['target_ratio']:
        shown = f'{line["ratio"]:.5g}'
    return shown


def with_ratio(line):
    return f'{line["who"]} {figure(line["ratio"])} x' if line.get('ratio') else f'{line["who"]}: {amount(line)}'


# 160 columns with what stands between them.
WIDTHS = (27, 22, 39, 32, 6, 9, 5)
TITLES = ('what', 'floor', 'peers; (parts of the price)', 'tocsin [why]', 'ratio', 'target', 'met')
LEGEND = ('Ratios are to the floor of the same row, each the median over rounds in which all contenders took turns. In '
          'parentheses: what one part costs by itself. Behind a =: written by hand, with all that tocsin promises there. '
          'In brackets: what is in the figure. "price": the target is missed, and by hand the same promises cost as '
          f'much (within {SAME - 1:.0%}).')


def cells(row, lines):
    """One line of the table for each contender of ours."""
    floors = [line for line in lines if line['role'] == 'floor']
    others = [with_ratio(line) for line in lines if line['role'] == 'peer']
    others += [f'({with_ratio(line)})' for line in lines if line['role'] == 'part']
    others += [f'= {with_ratio(line)}' for line in lines if line['role'] == 'same']
    absent = [line['who'] for line in lines if line['role'] == 'absent']
    if absent:
        others.append('absent: ' + ', '.join(absent))
    floor = f'{floors[0]["who"]}: {amount(floors[0])}' if floors else ''
    ours = [line for line in lines if line['role'] == 'tocsin']
    left = (row, floor, '; '.join(others))
    if not ours:
        yield (*left, '', '', '', '')
    for line in ours:
        text = f'{line["who"]}: {amount(line)}' + (f' [{line["note"]}]' if 'note' in line else '')
        ratio = ratio_of(line)
        yield (*left, text, ratio, target_of(line), verdict(line))
        left = ('', '', '')


def print_table(results, to):
    rule = '+'.join('-' * (width + 2) for width in WIDTHS)
    print(*textwrap.wrap(LEGEND, len(rule)), sep='\n', file=to)
    asked = None
    for (question, row), lines in results.rows().items():
        if question != asked:
            title = f'{question}: {QUESTIONS[question]}' if question in QUESTIONS else question
            print('', *textwrap.wrap(title, len(rule)), rule, sep='\n', file=to)
            print_row(TITLES, to)
            asked = question
        print(rule, file=to)
        for line in cells(row, lines):
            print_row(line, to)
    print_summary(results, to)


def print_summary(results, to):
    kinds = [verdict(line) for line in promised(results)]
    print(f'\n{kinds.count("yes")} of {len(kinds)} targets met', file=to)
    for kind, said in (('price', 'missed by the price that the same promises have by hand'), ('NO', 'missed')):
        if kind not in kinds:
            continue
        print(f'{kinds.count(kind)} {said}:', file=to)
        for line in promised(results):
            if verdict(line) == kind:
                print('  ' + textwrap.shorten(missed(line), sum(WIDTHS), placeholder=' …'), file=to)


def missed(line):
    reached = f'{ratio_of(line)} x' if line.get('ratio') and 'target_ratio' in line else amount(line)
    by_hand = f', {figure(line["to_same"])} x the same by hand' if 'to_same' in line else ''
    return f'{line["question"]}, {line["row"]}, {line["who"]}: {reached}, promised {target_of(line)}{by_hand}'


def print_row(texts, to):
    wrapped = [textwrap.wrap(text, width) or [''] for text, width in zip(texts, WIDTHS)]
    for i in range(max(len(lines) for lines in wrapped)):
        parts = [(lines[i] if i < len(lines) else '').ljust(width) for lines, width in zip(wrapped, WIDTHS)]
        print((' ' + ' | '.join(parts)).rstrip(), file=to)


# Two runs.

def compare(old, new, to):
    """Which targets are met or missed now that were not, what differs by more than a tenth, what is new or gone."""
    print(f'{old.get("commit")} -> {new.get("commit")}', file=to)
    for what in ('machine', 'kernel', 'processors'):
        if old.get(what) != new.get(what):
            print(f'another {what}: {old.get(what)} -> {new.get(what)}; only ratios compare', file=to)
    before, now = (ours_by_name(report) for report in (old, new))
    changes = []
    for name in dict.fromkeys([*before, *now]):
        was, is_now = before.get(name), now.get(name)
        if was is None or is_now is None:
            changes.append(f'{" / ".join(name)}: {"new" if was is None else "gone"}')
        else:
            changes += change_of(' / '.join(name), was, is_now)
    print(*(changes or ['no ratio differs by more than a tenth']), sep='\n', file=to)


def ours_by_name(report):
    return {(line['question'], line['row'], line['who']): line
            for line in report['results'] if line.get('role') == 'tocsin'}


def change_of(name, was, is_now):
    # a ratio has little of the machine in it; where there is none, the figure has to do
    key = 'ratio' if was.get('ratio') and is_now.get('ratio') else 'value'
    then, now = was.get(key), is_now.get(key)
    change = '' if met(was) == met(is_now) else {True: ', MET NOW', False: ', MISSED NOW', None: ''}[met(is_now)]
    differs = then != now and (not then or not now or abs(now / then - 1) > 0.1)
    if not differs and not change:
        return []
    said = [figure(value) if value is not None else 'failed' for value in (then, now)]
    return [f'{name}: {key} {said[0]} -> {said[1]}{change}']


def main():
    reports = [json.loads(pathlib.Path(path).read_text()) for path in sys.argv[1:]]
    if len(reports) == 1:
        print_table(Results(reports[0]['results']), sys.stdout)
    elif len(reports) == 2:
        compare(*reports, sys.stdout)
    else:
        sys.exit(__doc__)


if __name__ == '__main__':
    main()
