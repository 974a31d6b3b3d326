"""How a command changes something: through the running server, or, where none runs, on the store itself.

Invariant: the data folder has one writer; a command writes only after it has locked the folder as a server would.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any

from engine.errors import InterlockError

if TYPE_CHECKING:
    from engine.settings import Settings


def change(chosen: Settings, command: str, **arguments: Any) -> Any:
    """Carry out one of `engine.handlers`, wherever the store is open."""
    from engine.control import call, running
    from engine.store.opening import is_shared

    if is_shared(chosen.store) and not running(chosen.data):
        return asyncio.run(_among_others(chosen, command, arguments))
    if running(chosen.data):
        return call(chosen.data, command, **arguments)
    try:
        return asyncio.run(_alone(chosen, command, arguments))
    except InterlockError as error:
        if error.code != "folder_locked":
            raise
        return call(chosen.data, command, **arguments)  # a server has just started


async def _among_others(chosen: Settings, command: str, arguments: dict[str, Any]) -> Any:
    """As one more process of the site, for as long as the command takes."""
    from engine.broker import open_broker
    from engine.control import user_name
    from engine.handlers import store_handlers
    from engine.store.opening import open_any

    store = await open_any(chosen.data, chosen.store, chosen.key, "web")
    broker = open_broker(chosen.broker)
    try:
        handlers = store_handlers(store, lambda delivery: broker.ring(delivery.channel))
        return await handlers[command](arguments, user_name(os.geteuid()))
    finally:
        await broker.stop()
        store.close()


async def _alone(chosen: Settings, command: str, arguments: dict[str, Any]) -> Any:
    from engine.clock import SystemClock
    from engine.control import user_name
    from engine.errors import NotFound
    from engine.handlers import store_handlers
    from engine.store.sqlite import DATABASE, lock_folder, open_store

    if not (chosen.data / DATABASE).exists():
        advice = "Name the data folder with --data, or start the engine once with `interlock serve`."
        raise NotFound(f"opening the store in {chosen.data}: there is none", code="no_store", advice=advice)
    lock = lock_folder(chosen.data)
    try:
        store = open_store(chosen.data, chosen.key, SystemClock(), asyncio.get_running_loop())
        try:
            return await store_handlers(store)[command](arguments, user_name(os.geteuid()))
        finally:
            store.close()
    finally:
        os.close(lock)
