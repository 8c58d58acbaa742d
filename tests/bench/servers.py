"""Servers on this machine, each gone with whoever started it."""

import contextlib
import os
import socket
import subprocess
import time

from watchers import free_port

PATIENCE = 60


@contextlib.contextmanager
def running(name, arguments, log, ready, env=None):
    """A server in the foreground, from when it is ready. setpriv(1) has the kernel kill it together with this process."""
    with open(log, "ab") as output:
        process = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", *arguments], stdin=subprocess.DEVNULL, stdout=output,
                                   stderr=output, env={**os.environ, **(env or {})})
    try:
        deadline = time.monotonic() + PATIENCE
        while not ready():
            if process.poll() is not None or time.monotonic() > deadline:
                with open(log, errors="replace") as file:
                    raise SystemExit(f"{name} does not start: {file.read()[-2000:]}")
            time.sleep(0.1)
        yield process
    finally:
        process.terminate()
        try:
            process.wait(2)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def listens(address):
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), 1).close()
        return True
    except OSError:
        return False


@contextlib.contextmanager
def proxied(proxy, address, rtt, log, bandwidth=None):
    """Where the server is reached with that round trip, in milliseconds, and so many bytes a second each way."""
    if rtt == 0:
        yield address
        return
    here = f"127.0.0.1:{free_port()}"
    arguments = [proxy, "--listen", here.rpartition(":")[2], "--to", address, "--rtt-ms", f"{rtt:.0f}"]
    if bandwidth:
        arguments += ["--bandwidth", f"{bandwidth}"]
    with running("wl-test-proxy", arguments, log, lambda: listens(here)):
        yield here
