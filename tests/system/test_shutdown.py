"""What a shutdown leaves, and when it is over."""

from tests.system.launcher_host import Host

ROUNDS = 8


def test_the_next_launcher_may_serve_as_soon_as_shutdown_returns(place: Host) -> None:
    """Keeper and launcher have ended by then [S13]."""
    for _ in range(ROUNDS):
        place.serve()
        keeper = place.keeper_pid
        place.launch("shutdown")
        assert keeper not in place.processes()
