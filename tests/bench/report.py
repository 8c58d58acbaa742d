"""Who takes part, in which order, and the tables."""

import statistics
import subprocess


def chosen(given, tools, storage):
    """Those that were asked for. A wl without the type of storage stays out, so that the peers can be measured all the same."""
    wanted = given.who.split(",") if given.who else [tool.name for tool in tools]
    told = subprocess.run([given.wl, "--version"], check=True, capture_output=True, text=True).stdout
    types = told.partition("storage types: ")[2].rstrip(")\n").split(", ")
    if storage not in types:
        print(f"\nThis wl has no storage type {storage}: only the peers.", flush=True)
        wanted = [name for name in wanted if name != "wl"]
    taking_part = [tool for tool in tools if tool.name in wanted]
    if not taking_part:
        raise SystemExit(f"{storage}: nobody to measure: --who takes of {', '.join(tool.name for tool in tools)}")
    return taking_part


def in_turn(tools, number):
    """Whoever came first comes last in the next round."""
    return tools[number % len(tools):] + tools[:number % len(tools)]


def report(title, tools, costs):
    medians = {name: {key: statistics.median(getattr(cost, key) for cost in each)
                      for key in ("seconds", "durable", "cpu", "memory", "daemon")} for name, each in costs.items()}
    ours = medians.get("wl")
    print(f"\n## {title}: medians of {len(next(iter(costs.values())))}\n")
    print(f"{'':12} {'seconds':>8} {'to wl':>6} {'durable':>8} {'to wl':>6} {'cpu s':>7} {'MiB':>6}  proves")
    for tool in tools:
        mine = medians[tool.name]
        ratio = {key: f"{mine[key] / ours[key]:.2f}" if ours else "-" for key in ("seconds", "durable")}
        print(f"{tool.name:12} {mine['seconds']:8.2f} {ratio['seconds']:>6} {mine['durable']:8.2f} "
              f"{ratio['durable']:>6} {mine['cpu']:7.2f} {mine['memory'] / 1024:6.0f}  {tool.proves}", flush=True)
    told = f" (the daemon alone: {ours['daemon'] / 1024:.0f})" if ours else ""
    print(f"MiB: the peaks of all its processes together, of wl with the daemon's{told}. Ratios above 1: slower than wl.")
    return {name: {"median": medians[name], "runs": [vars(cost) for cost in each]} for name, each in costs.items()}
