"""Loads a transport's library in a thread: aioquic takes a quarter of a second, for which no loop may stand still.

Refuses to know what a transport does.
"""

import asyncio
import importlib
import sys

from relaunch.transport.stream import Kind


async def load(kind: Kind) -> None:
    """Have the transport's module imported; afterwards importing it takes no time."""
    name = f"relaunch.transport.{kind}"
    if name not in sys.modules:
        await asyncio.get_running_loop().run_in_executor(None, importlib.import_module, name)
