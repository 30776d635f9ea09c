"""A chat server on bare asyncio, in a process of its own, that misbehaves on the wire as no web framework would.

`with RawServer("busy", delay=0.05, share=0.3) as server:` runs one of the behaviours below; `server.stats()` tells how
often each request came, by the text of its last message.
"""

from __future__ import annotations

import asyncio
import json
import random
import socket
import struct
import subprocess
import sys
import time
import urllib.request
from collections import Counter, deque
from types import TracebackType
from typing import Any

Writer = asyncio.StreamWriter


class Server:
    """State and behaviours; options are the constructor's keywords."""

    def __init__(self, behaviour: str, delay: float = 0.0, **options: Any) -> None:
        self.answer = getattr(self, behaviour)
        self.delay, self.options = delay, options
        self.number = self.running = self.peak = 0
        self.hold = int(options.get("hold", 1 << 60))  # requests that are answered; later ones wait for `hold(more)`
        self.asked: Counter[str] = Counter()
        self.statuses: Counter[int] = Counter()
        self.log: list[tuple[float, int]] = []  # (seconds, status)
        self.refused: list[bool] = []  # decisions of `busy` in the order of the requests
        self.random = random.Random(0)
        self.tokens, self.filled = float(options.get("burst", 0)), time.monotonic()

    async def serve(self, reader: asyncio.StreamReader, writer: Writer) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = next(
                    (int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0
                )
                content = await reader.readexactly(length)
                if head.startswith(b"GET"):
                    if b"/hold/" in head:
                        self.hold = int(head.split(b"/hold/")[1].split()[0])
                    self.reply(writer, json.dumps(self.stats()).encode())
                    continue
                body = json.loads(content)
                said = body["messages"][-1]["content"]
                number, self.number = self.number, self.number + 1
                self.asked[said] += 1
                self.running += 1
                self.peak = max(self.peak, self.running)
                try:
                    while number >= self.hold:
                        await asyncio.sleep(0.01)
                    await self.answer(writer, said, number)
                finally:
                    self.running -= 1
                if writer.is_closing():
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    def stats(self) -> dict[str, Any]:
        return {
            "requests": self.number,
            "running": self.running,
            "peak": self.peak,
            "asked": self.asked,
            "statuses": self.statuses,
            "log": self.log,
            "refused": self.refused,
        }

    def completion(self, text: str | None, **choice: Any) -> bytes:
        return json.dumps(
            {
                "id": f"chatcmpl-{self.number}-{self.random.random()}",
                "choices": [{"finish_reason": "stop", "message": {"role": "assistant", "content": text}, **choice}],
                "usage": {"prompt_tokens": 7, "completion_tokens": 3},
            }
        ).encode()

    def reply(self, writer: Writer, body: bytes, status: int = 200, **headers: str) -> None:
        extra = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
        head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n{extra}\r\n"
        writer.write(head.encode() + body)
        self.statuses[status] += 1
        if "rate" in self.options or "share" in self.options:
            self.log.append((round(time.monotonic(), 4), status))

    async def echo(self, writer: Writer, said: str, number: int) -> None:
        await asyncio.sleep(self.delay)
        self.reply(writer, self.completion(f"echo {said}"))

    async def shuffle(self, writer: Writer, said: str, number: int) -> None:
        await asyncio.sleep(self.random.uniform(0, self.delay))
        self.reply(writer, self.completion(f"echo {said}"))

    async def busy(self, writer: Writer, said: str, number: int) -> None:
        """A fixed share of requests is refused, whatever the load."""
        self.refused.append(self.random.random() < self.options["share"])
        if self.refused[-1]:
            self.reply(writer, b'{"error": {"message": "slow down"}}', 429, Retry_After=str(self.options["wait"]))
            return
        await self.echo(writer, said, number)

    async def bucket(self, writer: Writer, said: str, number: int) -> None:
        """A token bucket: `rate` requests a second, `burst` at once."""
        now = time.monotonic()
        self.tokens = min(self.options["burst"], self.tokens + (now - self.filled) * self.options["rate"])
        self.filled = now
        if self.tokens < 1:
            self.reply(writer, b'{"error": {"message": "slow down"}}', 429)
            return
        self.tokens -= 1
        await asyncio.sleep(self.random.uniform(0.5, 1.5) * self.delay)
        self.reply(writer, self.completion(f"echo {said}"))

    async def garbage(self, writer: Writer, said: str, number: int) -> None:
        """A share of bodies is null, empty, truncated (as JSON, and by the token limit) or no JSON."""
        await asyncio.sleep(self.delay)
        if self.random.random() >= self.options["share"]:
            self.reply(writer, self.completion(f"echo {said}"))
            return
        whole = self.completion(f"WRONG {said}")
        kinds = [b"null", b"", whole[:40], b"<html>WRONG</html>", self.completion(None), self.completion("")]
        kinds.append(self.completion(f"WRONG {said}", finish_reason="length"))
        self.reply(writer, kinds[number % len(kinds)])

    async def never(self, writer: Writer, said: str, number: int) -> None:
        await asyncio.sleep(3600)

    async def loris(self, writer: Writer, said: str, number: int) -> None:
        """One byte now and then, which keeps any timer between bytes from going off."""
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n")
        while not writer.is_closing():
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0.02)

    async def resets(self, writer: Writer, said: str, number: int) -> None:
        """A share of answers ends in a reset in the middle of the body."""
        await asyncio.sleep(self.random.uniform(0, self.delay))
        if self.random.random() >= self.options["share"]:
            self.reply(writer, self.completion(f"echo {said}"))
            return
        body = self.completion(f"echo {said}")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body[: len(body) // 2])
        await writer.drain()
        plug = writer.get_extra_info("socket")
        plug.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    async def twice(self, writer: Writer, said: str, number: int) -> None:
        """Every answer is sent twice: at once, or the second one `later` seconds after the first."""
        await asyncio.sleep(self.random.uniform(0, self.delay))
        body = self.completion(f"echo {said}")
        self.reply(writer, body)
        if self.options["later"]:
            await writer.drain()
            await asyncio.sleep(self.options["later"])
        self.reply(writer, body)


class RawServer:
    """The server in a process of its own."""

    def __init__(self, behaviour: str, **options: Any) -> None:
        self.arguments = [behaviour, json.dumps(options)]

    def __enter__(self) -> RawServer:
        self.process = subprocess.Popen([sys.executable, __file__, *self.arguments], stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.url = f"http://127.0.0.1:{int(self.process.stdout.readline())}/v1"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()

    def stats(self, path: str = "stats") -> dict[str, Any]:
        with urllib.request.urlopen(f"{self.url}/{path}", timeout=30) as answer:
            return json.load(answer)

    def hold(self, answered: int = 1 << 60) -> None:
        """Let only so many requests be answered, so that a client can be met in the middle of its work."""
        self.stats(f"hold/{answered}")


def perfect_wall(refused: list[bool], concurrency: int, rows: int, delay: float, wait: float) -> float:
    """Seconds a perfect client needs against the same decisions of the server.

    It knows no overhead: `concurrency` places, refusals come at once, a refused request waits exactly `wait` seconds
    without holding a place and is then asked before any new one. Decisions are taken in the order of the requests.
    """
    now, done, fresh = 0.0, 0, rows
    places: list[float] = []  # when each busy place is free
    waiting: deque[float] = deque()  # when each refused request may be asked again
    decisions = iter(refused)
    while done < rows:
        done += len([end for end in places if end <= now])
        places = [end for end in places if end > now]
        while len(places) < concurrency and (fresh or (waiting and waiting[0] <= now)):
            if waiting and waiting[0] <= now:
                waiting.popleft()
            else:
                fresh -= 1
            if next(decisions, False):
                waiting.append(now + wait)
            else:
                places.append(now + delay)
        ahead = [*places, *list(waiting)[:1]] if len(places) < concurrency else places
        if ahead:
            now = min(ahead) if min(ahead) > now else now + 1e-6
    return now


async def main(behaviour: str, options: dict[str, Any]) -> None:
    state = Server(behaviour, **options)
    server = await asyncio.start_server(state.serve, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], json.loads(sys.argv[2])))
