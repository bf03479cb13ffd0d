"""
A writer that also scores: a decision's reward is added when its outcomes have closed.

All outcomes of one decision close in one session, and a flush ends a session, so the records
since the last flush are all of a decision. Judges are not asked here; their part of the
reward is left out and the rest renormalised (`learning.rewards.decision_reward`).
"""

from agents.messages import Decision, Outcome, Reward
from agents.protocols import ExperienceWriter, Record
from learning.rewards.decision_reward import decision_reward


class ScoringWriter:
    """Passes every record on and adds `Reward(learner="decision")` for closed decisions."""

    def __init__(self, writer: ExperienceWriter) -> None:
        self._writer = writer
        self._tokens: dict[str, int] = {}
        self._closed: dict[str, list[Outcome]] = {}

    def add(self, record: Record) -> None:
        """Take one record."""
        self._writer.add(record)
        if isinstance(record, Decision):
            self._tokens[record.decision_id] = sum(o.tokens for o in record.opinions) + sum(
                a.tokens for a in record.abstentions
            )
        elif isinstance(record, Outcome):
            self._closed.setdefault(record.decision_id, []).append(record)

    def flush(self) -> None:
        """Score what closed, then commit."""
        for decision_id, outcomes in self._closed.items():
            tokens = self._tokens.pop(decision_id)
            self._writer.add(
                Reward(
                    decision_id=decision_id,
                    symbol="",
                    ts_event=outcomes[0].ts_event,
                    learner="decision",
                    value=decision_reward(outcomes, tokens).value,
                    tokens=tokens,
                )
            )
        self._closed.clear()
        self._writer.flush()
