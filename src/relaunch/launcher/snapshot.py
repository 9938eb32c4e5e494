"""What is, for a subscriber who knows nothing: the jobs as one commit left them, with that commit's place.

Read from the journal's file, as memory may be ahead of what has been committed. Refuses to know who wants it.
"""

import asyncio
import json
import logging
from collections.abc import Callable, Mapping

from relaunch.core.delivery import Cursor
from relaunch.core.document import from_document
from relaunch.errors import JournalFailed, RelaunchError
from relaunch.launcher.job_status import status_of
from relaunch.launcher.journal import Journal
from relaunch.model import JobSpec

log = logging.getLogger("relaunch")
_dump = json.JSONEncoder(separators=(",", ":")).encode


class Snapshots:
    """Takes snapshots of one journal.

    Args:
        journal: Has the jobs' documents.
        output_of: Where a job writes to.
    """

    def __init__(self, journal: Journal, output_of: Callable[[JobSpec], str]) -> None:
        self._journal = journal
        self._output_of = output_of

    async def take(self, wanted: Callable[[str], bool]) -> tuple[Cursor, str]:
        """The jobs whose label is wanted, as the text of a JSON array, and after what.

        Raises:
            JournalFailed: The journal cannot be read, or nothing is in it yet.
        """
        epoch, sequence, documents = await self._journal.read_documents()
        if sequence == 0:
            raise JournalFailed("the journal is being made anew")
        loop = asyncio.get_running_loop()
        return Cursor(epoch, sequence), await loop.run_in_executor(None, self._text, documents, wanted)

    def _text(self, documents: Mapping[str, str], wanted: Callable[[str], bool]) -> str:
        jobs = []
        for name, text in documents.items():
            if ":" in name:  # no job's
                continue
            try:
                job = from_document(json.loads(text))
                if wanted(job.spec.label):
                    jobs.append(_dump(status_of(job, self._output_of(job.spec)).to_wire()))
            except (AttributeError, KeyError, TypeError, ValueError, RelaunchError) as error:
                log.error("job %s is left out of a snapshot, for it cannot be read: %r", name, error)
        return f"[{','.join(jobs)}]"
