"""
A simulated venue behind a live node: Nautilus's exchange, with the backtest's rules.

Nautilus's own sandbox client cannot stand in: it never sees bars, its fill, fee and latency models
are fixed, it has no place for cash flows, and the node's event queue stands between the venue and
its own orders: an order larger than the touch is then never filled to its end, for whether it is
still open is asked before its first fill was applied. So the venue here talks to the engines on a
bus of its own, on which what it says is applied at once. It knows neither the desk nor the feed.
"""

from decimal import Decimal

from nautilus_trader.backtest.engine import SimulatedExchange
from nautilus_trader.backtest.execution_client import BacktestExecClient
from nautilus_trader.backtest.models import MakerTakerFeeModel
from nautilus_trader.common.component import MessageBus, TestClock
from nautilus_trader.execution.engine import ExecutionEngine
from nautilus_trader.execution.messages import SubmitOrder
from nautilus_trader.model.data import Bar, QuoteTick
from nautilus_trader.model.enums import AccountType, OmsType
from nautilus_trader.model.events import OrderEvent
from nautilus_trader.model.identifiers import Venue
from nautilus_trader.model.instruments import Instrument
from nautilus_trader.model.objects import Money
from nautilus_trader.system.kernel import NautilusKernel

from backtest.engine.cash import CashFlows
from backtest.engine.desk_setup import native_instruments
from backtest.engine.run_book import SeededFills
from backtest.market.market_data import MarketData
from config.settings import Settings
from strategies.instruments import to_currency

BEFORE_ALL = 100  # the venue sees a price before the portfolio (10) and the desk (0) do


class SandboxClient(BacktestExecClient):  # type: ignore[misc]  # untyped
    """The venue's execution client, with what a live engine asks of one."""

    waiting = False  # whether an order came in since the venue last worked

    def connect(self) -> None:
        """Do nothing: the venue is in this process."""

    disconnect = connect

    def submit_order(self, command: SubmitOrder) -> None:
        """Hand an order to the venue, which works when it is told to."""
        self.waiting = True
        super().submit_order(command)


class Sandbox:
    """
    One simulated venue, joined to a node's engines.

    It takes prices from the node's message bus, before anyone else does; orders wait until `work`.
    `clock` is the replay's, so that fills are stamped with the time of the data.
    """

    def __init__(
        self,
        kernel: NautilusKernel,
        market: MarketData,
        settings: Settings,
        cash: CashFlows,
        clock: TestClock,
    ) -> None:
        engine = kernel.exec_engine

        def apply(event: OrderEvent) -> None:
            ExecutionEngine.process(engine, event)  # not the live engine's: that one queues

        bus = MessageBus(kernel.trader_id, clock)
        bus.register("ExecEngine.process", apply)
        bus.register("Portfolio.update_account", kernel.portfolio.update_account)
        currency = to_currency(settings.market.currency)
        self._exchange = SimulatedExchange(
            venue=Venue(market.instruments[0].venue),
            oms_type=OmsType.NETTING,
            account_type=AccountType.MARGIN,
            starting_balances=[Money(settings.market.starting_cash, currency)],
            base_currency=currency,
            default_leverage=Decimal(1),
            leverages={},
            modules=[cash],
            portfolio=kernel.portfolio,
            msgbus=bus,
            cache=kernel.cache,
            clock=clock,
            fill_model=SeededFills(settings.market.slippage_probability, settings.seed),
            fee_model=MakerTakerFeeModel(),
        )
        self._client = SandboxClient(
            exchange=self._exchange, msgbus=bus, cache=kernel.cache, clock=clock
        )
        self._exchange.register_client(self._client)
        engine.register_client(self._client)
        for instrument in native_instruments(market, settings):
            kernel.cache.add_instrument(instrument)
            self._exchange.add_instrument(instrument)
        self._exchange.initialize_account()
        kernel.msgbus.subscribe("data.instrument.*", self._on_instrument, priority=BEFORE_ALL)
        kernel.msgbus.subscribe("data.quotes.*", self._on_quote, priority=BEFORE_ALL)
        kernel.msgbus.subscribe("data.bars.*", self._on_bar, priority=BEFORE_ALL)

    @property
    def waiting(self) -> bool:
        """Whether an order waits for the venue to work."""
        return bool(self._client.waiting)

    def work(self, ts: int) -> None:
        """Fill what waits, at the prices of now."""
        self._client.waiting = False
        self._exchange.process(ts)

    def _on_instrument(self, instrument: Instrument) -> None:
        self._exchange.update_instrument(instrument)

    def _on_quote(self, quote: QuoteTick) -> None:
        self._exchange.process_quote_tick(quote)

    def _on_bar(self, bar: Bar) -> None:
        self._exchange.process_bar(bar)
