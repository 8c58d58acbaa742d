"""From bucket to bucket of one server, once: small objects, and a large one; then the requests that everybody sends and the
bytes that pass through everybody, counted in a run that is not timed. With --large also one large file from directory to
directory."""

import os
import time

import once
import trees
from counting import Counter
from local import copies
from remote import Place
from report import chosen, in_turn, report
from s3 import s3_tools, url
from s3_servers import BUCKET, KEYS, REGION, juicefs, seaweed

# Where the objects are to begin with; they go to BUCKET.
KEPT = "kept"
SETTLED = 3


class Kept(Place):
    """A prefix of the other bucket."""


class Meter(Counter):
    """Counts the bytes, too."""

    def __init__(self, upstream):
        super().__init__(upstream)
        self.up = self.down = 0

    def take(self):
        counts = super().take()
        with self.lock:
            counts["MiB up"], counts["MiB down"] = round(self.up / (1 << 20)), round(self.down / (1 << 20))
            self.up = self.down = 0
        return counts

    def went_up(self, length):
        with self.lock:
            self.up += length

    def went_down(self, length):
        with self.lock:
            self.down += length

    async def request(self, reader, writer):
        return await super().request(Metered(reader, self.went_up), writer)

    async def answers(self, reader, writer):
        await super().answers(Metered(reader, self.went_down), writer)


class Metered:
    """A reader that tells how much it has read."""

    def __init__(self, reader, tell):
        self.reader, self.tell = reader, tell

    def __getattr__(self, name):
        async def told(*arguments):
            data = await getattr(self.reader, name)(*arguments)
            self.tell(len(data))
            return data
        return told


def run(given, work):
    figures = {}
    files, large = int(10_000 * given.scale), int((6 << 30) * given.scale)
    trees.make_mixed(f"{work}/small", files, 16 << 10, [])
    trees.make_mixed(f"{work}/huge", 0, 0, [large])
    tools = chosen(given, s3_to_s3(given.wl, work), "s3")
    for name, start in (("SeaweedFS", seaweed), ("JuiceFS gateway", juicefs)):
        with start(f"{work}/{start.__name__}") as server:
            server.s5cmd("mb", f"s3://{KEPT}")
            # A server that keeps checksums vouches for what wl put; for what others put there mostly nobody does.
            for what, tree, filler in ((f"{files} objects of 16 KiB", "small", "wl"),
                                       (f"{files} objects of 16 KiB", "small", "s5cmd"),
                                       (f"one object of {large >> 20} MiB", "huge", "wl")):
                title = f"{name}, {what}, put by {filler}"
                place = f"{work}/{start.__name__}-{tree}-{filler}"
                figures[title] = migrate(given, title, tools, server, f"{work}/{tree}", filler, place)
    if given.large:
        figures["local"] = local(given, int((8 << 30) * given.scale), f"{work}/local")
    return figures


def migrate(given, title, tools, server, tree, filler, work):
    os.mkdir(work)
    label = os.path.basename(work)
    fill(given.wl, server, tree, filler, Kept(server.address, label), work)
    time.sleep(SETTLED)
    costs = {tool.name: [] for tool in tools}
    # Once for what is huge: SeaweedFS keeps the room of what is deleted.
    for number in range(1 if label.startswith("huge", label.find("-") + 1) else given.rounds):
        for tool in in_turn(tools, number):
            to = f"{label}-{tool.name}-{number}"
            os.sync()
            tool.prepare(f"{work}/{tool.name}-{number}")
            costs[tool.name].append(tool.copy(Kept(server.address, label), Place(server.address, to)))
            tool.end()
            server.assert_holds(tree, Place(server.address, to), tool.name)
            server.s5cmd("rm", f"s3://{BUCKET}/{to}/*")
    figures = report(title, tools, costs)
    figures["counted"] = count(tools, server, label, work)
    return figures


def fill(wl, server, tree, filler, place, work):
    if filler == "s5cmd":
        server.s5cmd("cp", f"{tree}/", f"s3://{KEPT}/{place.path}/")
        return
    tool = once.Wl(wl, spell, {**KEYS, "AWS_REGION": REGION})
    tool.prepare(f"{work}/fill")
    tool.copy(tree, place)
    tool.end()


def count(tools, server, label, work):
    meter, counts = Meter(server.address), {}
    for tool in tools:
        to = f"{label}-{tool.name}-counted"
        meter.take()
        tool.prepare(f"{work}/{tool.name}-counted")
        tool.copy(Kept(meter.address, label), Place(meter.address, to))
        counts[tool.name] = meter.take()
        tool.end()
        server.s5cmd("rm", f"s3://{BUCKET}/{to}/*")
    kinds = sorted({kind for each in counts.values() for kind in each})
    print(f"\n{'':12}", *(f"{kind:>8}" for kind in kinds))
    for name, each in counts.items():
        print(f"{name:12}", *(f"{each[kind]:8}" for kind in kinds))
    return counts


def s3_to_s3(wl, work):
    every = {tool.name: tool for tool in s3_tools(wl, work)}
    tools = [once.Wl(wl, spell, {**KEYS, "AWS_REGION": REGION})]
    for name, proves, copy in (("s5cmd", "that the server said yes", s5cmd), ("rclone", "size, and md5 where known", rclone)):
        if name in every:
            tools.append(once.Once(name, proves, copy, env=every[name].env))
    return tools


def bucket(place):
    return KEPT if isinstance(place, Kept) else BUCKET


def spell(place):
    if isinstance(place, str):
        return place
    return (f"s3://{bucket(place)}/{place.path}?endpoint=http://{place.address}&region={REGION}"
            "&access-key=env:AWS_ACCESS_KEY_ID&secret-key=env:AWS_SECRET_ACCESS_KEY")


def s5cmd(source, target):
    return ["s5cmd", "--log", "error", "--endpoint-url", f"http://{source.address}", "--numworkers", "32", "cp",
            f"s3://{KEPT}/{source.path}/*", url(target, "")]


def rclone(source, target):
    return ["rclone", "copy", f":s3:{KEPT}/{source.path}", f":s3:{BUCKET}/{target.path}", "--quiet", "--s3-provider", "Other",
            "--s3-env-auth", "--s3-endpoint", f"http://{source.address}", "--s3-no-check-bucket", "--transfers", "32",
            "--checkers", "32", "--fast-list", "--s3-upload-concurrency", "16"]


def local(given, size, work):
    source = f"{work}/source"
    trees.make_mixed(source, 0, 0, [size])
    script = 'cp -r --reflink=auto "$1/." "$2" && find "$1" "$2" -type f -exec sha256sum {} + >"$2/../sums"'
    by_hand = once.Once("cp", "sha256 of both, read afterwards", lambda s, t: ["sh", "-c", script, "sh", s, t])
    tools = chosen(given, [once.Wl(given.wl), by_hand], "local")
    costs = copies(given, work, tools, source, trees.lighten)
    return report(f"one file of {size >> 20} MiB from directory to directory", tools, costs)
