"""SeaweedFS and the JuiceFS gateway with one bucket, and a look at what arrived there by a peer's client."""

import contextlib
import hashlib
import json
import os
import subprocess

from remote import Place
from servers import free_port, listens, running

BUCKET, REGION = "bench", "us-east-1"
KEYS = {"AWS_ACCESS_KEY_ID": "benchkey", "AWS_SECRET_ACCESS_KEY": "benchsecret"}
SAMPLE = 20


class Server:
    def __init__(self, address):
        self.address = address

    def s5cmd(self, *arguments):
        command = ["s5cmd", "--endpoint-url", f"http://{self.address}", *arguments]
        env = {**os.environ, **KEYS, "AWS_REGION": REGION}
        return subprocess.run(command, check=True, capture_output=True, env=env).stdout

    def warmed(self):
        """With the bucket, and room for it: the first object in a bucket has SeaweedFS make volumes."""
        self.s5cmd("mb", f"s3://{BUCKET}")
        self.s5cmd("cp", __file__, f"s3://{BUCKET}/warmed/")
        return self

    def place(self, label, address):
        return Place(address, label)

    def assert_holds(self, source, place, tool):
        """Every name and size, and the sha256 of some."""
        wanted = {}
        for folder, _, files in os.walk(source):
            for file in files:
                path = os.path.join(folder, file)
                wanted[os.path.relpath(path, source)] = os.path.getsize(path)
        prefix = f"s3://{BUCKET}/{place.path}/"
        lines = map(json.loads, self.s5cmd("--json", "ls", f"{prefix}*").splitlines())
        there = {line["key"].removeprefix(prefix): line["size"] for line in lines if line["type"] == "file"}
        # wl goes on trying what the server does, under names of its own.
        there = {name: size for name, size in there.items() if not name.startswith(".wl-part-")}
        if there != wanted:
            raise SystemExit(f"{tool}: {len(there)} objects of {sum(there.values())} bytes instead of {len(wanted)} of "
                             f"{sum(wanted.values())}, differing in {sorted(there.items() ^ wanted.items())[:5]}")
        names = sorted(wanted)
        for name in {*names[::max(1, len(names) // SAMPLE)], *sorted(names, key=wanted.get)[-2:]}:
            with open(os.path.join(source, name), "rb") as file:
                here = hashlib.file_digest(file, "sha256").digest()
            if hashlib.sha256(self.s5cmd("cat", prefix + name)).digest() != here:
                raise SystemExit(f"{tool}: {name} differs")

    def lighten(self, place):
        pass


@contextlib.contextmanager
def seaweed(home):
    os.makedirs(f"{home}/data")
    keys = {"accessKey": KEYS["AWS_ACCESS_KEY_ID"], "secretKey": KEYS["AWS_SECRET_ACCESS_KEY"]}
    actions = ["Admin", "Read", "List", "Tagging", "Write"]
    with open(f"{home}/s3.json", "w") as file:
        json.dump({"identities": [{"name": "bench", "credentials": [keys], "actions": actions}]}, file)
    master, volume, filer, s3 = (port_with_grpc() for _ in range(4))
    # Its defaults cut objects into chunks of 4 MiB, which makes large ones a third slower; listen on all addresses; and
    # wait 10 s before they end.
    command = ["weed", f"-logdir={home}", "server", f"-dir={home}/data", "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
               f"-master.port={master}", f"-volume.port={volume}", "-filer", f"-filer.port={filer}", "-filer.maxMB=16",
               f"-filer.localSocket={home}/filer.sock", "-s3", f"-s3.port={s3}", f"-s3.config={home}/s3.json",
               "-s3.port.iceberg=0", "-s3.port.lance=0", "-master.volumeSizeLimitMB=1024", "-volume.max=100",
               "-master.volumePreallocate=false", "-volume.preStopSeconds=0", "-metricsPort=0"]
    server = Server(f"127.0.0.1:{s3}")
    with running("SeaweedFS", command, f"{home}/log", lambda: listens(server.address) and answers(server), {"HOME": home}):
        yield server.warmed()


@contextlib.contextmanager
def juicefs(home):
    os.makedirs(home)
    database = f"sqlite3://{home}/meta.db"
    subprocess.run(["juicefs", "format", "--storage", "file", "--bucket", f"{home}/objects/", database, "bench"], check=True,
                   capture_output=True, env={**os.environ, "HOME": home})
    server = Server(f"127.0.0.1:{free_port()}")
    command = ["juicefs", "gateway", "--no-usage-report", "--multi-buckets", "--keep-etag", "--object-meta", "--cache-dir",
               f"{home}/cache", database, server.address]
    env = {"HOME": home, "MINIO_ROOT_USER": KEYS["AWS_ACCESS_KEY_ID"], "MINIO_ROOT_PASSWORD": KEYS["AWS_SECRET_ACCESS_KEY"]}
    with running("JuiceFS", command, f"{home}/log", lambda: listens(server.address) and answers(server), env):
        yield server.warmed()


def answers(server):
    try:
        server.s5cmd("ls")
        return True
    except subprocess.CalledProcessError:
        return False


def port_with_grpc():
    """SeaweedFS takes the port 10,000 above each of its own too."""
    while (port := free_port()) > 55_000 or listens(f"127.0.0.1:{port + 10_000}"):
        pass
    return port
