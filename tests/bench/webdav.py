"""WebDAV: small files and a large one on Apache, near and far."""

import base64
import contextlib
import hashlib
import os
import shutil
import subprocess

import once
import trees
from remote import Place, away, over_distances
from report import chosen
from servers import free_port, listens, running

USER, PASSWORD = "bench", "benchpassword"
MODULES = "mpm_event authz_core authz_user authn_core authn_file auth_basic mime dav dav_fs setenvif"
OWNER = "www-data"  # as whom Apache serves when root starts it


def run(given, work):
    files, large = int(3_000 * given.scale), int((256 << 20) * given.scale)
    source = f"{work}/source"
    trees.make_mixed(source, files, 16 << 10, [large])
    tools = chosen(given, webdav_tools(given.wl), "webdav")
    title = f"Apache, {files} files of 16 KiB and one of {large >> 20} MiB"
    with apache(f"{work}/apache") as server:
        return over_distances(given, title, tools, server, source, work)


class Server:
    def __init__(self, home):
        self.address, self.data = f"127.0.0.1:{free_port()}", f"{home}/root/dav"

    def place(self, label, address):
        make_owned(f"{self.data}/{label}")
        return Place(address, label)

    def assert_holds(self, source, place, tool):
        trees.assert_equal(source, f"{self.data}/{place.path}", tool)

    def lighten(self, place):
        trees.lighten(f"{self.data}/{place.path}")


def make_owned(folder):
    os.makedirs(folder)
    if os.getuid() == 0:
        shutil.chown(folder, OWNER, OWNER)


@contextlib.contextmanager
def apache(home):
    server = Server(home)
    os.mkdir(home)
    make_owned(server.data)
    make_owned(f"{home}/lock")
    hashed = base64.b64encode(hashlib.sha1(PASSWORD.encode()).digest()).decode()
    with open(f"{home}/users", "w") as file:
        file.write(f"{USER}:{{SHA}}{hashed}\n")
    with open(f"{home}/httpd.conf", "w") as file:
        file.write(config(home, server.address))
    with running("Apache", ["/usr/sbin/apache2", "-DFOREGROUND", "-f", f"{home}/httpd.conf"], f"{home}/log",
                 lambda: listens(server.address)):
        yield server


def config(home, address):
    modules = "".join(f"LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n" for name in MODULES.split())
    return f"""{modules}
ServerRoot {home}
ServerName 127.0.0.1
Listen {address}
PidFile {home}/pid
DefaultRuntimeDir {home}
ErrorLog {home}/log
TypesConfig /etc/mime.types
User {OWNER}
Group {OWNER}
KeepAlive On
MaxKeepAliveRequests 0
ServerLimit 2
ThreadsPerChild 32
MaxRequestWorkers 64
DocumentRoot {home}/root
DavLockDB {home}/lock/DavLock
<Directory {home}/root>
  Dav On
  DavDepthInfinity On
  AllowOverride None
  AuthType Basic
  AuthName bench
  AuthUserFile {home}/users
  Require valid-user
  LimitXMLRequestBody 0
  LimitRequestBody 0
</Directory>
"""


def webdav_tools(wl):
    every = [once.Wl(wl, spell_wl, {"WL_BENCH_PASSWORD": PASSWORD})]
    if shutil.which("rclone"):
        obscured = subprocess.run(["rclone", "obscure", PASSWORD], check=True, capture_output=True, text=True).stdout.strip()
        env = {"RCLONE_WEBDAV_PASS": obscured}
        every.append(once.Once("rclone", "size", rclone, env=env))
        # Apache keeps no checksums: only reading everything again proves it.
        proven = lambda s, t: once.each_in_turn(rclone(s, t), rclone(s, t, "check", "--download"))
        every.append(once.Once("rclone check", "every byte of both sides, read afterwards", proven, env=env))
    return every


def spell_wl(place):
    if isinstance(place, str):
        return place
    return f"webdav+http://{USER}@{place.address}/dav/{place.path}?password=env:WL_BENCH_PASSWORD"


def rclone(source, target, *does):
    """It waits 10 ms between any two requests, unless told not to."""
    def spell(place):
        return place if isinstance(place, str) else f":webdav:{place.path}"
    return ["rclone", *(does or ["sync"]), spell(source), spell(target), "--quiet", "--webdav-url",
            f"http://{away(source, target).address}/dav/", "--webdav-user", USER, "--webdav-vendor", "other",
            "--webdav-pacer-min-sleep", "1us", "--transfers", "32", "--checkers", "32", "--multi-thread-streams", "8"]
