"""The file of a durable subscription: SQLite, one for each name, locked while a subscriber uses it.

What has been committed survives the death of any process; what a power loss takes of it (see ``database``) comes again.
A file that is damaged or foreign is renamed, never deleted; one that is damaged or taken away while it is used is
written anew. A commit is made at once, on the caller's thread: it is an append to the page cache. What waits for the
disk, a checkpoint and the first commit after it, is done on a thread of its own, and commits wait for that. Refuses to
know what a cursor is good for.
"""

import asyncio
import contextlib
import fcntl
import logging
import os
import re
import sqlite3
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Self

from relaunch import database
from relaunch.core.delivery import Cursor
from relaunch.errors import BadPlace, Refused
from relaunch.places import make_private, state_directory
from relaunch.subscriber.account import Account
from relaunch.transport.certificate import Credentials, make_credentials

CHECKPOINT_COMMITS = 1_000
LOOK_S = 1.0
FORM = database.Form(
    application_id=0x726C6E73,
    version=1,
    schema="""
CREATE TABLE credentials (certificate BLOB NOT NULL, key BLOB NOT NULL) STRICT;
CREATE TABLE accounts (
    key TEXT PRIMARY KEY, id TEXT NOT NULL, secret TEXT NOT NULL, source TEXT, epoch TEXT, sequence INTEGER,
    in_doubt INTEGER NOT NULL
) STRICT;
""",
)
_ADD = """
INSERT INTO accounts VALUES (?, ?, ?, ?, ?, ?, 0)
ON CONFLICT (key) DO UPDATE SET source = excluded.source, epoch = excluded.epoch, sequence = excluded.sequence
"""
_PID_BYTES_MAX = 32
log = logging.getLogger("relaunch")


class FileStore:
    """See ``account.Store``. Made by ``FileStore.open``, used on one thread."""

    durable = True

    def __init__(self, name: str, path: str, connection: sqlite3.Connection, lock: int) -> None:
        self.accounts: dict[str, Account] = {}
        self._name = name
        self._path = path
        self._connection = connection
        self._lock = lock
        self._look_at = time.monotonic() + LOOK_S
        # Whose event the application has in hand.
        self._held: str | None = None
        self._commits = 0
        self._checkpoint: asyncio.Future[None] | None = None
        self._free: list[Callable[[], None]] = []
        certificate, key = connection.execute("SELECT certificate, key FROM credentials").fetchone()
        self.credentials = Credentials(certificate, key)
        _ = self.credentials.fingerprint  # raises ValueError where it is none
        for row in connection.execute("SELECT key, id, secret, source, epoch, sequence, in_doubt FROM accounts"):
            account = _account(*row)
            self.accounts[account.key] = account
        # Fails where it cannot be written, before anything is begun.
        connection.execute("UPDATE credentials SET key = key")
        self._identity: database.Identity | None = database.identity(path)

    @classmethod
    def open(cls, name: str) -> Self:
        """The file of that name, a new one where there is none or where it is no sound one of ours. Waits for the disk.

        Raises:
            Refused: Another subscriber uses it, or not even a new one can be made.
            BadPlace: The directory must not be trusted.
        """
        directory = make_private(os.path.join(make_private(state_directory()), "subscribers"))
        path = os.path.join(directory, f"{name}.db")
        lock = _take_lock(os.path.join(directory, f"{name}.lock"), name)
        try:
            return cls._open(name, path, lock)
        except BaseException:
            os.close(lock)
            raise

    @classmethod
    def _open(cls, name: str, path: str, lock: int) -> Self:
        try:
            if os.path.lexists(path):
                try:
                    return cls._found(name, path, _open(path), lock)
                except (sqlite3.DatabaseError, ValueError, TypeError) as error:
                    if isinstance(error, sqlite3.OperationalError) and not database.is_damage_or_error(error):
                        raise
                    aside = database.set_aside(path)
                    log.warning("subscription %s begins anew, for its file was set aside as %s: %s", name, aside, error)
            return cls._found(name, path, _new(path, make_credentials()), lock)
        except (sqlite3.Error, OSError) as error:
            raise Refused(f"subscription {name} cannot be kept in {path}: {error}") from None

    @classmethod
    def _found(cls, name: str, path: str, connection: sqlite3.Connection, lock: int) -> Self:
        try:
            return cls(name, path, connection, lock)
        except BaseException:
            connection.close()
            raise

    def add(self, account: Account) -> None:
        """See ``account.Store``."""
        with self._told():
            if self._checkpoint is None:
                self._look()
            self._execute(_ADD, _row(account))
        self.accounts[account.key] = account

    def keep(self, account: Account, free: Callable[[], None]) -> bool:
        """See ``account.Store``."""
        at = account.cursor
        row = at and at.epoch, at and at.sequence, account.key
        if account.key == self._held:
            self._held = None
        return self._write("UPDATE accounts SET epoch = ?, sequence = ?, in_doubt = 0 WHERE key = ?", row, free)

    def hold(self, account: Account, free: Callable[[], None]) -> bool:
        """See ``account.Store``."""
        self._held = account.key
        return self._write("UPDATE accounts SET in_doubt = 1 WHERE key = ?", (account.key,), free)

    def _write(self, statement: str, row: tuple[object, ...], free: Callable[[], None]) -> bool:
        if self._checkpoint is not None:
            self._free.append(free)
            return False
        with self._told():
            self._look()
            self._execute(statement, row)
        self._commits += 1
        if self._commits >= CHECKPOINT_COMMITS:
            self._begin_checkpoint()
        return True

    async def close(self) -> None:
        """See ``account.Store``."""
        self._free.clear()
        if self._checkpoint is not None:
            await asyncio.wait([self._checkpoint])
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        try:
            self._connection.close()
        finally:
            os.close(self._lock)

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise Refused(
                f"subscription {self._name} cannot put down how far it has come: {error}; no event is lost: "
                "what was not put down comes again"
            ) from None

    def _look(self) -> None:
        """Once a second at the most: an open file whose path has another, or none, would take writes and lose them."""
        now = time.monotonic()
        if now >= self._look_at:
            if database.was_taken_away(self._path, self._identity):
                self._begin_anew("it was taken away")
            self._look_at = now + LOOK_S

    def _execute(self, statement: str, row: tuple[object, ...]) -> None:
        try:
            self._connection.execute(statement, row)
        except sqlite3.DatabaseError as error:
            if not database.is_damage_or_error(error):
                raise
            self._begin_anew(str(error))
            self._connection.execute(statement, row)

    def _begin_anew(self, why: str) -> None:
        """Have all that is known here in a new file."""
        self._identity = database.GONE
        aside = database.set_aside(self._path) if os.path.lexists(self._path) else None
        self._connection.close()  # only now: with the last connection SQLite removes the log
        rows = [(*_row(account), account.key == self._held) for account in self.accounts.values()]
        self._connection = _new(self._path, self.credentials, rows)
        self._identity = database.identity(self._path)
        became = f"; what stood there is {aside}" if aside else ""
        log.warning("subscription %s: its file has been written anew, for %s%s", self._name, why, became)

    def _begin_checkpoint(self) -> None:
        self._commits = 0
        self._checkpoint = asyncio.get_running_loop().run_in_executor(None, self._write_back)
        self._checkpoint.add_done_callback(self._end_checkpoint)

    def _write_back(self) -> None:
        """Waits for the disk: what is in the log goes to its place, and the log begins anew."""
        with contextlib.suppress(sqlite3.Error):
            self._connection.execute("PRAGMA wal_checkpoint(RESTART)").fetchall()
            self._connection.execute("UPDATE credentials SET key = key")

    def _end_checkpoint(self, _done: "asyncio.Future[None]") -> None:
        self._checkpoint = None
        free, self._free = self._free, []
        for call in free:
            call()


def _row(account: Account) -> tuple[object, ...]:
    at = account.cursor
    return account.key, account.id, account.secret, account.source, at and at.epoch, at and at.sequence


def _account(*row: object) -> Account:
    key, number, secret, source, epoch, sequence, in_doubt = row
    if not re.fullmatch("[0-9a-f]{32}", str(number)) or not re.fullmatch("[0-9a-f]{64}", str(secret)):
        raise ValueError(f"the account of {key} was changed")
    cursor = Cursor(str(epoch), int(str(sequence))) if epoch is not None and sequence is not None else None
    return Account(
        str(key), str(number), str(secret), None if source is None else str(source), cursor, in_doubt=bool(in_doubt)
    )


def _take_lock(path: str, name: str) -> int:
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)
    except OSError as error:
        raise BadPlace(f"lock {path}: {error.strerror}") from None
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise BadPlace(f"lock {path} is no regular file; remove it")
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            digits = os.pread(fd, _PID_BYTES_MAX, 0).strip().decode("ascii", "replace")
            raise Refused(f"subscription {name} is in use by pid {digits or 'unknown'}") from None
        with contextlib.suppress(OSError):  # on a full disk a refusal lacks the pid
            os.ftruncate(fd, 0)
            os.pwrite(fd, b"%d\n" % os.getpid(), 0)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _open(path: str) -> sqlite3.Connection:
    if not stat.S_ISREG(os.lstat(path).st_mode):
        raise ValueError("it is no regular file")
    connection = database.connect(path, wait_s=0.0)
    try:
        FORM.check(connection)
        return connection
    except BaseException:
        connection.close()
        raise


def _new(path: str, credentials: Credentials, rows: Iterable[tuple[object, ...]] = ()) -> sqlite3.Connection:
    database.create(path)
    connection = database.connect(path, wait_s=0.0)
    try:
        FORM.begin(connection)
        connection.execute("INSERT INTO credentials VALUES (?, ?)", (credentials.certificate, credentials.key))
        connection.executemany("INSERT INTO accounts VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
        connection.execute("COMMIT")
        return connection
    except BaseException:
        connection.close()
        database.discard(path)
        raise
