"""A mind that asks for known weights, for tests of what becomes of them."""

from collections.abc import Iterable, Mapping

from agents.baselines import plain_decision
from agents.protocols import Mind
from tests.conftest import session


class Wants(Mind):
    """Asks for given weights from the close of a day's session on; what they leave out is held."""

    name = "wants"
    needs_features = False

    def __init__(self, by_day: Mapping[int, Mapping[str, float]]) -> None:
        self.weights = {session(day)[1]: weights for day, weights in by_day.items()}

    @classmethod
    def at(cls, stamps: Iterable[int], rows: Iterable[Mapping[str, float]]) -> "Wants":
        """Return a mind that asks for a row of weights from each stamp on."""
        mind = cls({})
        mind.weights = dict(zip(stamps, rows, strict=True))
        return mind

    def decide(self, case, panel, *, latency_ns, expires):
        """Return the decision that asks for the newest weights."""
        newest = self.weights[max(ts for ts in self.weights if ts <= case.ts_init)]
        asked = {s.symbol: newest.get(s.symbol, s.weight) for s in case.instruments}
        return plain_decision(case, asked, self.name, latency_ns=latency_ns, expires=expires)
