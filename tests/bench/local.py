"""Two directories of one machine: a first copy, a pass over what did not change, the latency of one change, and idling."""

import os
import shutil
import statistics
import time

import once
import trees
import watchers
from report import chosen, in_turn, report

DEADLINE = 120


def run(given, work):
    figures = {}
    for part in given.only.split(","):
        place = f"{work}/{part}"
        os.mkdir(place)
        figures[part] = {"copy": first_copy, "unchanged": unchanged, "watch": watch}[part](given, place)
    return figures


def copies(given, work, tools, source, done_with=lambda target: None):
    """What it costs each tool to copy the source to a directory of its own, each time to another."""
    costs = {tool.name: [] for tool in tools}
    for number in range(given.rounds):
        for tool in in_turn(tools, number):
            target = f"{work}/target-{tool.name}-{number}"
            os.mkdir(target)
            trees.settle(source)
            tool.prepare(f"{work}/home-{tool.name}-{number}")
            costs[tool.name].append(tool.copy(source, target))
            tool.end()
            trees.assert_equal(source, target, tool.name)
            done_with(target)
    return costs


def first_copy(given, work):
    files = int(20_000 * given.scale)
    source = f"{work}/source"
    trees.make(source, files, 1 << 10, 64 << 10)
    tools = chosen(given, once.tools(given.wl), "local")
    costs = copies(given, work, tools, source)
    return report(f"first copy of {files} files of 1 to 64 KiB", tools, costs)


def unchanged(given, work):
    files = int(200_000 * given.scale)
    source, target = f"{work}/source", f"{work}/target"
    trees.make(source, files, 64, 256)
    os.mkdir(target)
    tools = chosen(given, once.tools(given.wl), "local")
    for tool in tools:
        tool.prepare(f"{work}/{tool.name}")
        tool.copy(source, target)
        tool.again(source, target)
    costs = {tool.name: [] for tool in tools}
    for number in range(given.rounds):
        for tool in in_turn(tools, number):
            os.sync()
            costs[tool.name].append(tool.again(source, target))
    for tool in tools:
        tool.end()
    trees.assert_equal(source, target, "somebody")
    return report(f"a pass over {files} unchanged files, a synced state known (wl's daemon runs)", tools, costs)


def watch(given, work):
    files = int(100_000 * given.scale)
    print(f"\n## continuous, {files} files: {given.idle:.0f} s of idling, then {given.changes} changes of one small file\n")
    print(f"{'':10} {'idle cpu s':>10} {'RSS MiB':>8} {'p50 ms':>8} {'p99 ms':>8} {'to wl':>6}  setting")
    figures = {}
    for tool in chosen(given, watchers.watchers(given.wl), "local"):
        place = f"{work}/{tool.name}"
        source, target = f"{place}/source", f"{place}/target"
        trees.make(source, files, 64, 256)
        shutil.copytree(source, target)  # with the modification times
        os.sync()
        figures[tool.name] = mine = watched(tool, f"{place}/home", source, target, files, given)
        ratio = f"{mine['p50_ms'] / figures['wl']['p50_ms']:.1f}" if "wl" in figures else "-"
        print(f"{tool.name:10} {mine['idle_cpu_s']:10.2f} {mine['rss_mib']:8.0f} {mine['p50_ms']:8.1f} "
              f"{mine['p99_ms']:8.1f} {ratio:>6}  {tool.setting}", flush=True)
    return figures


def watched(tool, home, source, target, files, given):
    try:
        tool.start(home, source, target)
        latency(source, target, 0, 63, 300)  # it is ready once a change arrives
        time.sleep(3)
        before = tool.cpu()
        time.sleep(given.idle)
        idle = tool.cpu() - before
        memory = tool.memory()
        step = max(1, files // (given.changes + 1))
        times = []
        for number in range(given.changes):
            time.sleep(0.05 + number % 7 * 0.01)
            times.append(latency(source, target, (number + 1) * step % files, 300 + number, DEADLINE) * 1000)
    finally:
        tool.stop()
    trees.assert_equal(source, target, tool.name)
    times.sort()
    p99 = times[min(len(times) - 1, int(len(times) * 0.99))]
    return {"idle_cpu_s": idle, "rss_mib": memory / 1024, "p50_ms": statistics.median(times), "p99_ms": p99}


def latency(source, target, index, size, deadline):
    """From the closing of a file that got a size of its own until the target has that size."""
    name = trees.name(index)
    arrived, wanted = os.path.join(target, name), size
    with open(os.path.join(source, name), "wb") as file:
        file.write(os.urandom(size))
    begun = time.perf_counter()
    while True:
        try:
            if os.stat(arrived).st_size == wanted:
                return time.perf_counter() - begun
        except FileNotFoundError:
            pass
        if time.perf_counter() - begun > deadline:
            raise SystemExit(f"{name} did not arrive within {deadline} s")
