#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Pictures of the benchmark: plain SVG, one for each question, written by hand so that nothing has to be installed.

    plot.py RESULTS FOLDER   the README's pictures, of a results.json

A picture brings its background and follows the reader's colour scheme.
"""

import html
import json
import math
import pathlib
import re
import sys

sys.dont_write_bytecode = True  # no traces in the source folder
import table  # noqa: E402

# Class, what it is, its colour by day and by night.
ROLES = {
    'floor': ('by hand', '#8b949e', '#7d8590'),
    'part': ('part of the price, by hand', '#d0d7de', '#444c56'),
    'same': ('the same promises, by hand', '#57606a', '#adbac7'),
    'peer': ('other libraries', '#d4a72c', '#bf8700'),
    'tocsin': ('tocsin', '#0969da', '#4493f8'),
}
INK, PAPER, LINE = ('#1f2328', '#f0f6fc'), ('#ffffff', '#0d1117'), ('#d1d9e0', '#3d444d')
BAR, GAP, LEFT, WIDTH, RIGHT = 14, 5, 290, 300, 140

# What the README shows: pictures, the title of each, its rows and its curves.
README = {
    'delivery': ('What a signal costs the thread that it interrupts',
                 [('delivery', 'real signal, in_handler, SA_ONSTACK'), ('delivery', 'wake-up, the first')],
                 [('delivery', 'guards nested')]),
    'signal to loop': ('From a signal to the callback of an event loop',
                       [('signal to loop', f'{way} mode, same CPU') for way in ('eventfd', 'signalfd', 'sigwaitinfo')],
                       []),
    'capture': ('The stacks of all threads of a live process',
                [('dump of 100 threads', 'with names')], [('capture', 'each of so many threads')]),
}


def style():
    def rules(which):
        fills = ''.join(f'.{role}{{fill:{colours[which]};stroke:{colours[which]}}}'
                        for role, (_, *colours) in ROLES.items())
        return (f'text{{fill:{INK[which]}}}.paper{{fill:{PAPER[which]}}}'
                f'.frame{{fill:none;stroke:{LINE[which]}}}{fills}')
    line = 'polyline{fill:none!important;stroke-width:2}'
    return f'<style>{rules(0)}{line}@media(prefers-color-scheme:dark){{{rules(1)}}}</style>'


def text(x, y, what, anchor='start', size=12, weight='normal'):
    bold = '' if weight == 'normal' else f' font-weight="{weight}"'
    at = '' if anchor == 'start' else f' text-anchor="{anchor}"'
    return f'<text x="{x:.0f}" y="{y:.0f}" font-size="{size}"{bold}{at}>{html.escape(what)}</text>'


def scale(values, contenders):
    """A function from values to pixels, and whether it is logarithmic: as soon as contenders are far apart."""
    most = max((value for value in values if value > 0), default=1)
    least = min((value for value in contenders if value > 0), default=most)
    if most / least < 20:
        return lambda value: WIDTH * max(value, 0) / most, False
    bottom = math.log10(least) - 0.3

    def length(value):
        return max(WIDTH * (math.log10(value) - bottom) / (math.log10(most) - bottom), 2) if value > 0 else 2
    return length, True


def by_ratio(lines):
    return all(line.get('ratio') for line in lines if line['role'] in ROLES and 'value' in line)


def bars(row, lines, top):
    """The bars of one row of the table, and where they end. What counts are ratios, where there are any."""
    shown = [line for line in lines if line['role'] in ROLES and 'value' in line]
    if len(shown) < 2:
        return [], top
    key = 'ratio' if by_ratio(lines) else 'value'
    shown.sort(key=lambda line: line[key])
    length, logarithmic = scale([line[key] for line in shown],
                                [line[key] for line in shown if line['role'] != 'part'])
    drawn = [text(8, top + 14, row + (', logarithmic' if logarithmic else ''), size=13, weight='bold')]
    y = top + 24
    for line in shown:
        said = table.amount(line) if key == 'value' else f'{table.figure(line["ratio"])} x, {table.amount(line)}'
        width = length(line[key])
        drawn.append(text(LEFT - 8, y + 11, line['who'][:54], 'end', 12 if len(line['who']) < 44 else 10))
        drawn.append(f'<rect class="{line["role"]}" x="{LEFT}" y="{y}" width="{width:.1f}" height="{BAR}"/>')
        drawn.append(text(LEFT + width + 6, y + 11, said))
        y += BAR + GAP
    return drawn, y + 12


def heights(values):
    """From values to parts of the height, and whether it is logarithmic; from zero where it is not."""
    least, most = min(values), max(values)
    if most < 3 * least:
        return lambda value: 0.85 * value / most, False
    low, span = math.log10(least), max(math.log10(most / least), 1)
    return lambda value: 0.22 + 0.6 * (math.log10(value) - low) / span, True


def curve(name, series, top):
    """The lines of one curve, each of somebody; from left to right logarithmic."""
    series = {who: [point for point in points if point['x'] > 0 and point['value'] > 0]
              for who, points in series.items()}
    everything = [point for points in series.values() for point in points]
    if len({point['x'] for point in everything}) < 2:
        return [], top
    height, logarithmic = heights([point['value'] for point in everything])
    left, right = (math.log10(f(point['x'] for point in everything)) for f in (min, max))
    tall = 56 * len(series)
    bottom = top + 28 + tall
    unit = table.unit_of(everything[0])
    drawn = [text(8, top + 14, f'{name} ({unit}{", logarithmic" if logarithmic else ""})', size=13, weight='bold'),
             f'<rect class="frame" x="{LEFT}" y="{top + 28}" width="{WIDTH}" height="{tall}"/>']
    lowest = min(series, key=lambda who: series[who][-1]['value'])
    for who, points in series.items():
        below = len(series) > 1 and who == lowest
        role = who if who in ROLES else 'floor'
        at = [(LEFT + WIDTH * (math.log10(point['x']) - left) / (right - left),
               bottom - tall * height(point['value'])) for point in points]
        drawn.append(f'<polyline class="{role}" points="' + ' '.join(f'{x:.1f},{y:.1f}' for x, y in at) + '"/>')
        for (x, y), point in zip(at, points):
            drawn.append(f'<circle class="{role}" cx="{x:.1f}" cy="{y:.1f}" r="2.5"/>')
            drawn.append(text(x, y + (15 if below else -6), table.figure(point['value']), 'middle', 11))
        if len(series) > 1:
            drawn.append(text(LEFT + WIDTH + 24, at[-1][1] + 4, who))
    for x in sorted({point['x'] for point in everything}):
        drawn.append(text(LEFT + WIDTH * (math.log10(x) - left) / (right - left), bottom + 14, table.figure(x),
                          'middle', 11))
    return drawn, bottom + 28


def legend(roles, ratios, top):
    drawn, x = [], 8
    for role in (role for role in ROLES if role in roles):
        drawn.append(f'<rect class="{role}" x="{x:.0f}" y="{top}" width="10" height="10"/>')
        drawn.append(text(x + 16, top + 9, ROLES[role][0], size=11))
        x += 32 + 5.6 * len(ROLES[role][0])
    if ratios:
        drawn.append(text(x, top + 9, 'x: ratio to what is done by hand', size=11))
    return drawn, top + 18


def draw(title, rows, curves):
    drawn, top = [text(8, 20, title, size=14, weight='bold')], 30
    roles, ratios = set(), False
    for row, lines in rows:
        more, top = bars(row, lines, top)
        drawn += more
        roles |= {line['role'] for line in lines} if more else set()
        ratios = ratios or (more and by_ratio(lines))
    for name, series in curves:
        more, top = curve(name, series, top)
        drawn += more
    more, top = legend(roles, ratios, top)
    drawn += more
    width = LEFT + WIDTH + RIGHT
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{top + 6}" '
            f'viewBox="0 0 {width} {top + 6}" font-family="sans-serif" role="img">\n'
            f'<!-- SPDX-License-Identifier: MIT -->\n<title>{html.escape(title)}</title>\n{style()}\n'
            '<rect class="paper" width="100%" height="100%"/>\n' + '\n'.join(drawn) + '\n</svg>\n')


def file_name(question):
    return re.sub(r'[^a-z0-9]+', '_', question.lower()).strip('_') + '.svg'


def draw_all(results, folder):
    # growth is in the picture of what grows
    for question in dict.fromkeys(line['question'] for line in results.lines if line['question'] != 'growth'):
        rows = [(row, lines) for (of, row), lines in results.rows().items() if of == question]
        curves = [(name, series) for (of, name), series in results.curves().items() if of == question]
        title = f'{question}: {table.QUESTIONS[question]}' if question in table.QUESTIONS else question
        (folder / file_name(question)).write_text(draw(title, rows, curves))


def draw_readme(results, folder):
    """The pictures of the README; what they show has to be there."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, (title, rows, curves) in README.items():
        shown = [(row if question == name else f'{question}, {row}', results.rows()[question, row])
                 for question, row in rows]
        lines = [(curve[1], results.curves()[curve]) for curve in curves]
        (folder / file_name(name)).write_text(draw(title, shown, lines))


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    report = json.loads(pathlib.Path(sys.argv[1]).read_text())
    draw_readme(table.Results(report['results']), pathlib.Path(sys.argv[2]))


if __name__ == '__main__':
    main()
