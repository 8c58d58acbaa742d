"""Trees to be synced: the same for the same numbers, on every machine."""

import os
import random
import subprocess

PER_DIR = 100
LARGE = "large"


def name(index):
    return f"d{index // PER_DIR // 100:03}/e{index // PER_DIR % 100:02}/f{index % PER_DIR:03}.dat"


def make(root, files, smallest, largest):
    """So many files with contents of their own."""
    rng = random.Random(files)
    blob = rng.randbytes(1 << 20)
    for index in range(files):
        path = os.path.join(root, name(index))
        if index % PER_DIR == 0:
            os.makedirs(os.path.dirname(path))
        size = rng.randint(smallest, largest)
        start = rng.randint(0, len(blob) - size)
        with open(path, "wb") as file:
            file.write(index.to_bytes(8, "little") + blob[start:start + size - 8])


def make_mixed(root, files, size, large):
    """So many small files, and large ones of these sizes, nothing of which can be compressed or is there twice."""
    rng = random.Random(files)
    for index in range(files):
        path = os.path.join(root, name(index))
        if index % PER_DIR == 0:
            os.makedirs(os.path.dirname(path))
        with open(path, "wb") as file:
            file.write(rng.randbytes(size))
    os.makedirs(os.path.join(root, LARGE))
    for index, left in enumerate(large):
        with open(os.path.join(root, LARGE, f"{index}.dat"), "wb") as file:
            while left > 0:
                left -= file.write(rng.randbytes(min(left, 1 << 20)))


def lighten(root):
    """Gives back the room of the large files of a copy that has been checked, without deleting a file."""
    folder = os.path.join(root, LARGE)
    for entry in os.scandir(folder):
        # Apache keeps properties in a directory beside.
        if entry.is_file():
            os.truncate(entry.path, 0)


def settle(*roots):
    """The same state for everybody: contents in the page cache, nothing left to be written."""
    for root in roots:
        for folder, _, files in os.walk(root):
            for file in files:
                with open(os.path.join(folder, file), "rb") as opened:
                    while opened.read(1 << 20):
                        pass
    os.sync()


def assert_equal(source, target, tool):
    """Whatever the tool said: every byte is compared."""
    command = ["diff", "-rq", "--exclude=.wl-trash", "--exclude=.stfolder", "--exclude=.DAV", source, target]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{tool}: not equal afterwards: {(done.stdout or done.stderr)[:500]}")
