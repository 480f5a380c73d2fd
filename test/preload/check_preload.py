#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""libtocsin-preload.so in programs that know nothing of it.

    check_preload.py --include DIR [--preload LIBRARY] CASE

Exits with 77 (skipped) where a case needs a program that is not installed; it is named.
"""

import argparse
import os
import pathlib
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

SKIPPED = 77
PATIENCE = 60
NOBODY = 65534
END = "tocsin: end of report"


class Failed(Exception):
    pass


class Missing(Exception):
    pass


def check(right, what):
    if not right:
        raise Failed(what)


def need(program):
    path = shutil.which(program)
    if path is None:
        raise Missing(program)
    return path


def no_core():
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for each in (signal.SIGPIPE, signal.SIGXFSZ):  # which Python ignores
        signal.signal(each, signal.SIG_DFL)


class Bench:
    """Starts programs with the object in front, in a folder of its own."""

    def __init__(self, given, folder):
        self.folder = pathlib.Path(folder)
        self.include = given.include
        self.library = os.path.abspath(given.preload) if given.preload else None

    def environment(self, text):
        plain = {key: value for key, value in os.environ.items() if key not in ("TOCSIN", "LD_PRELOAD")}
        plain["LC_ALL"] = "C"
        if text is not None:
            plain |= {"TOCSIN": text, "LD_PRELOAD": self.library}
        return plain

    def run(self, text, *words, **more):
        """Runs to the end; a text of None is without the object."""
        return subprocess.run([str(word) for word in words], env=self.environment(text), capture_output=True, text=True,
                              errors="replace", timeout=PATIENCE, preexec_fn=no_core, cwd=more.pop("cwd", self.folder), **more)

    def start(self, text, *words, **more):
        return subprocess.Popen([str(word) for word in words], env=self.environment(text), stdin=subprocess.PIPE,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace",
                                preexec_fn=no_core, cwd=self.folder, **more)

    def same(self, *words, **more):
        """A program does and says what it does and says without the object."""
        bare = self.run(None, *words, **more)
        covered = self.run("crash,quit", *words, **more)
        for what in ("returncode", "stdout", "stderr"):
            left, right = getattr(bare, what), getattr(covered, what)
            check(left == right, f"{words}: {what} was\n{left}\nand is\n{right}")
        return covered

    def build(self, name, source, compiler, *flags):
        need(compiler)
        path = self.folder / (name + (".c" if compiler == "gcc" else ".cpp"))
        path.write_text(source)
        done = subprocess.run([compiler, "-O1", "-Wall", path, "-o", self.folder / name, "-pthread", *flags],
                              capture_output=True, text=True)
        check(done.returncode == 0, done.stderr[:3000])
        return self.folder / name


def field(pid, name):
    found = re.search(rf"^{name}:\s*(\S+)", pathlib.Path(f"/proc/{pid}/status").read_text(), re.M)
    return found[1] if found else ""


def until_caught(process, number):
    """Until the process catches the signal and waits."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        check(process.poll() is None, f"has ended already: {process.returncode}")
        if int(field(process.pid, "SigCgt"), 16) >> (number - 1) & 1 and field(process.pid, "State") == "S":
            return
        time.sleep(0.005)
    raise Failed("does not catch the signal")


def until(stream, text):
    """Reads lines until one has the text."""
    seen = []
    for line in stream:
        seen.append(line)
        if text in line:
            return seen
    raise Failed(f"ended without \"{text}\":\n{''.join(seen)}")


def end(process, number=signal.SIGKILL):
    process.send_signal(number)
    out, err = process.communicate(timeout=PATIENCE)
    return process.returncode, out, err


# --- The object itself -----------------------------------------------------------------------------------------


def object(bench):
    """It needs nothing but libc, and shows nothing but what it stands in front of."""
    needs = subprocess.run([need("readelf"), "-d", bench.library], capture_output=True, text=True).stdout
    names = set(re.findall(r"\(NEEDED\).*\[(.*)\]", needs))
    check(all(re.match(r"libc\.so|ld-linux|libpthread|libdl", name) for name in names), f"needs {names}")
    for flag in ("NOW", "NODELETE"):
        check(flag in needs, f"the flag {flag} is missing")
    shown = subprocess.run([need("nm"), "-D", "--defined-only", bench.library], capture_output=True, text=True).stdout
    functions = {line.split()[-1] for line in shown.splitlines()}
    check(functions == {"pthread_create", "thrd_create"}, f"shows {sorted(functions)[:20]}")


def text(bench):
    """Wrong text is one line; no text is none; the program runs on in any case."""
    echo = need("echo")
    for said, line in (("", ""), (" ", ""), ("crash,quit", ""), ("to=", "TOCSIN is not followed: at 1 \"to=\""),
                       ("crash;quit", "TOCSIN is not followed: at 1 \"crash;quit\": no such word"),
                       ("crash,watchdog=30", "TOCSIN is not followed: at 7 \"watchdog=30\""),
                       ("\x1b[31m", "TOCSIN is not followed: at 1 \"\\x1b[31m\""),
                       ("crash," + "x" * 5000, "TOCSIN is not followed: more than 4096 characters"),
                       ("crash,to=/nonexistent/x", "TOCSIN: crash is not turned on: No such file or directory")):
        done = bench.run(said, echo, "runs on")
        check(done.returncode == 0 and done.stdout == "runs on\n", f"{said[:40]!r}: {done}")
        check(done.stderr.count("\n") == (1 if line else 0) and line in done.stderr, f"{said[:40]!r}: {done.stderr}")
    checked = bench.run("crash,doctor", echo, "runs on")
    check(checked.stdout == "runs on\n" and "tocsin doctor: summary: " in checked.stderr, checked.stderr)


# --- Programs ----------------------------------------------------------------------------------------------------


def sort(bench):
    """A crash from outside: a report, and the same death."""
    victim = bench.start("crash", need("sort"))
    until_caught(victim, signal.SIGSEGV)
    status, _, said = end(victim, signal.SIGSEGV)
    check(status == -signal.SIGSEGV, f"ended with {status}")
    check(f"tocsin: SIGSEGV sent by process {os.getpid()} " in said and "read" in said and END in said, said)


def quit(bench):
    """A report of a program that goes on; every form."""
    for form, sign in (("text", END), ("json", '{"'), ("collapsed", ";"), ("markup", "{{{"), ("faulthandler", "thread 0x")):
        victim = bench.start(f"quit,on=usr2,format={form}", need("sleep"), "1000")
        until_caught(victim, signal.SIGQUIT)
        victim.send_signal(signal.SIGQUIT)
        first = victim.stderr.readline()
        check(first != "", f"{form}: nothing")
        until_caught(victim, signal.SIGUSR2)
        victim.send_signal(signal.SIGUSR2)
        status, _, said = end(victim, signal.SIGTERM)
        check(status == -signal.SIGTERM, f"{form}: ended with {status}")
        check(sign in first + said, f"{form}: {first + said}")


def watchdog(bench):
    """Again and again, from threads of the library; and an end."""
    victim = bench.start("watchdog=100ms", need("sleep"), "1000")
    for _ in range(3):
        until(victim.stderr, "Timeout (0:00:00.100000)!")
        until(victim.stderr, END)
    end(victim)
    ended = bench.run("later=100ms,exit", need("sleep"), "1000")
    check(ended.returncode == 1 and ended.stderr.count("Timeout") == 1 and "sleep" in ended.stderr, str(ended))


def fork_exec(bench):
    """What a program starts reports too, each process to its own file."""
    script = "sh -c 'kill -SEGV $$' & wait $!; echo $?; kill -USR1 $$; echo on"
    done = bench.run("crash,on=usr1,to=r-{pid}", need("bash"), "-c", script)
    reports = {path.name: path.read_text() for path in bench.folder.glob("r-*")}
    check(done.stdout == "139\non\n", f"{done}")
    heads = sorted(text.split(" ")[1] for text in reports.values())
    check(heads == ["SIGSEGV", "SIGUSR1"], f"{heads}: {done.stderr}")
    for name, text in reports.items():
        check(f"process {name.split('-')[1]}" in text and END in text, f"{name}: {text}")
    forks = r"""
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>
int main(void) {
    for (int i = 0; i < 3; ++i) {
        pid_t child = fork();
        if (child == 0) {
            raise(SIGQUIT);
            __builtin_trap();
        }
        int status;
        waitpid(child, &status, 0);
        printf("%d %d\n", child, WTERMSIG(status));
    }
    return 0;
}
"""
    done = bench.run("crash,quit,to=f-{pid}", bench.build("forks", forks, "gcc"))
    for line in done.stdout.splitlines():
        child, number = line.split()
        check(int(number) == signal.SIGILL, line)
        quitting, trapped = ((bench.folder / f"f-{child}{more}").read_text() for more in ("", ".1"))
        check("SIGQUIT" in quitting and END in quitting and "SIGILL" in trapped and END in trapped, quitting + trapped)


THREADS = r"""
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <threads.h>
#include <unistd.h>

volatile int one = 1;
__attribute__((noinline)) int too_deep(int n) {
    volatile char some[512];
    some[0] = (char)n;
    return one ? too_deep(n + 1) + some[0] : 0;
}
static void* overflows(void* x) { too_deep(0); return x; }
static int overflows_too(void* x) { (void)x; return too_deep(0); }
static int cleaned;
static void clean(void* x) { (void)x; __atomic_add_fetch(&cleaned, 1, __ATOMIC_SEQ_CST); }
static void* exits(void* x) { pthread_cleanup_push(clean, 0); pthread_exit(x); pthread_cleanup_pop(0); return 0; }
static void* waits(void* x) { pthread_cleanup_push(clean, 0); for (;;) pause(); pthread_cleanup_pop(0); return x; }
static void* has_stack(void* x) {
    stack_t now;
    sigaltstack(0, &now);
    return (now.ss_flags & SS_DISABLE) != 0 || now.ss_size < 32768 ? 0 : x;
}
static int answers(void* x) { return *(int*)x; }
static int mappings(void) {
    int lines = 0, c;
    FILE* maps = fopen("/proc/self/maps", "r");
    while ((c = getc(maps)) != EOF) lines += c == '\n';
    fclose(maps);
    return lines;
}
#define MUST(x) if (!(x)) { printf("line %d\n", __LINE__); exit(1); }

int main(int count, char** words) {
    char const* how = count > 1 ? words[1] : "";
    pthread_t thread;
    thrd_t other;
    void* got = 0;
    pthread_attr_t attributes;
    if (!strcmp(how, "pthread")) { pthread_create(&thread, 0, overflows, 0); pthread_join(thread, 0); }
    if (!strcmp(how, "thrd")) { thrd_create(&other, overflows_too, 0); thrd_join(other, 0); }
    if (!strcmp(how, "main")) too_deep(0);
    MUST(pthread_create(&thread, 0, exits, &one) == 0 && pthread_join(thread, &got) == 0 && got == (void*)&one);
    MUST(pthread_create(&thread, 0, waits, 0) == 0 && pthread_cancel(thread) == 0);
    MUST(pthread_join(thread, &got) == 0 && got == PTHREAD_CANCELED);
    MUST(cleaned >= 1);
    int answer = 0;
    MUST(thrd_create(&other, answers, (void*)&one) == thrd_success && thrd_join(other, &answer) == thrd_success && answer == 1);
    pthread_attr_init(&attributes);
    MUST(pthread_attr_setstacksize(&attributes, 16384) == 0);
    MUST(pthread_create(&thread, &attributes, has_stack, &one) == 0 && pthread_join(thread, &got) == 0);
    if (!strcmp(how, "covered")) MUST(got == (void*)&one);
    if (!strcmp(how, "bare")) MUST(got == 0);
    MUST(pthread_attr_setstacksize(&attributes, (size_t)1 << 46) == 0);
    MUST(pthread_create(&thread, &attributes, has_stack, 0) == EAGAIN);
    pthread_attr_destroy(&attributes);
    for (int i = 0; i < 50; ++i) { pthread_create(&thread, 0, has_stack, 0); pthread_join(thread, 0); }
    int before = mappings();
    for (int i = 0; i < 1000; ++i) MUST(pthread_create(&thread, 0, has_stack, 0) == 0 && pthread_join(thread, 0) == 0);
    MUST(mappings() <= before + 4);
    puts("all right");
    return 0;
}
"""


def threads(bench):
    """Threads of a program in C, however they begin and end."""
    program = bench.build("threads", THREADS, "gcc")
    for said, how in (("crash", "covered"), ("", "bare"), (None, "bare")):
        done = bench.run(said, program, how)
        check(done.returncode == 0 and done.stdout == "all right\n" and done.stderr == "", f"{said}, {how}: {done}")
    for how in ("main", "pthread", "thrd"):
        done = bench.run("crash", program, how)
        check(done.returncode == -signal.SIGSEGV, f"{how}: ended with {done.returncode}")
        check("stack overflow" in done.stderr and "too_deep" in done.stderr and END in done.stderr, f"{how}: {done.stderr}")


def set_user_id(bench):
    """With more rights than its caller the object is silent, though the loader has loaded it."""
    if os.geteuid() != 0:
        raise Missing("the right to make a set-user-id program")
    source = "#include <stdio.h>\n#include <stdlib.h>\n#include <sys/auxv.h>\nint main(void) {\n" \
             "printf(\"%lu\\n\", getauxval(AT_SECURE)); fflush(stdout); *(volatile int*)0 = 1; }\n"
    # Not by LD_PRELOAD, which the loader itself does not follow there (ld.so(8), "Secure-execution mode").
    shutil.copy(bench.library, bench.folder)
    program = bench.build("rights", source, "gcc", "-Wl,--no-as-needed", bench.folder / pathlib.Path(bench.library).name,
                          f"-Wl,-rpath,{bench.folder}")
    environment = dict(bench.environment(None), TOCSIN=f"crash,doctor,to={bench.folder}/r-{{pid}}")
    run = lambda: subprocess.run([program], env=environment, capture_output=True, text=True, preexec_fn=no_core, user=NOBODY)
    os.chmod(bench.folder, 0o777)
    plain = run()
    check(plain.stdout == "0\n" and "tocsin doctor" in plain.stderr, f"not loaded at all: {plain}")
    check(len(list(bench.folder.glob("r-*"))) == 1, f"no report without the bit: {plain}")
    os.chmod(program, 0o4755)
    secure = run()
    if secure.stdout == "0\n":
        raise Missing("a file system that honours set-user-id")
    check(secure.stdout == "1\n" and secure.returncode == -signal.SIGSEGV, str(secure))
    check(secure.stderr == "" and len(list(bench.folder.glob("r-*"))) == 1, f"said or wrote something: {secure}")


def python(bench):
    """Threads, forks, subprocesses; and a fault, with the interpreter's own reporter before it and without."""
    interpreter = need("python3")
    busy = """
import os, subprocess, threading
threads = [threading.Thread(target=lambda: sum(range(100000))) for _ in range(20)]
for each in threads: each.start()
print(subprocess.run(["echo", "hi"], capture_output=True).stdout)
child = os.fork()
if child == 0: os._exit(5)
print(os.waitpid(child, 0)[1])
for each in threads: each.join()
"""
    bench.same(interpreter, "-W", "error", "-c", busy)
    crash = "import ctypes, threading; t = threading.Thread(target=lambda: ctypes.string_at(0)); t.start(); t.join()"
    for word in ((), ("-X", "faulthandler")):
        done = bench.run("crash", interpreter, *word, "-c", crash)
        check(done.returncode == -signal.SIGSEGV, f"ended with {done.returncode}")
        check(done.stderr.count("tocsin: SIGSEGV") == 1 and END in done.stderr, done.stderr)
        check(("Fatal Python error" in done.stderr) == bool(word), done.stderr)


def shell(bench):
    """Pipelines, subshells, traps."""
    bench.same(need("bash"), "-c", "seq 1 1000 | sort -rn | head -3 | cat; (exit 4); echo $?; x=$(echo hi); echo $x; "
               "trap 'echo got' QUIT; kill -QUIT $$; ulimit -c; sleep 100 & kill $!; wait $!; echo $?")


def git(bench):
    """Many processes that start each other."""
    need("git")
    bench.same("sh", "-c", "rm -rf r && git init -q r && cd r && echo x >a && git add a && git -c user.email=a@b "
               "-c user.name=a commit -qm x && git status --short && git gc -q && git log --format=%s")


def compiler(bench):
    """vfork, exec, temporary files."""
    (bench.folder / "a.c").write_text("int main(void) { return 3; }\n")
    bench.same(need("gcc"), "-O2", "a.c", "-o", "a")
    check(bench.same(bench.folder / "a").returncode == 3, "the program that was built")
    (bench.folder / "a.c").write_text("int main(void) { return }\n")
    bench.same(need("gcc"), "a.c", "-o", "a")


def sqlite(bench):
    bench.same(need("sqlite3"), ":memory:", "create table a(x); insert into a values(1),(2); select sum(x) from a;")


def redis(bench):
    """A server with threads, an allocator and a crash handler of its own, which saves in a forked child."""
    server, client = need("redis-server"), need("redis-cli")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    victim = bench.start("crash,quit", server, "--port", port, "--save", "", "--enable-debug-command", "yes")
    ask = lambda *words: subprocess.run([client, "-p", str(port), *words], capture_output=True, text=True).stdout.strip()
    try:
        until(victim.stdout, "Ready to accept connections")
        check(ask("set", "a", "1") == "OK", "set")
        check("Background saving started" in ask("bgsave"), "bgsave")
        until(victim.stdout, "Background saving terminated with success")
        victim.send_signal(signal.SIGQUIT)
        until(victim.stderr, END)
        check(ask("get", "a") == "1", "does not answer after a report")
        ask("shutdown", "nosave")
        _, said = victim.communicate(timeout=PATIENCE)
        check(victim.returncode == 0, f"ended with {victim.returncode}: {said}")
    finally:
        victim.kill()


def postgres(bench):
    """A server of many processes: one of them crashes, and the others see to it as they do without a report."""
    found = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin"))
    if not found:
        raise Missing("postgresql")
    who = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}  # it refuses to be root
    os.chmod(bench.folder, 0o777)
    tool = lambda name, *words: bench.run("crash,quit,to=r-{pid}", found[-1] / name, *words, **who)
    ask = lambda text: tool("psql", "-h", bench.folder, "-p", "7391", "-d", "postgres", "-tAc", text).stdout.strip()
    check(tool("initdb", "-D", "data", "-A", "trust", "-N").returncode == 0, "initdb")
    server = bench.start("crash,quit,to=r-{pid}", found[-1] / "postgres", "-D", "data", "-p", "7391", "-k", bench.folder,
                         "-c", "listen_addresses=", **who)
    try:
        until(server.stderr, "is ready to accept connections")
        check(ask("select 1") == "1", "does not answer")
        writer = int(ask("select pid from pg_stat_activity where backend_type = 'walwriter'"))
        os.kill(writer, signal.SIGSEGV)
        until(server.stderr, "terminated by signal 11")
        until(server.stderr, "is ready to accept connections")
        check(ask("select 1") == "1", "does not recover")
        server.send_signal(signal.SIGINT)
        server.communicate(timeout=PATIENCE)
        check(server.returncode == 0, f"ended with {server.returncode}")
    finally:
        server.kill()
    reports = {path.name: path.read_text() for path in bench.folder.glob("r-*")}
    check(list(reports) == [f"r-{writer}"] and END in reports[f"r-{writer}"], str(reports)[:2000])


JAVA = """
public class Faults {
    static int depth(int n) { return depth(n + 1) + 1; }
    static int length(String s) { return s.length(); }
    static int faults() {
        int caught = 0;
        for (int i = 0; i < 50000; i++) try { length(i % 2 == 0 ? null : "x"); } catch (NullPointerException e) { caught++; }
        for (int i = 0; i < 5; i++) try { depth(0); } catch (StackOverflowError e) { caught++; }
        return caught;
    }
    public static void main(String[] words) throws Exception {
        int[] caught = new int[5];
        Thread[] threads = new Thread[4];
        for (int i = 0; i < 4; i++) { final int own = i; threads[i] = new Thread(() -> caught[own] = faults()); threads[i].start(); }
        caught[4] = faults();
        int sum = 0;
        for (int i = 0; i < 4; i++) threads[i].join();
        for (int each : caught) sum += each;
        System.out.println("caught " + sum);
        System.out.flush();
        if (words.length > 0) System.in.read();
    }
}
"""


def java(bench):
    """A virtual machine that turns faults into exceptions, and has its own dump on SIGQUIT."""
    machine, builder = need("java"), need("javac")
    (bench.folder / "Faults.java").write_text(JAVA)
    built = subprocess.run([builder, "Faults.java"], cwd=bench.folder, capture_output=True, text=True)
    check(built.returncode == 0, built.stderr)
    done = bench.run("crash,quit", machine, "-cp", ".", "Faults")
    check(done.returncode == 0 and done.stdout == "caught 125025\n" and done.stderr == "", str(done))
    victim = bench.start("crash,quit", machine, "-cp", ".", "Faults", "wait")
    until(victim.stdout, "caught 125025")
    victim.send_signal(signal.SIGQUIT)
    until(victim.stdout, "Full thread dump")
    # Handed on by the machine, which finds no reason of its own for it.
    status, _, said = end(victim, signal.SIGSEGV)
    check(status == -signal.SIGSEGV and said.count("tocsin: SIGSEGV sent by") == 1 and END in said, f"{status}: {said[:3000]}")
    check("SIGQUIT" not in said, said[:3000])


# --- A program that says so itself ----------------------------------------------------------------------------

EVERY = r"""
#include <tocsin/dump.hpp>
#include <tocsin/every_thread.hpp>
#include <tocsin/guard.hpp>
#include <thread>
#include <cstdio>
int volatile one = 1;
[[gnu::noinline]] int too_deep(int n) {
    char volatile some[512];
    some[0] = static_cast<char>(n);
    return one != 0 ? too_deep(n + 1) + some[0] : 0;
}
int main() {
    tocsin::guard signals{tocsin::on_crash(tocsin::dump_threads)};
    std::thread{[] { too_deep(0); }}.join();
}
"""


def every_thread(bench):
    """every_thread.hpp: the threads of std::thread, in a program that shows its symbols and in one that does not."""
    for flags in ((), ("-fvisibility=hidden", "-fno-exceptions")):
        program = bench.build("every", EVERY, "g++", "-std=c++20", f"-I{bench.include}", *flags)
        done = bench.run(None, program)
        check(done.returncode == -signal.SIGSEGV, f"ended with {done.returncode}")
        check("stack overflow" in done.stderr and "too_deep" in done.stderr and END in done.stderr, done.stderr)


CASES = {case.__name__: case for case in (
    object, text, sort, quit, watchdog, fork_exec, threads, set_user_id, python, shell, git, compiler, sqlite, redis, postgres,
    java,
    every_thread)}


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--include", required=True)
    options.add_argument("--preload")
    options.add_argument("case", choices=CASES)
    given = options.parse_args()
    # A shell without job control starts what runs in the background with these two ignored, and no shell that is
    # started like that can trap them.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)
    with tempfile.TemporaryDirectory(prefix="tocsin-preload-") as folder:
        try:
            CASES[given.case](Bench(given, folder))
        except Missing as what:
            print(f"skipped: {what} is not installed here")
            return SKIPPED
        except Failed as why:
            print(why)
            return 1
        except subprocess.TimeoutExpired as late:
            print(f"does not end: {late.cmd}")
            return 1
    print(f"{given.case}: as it should be")
    return 0


if __name__ == "__main__":
    sys.exit(main())
