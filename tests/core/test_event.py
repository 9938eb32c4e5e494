"""Events as CloudEvents. [J6]"""

import json
from datetime import datetime

from hypothesis import given
from hypothesis import strategies as st
from tests.core.examples import labels, repeatable, texts

from relaunch.event import Event

EXAMPLE = Event(
    source="//host/relaunch/1000",
    epoch="5f2e",
    sequence=17,
    kind="job.exited",
    label="db/1",
    at=1_700_000_000.25,
    data={"label": "db/1", "code": 1},
)


def test_an_event_is_a_cloud_event() -> None:
    """[J6]"""
    assert EXAMPLE.to_wire() == {
        "specversion": "1.0",
        "id": "5f2e/17",
        "source": "//host/relaunch/1000",
        "type": "io.relaunch.job.exited",
        "subject": "db/1",
        "time": "2023-11-14T22:13:20.250000Z",
        "datacontenttype": "application/json",
        "data": {"label": "db/1", "code": 1},
    }


def test_an_event_of_the_launcher_has_no_subject() -> None:
    """[J6] CloudEvents allow no empty or null attribute."""
    event = Event(source="//h", epoch="e", sequence=1, kind="launcher.started", label=None, at=0.0, data={})
    assert "subject" not in event.to_wire()
    assert Event.from_wire(event.to_wire()) == event


@repeatable
@given(
    st.builds(
        Event,
        source=st.just("//host/relaunch/0"),
        epoch=st.text("0123456789abcdef", min_size=1),
        sequence=st.integers(0, 2**63),
        kind=st.sampled_from(["job.exited", "launcher.started"]),
        label=st.none() | labels,
        at=st.integers(0, 4 * 10**15).map(lambda us: us / 1e6),
        data=st.dictionaries(texts, texts),
    )
)
def test_an_event_survives_the_wire(event: Event) -> None:
    """[J6] To the microsecond."""
    wire = event.to_wire()
    back = Event.from_wire(json.loads(json.dumps(wire)))
    assert back.to_wire() == wire
    assert abs(back.at - event.at) < 1e-6
    assert (back.source, back.id, back.kind, back.label, back.data) == (
        event.source,
        event.id,
        event.kind,
        event.label,
        event.data,
    )
    assert datetime.fromisoformat(wire["time"]).utcoffset() is not None
