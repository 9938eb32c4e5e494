"""The journal's database file: its form, opened, checked, set aside where it cannot be used.

Knows the schema. Never deletes a file that holds anything. Refuses to know what is written, and when.
"""

import contextlib
import os
import secrets
import sqlite3
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from relaunch import database
from relaunch.errors import JournalFailed

FORM = database.Form(
    application_id=0x726C6E63,
    version=2,
    schema="""
CREATE TABLE events (
    sequence INTEGER PRIMARY KEY, kind TEXT NOT NULL, label TEXT, at REAL NOT NULL, boot_id TEXT NOT NULL,
    data TEXT NOT NULL
) STRICT;
CREATE TABLE documents (id TEXT PRIMARY KEY, document TEXT NOT NULL, checksum INTEGER NOT NULL) STRICT;
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
""",
)

# In its place: to replace the row would move it, write its index anew, and take twice as long.
_PUT = """
INSERT INTO documents VALUES (?, ?, ?)
ON CONFLICT (id) DO UPDATE SET document = excluded.document, checksum = excluded.checksum
"""


@dataclass(frozen=True, slots=True)
class Opened:
    """An open journal file and what it held; ``set_aside`` says what was put elsewhere, if anything, and why."""

    connection: sqlite3.Connection
    identity: database.Identity | None
    epoch: str
    boot_id: str | None
    last_sequence: int
    compacted_to: int
    documents: dict[str, str] = field(default_factory=dict)
    set_aside: str | None = None


def open_or_set_aside(path: str) -> Opened:
    """The journal at this path; a new one where there is none, or where what is there is not a sound journal of ours.

    Raises:
        JournalFailed: Not even a new one can be made there.
    """
    if not os.path.exists(path):
        return open_new(path, None)
    connection = None
    try:
        _check_kind(path)
        connection = _connect(path)
        FORM.check(connection)
        return _read(connection, path, None)
    except (sqlite3.Error, ValueError, OSError) as error:
        if isinstance(error, sqlite3.OperationalError) and not database.is_damage_or_error(error):
            if connection is not None:
                connection.close()
            raise JournalFailed(f"the journal {path} cannot be opened: {error}") from None
        return open_new(path, str(error), connection)


def open_new(path: str, why: str | None, old: sqlite3.Connection | None = None) -> Opened:
    """A new, empty journal; what stood in its place is renamed, with the reason told in ``set_aside``.

    Args:
        path: Where it is to be.
        why: The reason, if there is one.
        old: Is closed once its files have other names: with the last connection SQLite removes the log.

    Raises:
        JournalFailed: It cannot be made.
    """
    try:
        aside = database.set_aside(path)
        if old is not None:
            old.close()
        database.create(path)
        connection = _connect(path)
        try:
            FORM.begin(connection)
            put_meta(connection, "epoch", secrets.token_hex(8))
            connection.execute("COMMIT")
            return _read(connection, path, f"{aside}: {why}" if aside else why)
        except BaseException:
            connection.close()
            database.discard(path)
            raise
    except (OSError, sqlite3.Error) as error:
        raise JournalFailed(f"no journal can be made at {path}: {error}") from None


def _connect(path: str) -> sqlite3.Connection:
    connection = database.connect(path, wait_s=5.0)
    connection.text_factory = _text
    connection.execute("PRAGMA temp_store = MEMORY")
    return connection


def _check_kind(path: str) -> None:
    if not os.path.isfile(path) and not os.path.isdir(path):
        raise ValueError("it is no regular file")  # to open a FIFO would wait for its other end
    with open(path, "rb") as file:
        if file.read(16) != b"SQLite format 3\0":
            raise ValueError("it is not an SQLite database")


def _read(connection: sqlite3.Connection, path: str, set_aside: str | None) -> Opened:
    meta = dict(connection.execute("SELECT name, value FROM meta"))
    last, boot_id = connection.execute(
        "SELECT sequence, boot_id FROM events ORDER BY sequence DESC LIMIT 1"
    ).fetchone() or (0, None)
    compacted_to = int(meta.get("compacted_to", "0"))
    if "epoch" not in meta:
        raise ValueError("it has no epoch")
    # From here on nobody waits in here for a lock: the event loop may be the one who asks.
    connection.execute("PRAGMA busy_timeout = 0")
    return Opened(
        connection=connection,
        identity=database.identity(path),
        epoch=meta["epoch"],
        boot_id=boot_id,
        last_sequence=max(last, compacted_to),
        compacted_to=compacted_to,
        documents=_documents(connection),
        set_aside=set_aside,
    )


def _documents(connection: sqlite3.Connection) -> dict[str, str]:
    """Checked each by its own sum: SQLite notices a page that makes no sense, but not a text that was changed."""
    documents = {}
    for name, document, known in connection.execute("SELECT id, document, checksum FROM documents"):
        if checksum(name, document) != known:
            raise ValueError(f"the document {name!r} was changed")
        documents[name] = document
    return documents


def put_document(connection: sqlite3.Connection, name: str, document: str) -> None:
    """Write a document; its name is a job's id, or has a colon in it."""
    connection.execute(_PUT, (name, document, checksum(name, document)))


def checksum(name: str, document: str) -> int:
    """What stands beside a document, to tell whether it is as it was written."""
    return zlib.crc32(document.encode("utf-8", "surrogatepass"), zlib.crc32(name.encode("utf-8", "surrogatepass")))


def put_meta(connection: sqlite3.Connection, name: str, value: str) -> None:
    """Set one value of the journal itself."""
    connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, value))


def get_epoch(connection: sqlite3.Connection) -> str:
    """The epoch of an open journal."""
    row = connection.execute("SELECT value FROM meta WHERE name = 'epoch'").fetchone()
    return str(row[0]) if row else ""


@contextlib.contextmanager
def reading(path: str) -> Iterator[sqlite3.Connection]:
    """A connection of one's own, for reading while another writes; never creates the file."""
    connection = sqlite3.connect(f"file:{_uri(path)}?mode=rw", uri=True, timeout=5.0)
    connection.text_factory = _text
    try:
        yield connection
    finally:
        connection.close()


def _text(raw: bytes) -> str:
    """A text as it stands in the file, where damage may have made it none."""
    return raw.decode("utf-8", "replace")


def _uri(path: str) -> str:
    return path.replace("%", "%25").replace("?", "%3f").replace("#", "%23")
