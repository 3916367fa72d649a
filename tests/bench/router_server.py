"""A server that streams as OpenAI's does, for measuring: `python router_server.py`, which prints its port.

Needs nothing but Python. What it answers stands in the question, as JSON: so many chunks, so many seconds apart.
Each chunk's text is the time at which it was sent, in nanoseconds of this machine's monotonic clock.
"""

import asyncio
import json
import sys
from time import monotonic_ns

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
FRAME = '{"id":"c-1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":%s}]}'
LAST = (
    '{"id":"c-1","object":"chat.completion.chunk","created":1,"model":"m",'
    '"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}',
    '{"id":"c-1","object":"chat.completion.chunk","created":1,"model":"m","choices":[],'
    '"usage":{"prompt_tokens":20,"completion_tokens":%d,"total_tokens":20}}',
    "[DONE]",
)


def piece(data: str) -> bytes:
    """One event as one chunk of the body."""
    event = f"data: {data}\n\n".encode()
    return b"%x\r\n%b\r\n" % (len(event), event)


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Every request of one connection."""
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = int(head.partition(b"content-length:")[2].split(b"\r\n", 1)[0])
            asked = json.loads(await reader.readexactly(length))
            wanted = json.loads(asked["messages"][-1]["content"])
            writer.write(HEAD)
            for number in range(wanted["chunks"]):
                if number and wanted["apart"]:
                    await asyncio.sleep(wanted["apart"])
                writer.write(piece(FRAME % json.dumps({"role": "assistant", "content": f"{monotonic_ns()} "})))
            writer.write(b"".join(piece(each % wanted["chunks"] if "%d" in each else each) for each in LAST))
            writer.write(b"0\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        pass  # the other side is done
    finally:
        writer.close()


async def main() -> None:
    """Serve until standard input ends."""
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    async with server:
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main())
