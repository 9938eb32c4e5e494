"""The vocabulary as a JSON Schema, draft 2020-12: what the reader takes, as far as a schema can say it.

Knows the three shapes of a file. Refuses to say in other words what the vocabulary says.
"""

from __future__ import annotations

import json

from relaunch.jobfile.rules import Has, Schema, any_case
from relaunch.jobfile.vocabulary import CLUSTER, JOB

_DESCRIPTION = (
    "A job file of relaunch: launchd's keys, and some of its own. Keys may be in any mixture of capitals and small "
    "letters; keys that are not known are warned of and otherwise ignored."
)


def schema() -> Schema:
    """The schema of a job file."""
    definitions: dict[str, Schema] = {}
    job = JOB.schema(definitions)
    beside = {key.name for key in CLUSTER.keys}
    strangers = [{"pattern": any_case(key.name)} for key in JOB.keys if key.name not in beside]
    jobs = Has("Jobs").schema()
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Job file",
        "description": _DESCRIPTION,
        "anyOf": [
            {"allOf": [{"not": jobs}, job]},
            {"allOf": [jobs, CLUSTER.schema(definitions), {"propertyNames": {"not": {"anyOf": strangers}}}]},
            {"type": "array", "items": job, "minItems": 1},
        ],
        "$defs": definitions,
    }


def schema_text() -> str:
    """The schema as the text of a file."""
    return json.dumps(schema(), indent=1, ensure_ascii=False) + "\n"
