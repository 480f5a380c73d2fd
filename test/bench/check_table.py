#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The benchmark's table, its comparison of two runs and its pictures, from results that are written by hand.

    check_table.py ROOT CONTEST   (the second is the program of contest.cpp)
"""

import io
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest
import xml.etree.ElementTree

sys.dont_write_bytecode = True
ROOT = pathlib.Path(sys.argv.pop(1)).resolve()
CONTEST = sys.argv.pop(1)
sys.path.insert(0, str(ROOT / "bench"))
import plot   # noqa: E402
import run    # noqa: E402
import table  # noqa: E402


def some_results():
    results = table.Results()
    results.add("delivery", "a signal", "sigaction", "floor", 2000, "ns", ratio=1)
    results.add("delivery", "a signal", "asio", "peer", 2500, "ns", ratio=1.25)
    results.add("delivery", "a signal", "getpid", "part", 100, "ns", ratio=0.05)
    results.absent("delivery", "a signal", "libuv")
    results.add("delivery", "a signal", "in_handler(f)", "tocsin", 2100, "ns", ratio=1.05, target_ratio=1.01,
                note="why it is so")
    results.add("install", "a row", "guard", "tocsin", 2, "calls", target_value=2)
    results.add("delivery", "no promise", "defer(f)", "tocsin", 3, "us")
    return results


def printed(results):
    to = io.StringIO()
    table.print_table(results, to)
    return to.getvalue()


def curve(kind, points):
    results = table.Results()
    for x, y in points:
        results.point("delivery", "rows", x, y, "ns", kind)
    results.add_growth()
    return [line for line in results.lines if line["question"] == "growth" and line["role"] == "tocsin"][0]


CONTENDERS = "fpobsaw12"  # of contest.cpp


class Contest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        done = subprocess.run([CONTEST], capture_output=True, text=True, check=True)
        cls.results = table.Results()
        cls.results.take(done.stdout)
        cls.turns, cls.medians = done.stderr.split("\n")[:2]

    def line(self, who, row=None):
        return [line for line in self.results.lines
                if line.get("who") == who and "row" in line and row in (None, line["row"])][0]

    def test_all_run_once_in_each_round(self):
        self.assertEqual([sorted(each) for each in self.rounds()], [sorted(CONTENDERS)] * 5)

    def test_nobody_always_follows_the_same_neighbour(self):
        before = {who: {each[each.index(who) - 1] for each in self.rounds()} for who in CONTENDERS}
        self.assertTrue(all(len(neighbours) > 1 for neighbours in before.values()), before)
        self.assertEqual(len({each[0] for each in self.rounds()}), 5)

    def rounds(self):
        return [self.turns[i:i + len(CONTENDERS)] for i in range(0, len(self.turns), len(CONTENDERS))]

    def test_a_ratio_is_that_of_a_round_whatever_the_machine_does_meanwhile(self):
        self.assertEqual(self.line("peer")["ratio"], 1.5)
        self.assertEqual(self.line("also ours")["ratio"], 0.5)

    def test_a_figure_is_the_median(self):
        self.assertEqual(self.line("peer")["value"], 60)
        self.assertEqual(self.medians, "2.5 5")

    def test_who_fails_in_one_round_has_failed(self):
        broken = self.line("broken")
        self.assertNotIn("value", broken)
        self.assertNotIn("ratio", broken)
        self.assertFalse(table.met(broken))

    def test_a_floor_may_serve_another_row(self):
        self.assertEqual(self.line("floor", "second")["value"], 40)
        self.assertNotIn("ratio", self.line("without a floor"))

    def test_rows_come_in_their_order_and_the_absent_are_named(self):
        self.assertEqual([row for _, row in self.results.rows()], ["first", "second", "third"])
        self.assertEqual(self.line("not here")["role"], "absent")

    def test_text_is_quoted(self):
        self.assertEqual(self.line("ours")["note"], 'a "note"')

    def test_the_same_by_hand_is_compared_round_by_round(self):
        self.assertAlmostEqual(self.line("ours")["to_same"], 1.1)
        self.assertNotIn("to_same", self.line("also ours"))

    def test_points_of_a_curve_are_ratios_too(self):
        points = self.results.curves()["question", "many"]["tocsin"]
        self.assertEqual([(point["x"], point["value"], point["growth"]) for point in points],
                         [(1, 40, "linear"), (10, 120, "linear")])


class Targets(unittest.TestCase):
    def test_a_ratio_is_met_up_to_its_target(self):
        self.assertTrue(table.met({"ratio": 1.03, "target_ratio": 1.03}))
        self.assertFalse(table.met({"ratio": 1.04, "target_ratio": 1.03}))

    def test_a_figure_is_met_up_to_its_target(self):
        self.assertTrue(table.met({"value": 0, "target_value": 0.5}))
        self.assertFalse(table.met({"value": 1, "target_value": 0.5}))

    def test_what_has_failed_is_missed(self):
        self.assertFalse(table.met({"target_ratio": 1.1}))
        self.assertFalse(table.met({"target_value": 5}))

    def test_nothing_is_promised_without_a_target(self):
        self.assertIsNone(table.met({"value": 1, "ratio": 1}))


class Table(unittest.TestCase):
    def test_every_contender_is_there_with_its_part(self):
        text = re.sub(r"\s+", " ", printed(some_results()))
        for part in ("sigaction: 2,000 ns", "asio 1.25 x", "(getpid 0.05 x)", "absent:", "libuv",
                     "in_handler(f): 2,100 ns", "≤ 1.01 x | NO", "≤ 2 calls | yes",
                     "1 of 2 targets met 1 missed: delivery, a signal, in_handler(f): 1.05 x, promised ≤ 1.01 x", "3 µs"):
            self.assertIn(part, text)

    def test_a_target_that_is_missed_by_what_others_pay_by_hand_is_apart(self):
        results = some_results()
        results.add("install", "a row", "look first", "same", 500, "ns", ratio=1.5)
        results.add("install", "a row", "guard", "tocsin", 510, "ns", ratio=1.53, target_ratio=1.03)
        results.lines[-1]["to_same"] = 1.02
        text = re.sub(r"\s+", " ", printed(results))
        for part in ("= look first 1.5 x", "≤ 1.03 x | price", "1 of 3 targets met 1 missed by the price",
                     "guard: 1.53 x, promised ≤ 1.03 x, 1.02 x the same by hand 1 missed: delivery"):
            self.assertIn(part, text)

    def test_what_costs_more_than_the_same_by_hand_is_missed(self):
        line = {"ratio": 1.6, "target_ratio": 1.03, "to_same": 1.1}
        self.assertEqual(table.verdict(line), "NO")
        self.assertEqual(table.verdict({**line, "to_same": 1.05}), "price")
        self.assertEqual(table.verdict({**line, "ratio": 1.03}), "yes")

    def test_no_line_is_longer_than_160_columns(self):
        results = some_results()
        results.add("delivery", "a row " * 40, "a contender " * 20, "tocsin", 123456789, "instructions", ratio=1234.5,
                    target_value=123456, note="a reason " * 30)
        self.assertLessEqual(max(map(len, printed(results).splitlines())), 160)

    def test_columns_stand_under_each_other(self):
        rows = [line for line in printed(some_results()).splitlines() if "|" in line]
        places = {tuple(i for i, c in enumerate(line) if c == "|")[:4] for line in rows}
        self.assertEqual(len(places), 1, rows)

    def test_a_question_is_asked_once(self):
        lines = printed(some_results()).splitlines()
        self.assertEqual(sum(line.startswith("delivery: ") for line in lines), 1)

    def test_a_ratio_that_is_missed_by_a_little_does_not_look_met(self):
        results = table.Results()
        results.add("delivery", "r", "w", "tocsin", 1, "ns", ratio=1.0845, target_ratio=1.08)
        self.assertRegex(printed(results), r"1\.0845 +\| ≤ 1\.08 x +\| NO")

    def test_a_failure_is_named(self):
        results = table.Results()
        results.add("delivery", "a signal", "in_handler(f)", "tocsin", unit="ns", target_ratio=1.01)
        self.assertRegex(printed(results), r"in_handler\(f\): failed.*NO")

    def test_every_question_of_a_program_is_explained(self):
        sources = "".join(path.read_text() for path in (ROOT / "bench").glob("*.cpp"))
        asked = set(re.findall(r'contest \w+\{"([^"]+)"|result shown\{\s*"([^"]+)"', sources))
        self.assertLess({question for pair in asked for question in pair if question}, set(table.QUESTIONS))

    def test_lines_of_a_program_are_taken_and_other_output_is_not(self):
        results = table.Results()
        results.take('a word\n{"question": "mask", "row": "r", "who": "w", "role": "absent"}\n')
        self.assertEqual([line["who"] for line in results.lines], ["w"])


class Growth(unittest.TestCase):
    def test_a_cost_that_stays_is_constant(self):
        self.assertTrue(table.met(curve("constant", [(1, 100), (8, 103), (64, 99)])))

    def test_a_cost_that_grows_is_not_constant(self):
        self.assertFalse(table.met(curve("constant", [(1, 100), (8, 103), (64, 120)])))

    def test_a_line_is_linear_whatever_it_costs_to_begin(self):
        for begin in (0, 1000, 10**6):
            line = curve("linear", [(x, begin + 7 * x) for x in (1, 30, 300)])
            self.assertAlmostEqual(line["ratio"], 1)

    def test_a_square_is_not_linear(self):
        self.assertFalse(table.met(curve("linear", [(x, 1000 + x * x) for x in (1, 30, 300)])))

    def test_a_cost_of_each_that_stays_is_linear_and_one_that_grows_is_not(self):
        self.assertTrue(table.met(curve("each", [(10, 9.0), (100, 9.2), (1000, 9.1)])))
        self.assertFalse(table.met(curve("each", [(10, 9.0), (100, 9.2), (1000, 20.0)])))
        self.assertFalse(table.met(curve("each", [(10, 1), (100, 10), (1000, 100)])))

    def test_a_fixed_part_that_is_spread_is_no_growth(self):
        self.assertTrue(table.met(curve("each", [(10, 19), (100, 10), (1000, 9.1)])))

    def test_noise_at_the_beginning_is_no_growth(self):
        self.assertTrue(table.met(curve("linear", [(1, 105), (8, 100), (64, 103)])))

    def test_points_come_in_any_order(self):
        self.assertEqual(curve("linear", [(300, 3000), (1, 10), (30, 300)])["who"], "at 300")

    def test_too_few_points_are_no_curve(self):
        results = table.Results()
        results.point("delivery", "rows", 1, 10, "ns", "linear")
        results.add_growth()
        self.assertEqual([line["role"] for line in results.lines if line["question"] == "growth"], ["absent"])

    def test_adding_it_twice_is_adding_it_once(self):
        results = table.Results()
        for x in (1, 2, 3):
            results.point("delivery", "rows", x, x, "ns", "linear")
        results.add_growth()
        once = len(results.lines)
        results.add_growth()
        self.assertEqual(len(results.lines), once)


class Comparison(unittest.TestCase):
    def compared(self, change):
        old = {"commit": "a", "machine": "m", "kernel": "k", "processors": 2, "results": some_results().lines}
        new = json.loads(json.dumps(old)) | {"commit": "b"}
        change(new)
        to = io.StringIO()
        table.compare(old, new, to)
        return to.getvalue()

    def test_the_same_is_the_same(self):
        self.assertIn("no ratio differs", self.compared(lambda new: None))

    def test_a_little_is_noise(self):
        self.assertIn("no ratio differs", self.compared(lambda new: new["results"][4].update(ratio=1.06)))

    def test_a_ratio_that_differs_is_named(self):
        text = self.compared(lambda new: new["results"][4].update(ratio=2))
        self.assertIn("delivery / a signal / in_handler(f): ratio 1.05 -> 2", text)

    def test_a_target_that_is_met_now_is_named_however_near(self):
        self.assertIn("ratio 1.05 -> 1 , MET NOW".replace(" ,", ","),
                      self.compared(lambda new: new["results"][4].update(ratio=1.0)))

    def test_a_target_that_is_missed_now_is_named(self):
        self.assertIn("value 2 -> 3, MISSED NOW", self.compared(lambda new: new["results"][5].update(value=3)))

    def test_what_fails_now_is_named(self):
        self.assertIn("value 2 -> failed, MISSED NOW", self.compared(lambda new: new["results"][5].pop("value")))

    def test_what_is_new_and_what_is_gone_is_named(self):
        text = self.compared(lambda new: new["results"][5].update(who="another"))
        self.assertIn("install / a row / guard: gone", text)
        self.assertIn("install / a row / another: new", text)

    def test_another_machine_is_named(self):
        self.assertIn("another kernel: k -> 7", self.compared(lambda new: new.update(kernel="7")))

    def test_the_command_compares_two_files(self):
        with tempfile.TemporaryDirectory() as folder:
            paths = [pathlib.Path(folder) / name for name in ("old.json", "new.json")]
            for path, value in zip(paths, (2, 4)):
                lines = some_results().lines
                lines[5]["value"] = value
                path.write_text(json.dumps({"commit": path.stem, "results": lines}))
            done = subprocess.run([sys.executable, ROOT / "bench" / "table.py", *paths], capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(done.stdout, "old -> new\ninstall / a row / guard: value 2 -> 4, MISSED NOW\n")


class Pictures(unittest.TestCase):
    def drawn(self, results, question="delivery"):
        with tempfile.TemporaryDirectory() as folder:
            plot.draw_all(results, pathlib.Path(folder))
            return (pathlib.Path(folder) / plot.file_name(question)).read_text()

    def texts(self, picture):
        drawn = xml.etree.ElementTree.fromstring(picture)
        return [each.text for each in drawn.iter("{http://www.w3.org/2000/svg}text")]

    def test_a_bar_has_its_name_its_ratio_and_its_figure(self):
        texts = self.texts(self.drawn(some_results()))
        for part in ("sigaction", "1 x, 2,000 ns", "asio", "1.25 x, 2,500 ns", "in_handler(f)"):
            self.assertIn(part, texts)

    def test_bars_are_as_long_as_what_they_show(self):
        picture = self.drawn(some_results())
        widths = {role: float(re.search(rf'class="{role}" [^>]*width="([\d.]+)" height="{plot.BAR}"', picture)[1])
                  for role in ("floor", "peer")}
        self.assertAlmostEqual(widths["peer"] / widths["floor"], 1.25, places=2)

    def test_a_curve_has_its_points(self):
        results = table.Results()
        for x, y in ((10, 9), (100, 9.2), (1000, 9.1)):
            results.point("capture", "threads", x, y, "us")
        texts = self.texts(self.drawn(results, "capture"))
        for part in ("threads (µs)", "10", "1,000", "9.2"):
            self.assertIn(part, texts)

    def test_what_is_constant_looks_constant(self):
        results = table.Results()
        for x, y in ((1, 100), (10, 101), (100, 99)):
            results.point("capture", "threads", x, y, "us")
        at = [float(y) for y in re.findall(r'cy="([\d.]+)"', self.drawn(results, "capture"))]
        self.assertLess(max(at) - min(at), 3)

    def test_names_are_escaped(self):
        results = table.Results()
        for who, value in (("on<SIGUSR1>", 1), ("a & b", 2)):
            results.add("mask", "r", who, "tocsin", value, "ns")
        self.assertIn("on<SIGUSR1>", self.texts(self.drawn(results, "mask")))

    def test_it_follows_the_colour_scheme(self):
        self.assertIn("prefers-color-scheme:dark", self.drawn(some_results()))

    def test_nothing_lies_outside(self):
        picture = xml.etree.ElementTree.fromstring(self.drawn(some_results()))
        for bar in picture.iter("{http://www.w3.org/2000/svg}rect"):
            if bar.get("x"):
                self.assertLessEqual(float(bar.get("x")) + float(bar.get("width")), float(picture.get("width")))
                self.assertLessEqual(float(bar.get("y")) + float(bar.get("height")), float(picture.get("height")))

    def test_the_readme_shows_rows_that_the_programs_have(self):
        sources = "".join(path.read_text() for path in (ROOT / "bench").glob("*.cpp"))
        for _, rows, curves in plot.README.values():
            for question, name in (*rows, *curves):
                self.assertIn(f'"{question}"', sources)
                self.assertIn(f'"{name}"', sources)

    def test_the_readme_shows_the_pictures_that_are_there(self):
        shown = set(re.findall(r"docs/plots/(\w+\.svg)", (ROOT / "README.md").read_text()))
        self.assertEqual(shown, {plot.file_name(question) for question in plot.README})
        for name in shown:
            xml.etree.ElementTree.parse(ROOT / "docs" / "plots" / name)


class Instructions(unittest.TestCase):
    TEXT = ("0000000000001000 <look>:\n    1000:\tmov    (%rdi),%rax\n    1003:\ttest   %rax,%rax\n    1006:\tret\n"
            "    1007:\tnop\n\n0000000000001010 <other>:\n    1010:\tret\n")

    def test_a_function_ends_with_its_return(self):
        self.assertEqual(run.mnemonics(self.TEXT, "look"), ["mov", "test", "ret"])
        self.assertEqual(run.mnemonics(self.TEXT, "other"), ["ret"])


class Programs(unittest.TestCase):
    def test_a_unit_of_debug_information_is_as_long_as_it_says(self):
        unit = run.debug_unit("f{}")
        self.assertEqual(int.from_bytes(unit[:4], "little"), len(unit) - 4)

    def test_every_program_is_a_question_of_the_build(self):
        build = (ROOT / "bench" / "meson.build").read_text()
        for path in (ROOT / "bench").glob("*.cpp"):
            self.assertIn(f"'{path.stem}':", build)


if __name__ == "__main__":
    unittest.main()
