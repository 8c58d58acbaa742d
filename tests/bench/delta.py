"""A large file of which 1 % changed, on OpenSSH, over a line that is long and narrow: up and down. rsync sends differences, as
its `--inplace` does best; everybody begins with equal copies."""

import os
import random
import shutil
import time

import once
import trees
from report import chosen, in_turn, report
from servers import proxied
from sftp import rsync, spell_wl, sshd

RTT = 50
BANDWIDTH = 10_000_000
PLACES = 20
# Longer than the resolution of any server's clock, so that nothing is too fresh to be trusted.
SETTLED = 3
NAME = os.path.join(trees.LARGE, "0.dat")


def run(given, work):
    size = int((256 << 20) * given.scale)
    source = f"{work}/source"
    trees.make_mixed(source, 0, 0, [size])
    with sshd(f"{work}/sshd") as server, proxied(given.proxy, server.address, RTT, f"{work}/proxy.log", BANDWIDTH) as address:
        every = [once.Wl(given.wl, lambda place: spell_wl(server, place)),
                 once.Once("rsync", "size, and what was sent arrived", lambda s, t: with_delta(rsync(server, s, t)))]
        tools = chosen(given, once.installed(every), "sftp")
        costs = {way: {tool.name: [] for tool in tools} for way in ("up", "down")}
        for number in range(given.rounds):
            for tool in in_turn(tools, number):
                label = f"{tool.name}-{number}"
                for way, cost in both_ways(tool, server, address, source, f"{work}/{label}", label):
                    costs[way][tool.name].append(cost)
    title = f"OpenSSH, 1 % of {size >> 20} MiB changed at {PLACES} places, {RTT} ms, {BANDWIDTH / 1e6:.0f} MB/s"
    return {way: report(f"{title}: {way}", tools, costs[way]) for way in costs}


def with_delta(arguments):
    return [*arguments[:1], "--inplace", "--no-whole-file", *arguments[1:]]


def both_ways(tool, server, address, source, work, label):
    os.mkdir(work)
    here, place = f"{work}/here", server.place(label, address)
    for copy in (here, place.path):
        shutil.copytree(source, copy, dirs_exist_ok=True)
    tool.prepare(f"{work}/home")
    try:
        tool.copy(here, place)
        change(f"{here}/{NAME}", 1)
        trees.settle(here, place.path)
        time.sleep(SETTLED)
        yield "up", tool.copy(here, place)
        trees.assert_equal(here, place.path, tool.name)
        change(f"{place.path}/{NAME}", 2)
        trees.settle(here, place.path)
        time.sleep(SETTLED)
        # Whoever syncs both ways goes on with what it knows of the pair.
        yield "down", tool.copy(here, place) if tool.name == "wl" else tool.copy(place, here)
        trees.assert_equal(here, place.path, tool.name)
    finally:
        tool.end()
    trees.lighten(here)
    server.lighten(place)


def change(path, seed):
    """One percent of it, in so many places."""
    rng = random.Random(seed)
    size = os.path.getsize(path)
    piece = size // 100 // PLACES
    with open(path, "r+b") as file:
        for place in range(PLACES):
            file.seek(size // PLACES * place + rng.randrange(size // PLACES - piece))
            file.write(rng.randbytes(piece))
