"""How well one subscriber can be reached, for people: the last reason, and a few lines in the log.

The first failure is told, and that it is well again; a subscriber that comes and goes for a day fills no log. Refuses
to know what follows from a failure.
"""

import logging

from relaunch.subscription import SubscriptionSpec

# No failure is logged sooner after the last one that was.
QUIET_S = 600.0
# Who was well for so long is well.
STEADY_S = 5.0
log = logging.getLogger("relaunch")


class Failures:
    """Of one subscription.

    Args:
        spec: Named in the log.
    """

    def __init__(self, spec: SubscriptionSpec) -> None:
        self._spec = spec
        self.last: str | None = None
        self.count = 0
        self._told = False
        self._quiet_until = float("-inf")
        self._well_since: float | None = None

    def is_news(self, now: float) -> bool:
        """Whether a failure now would be told."""
        return not self._told and now >= self._quiet_until

    def add(self, why: str, now: float) -> None:
        """It failed."""
        self.last = why
        self.count += 1
        self._well_since = None
        if self.is_news(now):
            self._told, self._quiet_until = True, now + QUIET_S
            log.warning("%r cannot be told: %s; it is tried again and again", self._spec, why)

    def well(self, now: float) -> None:
        """The subscriber has answered."""
        if self.last is None:
            return
        self._well_since = now if self._well_since is None else self._well_since
        if now - self._well_since < STEADY_S:
            return
        if self._told:
            log.info("%r is told again, after %d failures", self._spec, self.count)
        self.last, self.count, self._told, self._well_since = None, 0, False, None
