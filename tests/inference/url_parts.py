"""A web server on the loopback with images and with what is in their place on the web, in a thread of its own."""

from __future__ import annotations

import asyncio
import gzip
import io
import threading
from collections import Counter
from types import TracebackType
from urllib.parse import unquote

import numpy as np
from PIL import Image


def picture(seed: int = 0, form: str = "PNG", size: int = 48) -> bytes:
    """A picture of coarse noise, whose perceptual hash no other seed has."""
    noise = np.random.default_rng(seed).integers(0, 255, (6, 6, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(noise).resize((size, size), Image.Resampling.BICUBIC).save(stream, form)
    return stream.getvalue()


class UrlServer:
    """`with UrlServer() as server:` answers at `server.url`; `server.hits` counts requests by path."""

    def __init__(self) -> None:
        self.hits: Counter[str] = Counter()
        self.running = self.peak = 0
        self._ready = threading.Event()

    def __enter__(self) -> UrlServer:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self._ready.wait(10)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"http://{self.host}"

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        server = await asyncio.start_server(self._answer, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stop.wait()
        server.close()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                path = head.split()[1].decode()
                self.hits[path] += 1
                self.running += 1
                self.peak = max(self.peak, self.running)
                try:
                    if not await self._reply(writer, path):
                        return
                finally:
                    self.running -= 1
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async def _reply(self, writer: asyncio.StreamWriter, path: str) -> bool:
        """Whether the connection stays open."""
        kind, _, rest = path.removeprefix("/").partition("/")
        if kind == "image":  # /image/SEED
            await self._send(writer, picture(int(rest)))
        elif kind == "wait":  # /wait/SECONDS
            await asyncio.sleep(float(rest.partition("/")[0]))
            await self._send(writer, picture(1))
        elif kind == "redirect":  # /redirect/URL
            await self._send(writer, b"", "302 Found", f"Location: {unquote(rest)}\r\n")
        elif kind == "loop":
            await self._send(writer, b"", "301 Moved", f"Location: /loop/{int(rest or 0) + 1}\r\n")
        elif kind == "status":  # /status/CODE
            await self._send(writer, b"", f"{rest.partition('/')[0]} Answer")
        elif kind == "flaky":  # /flaky/FAILURES
            failed = self.hits[path] <= int(rest)
            await self._send(writer, b"" if failed else picture(2), "500 Error" if failed else "200 OK")
        elif kind == "torn":  # the first time a JPEG file that ends early, as one was uploaded
            whole = picture(9, "JPEG")
            await self._send(writer, whole[: len(whole) // 2] if self.hits[path] == 1 else whole)
        elif kind == "busy":
            first = self.hits[path] == 1
            status = "429 Busy" if first else "200 OK"
            await self._send(writer, b"" if first else picture(3), status, "Retry-After: 1\r\n" if first else "")
        elif kind == "page":
            await self._send(writer, b"<html>gone</html>", more="Content-Type: text/html; charset=utf-8\r\n")
        elif kind == "untyped":
            await self._send(writer, picture(4), more="")
        elif kind == "lying":
            await self._send(writer, b"<!doctype html><html>gone</html>")
        elif kind == "forbidden":
            await self._send(writer, picture(5), more="Content-Type: image/png\r\nX-Robots-Tag: noai, noimageai\r\n")
        elif kind == "packed":
            await self._send(writer, gzip.compress(picture(6)), more="Content-Encoding: gzip\r\n")
        elif kind == "bomb":
            await self._send(writer, gzip.compress(bytes(50 << 20), 1), more="Content-Encoding: gzip\r\n")
        elif kind == "brotli":
            await self._send(writer, b"xx", more="Content-Encoding: br\r\n")
        elif kind == "large":
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nContent-Length: 10000000000\r\n\r\n")
            await writer.drain()
            return False
        elif kind == "short":
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nContent-Length: 5000\r\n\r\nabc")
            await writer.drain()
            return False
        elif kind == "drip":  # a byte now and then, which keeps any timer between bytes from going off
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nContent-Length: 100000\r\n\r\n")
            while not writer.is_closing():
                writer.write(b"x")
                await writer.drain()
                await asyncio.sleep(0.02)
        elif kind == "endless":
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nTransfer-Encoding: chunked\r\n\r\n")
            while not writer.is_closing():
                writer.write(b"4000\r\n" + bytes(0x4000) + b"\r\n")
                await writer.drain()
        elif kind == "hang":
            await asyncio.sleep(3600)
        else:
            await self._send(writer, b"", "404 Not Found")
        return True

    async def _send(
        self, writer: asyncio.StreamWriter, body: bytes, status: str = "200 OK", more: str | None = None
    ) -> None:
        more = "Content-Type: image/png\r\n" if more is None else more
        writer.write(f"HTTP/1.1 {status}\r\n{more}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        await writer.drain()
