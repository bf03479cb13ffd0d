"""
What a fill costs, by kind of instrument: the one place where these numbers stand.

All are assumptions, not quotes: what a mid-sized account pays a fill beside the spread. An
instrument's own cost (`cost_bps` in source.yaml) and a stated `market.cost_frac` override them.
"""

COST_FRAC = 0.003  # of notional, where no other is known; the stress of every report
US_EQUITY_COST_FRAC = 0.0005  # a large US stock
FX_COST_BPS = 0.5  # a pair of two major currencies
FX_OTHER_COST_BPS = 5.0  # any other pair: 2 of Scandinavian crosses to 20 of USDTRY, and more
CRYPTO_COST_BPS = 10.0  # a spot exchange's taker fee in its first tier
INDEX_COST_BPS = 1.5
METAL_COST_BPS = 1.5
OIL_COST_BPS = 3.0  # oil and gas
SPREAD_BPS = 2.0  # of the mid price, where a source has no quotes
ROUND_TRIP_FRAC = 2 * (COST_FRAC + SPREAD_BPS / 2 / 10_000)  # of what no cost is known of
