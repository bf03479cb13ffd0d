"""The twin's baskets against the desk's, over generated sequences of what happens to them."""

from types import SimpleNamespace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from learning.envs.baskets import Baskets
from strategies.orders import Basket

N, BOOKS, BAND = 4, 3, 0.02


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32))
def test_what_a_book_may_send_is_what_the_desks_basket_may(seed):
    rng = np.random.default_rng(seed)
    desks = [Basket(N) for _ in range(BOOKS)]
    books = Baskets(BOOKS, N)
    for ts in range(1, 60):
        stamps = np.full(BOOKS, ts)
        act = rng.choice(["decide", "reduce", "force", "take"], p=[0.25, 0.15, 0.1, 0.5])
        some = np.flatnonzero(rng.random(BOOKS) < 0.7)
        targets = rng.choice([0.0, 0.01, 0.05, 0.1], (BOOKS, N))
        which = rng.random((BOOKS, N)) < 0.4
        if act == "decide":
            expires = int(ts + rng.integers(0, 12))
            books.decide(some, targets[some], stamps[some], np.full(len(some), expires))
            for b in some:
                made = SimpleNamespace(expires=expires, ts_event=ts, decision_id="d")
                desks[b].decide(targets[b], ts, made)
        elif act == "reduce":
            books.reduce(some, which[some], targets[some], stamps[some])
            for b in some:
                desks[b].reduce(which[b], targets[b], ts, "d")
        elif act == "force":
            books.force(some, which[some], stamps[some])
            for b in some:
                for i in np.flatnonzero(which[b]):
                    desks[b].force(int(i), ts, "d")
        else:
            held = rng.choice([0.0, 0.02, 0.05, 0.055], (BOOKS, N))
            pending = books.take(some, stamps[some], which[some])
            asked = pending.targets(held[some], BAND)
            for row, b in enumerate(some):
                sent = desks[b].take(ts, which[b])
                if sent is None:
                    assert not pending.movable[row].any()
                    continue
                assert np.array_equal(sent.movable, pending.movable[row])
                assert np.array_equal(sent.forced, pending.forced[row])
                assert np.array_equal(sent.targets(held[b], BAND), asked[row])
