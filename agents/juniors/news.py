"""
The rule-backed news junior: what the new headlines say, and what was said before.

Each item's lexicon score halves in weight with every day since it happened; copies of a text
count once, at the first copy's age. The `sentiment` feature, a slower mean, joins with the weight
of one item. It abstains without news, and when no word of any item is in the lexicon. It knows
neither who writes nor whether it is true.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence

from agents.features import INSTRUMENT_FEATURES
from agents.juniors.lexicon import sentiment
from agents.juniors.opinions import form_opinion
from agents.messages import Abstention, Case, JuniorName, NewsItem, Opinion

HALF_LIFE_NS = 86_400_000_000_000
MEMORY_WEIGHT = 1.0  # of the sentiment feature, in fresh items
DOUBT = 2.0  # fresh items at which confidence in an undivided press is one half
CITED = 8  # items that an opinion names, the weightiest

SENTIMENT = INSTRUMENT_FEATURES.index("sentiment")
COPY_NOISE = re.compile(r"https?://\S*|\bRT\b|@\w+|[^\w@]+")


class RuleNewsJunior:
    """A lexicon, a half-life and a slower memory."""

    name: JuniorName = "news"
    model = "rules/news-1"

    def opine(self, case: Case, symbols: Sequence[str]) -> list[Opinion | Abstention]:
        """Return one answer for each symbol, in their order."""
        items: defaultdict[str, list[NewsItem]] = defaultdict(list)
        for item in case.news:
            items[item.symbol].append(item)
        memory = {state.symbol: state.features[SENTIMENT] for state in case.instruments}
        return [self._opine(case, s, items.get(s, ()), memory.get(s)) for s in symbols]

    def _opine(
        self, case: Case, symbol: str, items: Sequence[NewsItem], memory: float | None
    ) -> Opinion | Abstention:
        if not items:
            return self._abstain(symbol, "no news since the last case")
        fresh = without_copies(items)
        scored = [(item, sentiment(text_of(item))) for item in fresh]
        told = [
            (0.5 ** (max(case.ts_event - item.ts_event, 0) / HALF_LIFE_NS), score, item)
            for item, score in scored
            if score
        ]
        weight = sum(w for w, _, _ in told)
        if not weight:
            return self._abstain(symbol, f"no word of {len(fresh)} items is in the lexicon")
        total = sum(w * score for w, score, _ in told)
        agreement = abs(total) / sum(w * abs(score) for w, score, _ in told)
        mean = score = total / weight
        if memory is not None:
            score = (total + MEMORY_WEIGHT * memory) / (weight + MEMORY_WEIGHT)
        confidence = weight / (weight + DOUBT) * (0.25 + 0.75 * agreement)
        told.sort(key=lambda t: (-t[0] * abs(t[1]), t[2].source, t[2].item_id))
        up = sum(s > 0 for _, s, _ in told)
        past = "" if memory is None else f", against {memory:+.2f} in earlier news"
        rationale = (
            f"{len(told)} of {len(fresh)} distinct items carry sentiment, {up} positive and "
            f"{len(told) - up} negative, mean {mean:+.2f} weighted by age{past}."
        )
        evidence = [f"news:{item.source}/{item.item_id}" for _, _, item in told[:CITED]]
        if memory is not None:
            evidence.append("feature:sentiment")
        return form_opinion(
            case, self.name, symbol, score, confidence, evidence, rationale, self.model
        )

    def _abstain(self, symbol: str, reason: str) -> Abstention:
        return Abstention(junior=self.name, symbol=symbol, reason=reason, model=self.model)


def text_of(item: NewsItem) -> str:
    """Return the text of an item that is scored: what `FeatureEngine.on_news` scores too."""
    return f"{item.headline}\n{item.body}" if item.body else item.headline


def without_copies(items: Sequence[NewsItem]) -> list[NewsItem]:
    """Return the items with one of each text, the oldest; addresses and case do not count."""
    first: dict[str, NewsItem] = {}
    for item in sorted(items, key=lambda i: (i.ts_event, i.source, i.item_id)):
        key = " ".join(COPY_NOISE.sub(" ", text_of(item)).casefold().split())
        first.setdefault(key, item)
    return list(first.values())
