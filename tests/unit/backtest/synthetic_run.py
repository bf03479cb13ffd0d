"""A seeded RunResult with everything a real one has, for tests of statistics and report."""

import numpy as np

from agents.messages import (
    HORIZON_SESSIONS,
    JUNIORS,
    ROUTES,
    Abstention,
    Allocation,
    Decision,
    FillRecord,
    Opinion,
    OrderRecord,
    Outcome,
    Proposal,
    Route,
    Verdict,
    VerdictLine,
)
from backtest.results import ClosedTrade, PositionHistory, RunResult

DAY = 86_400_000_000_000
GROUPS = {
    "AAPL": "Technology",
    "GOOG": "Communication",
    "IBM": "Technology",
    "JPM": "Financials",
    "MSFT": "Technology",
    "XOM": "Energy",
}
EXITS = ("decision", "decision", "stop", "limit")
LIMITS = ("", "", "", "", "max_position", "max_group", "max_var", "stop_loss", "price_collar")


def book(name, gate, ts, returns, rng, invested=0.8, trades=120, stress=""):
    equity = 100_000.0 * np.cumprod(np.concatenate([[1.0], 1.0 + returns]))
    n = len(ts)
    names = sorted(set(GROUPS.values()))
    share = rng.dirichlet(np.ones(len(names)), size=n // 60 + 2)
    smooth = np.array(
        [np.interp(np.arange(n), np.arange(len(share)) * 60, share[:, k]) for k in range(4)]
    )
    gross = np.clip(invested + 0.1 * np.sin(np.arange(n) / 90), 0.0, 1.0)
    gross[0] = 0.0
    turnover = np.where(rng.random(n) < 0.3, rng.random(n) * 0.05, 0.0)
    turnover[0] = 0.0
    sigma = np.sqrt(np.convolve(np.concatenate([[0.0], returns]) ** 2, np.ones(40) / 40)[:n])
    var = np.where(np.arange(n) < 60, np.nan, 2.6 * sigma)
    profits = rng.normal(12.0, 160.0, size=trades)
    return PositionHistory(
        name=name,
        gate=gate,
        ts=ts,
        equity=equity,
        gross=gross,
        turnover=turnover,
        costs=turnover * equity * 0.003,
        var_frac=var,
        exposures={g: gross * smooth[k] for k, g in enumerate(names)},
        trades=tuple(
            ClosedTrade("AAPL", int(ts[0]), int(ts[-1]), float(p), EXITS[k % len(EXITS)])
            for k, p in enumerate(profits)
        ),
        stress=stress,
    )


def synthetic_run(seed=7, sessions=700, gated=True, decide_every=5, rationale=""):
    """Return a run of `sessions` rows; gated=False leaves out gated baselines and variants."""
    rng = np.random.default_rng(seed)
    ts = np.int64(1_420_146_000_000_000_000) + np.arange(sessions, dtype=np.int64) * DAY
    risk_free = np.full(sessions, 0.02 / 252)
    risk_free[0] = 0.0
    market = 0.0004 + 0.010 * rng.standard_t(5, size=sessions - 1) / 1.29
    own = rng.normal(0.0, 0.004, size=(4, sessions - 1))
    earned = 0.00025 + 0.55 * market + own[0]
    hierarchy = book("hierarchy", "full", ts, earned, rng)
    variants, baselines = [], []
    if gated:
        lighter = np.random.default_rng([seed, 1])
        for gate, stress, beta, cost in (
            ("no_stop", "", 0.75, 0.0),
            ("gross_only", "", 0.9, 0.0),
            ("full", "0.3% a fill", 0.55, 6e-5),
            ("full", "2% stop", 0.4, 1e-4),
        ):
            noise = lighter.normal(0.0, 0.001, sessions - 1)
            returns = 0.00025 + beta * market + own[0] + noise - cost
            variants.append(book("hierarchy", gate, ts, returns, lighter, stress=stress))
    for k, (name, beta) in enumerate(
        (("buy-and-hold", 1.0), ("equal-weight", 0.95), ("moving-average", 0.6)), start=1
    ):
        baselines.append(book(name, "gross_only", ts, beta * market + own[k], rng, beta * 0.95))
        if gated:
            returns = 0.7 * beta * market + own[k] * 0.8
            baselines.append(book(name, "no_stop", ts, returns, rng, 0.65 * beta))
    decisions, verdicts, orders, fills, outcomes = [], [], [], [], []
    symbols = sorted(GROUPS)
    for t in range(60, sessions - 1, decide_every):
        did = f"{seed:04x}{t:020x}"
        opinions, abstentions, routes, proposals = [], [], [], []
        weights = {}
        for symbol in symbols:
            drift = rng.normal()
            arm = int(rng.choice(7, p=_arm_odds(t / sessions)))
            routes.append(Route(symbol=symbol, arm=arm, context=(0.0,) * 16, scores=(0.0,) * 7))
            for junior in ROUTES[arm]:
                if rng.random() < 0.1:
                    abstentions.append(
                        Abstention(junior=junior, symbol=symbol, reason="no news", model="rules")
                    )
                    continue
                skill = {"news": 0.25, "technical": 0.1, "fundamental": 0.05}[junior]
                score = float(np.clip(skill * drift + rng.normal() * 0.8, -2, 2))
                opinions.append(
                    Opinion(
                        opinion_id=f"{did[:8]}-{symbol}-{junior}",
                        junior=junior,
                        symbol=symbol,
                        score=score,
                        confidence=0.6,
                        evidence=(),
                        rationale="synthetic",
                        model="rules",
                    )
                )
            conviction = float(np.clip(0.4 * drift + rng.normal() * 0.3, -1, 1))
            cited = tuple(o.opinion_id for o in opinions if o.symbol == symbol)
            proposals.append(
                Proposal(
                    symbol=symbol,
                    action="BUY" if conviction > 0.1 else "SELL" if conviction < -0.1 else "HOLD",
                    conviction=conviction,
                    horizon="medium",
                    rationale=rationale
                    or f"{len(cited)} opinions lean {'up' if conviction > 0 else 'down'}: news "
                    f"{conviction:+.2f}, trend above its 50-session mean",
                    cites=cited,
                )
            )
            weights[symbol] = max(0.0, conviction) * 0.1
            end = min(sessions - 1, t + HORIZON_SESSIONS["medium"])
            outcomes.append(
                Outcome(
                    decision_id=did,
                    symbol=symbol,
                    ts_event=int(ts[end]),
                    ts_init=int(ts[end]),
                    horizon="medium",
                    arm=arm,
                    conviction=conviction,
                    instrument_return=0.03 * float(drift),
                    realised=0.03 * float(drift * np.sign(conviction)) - 0.006,
                    volatility=0.03,
                    max_drawdown=0.01,
                    benchmark_return=0.002,
                    group_return=0.002,
                    leave_one_out={},
                )
            )
        decisions.append(
            Decision(
                decision_id=did,
                ts_event=int(ts[t]),
                ts_init=int(ts[t]) + 2_000_000_000,
                expires=int(ts[t]) + 3 * DAY,
                trigger="schedule",
                minds="rules",
                routes=tuple(routes),
                opinions=tuple(opinions),
                abstentions=tuple(abstentions),
                proposals=tuple(proposals),
                allocation=Allocation(
                    regime="bull",
                    top_policy="baseline",
                    bottom_policy="baseline",
                    group_budgets={},
                    weights=weights,
                ),
            )
        )
        verdicts += [
            Verdict(
                decision_id=did,
                ts_event=int(ts[t]),
                ts_init=int(ts[t]),
                stage=stage,
                lines=tuple(
                    VerdictLine(
                        symbol=s,
                        held=0.0,
                        asked=weights[s],
                        allowed=weights[s] / 2,
                        limit=str(rng.choice(LIMITS)),
                    )
                    for s in symbols
                ),
                var_frac=0.01,
            )
            for stage in ("delivery", "dispatch")
        ]
        for symbol in symbols[:3]:
            oid = f"O-{t}-{symbol}"
            quantity = float(rng.integers(-20, 20))
            stamp = int(ts[t + 1])
            orders.append(
                OrderRecord(
                    decision_id=did,
                    order_id=oid,
                    symbol=symbol,
                    ts_decided=int(ts[t]),
                    ts_held=int(ts[t]),
                    ts_event=stamp,
                    quantity=quantity,
                    reason="decision",
                )
            )
            fills.append(
                FillRecord(
                    decision_id=did,
                    order_id=oid,
                    fill_id=f"F-{oid}",
                    symbol=symbol,
                    ts_event=stamp,
                    ts_price=stamp,
                    quantity=quantity,
                    price=100.0,
                    commission=abs(quantity) * 100.0 * (0.0005 if symbol == "AAPL" else 0.003),
                )
            )
    return RunResult(
        run_id=f"{seed:016x}",
        book=hierarchy,
        baselines=tuple(baselines),
        variants=tuple(variants),
        risk_free=risk_free,
        capacity=1_234_567.0 if gated else None,
        expired_decisions=3 if gated else 0,
        decisions=tuple(decisions),
        verdicts=tuple(verdicts),
        orders=tuple(orders),
        fills=tuple(fills),
        outcomes=tuple(outcomes),
        manifest={
            "data": {"name": "synthetic", "digest": "ab" * 32, "symbols": symbols},
            "config": {
                "market": {"cost_frac": 0.003, "currency": "USD"},
                "minds": {"kind": "rules"},
            },
            "instruments": [
                {"symbol": s, "group": GROUPS[s], "cost_bps": 5.0 if s == "AAPL" else None}
                for s in symbols
            ],
            "minds": {"news": "rules", "technical": "rules", "strategist": "rules"},
            "seed": seed,
        },
        notes=("baseline allocator, untrained", "prices are split-adjusted: price level masked"),
    )


def _arm_odds(progress):
    """Return how likely each arm is: even at first, the news routes preferred in the end."""
    favoured = np.array([len(set(r) & set(JUNIORS[:1])) for r in ROUTES], dtype=float)
    odds = (1.0 - progress) * np.ones(len(ROUTES)) + progress * 3.0 * favoured
    return odds / odds.sum()
