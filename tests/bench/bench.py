"""wl beside its peers, section by section: see local.py, s3.py, sftp.py, webdav.py, migration.py and delta.py.

Traps avoided: everybody finds the sources in the page cache and nothing left to be written; who comes first changes from
round to round; nothing is deleted between runs, since ext4 makes whoever creates files in the minutes after a deletion
search for inodes that were not deleted recently; what is only in memory when a tool says that it is done is told apart
from what is on the disk (`durable` is the time until a `sync` after it returned); what arrived is compared with what was
sent before a time counts.
"""

import argparse
import importlib
import json
import os
import shutil
import tempfile

SECTIONS = ("local", "s3", "sftp", "webdav")
# Only if named.
MORE = ("migration", "delta")


def main():
    given = arguments()
    if given.quick:
        given.scale /= 10
    work = tempfile.mkdtemp(prefix="wl-bench-", dir=given.dir)
    os.chmod(work, 0o711)  # a server may run as somebody else
    figures = {}
    try:
        for section in given.sections:
            place = os.path.join(work, section)
            os.mkdir(place)
            print(f"\n# {section} (load before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors)", flush=True)
            figures[section] = importlib.import_module(section).run(given, place)
            if given.json:
                with open(given.json, "w") as file:
                    json.dump(figures, file, indent=2)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def arguments():
    parser = argparse.ArgumentParser(prog="tests/bench/run", epilog="also: --no-install; --tools DIR, where peers and S3 "
                                     "servers are; --wl PROGRAM and --proxy PROGRAM (wl-test-proxy) instead of building them")
    parser.add_argument("sections", nargs="*", choices=SECTIONS + MORE, help="default: all but migration and delta")
    parser.add_argument("--wl", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--proxy", help=argparse.SUPPRESS)
    parser.add_argument("--quick", action="store_true", help="a tenth of the size")
    parser.add_argument("--scale", type=float, default=1, help="of the numbers of files and the sizes of large ones (default 1)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--who", help="which tools, by name, with commas")
    parser.add_argument("--rtt", default="0,50", help="sftp, webdav: round trips in milliseconds, with commas")
    parser.add_argument("--changes", type=int, default=100, help="local: for the latency")
    parser.add_argument("--idle", type=float, default=30, help="local: seconds of idling")
    parser.add_argument("--only", default="copy,unchanged,watch", help="local: which of copy,unchanged,watch")
    parser.add_argument("--large", action="store_true", help="migration: also a file of 8 GiB between two directories")
    parser.add_argument("--dir", help="where to work; on the file system to be measured (default: a temporary directory)")
    parser.add_argument("--json", help="a file for all figures")
    return parser.parse_args()


if __name__ == "__main__":
    main()
