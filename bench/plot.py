# SPDX-License-Identifier: MIT
"""Pictures of the benchmark: plain SVG, one for each question, written by hand so that nothing has to be installed."""

import html
import math
import re

COLOURS = {'floor': '#9aa0a6', 'peer': '#c6a664', 'part': '#d9d2c3', 'tocsin': '#2f6f8f'}
BAR, GAP, LEFT, WIDTH, RIGHT = 16, 6, 300, 420, 110


def text(x, y, what, anchor='start', size=12, weight='normal'):
    return (f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" font-weight="{weight}" '
            f'text-anchor="{anchor}">{html.escape(what)}</text>')


def figure(value):
    return f'{value:,.0f}' if abs(value) >= 100 else f'{value:.3g}'


def scale(values):
    """A function from values to pixels: logarithmic as soon as the largest is far from the smallest."""
    positive = [value for value in values if value > 0]
    most = max(positive, default=1)
    least = min(positive, default=1)
    if most / least < 20:
        return lambda value: WIDTH * max(value, 0) / most
    bottom = math.log10(least) - 0.3
    return lambda value: WIDTH * max(math.log10(value) - bottom, 0.02) / (math.log10(most) - bottom) if value > 0 else 2


def bars(row, lines, top):
    """The bars of one row of the table, and where they end."""
    shown = [line for line in lines if line['role'] in COLOURS and 'value' in line]
    if len(shown) < 2:
        return [], top
    shown.sort(key=lambda line: line['value'])
    length = scale([line['value'] for line in shown])
    unit = shown[0]['unit']
    drawn = [text(8, top + 14, f'{row} ({unit})', size=13, weight='bold')]
    y = top + 24
    for line in shown:
        ratio = f', {figure(line["ratio"])} x' if line.get('ratio') else ''
        width = length(line['value'])
        drawn.append(text(LEFT - 8, y + 12, line['who'][:48], 'end'))
        drawn.append(f'<rect x="{LEFT}" y="{y}" width="{width:.1f}" height="{BAR}" fill="{COLOURS[line["role"]]}"/>')
        drawn.append(text(LEFT + width + 6, y + 12, figure(line['value']) + ratio))
        y += BAR + GAP
    return drawn, y + 14


def curve(name, points, top):
    """One curve, both axes logarithmic."""
    points = sorted((point['x'], point['value']) for point in points if point['x'] > 0 and point['value'] > 0)
    if len(points) < 2:
        return [], top
    height = 120
    logs = [(math.log10(x), math.log10(y)) for x, y in points]
    left, right = logs[0][0], logs[-1][0]
    low = min(y for _, y in logs)
    # never less than a decade, so that noise does not look like growth
    span = max(max(y for _, y in logs) - low, 1)
    place = [(LEFT + WIDTH * (x - left) / (right - left or 1), top + 30 + height * (1 - (y - low) / span))
             for x, y in logs]
    drawn = [text(8, top + 14, name, size=13, weight='bold'),
             f'<rect x="{LEFT}" y="{top + 30}" width="{WIDTH}" height="{height}" fill="none" stroke="#ccc"/>',
             '<polyline fill="none" stroke="#2f6f8f" stroke-width="2" points="'
             + ' '.join(f'{x:.1f},{y:.1f}' for x, y in place) + '"/>']
    for (x, y), (count, value) in zip(place, points):
        drawn.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="#2f6f8f"/>')
        drawn.append(text(x, y - 7, figure(value), 'middle', 11))
        drawn.append(text(x, top + height + 46, figure(count), 'middle', 11))
    return drawn, top + height + 62


def draw(question, rows, curves):
    drawn, top = [text(8, 22, question, size=16, weight='bold')], 36
    for row, lines in rows:
        more, top = bars(row, lines, top)
        drawn += more
    for name, points in curves:
        more, top = curve(f'{name} ({points[0]["unit"]})', points, top)
        drawn += more
    size = f'width="{LEFT + WIDTH + RIGHT}" height="{top + 8}" viewBox="0 0 {LEFT + WIDTH + RIGHT} {top + 8}"'
    return (f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif">\n'
            '<rect width="100%" height="100%" fill="white"/>\n' + '\n'.join(drawn) + '\n</svg>\n')


def draw_all(results, folder):
    questions = dict.fromkeys(line['question'] for line in results.lines)
    for question in questions:
        rows = [(row, lines) for (of, row), lines in results.rows().items() if of == question]
        curves = [(name, points) for (of, name), points in results.curves().items() if of == question]
        name = re.sub(r'[^a-z0-9]+', '_', question.lower()).strip('_')
        (folder / f'{name}.svg').write_text(draw(question, rows, curves))
