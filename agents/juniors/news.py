"""
The rule-backed news junior: reads how far new headlines differ from what news usually say.

An item's reading is its lexicon score less the tone of the news known so far (`NewsLedger.tone`):
text about stocks is mostly hopeful, and praise as usual is no signal. Readings halve in weight
with every day since the item happened; copies of a text count once, at the first copy's age. A
mean reading within the dead zone is an opinion of 0: the news were read and say nothing out of
the ordinary, which is not to be silent. It abstains without news, and when no word of any item
is in the lexicon. It knows neither who writes nor whether it is true.
"""

import re
from collections import defaultdict
from collections.abc import Sequence

from agents.juniors.lexicon import sentiment
from agents.juniors.opinions import form_opinion
from agents.messages import Abstention, Case, JuniorName, NewsItem, Opinion
from agents.protocols import Junior

HALF_LIFE_NS = 86_400_000_000_000
DEAD_ZONE = 0.2  # of a mean reading: a quarter of one item's standard deviation
DOUBT = 2.0  # fresh items at which confidence in an undivided press is one half
CITED = 8  # items that an opinion names, the weightiest

COPY_NOISE = re.compile(r"https?://\S*|\bRT\b|@\w+|[^\w@]+")


class RuleNewsJunior(Junior):
    """A lexicon, its usual tone and a half-life."""

    name: JuniorName = "news"
    model = "rules/news-2"
    # the card: rank IC at 5 sessions on the default simulated market (ops/bench/juniors.py)
    simulated_ic = 0.083  # eight seeds: 0.013 to 0.121

    def opine(self, case: Case, symbols: Sequence[str]) -> list[Opinion | Abstention]:
        """Return one answer for each symbol, in their order."""
        items: defaultdict[str, list[NewsItem]] = defaultdict(list)
        for item in case.news:
            items[item.symbol].append(item)
        return [self._opine(case, symbol, items.get(symbol, ())) for symbol in symbols]

    def _opine(self, case: Case, symbol: str, items: Sequence[NewsItem]) -> Opinion | Abstention:
        if not items:
            return self.abstain(symbol, "no news since the last case")
        fresh = without_copies(items)
        tone = case.macro.news_tone
        scored = [(item, sentiment(item.text)) for item in fresh]
        votes = [
            (0.5 ** (max(case.ts_event - item.ts_event, 0) / HALF_LIFE_NS), score - tone, item)
            for item, score in scored
            if score
        ]
        weight = sum(w for w, _, _ in votes)
        if not weight:
            return self.abstain(symbol, f"no word of {len(fresh)} items is in the lexicon")
        total = sum(w * reading for w, reading, _ in votes)
        size = sum(w * abs(reading) for w, reading, _ in votes)
        agreement = abs(total) / size if size else 0.0
        mean = total / weight
        score = mean if abs(mean) > DEAD_ZONE else 0.0
        confidence = weight / (weight + DOUBT) * (0.25 + 0.75 * agreement)
        votes.sort(key=lambda t: (-t[0] * abs(t[1]), t[2].source, t[2].item_id))
        up = sum(reading > 0 for _, reading, _ in votes)
        rationale = (
            f"{len(votes)} of {len(fresh)} distinct items carry sentiment, {up} above and "
            f"{len(votes) - up} below the usual {tone:+.2f}; mean {mean:+.2f} beyond it, weighted "
            f"by age{'' if score else ': as usual'}."
        )
        evidence = [f"news:{item.source}/{item.item_id}" for _, _, item in votes[:CITED]]
        return form_opinion(
            case, self.name, symbol, score, confidence, evidence, rationale, self.model
        )


def without_copies(items: Sequence[NewsItem]) -> list[NewsItem]:
    """Return the items with one of each text, the oldest; addresses and case do not count."""
    first: dict[str, NewsItem] = {}
    for item in sorted(items, key=lambda i: (i.ts_event, i.source, i.item_id)):
        key = " ".join(COPY_NOISE.sub(" ", item.text).casefold().split())
        first.setdefault(key, item)
    return list(first.values())
