"""Job files: what is written in JSON, TOML or a property list, and the jobs that it means.

``vocabulary`` is the one table of keys; ``forms``, ``values`` and ``rules`` are what it is made of, ``meaning`` what
keys mean together. ``opening``, ``decoding``, ``lines`` and ``reading`` lead from a file to jobs, ``writing`` and
``encoding`` back; ``schema`` says the same for other programs.
"""

from relaunch.jobfile.entries import Entry, JobFile, replace_words
from relaunch.jobfile.reading import parse, read_file, read_paths
from relaunch.jobfile.schema import schema
from relaunch.jobfile.writing import write

__all__ = ["Entry", "JobFile", "parse", "read_file", "read_paths", "replace_words", "schema", "write"]
