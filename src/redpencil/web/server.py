"""The server: one process or several that serve the application, and the lines that it prints when it starts."""

import contextlib
import multiprocessing
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import uvicorn
from fastapi import FastAPI
from uvicorn.supervisors import Multiprocess

from redpencil.errors import RedpencilError
from redpencil.web.app import create_app
from redpencil.web.auth import (
    OWNER_LINK_S,
    checked_base_url,
    listens_to_all,
    new_owner_link,
    remember_address,
    url_of,
)
from redpencil.web.database import open_database, writing

_DATABASE = "REDPENCIL_DATABASE"
_BASE_URL = "REDPENCIL_BASE_URL"
_GRACE_S = 5
"""Seconds that running requests have left when the server is told to stop."""
_KEEP_ALIVE_S = 5
"""Seconds that a connection stays open after an answer without a new request."""
_MOST_CONNECTIONS = 900
"""Connections of one process, below the usual limit of 1024 open files; requests beyond it are answered with 503."""
_LONGEST_HEAD = 64 * 1024
"""Bytes of the head of a request."""


def serve(
    place: str | Path,
    *,
    host: str = "127.0.0.1",
    port: int = 8008,
    workers: int = 1,
    base_url: str | None = None,
    say: Callable[[str], None] = print,
    listener: socket.socket | None = None,
) -> None:
    """Serve a project's database until told to stop.

    Each start prints a link that signs the owner of the terminal in as the first admin, once and only for a while. All
    other links stay.

    Args:
        place: path of an SQLite file, or URL of a PostgreSQL database; created if it does not exist.
        host: the address to listen on.
        port: 0 takes any free port.
        workers: number of server processes.
        base_url: the address that people use, if it differs from the one that the server listens on.
        say: prints a line for the person at the terminal.
        listener: the socket from `bind`, if the caller has opened it already.

    Raises:
        RedpencilError: if the database cannot be opened, the address is taken, or the pages cannot work at `base_url`.
    """
    base_url = None if base_url is None else checked_base_url(base_url)
    listener = listener or bind(host, port)
    try:
        engine = open_database(place)
    except RedpencilError:
        listener.close()
        raise
    url = base_url or url_of(host, listener.getsockname()[1])
    with writing(engine) as connection:
        remember_address(connection, url)
    say(f"{url}/join/{new_owner_link(engine, time.time())}  (your own link, as admin)")
    say(f"Serving {url} (Ctrl+C stops it; everything that was saved stays).")
    say(f"Your link opens once, within {OWNER_LINK_S / 60:.0f} minutes; the next start gives another.")
    if base_url is None and listens_to_all(host):
        say(f"warning: others cannot open {url}; give --base-url the address that they use")
    if workers == 1:
        app = create_app(engine, base_url=base_url)
        with listener, contextlib.suppress(KeyboardInterrupt):
            uvicorn.Server(_config(app)).run(sockets=[listener])
        engine.dispose()
        return
    engine.dispose()
    os.environ[_DATABASE] = str(place)
    os.environ[_BASE_URL] = base_url or ""
    config = _config(f"{__name__}:app_from_environment", workers=workers)
    Multiprocess(config, sockets=[listener]).run()


def app_from_environment() -> FastAPI:
    """Create the application in a worker process, from the environment; the worker ends with its parent."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    return create_app(open_database(os.environ[_DATABASE]), base_url=os.environ[_BASE_URL] or None)


def _end_with_parent() -> None:
    """End this worker after the process that started it, even if that one was killed.

    Otherwise it would keep the address, and no command could stop it or start a server there again.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)  # running requests are answered
    threading.Event().wait(_GRACE_S + 1)
    os._exit(1)


def bind(host: str, port: int) -> socket.socket:
    """Open a socket that listens.

    Raises:
        RedpencilError: if the address is taken or does not belong to this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio turns Nagle's algorithm off only if the protocol is named; with it, answers wait 40 ms for the browser.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except (OSError, OverflowError) as error:
        listener.close()
        raise RedpencilError(
            f"cannot listen on {host}, port {port} ({getattr(error, 'strerror', None) or error})",
            field="port",
            hint="choose another port with --port, or 0 for any that is free",
        ) from None
    listener.listen(2048)  # early requests wait until the server has started
    listener.set_inheritable(True)
    return listener


def _config(app: FastAPI | str, *, workers: int = 1) -> uvicorn.Config:
    """Configure uvicorn. There is no access log, since it would contain invite links. Forwarded addresses are believed
    only from the proxies that FORWARDED_ALLOW_IPS names. Slow clients are left to the proxy.
    """
    return uvicorn.Config(
        app,
        factory=isinstance(app, str),
        workers=workers,
        http="h11",
        timeout_keep_alive=_KEEP_ALIVE_S,
        limit_concurrency=_MOST_CONNECTIONS,
        h11_max_incomplete_event_size=_LONGEST_HEAD,
        log_level="warning",
        access_log=False,
        server_header=False,
        forwarded_allow_ips=os.environ.get("FORWARDED_ALLOW_IPS", ""),
        lifespan="off",
        ws="none",
        timeout_graceful_shutdown=_GRACE_S,
    )
