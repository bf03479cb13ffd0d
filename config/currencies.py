"""
Currencies, metals and coins by their codes, and the pair that a symbol names.

A symbol is a pair only where its parts are known: six plain letters that are two currencies, a
known coin quoted in a known currency, or anything quoted in a stable coin. Vendors' spellings are
read alike (EUR/USD, EURUSD=X, C:EURUSD, BTC-USD, XXBTZUSD, tBTCUSD). It does not know what is
listed where: `config.listings` does.
"""

import re
from functools import lru_cache
from typing import Literal

type PairKind = Literal["forex", "commodity", "crypto"]

# hundredths in which some exchanges print their prices: of a pound, a shekel, a rand
MINOR_UNITS = {"GBX": "GBP", "ILA": "ILS", "ZAC": "ZAR"}
_MAJOR = "AUD BGN CAD CHF EUR GBP JOD NZD OMR SGD USD"
_SMALLER = {  # what 100,000 dollars are about: a round power of ten
    1e4: "BHD KWD",
    1e6: "AED BRL CNH CNY CZK DKK HKD ILS MAD MXN MYR NOK PEN PLN QAR RON SAR SEK TRY TWD ZAR",
    1e7: "BDT EGP GBX INR ISK JPY KES LKR PHP PKR RUB THB UAH",
    1e8: "ARS CLP HUF ILA KRW KZT NGN ZAC",
    1e9: "COP IDR VND",
}
_STABLE_CODES = "BUSD DAI FDUSD TUSD USDC USDP USDT"
_COIN_CODES = (
    "AAVE ADA ALGO APE APT ARB ATOM AVAX AXS BCH BNB BONK BSV BTC BTT CHZ COMP CRO CRV DASH DOGE "
    "DOT EGLD ENA ENJ EOS ETC ETH FET FIL FLOKI FLOW FTM GALA GRT HBAR HYPE ICP IMX INJ JUP KSM "
    "LDO LINK LTC LUNA MANA MATIC MKR NEAR NEO PAXG PEPE POL QTUM RENDER RUNE SAND SEI SHIB SNX "
    "SOL STX SUI TAO TIA TON TRX UNI VET WBTC WIF WLD XAUT XEC XLM XMR XRP XTZ YFI ZEC ZIL"
)
_ALIASES = {"XBT": "BTC", "XDG": "DOGE"}  # Kraken's and BitMEX's codes

METALS = frozenset(["XAG", "XAU", "XPD", "XPT"])
STABLE_COINS = frozenset(_STABLE_CODES.split())
COINS = frozenset(_COIN_CODES.split())
CURRENCIES = frozenset(_MAJOR.split()).union(*(row.split() for row in _SMALLER.values()))
_QUOTE_COINS = frozenset(["BNB", "BTC", "ETH"])
_ANY_BASE = ("FDUSD", "USDT", "USDC", "BUSD", "TUSD")  # DAI also ends the names of companies
_KNOWN = CURRENCIES | METALS | COINS | STABLE_COINS

_USUAL_CASH = {code: cash for cash, row in _SMALLER.items() for code in row.split()}
_USUAL_CASH |= {"BTC": 1.0, "ETH": 100.0, "BNB": 100.0, "SOL": 1_000.0}
_WHOLE = frozenset(["JPY", "KRW"])  # those that the engine keeps without cents
_SIX_DECIMALS = frozenset(["ADA", "XRP", "XTZ"])


def decimals_of(currency: str) -> int:
    """
    Return the decimals of an amount of a currency, as the engine's own table has them.

    A coin has eight, a currency two; what is unknown counts as a currency.
    """
    if currency in _WHOLE:
        return 0
    if currency in _SIX_DECIMALS:
        return 6
    return 8 if currency in COINS or currency in STABLE_COINS else 2


def usual_cash(currency: str) -> float:
    """Return what 100,000 dollars are about in a currency, a round power of ten."""
    return _USUAL_CASH.get(currency, 100_000.0)


def kind_of_pair(base: str, quote: str) -> PairKind:
    """Return which class a pair belongs to, by its two codes."""
    if quote in CURRENCIES and base in CURRENCIES:
        return "forex"
    return "commodity" if quote in CURRENCIES and base in METALS else "crypto"


@lru_cache(maxsize=4096)
def pair_of(symbol: str) -> tuple[str, str] | None:
    """
    Return base and quote of the pair that a symbol names, in capitals; None where it names none.

    Codes are the usual ones, XBT being BTC. A venue before a colon and a vendor's suffix after
    a point are left out. A coin's pair with a currency or a stable coin is quoted in that,
    whichever stands first: Poloniex's USDT_BTC and Upbit's KRW-BTC name the quote first.
    """
    text = symbol.strip().upper()
    venue, colon, rest = text.rpartition(":")
    if colon:
        return _joined(venue, rest) or pair_of(rest)
    if text.endswith("=X"):  # Yahoo's; JPY=X is the dollar in yen
        text = text[:-2]
        return _joined("USD", text) if len(text) == 3 else pair_of(text)
    head, point, tail = text.partition(".")
    if point:
        return _joined(head, tail) or pair_of(head)
    parts = re.split(r"[/_\- ]", text)
    if len(parts) == 2:
        return _joined(*parts)
    return _plain(text) if len(parts) == 1 else None


def _joined(base: str, quote: str) -> tuple[str, str] | None:
    """Return the pair of two parts that something separates."""
    numbered = re.fullmatch(r"([A-Z]+)\d{3,}", base)  # Yahoo numbers coins that share a code
    if numbered and numbered[1] in COINS:
        base = numbered[1]
    base, quote = _ALIASES.get(base, base), _ALIASES.get(quote, quote)
    known = base in _KNOWN or (quote in STABLE_COINS and re.fullmatch(r"[A-Z0-9]{1,12}", base))
    if not known or base == quote or quote not in _KNOWN - METALS:
        return None
    if base in CURRENCIES | STABLE_COINS and quote in COINS:
        return quote, base
    return base, quote


def _plain(text: str) -> tuple[str, str] | None:
    """Return the pair of a symbol without a separator."""
    for size in (3, 4, 5):  # the shorter quote first: USDTUSD is USDT in dollars
        base, quote = text[:-size], text[-size:]
        quote = _ALIASES.get(quote, quote)
        quotes = CURRENCIES | STABLE_COINS | _QUOTE_COINS
        if len(text) >= 6 and _ALIASES.get(base, base) in _KNOWN and quote in quotes:
            return _joined(base, quote)
    kraken = re.fullmatch(r"[XZ]([A-Z]{3})[XZ]([A-Z]{3})", text)
    if kraken and (pair := _joined(kraken[1], kraken[2])):
        return pair
    quote = next((q for q in _ANY_BASE if text.endswith(q)), "")
    if quote and (pair := _joined(text.removesuffix(quote), quote)):
        return pair
    if text.startswith("T") and len(text) >= 7:  # Bitfinex's, whose UST is the dollar of Tether
        return _plain(re.sub(r"UST$", "USDT", text[1:]))
    return None
