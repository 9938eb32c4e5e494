"""Job files for a fuzzer that sees which code its bytes reach: `make fuzz`, or any option of libFuzzer after --.

    .venv/bin/python tests/fuzz/job_file.py -max_total_time=60

The first byte chooses the format. Ends at the first bytes that are neither jobs nor one clear line, and writes them
down.
"""

import sys
from collections.abc import Callable

try:
    import atheris
except ModuleNotFoundError:
    # It has wheels for some versions of CPython on x86-64 only.
    sys.exit("fuzz: there is no atheris for this Python; install the extra `fuzz` under CPython 3.11 to 3.13")

with atheris.instrument_imports(include=["relaunch.jobfile", "plistlib", "tomllib"]):
    from tests.jobfile.test_any_bytes import WHOLE, jobs_or_a_line
    from tests.jobfile.test_round_trip import NAMES

FORMS = list(NAMES)
CORPUS = [bytes([i]) + WHOLE[form] for i, form in enumerate(FORMS)]


def one_input(data: bytes) -> None:
    """Read one file."""
    if data:
        jobs_or_a_line(data[1:], NAMES[FORMS[data[0] % len(FORMS)]])


def mutate(data: bytes, size_max: int, seed: int) -> bytes:
    """A file that was, harmed, or now and then a whole one."""
    start = CORPUS[seed % len(CORPUS)] if seed % 64 == 0 or not data else data
    return bytes(atheris.Mutate(start, size_max))


def main() -> None:
    """Fuzz until told otherwise."""
    setup: Callable[..., object] = atheris.Setup
    setup(sys.argv, one_input, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
