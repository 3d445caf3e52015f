"""Serves the application, in this process or in several, and says how to get in."""

import multiprocessing
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from uvicorn.supervisors import Multiprocess

from redpencil.errors import RedpencilError
from redpencil.web.app import create_app
from redpencil.web.auth import checked_base_url, listens_to_all, new_entry, remember_address, url_of
from redpencil.web.connections import PatientProtocol, prepare_for_many
from redpencil.web.database import open_database, writing

_DATABASE = "REDPENCIL_DATABASE"
_BASE_URL = "REDPENCIL_BASE_URL"
_GRACE_S = 5
"""Seconds that requests under way have to end in when the server is told to stop."""


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

    Each start says a link that lets whoever started the server in as the first admin, once. All other links stay.

    Args:
        place: path of an SQLite file, or URL of a PostgreSQL database; it is made where there is none.
        host: the address to listen on.
        port: 0 takes any that is free.
        workers: server processes.
        base_url: where people find the service, where that is not the address it listens on.
        say: takes the lines for the person at the terminal.
        listener: what `bind` gave for that address, if it was asked already.

    Raises:
        RedpencilError: if the database cannot be opened, the address is taken, or `base_url` is none to work at.
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
    say(f"{url}/join/{new_entry(engine, time.time())}  (your way in, as admin)")
    say(f"Serving {url} (Ctrl+C stops it; everything that was saved stays).")
    say("Your link opens once; the next start gives another.")
    if base_url is None and listens_to_all(host):
        say(f"warning: others cannot open {url}; give --base-url the address that they use")
    prepare_for_many()
    if workers == 1:
        _run(create_app(engine, base_url=base_url), listener)
        engine.dispose()
        return
    engine.dispose()
    os.environ[_DATABASE] = str(place)
    os.environ[_BASE_URL] = base_url or ""
    config = _config(f"{__name__}:app_from_environment", workers=workers)
    Multiprocess(config, sockets=[listener]).run()


def app_from_environment() -> Starlette:
    """The application in a worker process, which learns by its environment what to serve, and ends with its parent."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    prepare_for_many()
    return create_app(open_database(os.environ[_DATABASE]), base_url=os.environ[_BASE_URL] or None)


def _end_with_parent() -> None:
    """End this worker when the process that started it is gone, however that one ended.

    Left alone it would go on serving at the address, and no command could stop it or start a server there again.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)  # requests under way are answered
    threading.Event().wait(_GRACE_S + 1)
    os._exit(1)


def bind(host: str, port: int) -> socket.socket:
    """A socket that listens, before anything else is done.

    Raises:
        RedpencilError: if the address is taken or not this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Where the protocol is not named, asyncio leaves Nagle's algorithm on, and answers wait 40 ms for the browser.
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
    listener.listen(2048)  # who comes before the server has started waits, instead of being refused
    listener.set_inheritable(True)
    return listener


def _run(app: Starlette, listener: socket.socket) -> None:
    try:
        uvicorn.Server(_config(app)).run(sockets=[listener])
    except KeyboardInterrupt:
        pass
    finally:
        listener.close()


def _config(app: Starlette | str, *, workers: int = 1) -> uvicorn.Config:
    """What is asked of uvicorn. No access log: it would hold invite links. What a caller says of his own address is
    believed only where he is a proxy that FORWARDED_ALLOW_IPS names.
    """
    return uvicorn.Config(
        app,
        factory=isinstance(app, str),
        workers=workers,
        http=PatientProtocol,
        log_level="warning",
        access_log=False,
        server_header=False,
        forwarded_allow_ips=os.environ.get("FORWARDED_ALLOW_IPS", ""),
        lifespan="off",
        ws="none",
        timeout_graceful_shutdown=_GRACE_S,
    )
