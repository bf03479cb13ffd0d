"""
Where a symbol is listed, told from its spelling: exchanges, indices, and the names of CFDs.

Suffixes are Yahoo's and those of Stooq, EODHD and Alpha Vantage; calendars are codes of
exchange_calendars. A currency is the one that the exchange prints most prices in: a line in
another one (dollars in London) has to be stated in source.yaml.
"""

import re
from typing import Literal

from config.currencies import CURRENCIES, MINOR_UNITS

type CfdClass = Literal["index", "commodity"]

NEW_YORK = ("XNYS", "USD")

# suffixes of a calendar and its currency
_EXCHANGES = {
    NEW_YORK: "US",
    ("ASEX", "EUR"): "AT",
    ("BVMF", "BRL"): "SA",
    ("XAMS", "EUR"): "AS",
    ("XASX", "AUD"): "AX AU",
    ("XBKK", "THB"): "BK",
    ("XBOM", "INR"): "NS BO NSE BSE",
    ("XBRU", "EUR"): "BR",
    ("XBUD", "HUF"): "BD HU",
    ("XBUE", "ARS"): "BA",
    ("XCSE", "DKK"): "CO",
    ("XDUB", "EUR"): "IR",
    ("XETR", "EUR"): "DE XETRA DEX",
    ("XFRA", "EUR"): "F",
    ("XHEL", "EUR"): "HE",
    ("XHKG", "HKD"): "HK",
    ("XICE", "ISK"): "IC",
    ("XIDX", "IDR"): "JK",
    ("XIST", "TRY"): "IS",
    ("XJSE", "ZAC"): "JO",
    ("XKAR", "PKR"): "KA",
    ("XKLS", "MYR"): "KL",
    ("XKRX", "KRW"): "KS KQ KO",
    ("XLIS", "EUR"): "LS",
    ("XLON", "GBX"): "L UK LSE LON",
    ("XMAD", "EUR"): "MC",
    ("XMEX", "MXN"): "MX",
    ("XMIL", "EUR"): "MI",
    ("XNZE", "NZD"): "NZ",
    ("XOSL", "NOK"): "OL",
    ("XPAR", "EUR"): "PA",
    ("XPHS", "PHP"): "PS",
    ("XPRA", "CZK"): "PR",
    ("XSAU", "SAR"): "SR",
    ("XSES", "SGD"): "SI",
    ("XSGO", "CLP"): "SN",
    ("XSHG", "CNY"): "SS SZ SHG SHE SHH SHZ",
    ("XSTO", "SEK"): "ST",
    ("XSWX", "CHF"): "SW",
    ("XTAE", "ILA"): "TA",
    ("XTAI", "TWD"): "TW TWO",
    ("XTKS", "JPY"): "T JP",
    ("XTSE", "CAD"): "TO V NE CN TRT",
    ("XWAR", "PLN"): "WA PL",
    ("XWBO", "EUR"): "VI",
}
CURRENCY_OF = dict(_EXCHANGES.keys())  # by calendar
EXCHANGES = {suffix: place for place, row in _EXCHANGES.items() for suffix in row.split()}

# indices of a calendar and a currency, as they stand after ^
_INDICES = {
    NEW_YORK: (
        "GSPC IXIC DJI DJA DJT DJU RUT RUA VIX VXN NDX OEX NYA SOX MID SP400 SP600 SP500TR SPX "
        "NDQ XAX TNX TYX FVX IRX"
    ),
    ("BVMF", "BRL"): "BVSP BVP",
    ("XAMS", "EUR"): "AEX",
    ("XASX", "AUD"): "AXJO AORD",
    ("XBKK", "THB"): "SET",
    ("XBOM", "INR"): "NSEI NSEBANK BSESN CNXIT NSEMDCP50",
    ("XBRU", "EUR"): "BFX",
    ("XBUE", "ARS"): "MERV",
    ("XFRA", "EUR"): "GDAXI MDAXI TECDAX SDAXI DAX STOXX STOXX50E",
    ("XHEL", "EUR"): "OMXH25",
    ("XHKG", "HKD"): "HSI HSCE",
    ("XIDX", "IDR"): "JKSE",
    ("XKLS", "MYR"): "KLSE",
    ("XKRX", "KRW"): "KS11 KQ11 KS200",
    ("XLON", "GBP"): "FTSE FTMC FTAS UKX",
    ("XMAD", "EUR"): "IBEX",
    ("XMEX", "MXN"): "MXX",
    ("XNZE", "NZD"): "NZ50",
    ("XOSL", "NOK"): "OSEAX",
    ("XPAR", "EUR"): "FCHI CAC SBF120",
    ("XSES", "SGD"): "STI",
    ("XSTO", "SEK"): "OMX OMXS30",
    ("XSWX", "CHF"): "SSMI SMI",
    ("XTAI", "TWD"): "TWII",
    ("XTKS", "JPY"): "N225 NKX TPX",
    ("XTSE", "CAD"): "GSPTSE",
    ("XWBO", "EUR"): "ATX",
}
INDICES = {name: place for place, row in _INDICES.items() for name in row.split()}

# CFDs by the names that brokers give them, and the currency that they are quoted in
_CFDS: dict[tuple[CfdClass, str], str] = {
    ("index", "USD"): (
        "SPX500 US500 SP500 NAS100 US100 USTEC USTECH100 NDX100 US30 DJ30 WS30 US2000 CN50 "
        "CHINA50 IN50 TWIX"
    ),
    ("index", "EUR"): (
        "DAX DE30 DE40 GER30 GER40 GERMANY40 FRA40 FR40 CAC40 EU50 EUSTX50 ESTX50 STOXX50 ESP35 "
        "ES35 IT40 ITA40 NETH25 NL25"
    ),
    ("index", "GBP"): "UK100 FTSE100",
    ("index", "JPY"): "JP225 JPN225 NI225",
    ("index", "AUD"): "AUS200 AU200",
    ("index", "HKD"): "HK50 HK33",
    ("index", "CHF"): "SWI20 CH20",
    ("index", "SGD"): "SG30",
    ("commodity", "USD"): "BRENT USOIL UKOIL NATGAS",
}
CFDS = {name: known for known, row in _CFDS.items() for name in row.split()}
# names that are stocks or funds unless their currency follows: WTIUSD, CORN_USD
_ENERGY_BASES = frozenset(["BCO", "NGAS", "WTI", "WTICO", "XBR", "XNG", "XTI"])
_WITH_CURRENCY = _ENERGY_BASES | {"CORN", "SOYBN", "SUGAR", "WHEAT", "XCU"}
_DUKASCOPY = re.compile(r"([A-Z0-9]+)(IDX|CMD)([A-Z]{3})")
_ENERGY = _ENERGY_BASES | {"BRENT", "DIESEL", "GAS", "LIGHT", "NATGAS", "UKOIL", "USOIL"}


def cfd_of(symbol: str) -> tuple[CfdClass, str] | None:
    """Return class and currency of an index's or a commodity's CFD; None for anything else."""
    found = _cfd(symbol)
    return None if found is None else found[1:]


def is_energy(symbol: str) -> bool:
    """Tell whether a symbol names a CFD on oil or gas."""
    found = _cfd(symbol)
    return found is not None and found[0] in _ENERGY


def _cfd(symbol: str) -> tuple[str, CfdClass, str] | None:
    """Return name, class and currency of a CFD, however its parts are separated."""
    head = symbol.strip().upper().rpartition(":")[2].partition(".")[0]
    text = re.sub(r"[^A-Z0-9^]", "", head)
    if text in CFDS:
        return (text, *CFDS[text])
    name, currency = text[:-3], text[-3:]
    if currency not in CURRENCIES:
        return None
    if name in CFDS:
        return name, CFDS[name][0], currency
    if name in _WITH_CURRENCY:
        return name, "commodity", currency
    told = _DUKASCOPY.fullmatch(text)
    return (
        None if told is None else (told[1], "index" if told[2] == "IDX" else "commodity", told[3])
    )


def listing_of(symbol: str) -> tuple[str, str] | None:
    """
    Return calendar and currency of a stock or an index; None where the spelling tells neither.

    An index is quoted in whole units of a currency whose stocks are in hundredths.
    """
    text = symbol.strip().upper()
    head, _, suffix = text.rpartition(".")
    if text.startswith("^"):
        place = INDICES.get((head or suffix).lstrip("^")) or (head and EXCHANGES.get(suffix))
        return (place[0], MINOR_UNITS.get(place[1], place[1])) if place else None
    if text.endswith(("-EQ", "-BE")):  # the National Stock Exchange of India
        return EXCHANGES["NS"]
    return EXCHANGES.get(suffix) if head else None
