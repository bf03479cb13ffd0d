"""
Writes what the desk publishes to an ExperienceWriter; the desk does not know of it.

It commits when a session has ended and before its case is made: each transaction holds a decision
with its case and everything that came of it since, so that a killed run leaves whole ones only.
"""

from typing import Any

from agents.messages import Message
from agents.protocols import ExperienceWriter

TOPIC = "quarterdeck.record"
SESSION_TOPIC = "quarterdeck.session"


class Recorder:
    """Passes the records that are published on a message bus to a writer."""

    def __init__(self, msgbus: Any, writer: ExperienceWriter) -> None:
        self._writer = writer
        msgbus.subscribe(TOPIC, self._record)
        msgbus.subscribe(SESSION_TOPIC, self._session)

    def _record(self, message: Message) -> None:
        self._writer.add(message)  # type: ignore[arg-type]  # the bus is untyped

    def _session(self, _: int) -> None:
        self._writer.flush()
