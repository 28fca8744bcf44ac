"""A WebSocket server that says what it is told. usage: echo.py PORT"""

import asyncio
import sys

from websockets.asyncio.server import ServerConnection, serve


async def echo(connection: ServerConnection) -> None:
    async for message in connection:
        await connection.send(message)


async def main() -> None:
    # No pings of its own and no limit: what comes back depends on what was sent alone.
    async with serve(echo, "127.0.0.1", int(sys.argv[1]), ping_interval=None, max_size=None):
        await asyncio.Future()


asyncio.run(main())
