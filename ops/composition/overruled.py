"""
Says what the desk would do about one instrument, and who overruled the strategist.

The strategist proposes, the allocator places, the gate allows and the desk trades only what is
worth an order; any of them may overrule the one before. The desk's word is that of the order
that it would send: BUY where more is allowed than is held, SELL where less, HOLD for no order.
"""

from typing import NamedTuple

from agents.allocator.views import BlackLittermanBottom
from agents.messages import Action, Allocation, Case, Instrument, Proposal, VerdictLine
from config.settings import Settings


class DeskWord(NamedTuple):
    """The word of the order, and why no order is sent although a change is allowed."""

    action: Action
    no_order: str = ""


def strategist_word(proposal: Proposal | None) -> str:
    """Return BUY, HOLD or SELL, and ABSTAIN where no opinion was given or none is cited."""
    return proposal.action if proposal is not None and proposal.cites else "ABSTAIN"


def desk_word(
    case: Case, settings: Settings, instrument: Instrument, line: VerdictLine
) -> DeskWord:
    """Return what the desk would do at the case's prices, after band and lot."""
    change = line.allowed - line.held
    if change == 0.0:
        return DeskWord("HOLD")
    band = settings.band(len(case.instruments))
    if abs(change) < band and line.allowed != 0.0:
        return DeskWord("HOLD", f"a change of {change:+.2%} is within the band of {band:.2%}")
    state = next(s for s in case.instruments if s.symbol == instrument.symbol)
    lot = state.price * instrument.lot_size
    worth = abs(change) * case.portfolio.equity
    if instrument.currency == settings.market.currency and worth < lot:
        return DeskWord("HOLD", f"a lot costs {lot:,.2f} and the change is worth {worth:,.2f}")
    return DeskWord("BUY" if change > 0.0 else "SELL")


def overruled(
    word: DeskWord,
    proposal: Proposal | None,
    allocation: Allocation,
    line: VerdictLine,
    *,
    shortable: bool,
    exit_conviction: float,
) -> str:
    """Return who overruled the strategist and why; "" where the desk does what it says."""
    said = strategist_word(proposal)
    if said == word.action:
        return ""
    target = line.asked
    if word.no_order:
        return word.no_order
    if word.action == "HOLD" and target != line.held:
        return f"the gate allows no change ({line.limit})"
    if allocation.bottom_policy != BlackLittermanBottom.name:
        return f"{allocation.bottom_policy}, which reads no proposals, asks for {target:.2%}"
    if line.symbol in allocation.views:
        return (
            f"the view only moves the weight, to {target:.2%}; a SELL exits from a conviction of "
            f"{-exit_conviction:+.2f} on"
        )
    asks = f"the baseline allocation asks for {target:.2%}"
    if shortable:
        asks = "what can be shorted has no weight without a view"
    elif target == 0.0:
        asks = "the baseline allocation has no place for it"
    if said in ("BUY", "SELL"):
        return f"its view expects less than a round trip costs, and {asks}"
    return f"there is no view, and {asks}"
