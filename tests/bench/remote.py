"""The same journey for every tool: up to a fresh place on a server, a pass over what did not change, and down into a fresh
directory. Everybody brings down what it brought up itself."""

import os
import time
from dataclasses import dataclass

import trees
from report import in_turn, report
from servers import proxied

PHASES = ("up", "unchanged", "down")
# Longer than the resolution of any server's clock, so that nothing is too fresh to be trusted in the second pass.
SETTLED = 3


@dataclass(frozen=True)
class Place:
    """A directory or prefix on a server, and where the server is reached."""
    address: str
    path: str

    @property
    def port(self):
        return self.address.rpartition(":")[2]


def away(source, target):
    """The one of the two that is on a server."""
    return target if isinstance(source, str) else source


def journey(tool, server, address, source, work, label):
    """Each phase with its cost. The wl daemon is a fresh one for each direction."""
    place = server.place(label, address)
    trees.settle(source)
    tool.prepare(f"{work}/up-{label}")
    try:
        yield "up", tool.copy(source, place)
        server.assert_holds(source, place, tool.name)
        time.sleep(SETTLED)
        yield "unchanged", tool.copy(source, place)
    finally:
        tool.end()
    target = f"{work}/target-{label}"
    os.mkdir(target)
    tool.prepare(f"{work}/down-{label}")
    try:
        yield "down", tool.copy(place, target)
    finally:
        tool.end()
    trees.assert_equal(source, target, tool.name)
    trees.lighten(target)
    server.lighten(place)


def measure(given, title, tools, server, address, source, work):
    os.mkdir(work)
    costs = {phase: {tool.name: [] for tool in tools} for phase in PHASES}
    for number in range(given.rounds):
        for tool in in_turn(tools, number):
            label = f"{os.path.basename(work)}-{tool.name.replace(' ', '-')}-{number}"
            for phase, cost in journey(tool, server, address, source, work, label):
                costs[phase][tool.name].append(cost)
    return {phase: report(f"{title}: {phase}", tools, costs[phase]) for phase in PHASES}


def count(tools, server, counter, source, work):
    """The requests of each phase, on the way through a counter."""
    os.mkdir(work)
    counts = {phase: {} for phase in PHASES}
    for tool in tools:
        label = f"{os.path.basename(work)}-{tool.name.replace(' ', '-')}"
        counter.take()
        for phase, _ in journey(tool, server, counter.address, source, work, label):
            counts[phase][tool.name] = counter.take()
    for phase in PHASES:
        methods = sorted({method for each in counts[phase].values() for method in each})
        print(f"\n## requests: {phase}\n")
        print(f"{'':12}", *(f"{method:>10}" for method in ["all", *methods]))
        for name, each in counts[phase].items():
            print(f"{name:12}", *(f"{number:10}" for number in [sum(each.values()), *(each[method] for method in methods)]))
    return counts


def over_distances(given, title, tools, server, source, work):
    """Once for each round trip asked for."""
    figures = {}
    for rtt in given.rtt.split(","):
        with proxied(given.proxy, server.address, float(rtt), f"{work}/proxy.log") as address:
            figures[rtt] = measure(given, f"{title}, round trip {rtt} ms", tools, server, address, source, f"{work}/rtt{rtt}")
    return figures
