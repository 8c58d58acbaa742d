"""Tools that sync once, and what such a run costs."""

import contextlib
import glob
import os
import shlex
import shutil
import subprocess
import threading
import time
from dataclasses import dataclass


@dataclass
class Cost:
    seconds: float
    durable: float  # until everything was on the disk
    cpu: float
    memory: int  # KiB
    daemon: int = 0  # KiB of that, of a daemon


def daemon_pid(base):
    """The daemon of a base dir, found by the arguments it was started with."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                arguments = file.read().split(b"\0")
        except OSError:
            continue
        if b"daemon" in arguments and b"run" in arguments and base.encode() in arguments:
            return int(pid)
    return None


def cpu_of(pid):
    """Of a process and all that it started, whether that still runs or is done."""
    ticks = 0
    for each in family(pid):
        with contextlib.suppress(OSError), open(f"/proc/{each}/stat") as file:
            ticks += sum(map(int, file.read().rpartition(")")[2].split()[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


def memory_of(pid, key):
    with open(f"/proc/{pid}/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(key + ":"))


def family(pid):
    """A process and all that it started and that still runs."""
    found = [pid]
    for each in found:
        for children in glob.glob(f"/proc/{each}/task/*/children"):
            with contextlib.suppress(OSError), open(children) as file:
                found.extend(map(int, file.read().split()))
    return found


class Peaks(threading.Thread):
    """The memory peaks of a process and its children, looked at while they run. What `wait4` tells instead begins with
    the size of the Python that it was forked from."""

    def __init__(self, pid):
        super().__init__(daemon=True)
        self.pid, self.peaks, self.over = pid, {}, threading.Event()
        self.start()

    def run(self):
        while not self.over.wait(0.1):
            for pid in family(self.pid):
                try:
                    self.peaks[pid] = memory_of(pid, "VmHWM")
                except (OSError, StopIteration):
                    pass

    def end(self):
        self.over.set()
        self.join()
        return self.peaks


class Once:
    """One command line. `proves` is what the tool itself knows of the copies when it says that it is done."""

    def __init__(self, name, proves, copy, again=None, ok=(0,), env=None):
        self.name, self.proves, self.ok, self.env = name, proves, ok, env or {}
        self.copy_args, self.again_args = copy, again or copy

    def prepare(self, home):
        self.home = home
        os.makedirs(home)

    def environment(self):
        return {**os.environ, "HOME": self.home, "UNISON": self.home, "RCLONE_CONFIG": os.devnull, **self.env}

    def run(self, arguments):
        begun = time.perf_counter()
        process = subprocess.Popen(arguments, env=self.environment(), stdin=subprocess.DEVNULL,
                                   stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        peaks = Peaks(process.pid)
        said = process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - begun
        self.peaks = peaks.end()
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode not in self.ok:
            raise SystemExit(f"{self.name} failed ({process.returncode}): {said[-500:]}")
        begun_sync = time.perf_counter()
        os.sync()
        durable = seconds + time.perf_counter() - begun_sync
        return Cost(seconds, durable, usage.ru_utime + usage.ru_stime, sum(self.peaks.values()))

    def copy(self, source, target):
        return self.run(self.copy_args(source, target))

    def again(self, source, target):
        return self.run(self.again_args(source, target))

    def end(self):
        pass


class Wl(Once):
    """The command together with its daemon. The first run starts the daemon, within the time measured."""

    def __init__(self, program, spell=str, env=None):
        """`spell` makes a place into what the command line calls it."""
        super().__init__("wl", "sha256 of every byte written, on the disk", None, env=env)
        self.program = program
        self.copy_args = lambda s, t: [program, "-b", self.home, "-l", f"{self.home}/log", "sync", spell(s), spell(t),
                                       "--one-shot", "--json"]
        self.again_args = self.copy_args

    def run(self, arguments):
        pid = daemon_pid(self.home)
        before = cpu_of(pid) if pid else 0
        cost = super().run(arguments)
        pid = daemon_pid(self.home)
        cost.cpu += cpu_of(pid) - before
        cost.daemon = memory_of(pid, "VmHWM")
        # The command that started the daemon is its parent.
        cost.memory = sum({**self.peaks, pid: cost.daemon}.values())
        return cost

    def end(self):
        subprocess.run([self.program, "-b", self.home, "daemon", "stop"], check=False, capture_output=True)


def tools(wl):
    """Everybody that is installed, tuned as their manuals advise."""
    rclone = ["--transfers", "16", "--checkers", "16", "--quiet"]
    unison = ["-batch", "-silent", "-times", "-confirmbigdel=false"]
    every = [
        Wl(wl),
        Once("rsync", "size, and what was sent arrived", lambda s, t: ["rsync", "-a", f"{s}/", f"{t}/"],
             lambda s, t: ["rsync", "-an", f"{s}/", f"{t}/"]),
        Once("rclone", "md5 of both sides", lambda s, t: ["rclone", "sync", s, t, *rclone]),
        Once("unison", "md5 of what it wrote", lambda s, t: ["unison", s, t, *unison]),
    ]
    return installed(every)


def installed(tools):
    return [tool for tool in tools if tool.name == "wl" or shutil.which(tool.name.split()[0])]


def each_in_turn(*commands):
    """One command line of several, of which each is run if those before it succeeded."""
    return ["sh", "-c", " && ".join(shlex.join(map(str, command)) for command in commands)]
