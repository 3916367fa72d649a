"""The reader's cutting of a stream into messages."""

import pytest

from nanoide.lsp.framing import BODY_LIMIT, Framer


def message(body: bytes, header: bytes = b"Content-Length: %d\r\n\r\n") -> bytes:
    """A message as an editor sends it."""
    return header % len(body) + body


def test_messages_come_out_whole_however_the_stream_is_cut() -> None:
    """One byte at a time gives the same bodies as all at once."""
    stream = message(b'{"a": 1}') + message(b"{}") + message('{"ü": "😀"}'.encode())
    at_once = Framer().feed(stream)
    framer = Framer()
    by_byte = [body for place in range(len(stream)) for body in framer.feed(stream[place : place + 1])]
    assert at_once == by_byte == [b'{"a": 1}', b"{}", '{"ü": "😀"}'.encode()]


@pytest.mark.parametrize(
    "header",
    [
        b"content-length: %d\r\n\r\n",
        b"CONTENT-LENGTH:%d\r\n\r\n",
        b"Content-Length: %d\n\n",
        b"Content-Type: application/vscode-jsonrpc; charset=utf-8\r\nContent-Length: %d\r\n\r\n",
        b"Content-Length: %d\r\nContent-Type: application/vscode-jsonrpc; charset=utf-8\r\n\r\n",
    ],
)
def test_headers_are_read_as_they_are_meant(header: bytes) -> None:
    """Case, bare line feeds and further headers change nothing."""
    assert Framer().feed(message(b"{}", header) + message(b"[]")) == [b"{}", b"[]"]


@pytest.mark.parametrize(
    "nonsense",
    [
        b"Content-Length: 1000000000000\r\n\r\n",
        b"Content-Length: 9223372036854775808\r\n\r\n",
        b"Content-Length: %d\r\n\r\n" % (BODY_LIMIT + 1),
        b"Content-Length: minus one\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\x00\xff" * 100_000,
        b"Content-Length: 5\r\n" + b"x" * 100_000,
    ],
)
def test_nonsense_is_skipped_and_never_waited_for(nonsense: bytes) -> None:
    """The message after it is read as if nothing had been."""
    framer = Framer()
    framer.feed(nonsense)
    assert framer.feed(message(b'{"id": 1}'))[-1:] == [b'{"id": 1}']


def test_what_waits_stays_small() -> None:
    """A stream without any header does not fill the memory."""
    framer = Framer()
    for _ in range(100):
        assert framer.feed(b"x" * 65_536) == []
    assert framer.feed(message(b"{}")) == [b"{}"]
