"""A proxy that passes HTTP/1.1 through and counts the requests. Not fast: nothing is timed on the way through it."""

import asyncio
import collections
import threading
import urllib.parse

CHUNK = 1 << 18


class Counter:
    def __init__(self, upstream):
        self.upstream = upstream.rpartition(":")
        self.counts, self.lock = collections.Counter(), threading.Lock()
        self.loop = asyncio.new_event_loop()
        listening = asyncio.start_server(self.serve, "127.0.0.1", 0, limit=CHUNK)
        server = self.loop.run_until_complete(listening)
        self.address = "127.0.0.1:{}".format(server.sockets[0].getsockname()[1])
        threading.Thread(target=self.loop.run_forever, daemon=True).start()

    def take(self):
        """What was counted since the last time."""
        with self.lock:
            counts, self.counts = self.counts, collections.Counter()
        return counts

    async def serve(self, reader, writer):
        try:
            back_reader, back_writer = await asyncio.open_connection(self.upstream[0], int(self.upstream[2]), limit=CHUNK)
        except OSError:
            writer.close()
            return
        answers = asyncio.create_task(self.answers(back_reader, writer))
        try:
            while await self.request(reader, back_writer):
                pass
        except (OSError, EOFError):
            pass
        finally:
            back_writer.close()
            answers.cancel()
            writer.close()

    async def answers(self, reader, writer):
        """Answers pass unread. A server that closes ends the connection to the client too."""
        try:
            while data := await reader.read(CHUNK):
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()

    async def request(self, reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        method, target, _ = first.split(" ")
        with self.lock:
            self.counts[kind(method, target)] += 1
        headers = {key.lower(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
        writer.write(head)
        if "chunked" in headers.get("transfer-encoding", ""):
            await chunks(reader, writer)
        else:
            await exactly(reader, writer, int(headers.get("content-length", 0)))
        await writer.drain()
        return True


async def exactly(reader, writer, left):
    while left > 0:
        data = await reader.read(min(left, CHUNK))
        if not data:
            raise EOFError
        writer.write(data)
        await writer.drain()
        left -= len(data)


async def chunks(reader, writer):
    """RFC 9112, section 7.1: chunks up to one of size 0, then trailers up to an empty line."""
    while True:
        line = await reader.readuntil(b"\r\n")
        writer.write(line)
        size = int(line.partition(b";")[0], 16)
        if size == 0:
            break
        await exactly(reader, writer, size + 2)
    while line != b"\r\n":
        line = await reader.readuntil(b"\r\n")
        writer.write(line)


def kind(method, target):
    """The method; of S3's requests to read, those that list a bucket are told apart."""
    path, _, query = target.partition("?")
    keys = urllib.parse.parse_qs(query, keep_blank_values=True).keys()
    lists = {"list-type", "prefix", "delimiter", "marker", "uploads"} & keys
    return "LIST" if method == "GET" and path.strip("/").count("/") == 0 and lists else method
