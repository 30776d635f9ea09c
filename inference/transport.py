"""Connections that cannot hand one request the answer of another.

HTTP/1.1 ties an answer to its request only by their order on a connection; a server that sends an answer twice shifts
all that follow. Two guards: a connection on which anything came unasked is not used again, and an answer that another
request has had is refused.
"""

import asyncio
from typing import Any
from weakref import WeakKeyDictionary

import aiohttp

REMEMBERED = 4096  # ids: an answer that strayed is one of the last few (our choice)
DOUBTS = 4  # requests asked again while the server has shown one id alone (our choice)


class CleanConnector(aiohttp.TCPConnector):
    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._transports: WeakKeyDictionary[asyncio.Task[Any], asyncio.Transport] = WeakKeyDictionary()

    async def connect(self, *args: Any, **kwargs: Any) -> aiohttp.connector.Connection:
        while True:
            connection = await super().connect(*args, **kwargs)
            if connection.protocol is None or not connection.protocol.should_close:
                break
            connection.close()
        task = asyncio.current_task()
        if task is not None and connection.transport is not None:
            self._transports[task] = connection.transport
        return connection

    def drop(self) -> None:
        """Cut the connection that this task was last given: it is free again as soon as an answer has been read."""
        task = asyncio.current_task()
        transport = self._transports.pop(task, None) if task is not None else None
        if transport is not None:
            transport.abort()


class AnswerIds:
    """The request that an answer id was given to.

    Servers that give all answers one id are left alone, except for the first few. Since some make ids of the second,
    the whole body has to be the same too: two requests that truly got the same bytes cost one more try.
    """

    def __init__(self) -> None:
        self._requests: dict[str, tuple[int, int]] = {}
        self._doubted: set[int] = set()

    def strayed(self, body: Any, raw: bytes, content: bytes) -> bool:
        """True if these bytes were the answer to a request with another content before."""
        name = body.get("id") if isinstance(body, dict) else None
        if not isinstance(name, str) or not name:
            return False
        request, answer = self._requests.setdefault(name, (hash(content), hash(raw)))
        if len(self._requests) > REMEMBERED:
            del self._requests[next(iter(self._requests))]
        if request == hash(content) or answer != hash(raw):
            return False
        if len(self._requests) == 1:
            if hash(content) in self._doubted or len(self._doubted) == DOUBTS:
                return False
            self._doubted.add(hash(content))
        return True
