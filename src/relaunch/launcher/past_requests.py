"""What requests with an id have come to, where no job that is known tells it any more.

Each is kept as a document in the journal, so that it is the same after any launcher's death. Knows how many are kept,
and in what form. Refuses to know how a request is carried out.
"""

import hashlib
import json
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass

from relaunch.core.document import from_document
from relaunch.core.job import Job
from relaunch.core.varlink import json_text
from relaunch.errors import RelaunchError, from_wire
from relaunch.fields import Wire
from relaunch.model import JobSpec

PAST_MAX = 1_000
_PREFIX = "request:"
log = logging.getLogger("relaunch")
Documents = dict[str, str | None]


@dataclass(frozen=True, slots=True)
class Past:
    """How a request was answered.

    Attributes:
        spec: Digest of what was asked for.
        job: The document of the job that was started, as it last was; None where none was.
        error: The error's wire name and message, where there was one.
    """

    spec: str
    job: str | None
    error: tuple[str, str] | None

    def answer(self) -> Job:
        """The job.

        Raises:
            RelaunchError: What was answered in its place.
        """
        if self.job is None:
            name, message = self.error or ("", "")
            raise from_wire(name, {"message": message})
        return from_document(json.loads(self.job))


class PastRequests:
    """The last requests that were refused, or whose job is known no more.

    What a method gives are the documents to be written for it.

    Args:
        documents: The journal's, as it was opened.
    """

    def __init__(self, documents: Mapping[str, str]) -> None:
        self._past: dict[str, Past] = {}
        found: list[tuple[float, str, Past]] = []
        for name, text in documents.items():
            if name.startswith(_PREFIX):
                try:
                    found.append(_read(name, text))
                except (KeyError, TypeError, ValueError, RelaunchError) as error:
                    log.error("%s cannot be read from the journal and is passed over: %r", name, error)
        for _, request, past in sorted(found, key=lambda one: one[:2]):
            self._past[request] = past

    def get(self, request: str) -> Past | None:
        """What became of a request."""
        return self._past.get(request)

    def keep_job(self, job: Job, document: str) -> Documents:
        """Keep what a job has come to, which will be known no more."""
        if job.request is None:
            return {}
        return self._keep(job.request, Past(digest(job.spec), document, None), "job", document)

    def keep_error(self, request: str, spec: JobSpec, error: RelaunchError) -> Documents:
        """Keep why a request was refused."""
        told = error.wire_name, error.message
        return self._keep(request, Past(digest(spec), None, told), "error", json_text(told))

    def forget(self, request: str | None) -> None:
        """What was to be written was not."""
        self._past.pop(request or "", None)

    def _keep(self, request: str, past: Past, kind: str, text: str) -> Documents:
        self._past.pop(request, None)
        self._past[request] = past
        documents: Documents = {f"{_PREFIX}{request}": f'{{"at":{time.time()!r},"spec":"{past.spec}","{kind}":{text}}}'}
        while len(self._past) > PAST_MAX:
            oldest = next(iter(self._past))
            del self._past[oldest]
            documents[f"{_PREFIX}{oldest}"] = None
        return documents


def digest(spec: JobSpec) -> str:
    """The same for two specs only where they ask for the same."""
    return hashlib.sha256(json.dumps(spec.to_wire(), sort_keys=True).encode()).hexdigest()


def _read(name: str, text: str) -> tuple[float, str, Past]:
    document: Wire = json.loads(text)
    job = document.get("job")
    error = None if job else (str(document["error"][0]), str(document["error"][1]))
    kept = None if job is None else json_text(job)
    return float(document["at"]), name.removeprefix(_PREFIX), Past(str(document["spec"]), kept, error)
