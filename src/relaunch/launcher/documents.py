"""The jobs' documents among those of a journal: which they are, and how they are read.

Knows that what else is kept there has a colon in its name. Refuses to know when a document is written.
"""

import json
import logging
from collections.abc import Callable, Mapping
from typing import TypeVar

from relaunch.core.document import from_document
from relaunch.core.job import Job
from relaunch.errors import RelaunchError

Made = TypeVar("Made")
log = logging.getLogger("relaunch")


def is_job_id(name: str) -> bool:
    """Whether a document of this name is a job's."""
    return ":" not in name


def of_jobs(documents: Mapping[str, str], make: Callable[[Job], Made]) -> list[Made]:
    """What is made of each job; one that cannot be read is passed over, and the log says so.

    Args:
        documents: The journal's, by name.
        make: Given each job that was read.
    """
    made = []
    for name, text in documents.items():
        if not is_job_id(name):
            continue
        try:
            made.append(make(from_document(json.loads(text))))
        except (AttributeError, KeyError, TypeError, ValueError, RelaunchError) as error:
            log.error("job %s cannot be read from the journal and is passed over: %r", name, error)
    return made
