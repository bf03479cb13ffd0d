"""
Gathers what arrives between two decisions, and makes the case of it.

News, reports and macro values feed the features as they come and wait here for the next case: news
since the last one, the newest reports of each symbol. The case shows what is listed. It knows no
mind, no order and no clock.
"""

import hashlib
from collections.abc import Sequence

import numpy as np

from agents.arrays import BoolArray, FloatArray, Panel
from agents.features.feature_engine import FeatureEngine
from agents.messages import (
    Case,
    FundamentalsReport,
    Instrument,
    NewsItem,
    Portfolio,
    TrackRecord,
)
from config.settings import DeskSettings
from strategies.data import Fundamentals, Macro, News, to_fundamentals, to_macro, to_news

REPORTS_PER_SYMBOL = 8


class CaseMaker:
    """
    The evidence of one book, in front of its feature engine.

    `news_left_out` counts the items that no case showed, since it held as many newer ones.
    """

    def __init__(
        self, instruments: Sequence[Instrument], settings: DeskSettings, features: FeatureEngine
    ) -> None:
        self._instruments = tuple(instruments)
        self._settings = settings
        self._features = features
        self._news: dict[str, list[NewsItem]] = {}
        self._reports: dict[str, list[FundamentalsReport]] = {}
        self.news_left_out = 0

    def take(self, data: object) -> None:
        """Take in a news item, a report or a macro value; anything else is not for minds."""
        if isinstance(data, News):
            item = to_news(data)
            self._features.on_news(item)
            self._news.setdefault(item.symbol, []).append(item)
        elif isinstance(data, Fundamentals):
            report = to_fundamentals(data)
            self._features.on_fundamentals(report)
            self._reports.setdefault(report.symbol, []).append(report)
        elif isinstance(data, Macro):
            self._features.on_macro(to_macro(data))

    def make(
        self,
        ts: int,
        held: FloatArray,
        listed: BoolArray,
        *,
        equity: float,
        drawdown: float,
        track: tuple[TrackRecord, ...],
    ) -> tuple[Case, Panel]:
        """
        Return the case at a session's close, and the returns that go with it.

        Shapes: `held` weights and `listed`, what may be asked for, (N,).
        """
        states, macro = self._features.snapshot(ts).to_states(self._instruments, held)
        shown = {i.symbol for i, may in zip(self._instruments, listed, strict=True) if may}
        states = tuple(state for state in states if state.symbol in shown)
        panel = self._features.panel([state.symbol for state in states])
        invested = float(np.abs(held).sum())
        case = Case(
            ts_event=ts,
            ts_init=ts,
            trigger="schedule",
            horizon=self._settings.horizon,
            instruments=states,
            macro=macro,
            portfolio=Portfolio(equity=equity, cash=equity * (1.0 - invested), drawdown=drawdown),
            news=self._take_news(),
            fundamentals=tuple(
                report
                for symbol in sorted(self._reports)
                for report in self._reports[symbol][-REPORTS_PER_SYMBOL:]
            ),
            track=track,
            panel_digest=hashlib.sha256(panel.returns.tobytes()).hexdigest(),
        )
        return case, panel

    def _take_news(self) -> tuple[NewsItem, ...]:
        """Return the news since the last case, the newest first within a symbol."""
        most = self._settings.news_per_symbol
        news = tuple(
            item
            for symbol in sorted(self._news)
            for item in sorted(
                self._news[symbol], key=lambda n: (-n.ts_init, -n.ts_event, n.source, n.item_id)
            )[:most]
        )
        self.news_left_out += sum(max(len(items) - most, 0) for items in self._news.values())
        self._news.clear()
        return news
