"""The journal: every event, and the document of every job and subscription, on disk before anybody is told.

SQLite in WAL mode with ``synchronous=NORMAL``: it survives the death of any process; what a power loss may take is told
by the new boot id. Events and the documents that they lead to are one transaction. What is handed in during one turn of
the loop is committed together. A small commit is an append to the page cache and takes less time than waking another
thread for it, so it is made at once; a large one, one that must read a file first, and for a while all of them once a
single one was slow, go to the writer's thread, in order. So does the first after a checkpoint: SQLite then begins its
log anew, and waits for the disk once. Reading and checkpoints have a thread of their own.

What cannot be written is either refused to the caller (a new start) or kept, in order, and tried again until the disk
takes it (everything that has already happened). Refuses to know what an event means.
"""

import asyncio
import contextlib
import logging
import os
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

from relaunch import database
from relaunch.core.varlink import json_text
from relaunch.errors import JournalFailed
from relaunch.fields import Wire
from relaunch.launcher import journal_file
from relaunch.places import size_bytes

EVENTS_MAX = 50_000
COMPACTION_EVENTS = 1_000
BATCH_MAX = 512
CHECKPOINT_COMMITS = 500
RETRY_S = 0.5
# Measured: a commit of 32 takes a millisecond, to hand one to a thread and hear of it 0.15 ms, and under load more.
SMALL_WRITES_MAX = 32
SLOW_S = 0.02
CALM_S = 30.0
BUSY_S = 5.0
BUSY_PAUSE_S = 0.05
LOOK_S = 1.0
READ_MAX = 1_000
READ_BYTES_MAX = 1024 * 1024
Found = TypeVar("Found")
log = logging.getLogger("relaunch")


@dataclass(slots=True)
class NewEvent:
    """An event to be written.

    Attributes:
        kind: Its type without ``io.relaunch.``, such as ``job.exited``.
        label: The job's label, None for an event of the launcher.
        data: What it says; JSON-ready.
        at: Wall time, seconds since the epoch.
        more: Called on the writer's thread for further data, for what must be read from a disk. Must not raise.
        more_at_once: Likewise, called on the loop where that has time for it; gives None where a disk is to be waited
            for.
    """

    kind: str
    label: str | None
    data: Wire
    at: float
    more: Callable[[], Wire] | None = None
    more_at_once: Callable[[], Wire | None] | None = None


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """An event as it stands in the journal; ``data`` is JSON text."""

    epoch: str
    sequence: int
    kind: str
    label: str | None
    at: float
    boot_id: str
    data: str


@dataclass(slots=True)
class Write:
    """What is committed as one.

    Attributes:
        events: Written in this order.
        documents: Text by name; None removes the document. The name of a job's is its id; any other has a colon.
        done: Called on the loop when it is committed, or, if it may be refused, when it has failed with that error.
        refusable: Whether a failure is the caller's to handle; else it is tried until it succeeds.
        stalled: Called on the loop once, if it could not be committed at the first try.
        own: Whether the journal itself made it, and nobody handed it in.
        stored: The events as committed.
    """

    events: list[NewEvent]
    documents: Mapping[str, str | None]
    done: Callable[[JournalFailed | None], None]
    refusable: bool = False
    stalled: Callable[[], None] | None = None
    own: bool = False
    stored: list[StoredEvent] = field(default_factory=list)


class Journal:
    """An open journal. Made on the loop that it calls back on; ``close`` ends its threads.

    Args:
        path: The database file; its directory exists and is private.
        boot_id: The kernel's, written with each event.
        on_commit: Called on the loop with the events of each commit, in order, before the writers' ``done``.
        after_commit: Called on the loop after the writers' ``done``.
        events_max: How many events are kept, give or take ``COMPACTION_EVENTS``.

    Raises:
        JournalFailed: Neither this file nor a new one in its place can be used.
    """

    def __init__(
        self,
        path: str,
        boot_id: str,
        on_commit: Callable[[list[StoredEvent]], None],
        after_commit: Callable[[], None] = lambda: None,
        events_max: int = EVENTS_MAX,
    ) -> None:
        # SQLite follows a link, and has its other files where that leads.
        self.path = path = os.path.realpath(path)
        self.problem: str | None = None
        self._boot_id = boot_id
        self._on_commit = on_commit
        self._after_commit = after_commit
        self._events_max = events_max
        self._loop = asyncio.get_running_loop()
        self._queue: queue.SimpleQueue[Write | None] = queue.SimpleQueue()
        opened = journal_file.open_or_set_aside(path)
        self._file, self._identity = opened.connection, opened.identity
        self.set_aside = opened.set_aside
        self.previous_boot_id = opened.boot_id
        self.epoch = opened.epoch
        self.last_sequence = opened.last_sequence
        self.compacted_to = opened.compacted_to
        self.documents = dict(opened.documents)
        self._sequence = opened.last_sequence
        self._commits = 0
        self._turn: list[Write] = []
        self._in_thread = 0
        self._slow_until = 0.0
        self._look_at = 0.0
        self._damage: str | None = None
        self._syncs = True
        self._busy = False
        self._reader = ThreadPoolExecutor(1, "journal-reader")
        self._reader.submit(int)  # has its thread made now: later the user may have as many processes as they may have
        self._writer = threading.Thread(target=self._run, name="journal-writer", daemon=True)
        self._writer.start()

    def write(self, write: Write) -> None:
        """Have it committed after all that was handed in before it."""
        if not self._turn:
            self._loop.call_soon(self._end_turn)
        self._turn.append(write)

    def commit(self) -> None:
        """End the turn now: what was handed in is all that belongs together, and somebody waits for it."""
        if self._turn:
            self._end_turn()

    def _end_turn(self) -> None:
        writes, self._turn = self._turn, []
        if not writes:
            return
        if self._is_small(writes):
            begin = time.monotonic()
            problem = self._commit(writes)
            end = time.monotonic()
            if end - begin > SLOW_S:
                self._slow_until = end + CALM_S
            if problem is None:
                self._succeeded(writes)
                return
        self._in_thread += _handed_in(writes)
        for write in writes:
            self._queue.put(write)

    def _is_small(self, writes: list[Write]) -> bool:
        return (
            self._in_thread == 0
            and len(writes) <= SMALL_WRITES_MAX
            and not self._syncs
            and time.monotonic() >= self._slow_until
            and all(_is_complete(event) for write in writes for event in write.events)
        )

    async def settle(self) -> None:
        """Wait until all that was handed in has been committed, or has failed to be for now."""
        settled = asyncio.Event()
        self.write(Write([], {}, lambda _: settled.set(), refusable=True))
        await settled.wait()

    async def read(self, after: int, count: int = READ_MAX) -> list[StoredEvent]:
        """The first committed events with a sequence over ``after``: ``count``, or as many as one message holds.

        Raises:
            JournalFailed: The file cannot be read.
        """
        epoch, last = self.epoch, self.last_sequence
        found = await self._reading(self._read, after, count)
        if found or after >= last or self.epoch != epoch:
            return found
        await self._look_again()  # committed, and not to be seen: a file was taken away from under us
        return await self._reading(self._read, after, count)

    async def read_documents(self) -> tuple[str, int, dict[str, str]]:
        """Epoch, last sequence and documents as one commit left them.

        Raises:
            JournalFailed: The file cannot be read.
        """
        return await self._reading(self._documents_now)

    async def sequence_at(self, at: float) -> int:
        """The sequence of the last event before this wall time; 0 where there is none.

        Raises:
            JournalFailed: The file cannot be read.
        """
        return await self._reading(self._last_before, at)

    async def _reading(self, read: Callable[..., Found], *args: Any) -> Found:
        try:
            return await self._loop.run_in_executor(self._reader, read, *args)
        except sqlite3.Error as error:
            if database.is_damage(error):
                self._damage = str(error)
            await self._look_again()
        try:
            return await self._loop.run_in_executor(self._reader, read, *args)
        except sqlite3.Error as error:
            raise JournalFailed(f"the journal {self.path} cannot be read: {error}") from None

    async def _look_again(self) -> None:
        """Commit nothing, so that the journal begins anew if it cannot be read because it is no more.

        The writer itself may have all that it needs in memory, and see nothing.
        """
        self._look_at = 0.0
        await self.settle()

    async def close(self) -> None:
        """Commit what waits, if the disk takes it, and end the threads."""
        self.commit()
        self._queue.put(None)
        await self._loop.run_in_executor(self._reader, self._writer.join)
        await self._loop.run_in_executor(self._reader, self._checkpoint)
        self._reader.shutdown()

    def size_bytes(self) -> int:
        """What the files of the journal take on disk."""
        return sum(size_bytes(self.path + suffix) for suffix in database.SUFFIXES)

    def _documents_now(self) -> tuple[str, int, dict[str, str]]:
        with journal_file.reading(self.path) as connection:
            connection.execute("BEGIN")
            last = connection.execute("SELECT max(sequence) FROM events").fetchone()[0]
            documents = dict(connection.execute("SELECT id, document FROM documents").fetchall())
            return journal_file.get_epoch(connection), last or 0, documents

    def _read(self, after: int, count: int) -> list[StoredEvent]:
        found: list[StoredEvent] = []
        size = 0
        with journal_file.reading(self.path) as connection:
            # One transaction: the epoch is the one of these events, whatever is put in the file's place meanwhile.
            connection.execute("BEGIN")
            epoch = journal_file.get_epoch(connection)
            rows = connection.execute(
                "SELECT sequence, kind, label, at, boot_id, data FROM events "
                "WHERE sequence > ? ORDER BY sequence LIMIT ?",
                (after, count),
            )
            for row in rows:
                found.append(StoredEvent(epoch, *row))
                size += len(row[-1])
                if size > READ_BYTES_MAX:
                    break
        return found

    def _last_before(self, at: float) -> int:
        with journal_file.reading(self.path) as connection:
            row = connection.execute("SELECT max(sequence) FROM events WHERE at < ?", (at,)).fetchone()
            return int(row[0] or self.compacted_to)

    def _checkpoint(self) -> None:
        try:
            with journal_file.reading(self.path) as connection:
                connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
        except sqlite3.Error:
            pass  # Tried again later; the log stays as long as it must.
        self._syncs = True

    def _run(self) -> None:
        """The writer's thread: one commit for all that waits."""
        pending: list[Write] = []
        for arrived, last in self._arrivals(pending):
            pending.extend(arrived)
            problem = self._commit_patiently(pending)
            if problem is None:
                self._syncs = False
                committed, pending = pending, []
                self._post(self._written, committed)
            else:
                refused = [write for write in pending if write.refusable]
                pending = [write for write in pending if not write.refusable]
                self._post(self._failed, refused, list(pending), problem)
            if last:
                break
        self._file.close()

    def _commit_patiently(self, writes: list[Write]) -> str | None:
        """Commit; while somebody else holds the file, as a person with a tool may, try again for some time."""
        give_up_at = time.monotonic() + BUSY_S
        while (problem := self._commit(writes)) and self._busy and time.monotonic() < give_up_at:
            time.sleep(BUSY_PAUSE_S)
        return problem

    def _arrivals(self, pending: list[Write]) -> Iterator[tuple[list[Write], bool]]:
        while True:
            arrived: list[Write] = []
            try:
                item = self._queue.get(timeout=RETRY_S if self.problem else None)
                while item is not None and len(arrived) < BATCH_MAX:
                    arrived.append(item)
                    item = self._queue.get_nowait()
                last = item is None
                if item is not None:
                    arrived.append(item)
            except queue.Empty:
                last = False
            yield arrived, last

    def _commit(self, writes: list[Write]) -> str | None:
        if not writes:
            return self.problem
        try:
            if self._damage is not None:
                self._start_anew(writes, self._damage)
            elif self._was_taken_away():
                self._start_anew(writes, "its file was taken away")
            try:
                self._transact(writes)
            except sqlite3.DatabaseError as error:
                if not database.is_damage(error):
                    raise
                self._start_anew(writes, str(error))
                self._transact(writes)
        except (sqlite3.Error, JournalFailed) as error:
            self._busy = database.is_busy(error)
            self.problem = f"the journal {self.path} cannot be written: {error}"
            return self.problem
        self.problem = None
        for write in writes:
            for name, text in write.documents.items():
                if text is None:
                    self.documents.pop(name, None)
                else:
                    self.documents[name] = text
        self._commits += 1
        if self._commits % CHECKPOINT_COMMITS == 0:
            self._reader.submit(self._checkpoint)
        return None

    def _transact(self, writes: list[Write]) -> None:
        sequence = self._sequence
        try:
            self._file.execute("BEGIN IMMEDIATE")
            for write in writes:
                write.stored.clear()
                for event in write.events:
                    sequence += 1
                    write.stored.append(self._stored(sequence, event))
                self._put(write)
            compacted_to = self._compact(sequence)
            self._file.execute("COMMIT")
        except sqlite3.Error:
            with contextlib.suppress(sqlite3.Error):  # the first error is the one to tell
                if self._file.in_transaction:
                    self._file.execute("ROLLBACK")
            raise
        self._sequence, self.compacted_to = sequence, compacted_to

    def _was_taken_away(self) -> bool:
        """Looked at once a second at the most: it costs as much as the rest of a commit."""
        now = time.monotonic()
        if now < self._look_at:
            return False
        self._look_at = now + LOOK_S
        return database.was_taken_away(self.path, self._identity)

    def _stored(self, sequence: int, event: NewEvent) -> StoredEvent:
        if event.more is not None:
            event.data.update(event.more())
            event.more = None
        data = json_text(event.data)
        return StoredEvent(self.epoch, sequence, event.kind, event.label, event.at, self._boot_id, data)

    def _put(self, write: Write) -> None:
        if write.stored:
            self._file.executemany(
                "INSERT INTO events VALUES (?, ?, ?, ?, ?, ?)",
                [(e.sequence, e.kind, e.label, e.at, e.boot_id, e.data) for e in write.stored],
            )
        for name, text in write.documents.items():
            if text is None:
                self._file.execute("DELETE FROM documents WHERE id = ?", (name,))
            else:
                journal_file.put_document(self._file, name, text)

    def _compact(self, sequence: int) -> int:
        """The last sequence that is gone, once this is committed."""
        to = sequence - self._events_max
        if to < self.compacted_to + COMPACTION_EVENTS:
            return self.compacted_to
        self._file.execute("DELETE FROM events WHERE sequence <= ?", (to,))
        journal_file.put_meta(self._file, "compacted_to", str(to))
        return to

    def _start_anew(self, writes: list[Write], why: str) -> None:
        """Replace a journal that was damaged or taken away by a new one that holds every document as it is known here.

        Raises:
            JournalFailed: It cannot be made; it is tried again with a later commit.
        """
        self._identity = database.GONE
        opened = journal_file.open_new(self.path, why, self._file)
        self._file, self._identity, self.epoch = opened.connection, opened.identity, opened.epoch
        self.set_aside, self._damage = opened.set_aside, None
        self._sequence = self.compacted_to = 0
        log.warning("the journal could not be used any more: %s", self.set_aside)
        told = NewEvent("journal.reset", None, {"set_aside": self.set_aside}, time.time())
        first = Write([told], dict(self.documents), lambda _: None, own=True)
        writes[:] = [first, *(write for write in writes if not write.own)]

    def _post(self, callback: Callable[..., None], *args: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(callback, *args)
        except RuntimeError:
            pass  # The loop has been closed: nobody is left to be told.

    def _written(self, writes: list[Write]) -> None:
        self._in_thread -= _handed_in(writes)
        self._succeeded(writes)

    def _succeeded(self, writes: list[Write]) -> None:
        events = [event for write in writes for event in write.stored]
        if events:
            self.last_sequence = events[-1].sequence
            self._on_commit(events)
        for write in writes:
            _tell(write.done, None)
        self._after_commit()

    def _failed(self, refused: list[Write], kept: list[Write], problem: str) -> None:
        self._in_thread -= len(refused)
        for write in refused:
            _tell(write.done, JournalFailed(f"{problem}; nothing was started"))
        for write in kept:
            stalled, write.stalled = write.stalled, None
            if stalled:
                _tell(stalled)


def _tell(callback: Callable[..., None], *args: Any) -> None:
    """Call back; whatever goes wrong there concerns nobody else whose write was committed with it."""
    try:
        callback(*args)
    except Exception:
        log.exception("what was to follow a commit failed inside")


def _is_complete(event: NewEvent) -> bool:
    """Whether there is nothing more to be read for it, now that it was tried."""
    if event.more is None:
        return True
    more = event.more_at_once() if event.more_at_once else None
    if more is None:
        return False
    event.data.update(more)
    event.more = None
    return True


def _handed_in(writes: list[Write]) -> int:
    return sum(not write.own for write in writes)
