"""Makes an opinion of a junior's finding: rounds and bounds its numbers, and computes its id."""

import hashlib
from collections.abc import Sequence

from agents.messages import Case, JuniorName, Opinion


def form_opinion(
    case: Case,
    junior: JuniorName,
    symbol: str,
    score: float,
    confidence: float,
    evidence: Sequence[str],
    rationale: str,
    model: str,
) -> Opinion:
    """Return the opinion, its score clipped to -2..2 and both numbers rounded to four digits."""
    score = round(min(max(score, -2.0), 2.0), 4) + 0.0  # no negative zero
    confidence = round(min(max(confidence, 0.0), 1.0), 4)
    numbers = (str(case.ts_event), junior, symbol, repr(score), repr(confidence))
    content = "\x1f".join((*numbers, *evidence))
    return Opinion(
        opinion_id=hashlib.sha256(content.encode()).hexdigest()[:16],
        junior=junior,
        symbol=symbol,
        score=score,
        confidence=confidence,
        evidence=tuple(evidence),
        rationale=rationale,
        model=model,
    )
