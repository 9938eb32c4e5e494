"""How often subscribers are dialled, all of them together, so that many who are not there cost little.

One dial after the other begins, a little apart; those who have failed several times share so many a second. Refuses to
know how one dials.
"""

import asyncio

# One over QUIC takes 4 ms of work, more where somebody answers.
APART_S = 0.004
# Dials that have failed so often without a success are hopeless until somebody answers, or subscribes again.
HOPELESS_FAILURES = 2
HOPELESS_PER_S = 30.0


class Dials:
    """Of one launcher."""

    def __init__(self) -> None:
        self._line = asyncio.Lock()
        self._hopeless: set[str] = set()

    async def turn(self) -> None:
        """Wait in line."""
        async with self._line:
            await asyncio.sleep(APART_S)

    def is_due(self, subscription: str, failures: int, since_last_s: float) -> bool:
        """Whether it should be dialled now, rather than be passed over.

        Args:
            subscription: Its id.
            failures: How often in a row it could not be reached.
            since_last_s: How long ago it was dialled.
        """
        if failures < HOPELESS_FAILURES:
            self.forget(subscription)
            return True
        self._hopeless.add(subscription)
        return since_last_s >= len(self._hopeless) / HOPELESS_PER_S

    def forget(self, subscription: str) -> None:
        """It has been reached, or ended."""
        self._hopeless.discard(subscription)
