"""Foreign URLs: images come, everything else ends in a reason, in time, and nothing private is connected to."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import loopback_guard
import pytest
from url_parts import UrlServer, picture

from hubwright.inference.media.addresses import AddressRefused, PublicResolver, is_public, literal
from hubwright.inference.media.fetch import Fetched, Fetcher, FetchLimits


@pytest.fixture(scope="module")
def server() -> Iterator[UrlServer]:
    with UrlServer() as running:
        yield running


def fetch(*urls: str, lookup: Any = None, **limits: Any) -> list[Fetched]:
    async def all_of_them() -> list[Fetched]:
        async with Fetcher(FetchLimits(**{"deadline": 5, "max_bytes": 1_000_000} | limits), lookup) as fetcher:
            return await asyncio.gather(*map(fetcher.fetch, urls))

    return asyncio.run(all_of_them())


def from_server(server: UrlServer, path: str, **limits: Any) -> Fetched:
    return fetch(f"{server.url}/{path}", private_hosts=(server.host,), **limits)[0]


CONTENT = {
    "image/0": 0, "untyped/": 4, "packed/": 6, "redirect/%2Fimage%2F7": 7, "flaky/1": 2, "busy/": 3, "redirect/%2Fredirect%2F%2Fimage%2F8": 8,
}  # fmt: skip


@pytest.mark.parametrize("path", CONTENT)
def test_content_comes_through_redirects_packing_and_passing_failures(server: UrlServer, path: str) -> None:
    assert from_server(server, path) == (picture(CONTENT[path]), "", "")


REASONS = {
    "status/404": "HTTP 404", "status/410": "HTTP 410", "status/403": "HTTP 403", "status/204": "HTTP 204",
    "status/500/always": "HTTP 500", "page/": "content type of no image", "loop/": "more redirects than followed",
    "large/": "body above the limit of bytes", "endless/": "body above the limit of bytes", "bomb/": "body above the limit of bytes",
    "brotli/": "content encoding that was not asked for", "short/": "connection that failed", "forbidden/": "forbidden by X-Robots-Tag",
    f"redirect/{quote('http://169.254.169.254/latest/meta-data/', safe='')}": "private address",
    f"redirect/{quote('http://127.0.0.1:1/', safe='')}": "private address",
    f"redirect/{quote('http://0x7f.0.0.1/', safe='')}": "private address",
    f"redirect/{quote('http://[::ffff:10.0.0.1]/', safe='')}": "private address",
    f"redirect/{quote('file:///etc/passwd', safe='')}": "not an http(s) URL",
    f"redirect/{quote('http://user:secret@127.0.0.1/', safe='')}": "URL with a user name or password",
}  # fmt: skip


@pytest.mark.parametrize("path", REASONS)
def test_everything_else_ends_in_a_reason(server: UrlServer, path: str) -> None:
    answer = from_server(server, path, attempts=2)
    assert answer.content is None and answer.reason == REASONS[path]
    assert "secret" not in answer.detail


@pytest.mark.parametrize("path", ["drip/", "hang/", "status/503/slow"])
def test_deadline_is_for_all_that_a_url_takes(server: UrlServer, path: str) -> None:
    started = time.monotonic()
    answer = from_server(server, path, deadline=0.6, attempts=100)
    assert answer.reason == "deadline" and time.monotonic() - started < 30


def test_failure_that_stays_is_asked_for_so_often_and_one_of_the_request_once(server: UrlServer) -> None:
    from_server(server, "status/500/counted", attempts=2)
    from_server(server, "status/404/counted", attempts=2)
    assert server.hits["/status/500/counted"] == 2 and server.hits["/status/404/counted"] == 1


PRIVATE = [
    "http://127.0.0.1/", "http://4294967296/", "http://1.2.3.4.5/", "http://127.1/", "http://0x7f.0.0.1/", "http://0x7f000001/", "http://2130706433/", "http://017700000001/",
    "http://0177.0.0.1/", "http://127.0.0.1./", "http://0/", "http://0.0.0.0/", "http://10.1.2.3/", "http://172.16.0.1/",
    "http://192.168.1.1/", "http://169.254.169.254/", "http://100.64.0.1/", "http://192.0.0.8/", "http://192.88.99.1/", "http://[2001::1]/", "http://[100::1]/", "http://198.18.0.1/",
    "http://224.0.0.1/", "http://239.255.255.250/", "http://240.0.0.1/", "http://255.255.255.255/", "http://[::1]/", "http://[::]/",
    "http://[fe80::1]/", "http://[fe80::1%25eth0]/", "http://[fc00::1]/", "http://[fd12:3456::1]/", "http://[fec0::1]/", "http://[ff02::1]/",
    "http://[::ffff:127.0.0.1]/", "http://[::ffff:7f00:1]/", "http://[::127.0.0.1]/", "http://[64:ff9b::7f00:1]/", "http://[2002:7f00:1::]/", "http://[2002:808:808::]/",
    "http://①②⑦.⓪.⓪.①/",
]  # fmt: skip


@pytest.mark.parametrize("url", PRIVATE)
def test_private_address_in_any_notation_is_refused_without_a_connection(url: str) -> None:
    async def nobody(host: str, port: int) -> list[str]:
        raise AssertionError(f"{host} was looked up")

    answer = fetch(url, lookup=nobody)[0]
    assert answer.content is None and answer.reason in ("private address", "not an http(s) URL")
    assert not loopback_guard.strayed


def test_public_addresses_are_public() -> None:
    for host in ("1.1.1.1", "8.8.8.8", "2606:4700:4700::1111", "::ffff:8.8.8.8"):
        address = literal(host)
        assert address is not None and is_public(address), host
    assert literal("example.org") is None and literal("1.2.3.4.5") is None and literal("") is None


def test_names_that_lead_to_private_addresses_are_refused_even_among_public_ones(server: UrlServer) -> None:
    async def lookup(host: str, port: int) -> list[str]:
        return {"inside.test": ["10.0.0.5"], "both.test": ["93.184.216.34", "127.0.0.1"], "six.test": ["fd00::1"]}[
            host
        ]

    for host in ("inside.test", "both.test", "six.test"):
        answer = fetch(f"http://{host}:{server.port}/image/0", lookup=lookup)[0]
        assert answer.reason == "private address" and host in answer.detail
    assert not loopback_guard.strayed


def test_connection_is_made_to_the_address_that_was_checked(server: UrlServer) -> None:
    """A name server that answers otherwise the second time: every answer is used for one connection, after a check."""
    answers = iter([["127.0.0.1"], ["10.0.0.5"], ["127.0.0.1"]])
    lookups = []

    async def lookup(host: str, port: int) -> list[str]:
        lookups.append(host)
        return next(answers)

    url = f"http://rebinding.test:{server.port}/image/9"
    assert fetch(url, lookup=lookup)[0].reason == "private address"  # the first answer is private, and stays refused
    resolver = PublicResolver((), lookup)
    with pytest.raises(AddressRefused):
        asyncio.run(resolver.resolve("rebinding.test", 80))
    assert fetch(url, lookup=lookup, private_hosts=("rebinding.test",))[0].content == picture(9)
    assert lookups == ["rebinding.test"] * 3  # once per connection: nothing is looked up again after the check


def test_named_host_opens_nothing_else(server: UrlServer) -> None:
    other = fetch(f"http://localhost:{server.port}/image/0", private_hosts=("127.0.0.1",))[0]
    assert other.reason == "private address"
    port = fetch(f"{server.url}/image/0", private_hosts=("127.0.0.1:1",))[0]
    assert port.reason == "private address"


@pytest.mark.parametrize(
    "url", ["", "cat.jpg", "ftp://a.test/x.jpg", "file:///etc/passwd", "javascript:alert(1)", "http://", "http:///x", "data:image/png;base64,AA",
            "http://a.test:99999/", "http://[::1/", "http://" + "a" * 9000]
)  # fmt: skip
def test_what_is_no_url_is_a_reason(url: str) -> None:
    async def lookup(host: str, port: int) -> list[str]:
        return []

    assert fetch(url, lookup=lookup)[0].reason in ("not an http(s) URL", "connection that failed")


def test_unknown_host_and_closed_port_are_reasons(server: UrlServer) -> None:
    async def lookup(host: str, port: int) -> list[str]:
        raise OSError("Name or service not known")

    assert fetch("http://nowhere.test/", lookup=lookup, attempts=1)[0].reason == "host that has no address"
    closed = fetch("http://127.0.0.1:9/", private_hosts=("127.0.0.1",), attempts=1)[0]
    assert closed.reason == "connection that failed"


def test_limits_per_host_and_in_all_hold_and_waiting_costs_no_deadline(server: UrlServer) -> None:
    before = server.peak = server.running  # those that are never answered
    urls = [f"{server.url}/wait/0.4/{n}" for n in range(12)]
    answers = fetch(*urls, private_hosts=(server.host,), per_host=2, deadline=2)
    assert all(answer.content for answer in answers) and server.peak <= before + 2
