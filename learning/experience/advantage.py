"""
How much of an outcome is an advantage beyond market and sector, in all and by junior.

The market model has unit betas. An instrument's return splits into the market's
(`benchmark_return`), the sector's beyond the market (`group_return - benchmark_return`) and its
own beyond the sector (`instrument_return - group_return`); times the direction of the
conviction, and less the costs, the three sum to what was realised. The advantage is the own part
less the costs: what a trader who held the sector in the same direction would not have had. Betas
are one because an outcome carries one horizon's returns, and a beta fitted to those few sessions
would add more noise than it takes away; a book of high-beta names is therefore flattered in a
rising market, and the report's baselines at matched volatility are there to show it.

Pure functions on messages, whose instrument, benchmark and group returns are those of a long
position; they know no store and no prices.
"""

from dataclasses import dataclass

from agents.messages import Outcome, Proposal
from config.errors import DataError


@dataclass(frozen=True)
class Attribution:
    """
    One unit of weight in the conviction's direction, taken apart; fractions over the horizon.

    `market + sector + own - costs` is the outcome's `realised`.
    """

    market: float
    sector: float
    own: float
    costs: float

    @property
    def advantage(self) -> float:
        """What is left when the luck of market and sector is taken out; costs stay in."""
        return self.own - self.costs


def attribute(outcome: Outcome) -> Attribution:
    """Return where an outcome's return came from; a zero conviction has no direction."""
    direction = (outcome.conviction > 0.0) - (outcome.conviction < 0.0)
    return Attribution(
        market=direction * outcome.benchmark_return,
        sector=direction * (outcome.group_return - outcome.benchmark_return),
        own=direction * (outcome.instrument_return - outcome.group_return),
        costs=direction * outcome.instrument_return - outcome.realised,
    )


def junior_advantages(outcome: Outcome, proposal: Proposal) -> dict[str, float]:
    """
    Return what each routed junior added, net of market and sector: leave-one-out.

    A junior's share of conviction is the proposal's conviction less what it would have been had
    the junior been silent; its advantage is that share times the instrument's own return. Shares
    come from the proposal and not from `outcome.leave_one_out`, which forgets them where the
    instrument did not move.
    Raises DataError if the two are not of one instrument.
    """
    if outcome.symbol != proposal.symbol:
        raise DataError(f"expected a proposal on {outcome.symbol}, was on {proposal.symbol}")
    own = outcome.instrument_return - outcome.group_return
    return {
        junior: (proposal.conviction - without) * own
        for junior, without in proposal.conviction_without.items()
    }
