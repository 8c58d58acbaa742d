"""SFTP: small files and a large one on OpenSSH, near and far."""

import contextlib
import getpass
import os
import subprocess

import once
import trees
from remote import Place, away, over_distances
from report import chosen
from servers import free_port, listens, running

# The fastest cipher here for everybody that can choose one: with AES in hardware a third faster than OpenSSH's default.
CIPHER = "aes128-gcm@openssh.com"
USER = getpass.getuser()


def run(given, work):
    files, large = int(3_000 * given.scale), int((512 << 20) * given.scale)
    source = f"{work}/source"
    trees.make_mixed(source, files, 16 << 10, [large])
    with sshd(f"{work}/sshd") as server:
        tools = chosen(given, sftp_tools(given.wl, server), "sftp")
        title = f"OpenSSH, {files} files of 16 KiB and one of {large >> 20} MiB"
        return over_distances(given, title, tools, server, source, work)


class Server:
    def __init__(self, home):
        self.home, self.address, self.data = home, f"127.0.0.1:{free_port()}", f"{home}/data"
        self.key, self.known_hosts = f"{home}/id_ed25519", f"{home}/known_hosts"

    def place(self, label, address):
        """Known under that address."""
        path = f"{self.data}/{label}"
        os.mkdir(path)
        host, _, port = address.rpartition(":")
        with open(f"{self.home}/host_ed25519.pub") as public, open(self.known_hosts, "a") as known:
            known.write(f"[{host}]:{port} {public.read()}")
        return Place(address, path)

    def assert_holds(self, source, place, tool):
        trees.assert_equal(source, place.path, tool)

    def lighten(self, place):
        trees.lighten(place.path)

    def ssh(self):
        return (f"ssh -a -x -F none -i {self.key} -o UserKnownHostsFile={self.known_hosts} -o BatchMode=yes -c {CIPHER}")


@contextlib.contextmanager
def sshd(home):
    """Its users' home is empty: start-up files of a shell would cost each command time."""
    server = Server(home)
    os.makedirs(server.data)
    os.mkdir(f"{home}/empty")
    for key in (server.key, f"{home}/host_ed25519"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    config = f"{home}/sshd_config"
    with open(config, "w") as file:
        file.write(f"ListenAddress {server.address}\nHostKey {home}/host_ed25519\nPidFile none\n"
                   f"AuthorizedKeysFile {server.key}.pub\nPermitRootLogin prohibit-password\nPasswordAuthentication no\n"
                   "KbdInteractiveAuthentication no\nUsePAM no\nStrictModes no\nUseDNS no\nPrintMotd no\nPrintLastLog no\n"
                   f"MaxStartups 200:30:400\nMaxSessions 64\nSetEnv HOME={home}/empty\nSubsystem sftp internal-sftp\n")
    if os.getuid() == 0:
        os.makedirs("/run/sshd", exist_ok=True)  # where sshd takes its privileges apart
    with running("sshd", ["/usr/sbin/sshd", "-D", "-e", "-f", config], f"{home}/log", lambda: listens(server.address)):
        yield server


def sftp_tools(wl, server):
    every = [
        once.Wl(wl, lambda place: spell_wl(server, place)),
        once.Once("rsync", "size, and what was sent arrived", lambda s, t: rsync(server, s, t)),
        once.Once("rsync -c", "checksum of both sides, read afterwards",
                  lambda s, t: once.each_in_turn(rsync(server, s, t), rsync(server, s, t, "-c"))),
        once.Once("rclone", "size, mtime", lambda s, t: rclone(server, s, t)),
        once.Once("lftp", "size, mtime", lambda s, t: lftp(server, s, t)),
    ]
    return once.installed(every)


def spell_wl(server, place):
    if isinstance(place, str):
        return place
    return f"sftp://{USER}@{place.address}{place.path}?ssh-identity={server.key}&known-hosts={server.known_hosts}"


def rsync(server, source, target, *more):
    def spell(place):
        return f"{place}/" if isinstance(place, str) else f"{USER}@127.0.0.1:{place.path}/"
    return ["rsync", "-a", *more, "-e", f"{server.ssh()} -p {away(source, target).port}", spell(source), spell(target)]


def rclone(server, source, target):
    """Without its hashes, each of which is a command, so that it can be waited for at 50 ms. More transfers help little with
    small files there: it looks at their directory one after the other."""
    def spell(place):
        return place if isinstance(place, str) else f":sftp:{place.path}"
    return ["rclone", "sync", spell(source), spell(target), "--quiet", "--sftp-host", "127.0.0.1", "--sftp-port",
            away(source, target).port, "--sftp-user", USER, "--sftp-key-file", server.key, "--sftp-known-hosts-file",
            server.known_hosts, "--sftp-shell-type", "unix", "--sftp-ciphers", CIPHER, "--sftp-chunk-size", "255k",
            "--sftp-concurrency", "64", "--transfers", "32", "--checkers", "32", "--multi-thread-streams", "8",
            "--sftp-disable-hashcheck"]


def lftp(server, source, target):
    """`sftp:size-write` above 32k has it hang."""
    if isinstance(source, str):
        mirror = f"mirror -R --parallel=16 {source} {target.path}"
    else:
        mirror = f"mirror --parallel=16 --use-pget-n=8 {source.path} {target}"
    return ["lftp", "-c", f'set cmd:fail-exit yes; set sftp:connect-program "{server.ssh()}"; set sftp:size-write 32k; '
            "set sftp:size-read 32k; set sftp:max-packets-in-flight 64; set net:connection-limit 16; "
            f"open -u {USER},none -p {away(source, target).port} sftp://127.0.0.1; {mirror}"]
