"""Tools that keep running and carry changes over as they happen."""

import os
import shutil
import socket
import subprocess
import time
import urllib.request
import xml.etree.ElementTree as xml

from once import cpu_of, daemon_pid, family, memory_of


class Watcher:
    """Started with a source and a target that are equal already."""

    processes = ()

    def spawn(self, arguments, **more):
        process = subprocess.Popen(arguments, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL, **more)
        self.processes = (*self.processes, process)
        return process

    def pids(self):
        """All of them, with those that they started."""
        return [pid for process in self.processes for pid in family(process.pid)]

    def cpu(self):
        return sum(map(cpu_of, self.pids()))

    def memory(self):
        return sum(memory_of(pid, "VmRSS") for pid in self.pids())

    def stop(self):
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


class Wl(Watcher):
    name, setting = "wl", "continuous"

    def __init__(self, program):
        self.program = program

    def command(self, *arguments):
        subprocess.run([self.program, "-b", self.home, "-l", f"{self.home}/log", *arguments],
                       check=True, capture_output=True)

    def start(self, home, source, target):
        os.makedirs(home)
        self.home = home
        self.command("sync", source, target, "--wait")

    def pids(self):
        return [daemon_pid(self.home)]

    def stop(self):
        self.command("daemon", "stop")


class Lsyncd(Watcher):
    name, setting = "lsyncd", "default.direct, delay 0, one-way"

    def start(self, home, source, target):
        os.makedirs(home)
        config = f"{home}/lsyncd.lua"
        with open(config, "w") as file:
            file.write(f'settings {{ nodaemon = true, logfile = "{home}/log" }}\n'
                       f'sync {{ default.direct, source = "{source}", target = "{target}", delay = 0 }}\n')
        self.spawn(["lsyncd", config])


class Unison(Watcher):
    name, setting = "unison", "-repeat watch"

    def start(self, home, source, target):
        os.makedirs(home)
        self.spawn(["unison", source, target, "-batch", "-silent", "-times", "-repeat", "watch"],
                   env={**os.environ, "UNISON": home})

    @staticmethod
    def possible():
        return shutil.which("unison-fsmonitor") is not None


class Syncthing(Watcher):
    name, setting = "syncthing", "two of them on loopback, fsWatcherDelayS 1, its smallest"

    def start(self, home, source, target):
        homes = [f"{home}/one", f"{home}/two"]
        for each in homes:
            subprocess.run(["syncthing", "generate", f"--home={each}", "--no-default-folder"], check=True,
                           capture_output=True)
        ids = [subprocess.run(["syncthing", f"--home={each}", "--device-id"], check=True, capture_output=True,
                              text=True).stdout.strip() for each in homes]
        ports = [free_port() for _ in range(4)]
        for me in range(2):
            configure(f"{homes[me]}/config.xml", ids, me, ports, [source, target][me])
        for each in homes:
            self.spawn(["syncthing", "serve", f"--home={each}", "--no-browser", "--no-restart", "--no-upgrade"],
                       env={**os.environ, "STNORESTART": "1"})
        self.wait_idle(ports[2:])

    def wait_idle(self, ports):
        """Until both have scanned and agree."""
        deadline = time.monotonic() + 1800
        for port in ports:
            while time.monotonic() < deadline:
                if any(process.poll() is not None for process in self.processes):
                    raise SystemExit("syncthing ended by itself")
                request = urllib.request.Request(f"http://127.0.0.1:{port}/rest/db/completion?folder=bench",
                                                 headers={"X-API-Key": "bench"})
                try:
                    with urllib.request.urlopen(request, timeout=5) as answer:
                        text = answer.read().decode()
                    if '"completion": 100' in text and '"globalItems": 0' not in text:
                        break
                except OSError:
                    pass
                time.sleep(0.5)
            else:
                raise SystemExit("syncthing did not become ready within half an hour")


def configure(file, ids, me, ports, folder):
    tree = xml.parse(file)
    root = tree.getroot()
    for old in root.findall("folder") + root.findall("device"):
        root.remove(old)
    for device, port in zip(ids, ports):
        element = xml.SubElement(root, "device", id=device, name=device[:7], compression="never")
        xml.SubElement(element, "address").text = f"tcp://127.0.0.1:{port}"
    element = xml.SubElement(root, "folder", id="bench", path=folder, type="sendreceive", rescanIntervalS="3600",
                             fsWatcherEnabled="true", fsWatcherDelayS="1")
    for device in ids:
        xml.SubElement(element, "device", id=device)
    xml.SubElement(element, "filesystemType").text = "basic"
    gui = root.find("gui")
    for key, value in {"address": f"127.0.0.1:{ports[2 + me]}", "apikey": "bench"}.items():
        child = gui.find(key)
        (xml.SubElement(gui, key) if child is None else child).text = value
    options = root.find("options")
    for key, value in {"listenAddress": f"tcp://127.0.0.1:{ports[me]}", "globalAnnounceEnabled": "false",
                       "localAnnounceEnabled": "false", "relaysEnabled": "false", "natEnabled": "false",
                       "startBrowser": "false", "urAccepted": "-1", "crashReportingEnabled": "false",
                       "autoUpgradeIntervalH": "0"}.items():
        child = options.find(key)
        (xml.SubElement(options, key) if child is None else child).text = value
    tree.write(file)


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def watchers(wl):
    """Everybody that is installed."""
    every = [Wl(wl), Lsyncd(), Unison(), Syncthing()]
    return [tool for tool in every if tool.name == "wl" or
            shutil.which(tool.name) and getattr(tool, "possible", lambda: True)()]
