"""One PostgreSQL server whose changes can be followed (`wal_level=logical`), with a password for everybody.

PostgreSQL refuses to run as root. Where we are root it runs under the account that its package made, and its folder
belongs to that.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from trunkline.bootstrap.cluster import credentials
from trunkline.bootstrap.cluster.place import LOOPBACK, Place, listens
from trunkline.ports import Refused

ADMIN = "admin"
ACCOUNT = "postgres"
_PACKAGED = Path("/usr/lib/postgresql")
_ASK_S = 30


@dataclass(frozen=True)
class Server:
    """A server of its own."""

    name: str = "postgresql"
    wave: int = 0

    @property
    def port_names(self) -> tuple[str, ...]:
        """For clients."""
        return ("sql",)

    def command(self, place: Place) -> list[str]:
        """Make the data folder the first time; how the server is started."""
        data = place.folder / "data"
        if not (data / "PG_VERSION").exists():
            self._make(place, data)
        chosen = {
            "port": place.port("sql"), "listen_addresses": LOOPBACK, "unix_socket_directories": "",
            "wal_level": "logical", "max_connections": 40, "shared_buffers": "32MB", "log_min_messages": "warning",
        }  # fmt: skip
        options = [word for name, value in chosen.items() for word in ("-c", f"{name}={value}")]
        return [*_as_account(), program("postgres"), "-D", str(data), *options]

    def answers(self, place: Place) -> bool:
        """Whether the server answers; raises `Refused` when it serves another folder."""
        if not listens(place.port("sql")):
            return False
        done = self._asked(place, "SHOW data_directory")
        if done.returncode != 0:
            if "authentication failed" in done.stderr:
                raise Refused(
                    f"Port {place.port('sql')} belongs to a PostgreSQL that does not know our password."
                )
            return False
        if Path(done.stdout.strip()) != place.folder / "data":
            raise Refused(f"Port {place.port('sql')} belongs to a PostgreSQL with another data folder.")
        return True

    def settle(self, place: Place) -> None:
        """Nothing: the first account is made with the data folder."""

    def sql(self, place: Place, statements: str) -> str:
        """What PostgreSQL answers to some statements; raises `Refused` with its own words."""
        done = self._asked(place, statements)
        if done.returncode != 0:
            raise Refused(f"PostgreSQL: {done.stderr.strip()}")
        return done.stdout.strip()

    def _asked(self, place: Place, statements: str) -> subprocess.CompletedProcess[str]:
        secret = credentials.password(place.secrets, f"postgresql-{ADMIN}")
        known = f"{LOOPBACK}:{place.port('sql')}:*:{ADMIN}:{secret}\n"
        passwords = place.secrets / "postgresql.pgpass"
        if not passwords.exists() or passwords.read_text("utf-8") != known:
            credentials.keep(passwords, known)
        command = [
            program("psql"), "-h", LOOPBACK, "-p", str(place.port("sql")), "-U", ADMIN, "-d", "postgres",
            "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-w",
        ]  # fmt: skip
        return subprocess.run(  # noqa: S603 -- our own words
            command,
            input=statements,
            capture_output=True,
            text=True,
            timeout=_ASK_S,
            check=False,
            env={"PATH": os.environ.get("PATH", ""), "PGPASSFILE": str(passwords)},
        )

    def _make(self, place: Place, data: Path) -> None:
        secret = credentials.password(place.secrets, f"postgresql-{ADMIN}")
        handed = credentials.keep(place.folder / "first.password", secret)
        data.mkdir(exist_ok=True)
        if _is_root():
            account = _account()
            for path in (place.folder, data, handed):
                os.chown(path, account.pw_uid, account.pw_gid)
        command = [
            *_as_account(), program("initdb"), "-D", str(data), "-U", ADMIN, "-E", "UTF8", "--locale=C",
            "--auth=scram-sha-256", f"--pwfile={handed}", "--no-instructions",
        ]  # fmt: skip
        try:
            done = subprocess.run(  # noqa: S603 -- our own words
                command, capture_output=True, text=True, timeout=120, check=False, cwd=place.folder
            )
        finally:
            handed.unlink()
        if done.returncode != 0:
            raise Refused(
                f"PostgreSQL could not make {data}: {done.stderr.strip()[-500:]}"
                f" As root it runs under the account {ACCOUNT}, which must be able to reach that folder."
            )


def program(name: str) -> str:
    """One of PostgreSQL's programs; Debian keeps the server's where no path leads."""
    newest = sorted(_PACKAGED.glob(f"*/bin/{name}"), key=lambda path: int(path.parts[-3]), reverse=True)
    found = str(newest[0]) if newest else shutil.which(name)
    if found is None:
        raise Refused("PostgreSQL is not installed. On Debian and Ubuntu: apt-get install postgresql")
    return found


def _is_root() -> bool:
    return os.geteuid() == 0


def _account() -> pwd.struct_passwd:
    try:
        return pwd.getpwnam(ACCOUNT)
    except KeyError:
        raise Refused(f"PostgreSQL does not run as root, and there is no account {ACCOUNT}.") from None


def _as_account() -> list[str]:
    if not _is_root():
        return []
    account, setpriv = _account(), shutil.which("setpriv")
    if setpriv is None:
        raise Refused(
            "PostgreSQL does not run as root, and setpriv (util-linux), which changes the account, is missing."
        )
    return [setpriv, f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups"]
