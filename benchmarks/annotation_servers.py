"""Server processes of the annotation service, and a PostgreSQL of one's own, for the scripts beside this one."""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

SERVE: Final = "import sys; from redpencil.web.server import serve; serve(sys.argv[1], port=int(sys.argv[2]))"


@dataclass
class Server:
    """A server process that can be killed and started again at the same port."""

    place: str
    port: int
    log: Path
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        with self.log.open("ab") as log:
            command = [sys.executable, "-c", SERVE, self.place, str(self.port)]
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and self.process.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return
            time.sleep(0.02)
        raise SystemExit(f"the server did not start:\n{self.log.read_text(encoding='utf-8')}")

    def kill(self) -> None:
        """As a crash would."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextmanager
def temporary_postgres() -> Iterator[str]:
    """URL of a new database on a PostgreSQL server of its own."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    found = str(programs[-1]) if programs else shutil.which("initdb")
    if found is None:
        raise SystemExit("PostgreSQL is not installed: apt-get install postgresql, or give --database URL")
    bin_, port = Path(found).parent, free_port()
    as_nobody = ["runuser", "-u", "nobody", "--"] if os.geteuid() == 0 else []  # it refuses to run as root
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="redpencil-pg-", ignore_cleanup_errors=True) as folder:
        if as_nobody:
            shutil.chown(folder, "nobody")
        data = f"{folder}/data"
        init = [f"{bin_}/initdb", "-D", data, "-U", "bench", "-A", "trust", "-E", "UTF8", "--locale=C"]
        subprocess.run([*as_nobody, *init], check=True, capture_output=True, cwd=folder)
        control = [*as_nobody, f"{bin_}/pg_ctl", "-D", data, "-w"]
        options = f"-k {folder} -h 127.0.0.1 -p {port}"
        subprocess.run(
            [*control, "-o", options, "-l", f"{folder}/log", "start"],
            check=True,
            stdout=subprocess.DEVNULL,
            cwd=folder,
        )
        try:
            yield f"postgresql://bench@127.0.0.1:{port}/postgres"
        finally:
            subprocess.run([*control, "-m", "immediate", "stop"], check=True, stdout=subprocess.DEVNULL, cwd=folder)
