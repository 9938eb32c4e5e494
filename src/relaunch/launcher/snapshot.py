"""What is, for a subscriber who knows nothing: the jobs as one commit left them, with that commit's place.

Read from the journal's file, as memory may be ahead of what has been committed. Refuses to know who wants it.
"""

import asyncio
from collections.abc import Callable, Mapping

from relaunch.core.delivery import Cursor
from relaunch.core.job import Job
from relaunch.core.varlink import json_text
from relaunch.errors import JournalFailed
from relaunch.launcher.documents import of_jobs
from relaunch.launcher.job_status import status_of
from relaunch.launcher.journal import Journal
from relaunch.model import JobSpec


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
        def told(job: Job) -> str | None:
            return json_text(status_of(job, self._output_of(job.spec)).to_wire()) if wanted(job.spec.label) else None

        return f"[{','.join(filter(None, of_jobs(documents, told)))}]"
