import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from agents.juniors.lexicon import sentiment

SHARED = Path(__file__).parents[4] / "shared" / "data"
POSTS = SHARED / "stockemotions_2020" / "stocktwits_labelled.parquet"
TWEETS = SHARED / "stocknet_2014_2016" / "tweets_88.parquet"

SIGNED = [
    (1, "Harbour Foods beats estimates and raises its full-year guidance"),
    (-1, "Harbour Foods misses estimates and cuts its full-year guidance"),
    (-1, "Quarterly profit falls 12% as orders dry up"),
    (1, "Net loss narrows on lower marketing expenses"),
    (-1, "Net loss widens for the third straight quarter"),
    (1, "The plan cuts costs by a fifth"),
    (-1, "Costs rose faster than revenue"),
    (1, "Debt was reduced by two billion"),
    (-1, "Unemployment jumps in the home market"),
    (1, "Inflation eases for a second month"),
    (-1, "The company is not profitable"),
    (1, "Management sees no weakness in bookings"),
    (-1, "We don't think this is a buy"),
    (-1, "Never a good sign when the auditor leaves"),
    (1, "Not a bad quarter at all"),
    (-1, "The drug failed to win approval"),
    (1, "FDA approval granted for the new inhaler"),
    (1, "Price target raised to $140 at a large broker"),
    (-1, "Price target lowered to $80 after the call"),
    (1, "Upgraded to overweight"),
    (-1, "Downgraded to sell on valuation"),
    (-1, "Shares plunge after fraud probe"),
    (1, "Shares rally to record highs"),
    (1, "Results were better than expected"),
    (-1, "Results were worse than expected"),
    (1, "Sales were weak, but the outlook is excellent and margins surged"),
    (-1, "Great product, but the balance sheet is a disaster and cash is drying up"),
    (1, "Despite a lawsuit, the stock keeps climbing"),
    (-1, "Class action filed against the board"),
    (-1, "Files for chapter 11 bankruptcy protection"),
    (1, "Board approves $5bn buyback and a special dividend"),
    (-1, "Dividend suspended until further notice"),
    (1, "$XYZ short squeeze is on, to the moon 🚀🚀"),
    (-1, "$XYZ overvalued garbage, I am shorting this 📉"),
    (1, "Very bullish here, loading up"),
    (-1, "SELL SELL SELL, this is going to crash"),
    (1, "Breakout above 50 with strong volume"),
    (-1, "Death cross on the daily chart"),
    (-1, "$XYZ -6.5% on the day"),
    (1, "$XYZ +4.2% premarket"),
    (-1, "Insider selling everywhere, stay away"),
    (1, "Rates cut, stocks soar"),
    (-1, "Recession fears grow"),
    (1, "Recession fears fade"),
    (-1, "Weak demand will hurt margins"),
    (1, "Oversold and undervalued, time to buy the dip"),
]
NEUTRAL = [
    "Tax liability of the vice president",
    "Crude and gross margin figures for shares, by market",
    "$BULL $WIN http://example.com/great/profit @winner RT",
    "The company will hold its annual meeting on Thursday",
    "",
    "12345 67.8",
]


def test_own_sentences_get_the_right_sign():
    right = [sign * sentiment(text) > 0 for sign, text in SIGNED]
    wrong = [SIGNED[i][1] for i, ok in enumerate(right) if not ok]
    assert len(SIGNED) >= 40
    assert sum(right) >= 0.85 * len(SIGNED), wrong


@pytest.mark.parametrize("text", NEUTRAL)
def test_text_without_sentiment_scores_zero(text):
    assert sentiment(text) == 0.0


@pytest.mark.parametrize(
    ("louder", "quieter"),
    [
        ("shares soar!!", "shares soar"),
        ("this is a GREAT company", "this is a great company"),
        ("profit rose sharply", "profit rose slightly"),
        ("very good report", "good report"),
        ("good report, shares surge", "good report"),
    ],
)
def test_emphasis_moves_the_score_away_from_zero(louder, quieter):
    assert sentiment(louder) > sentiment(quieter) > 0


def test_a_direction_takes_its_sign_from_the_quantity_it_moves():
    assert sentiment("profit rises") == -sentiment("profit falls") > 0
    assert sentiment("costs rise") == -sentiment("costs fall") < 0
    assert sentiment("shares fell on higher costs") < 0


def test_negation_reaches_three_words_and_stops_at_a_clause():
    assert sentiment("not a very good quarter") < 0
    assert sentiment("no, a very good quarter") > 0


def test_retweet_marks_addresses_and_cashtags_change_nothing():
    plain = sentiment("profit rises at the bank")
    assert sentiment("RT @wire: profit rises at the bank http://t.co/bad $FAIL") == plain


def test_scores_stay_within_bounds_on_long_and_odd_text():
    assert 1.9 < sentiment("soaring profit! " * 5000) <= 2.0
    assert -2.0 <= sentiment("crash 📉 " * 5000) < -1.9
    assert sentiment("\x00\ud7ff 💩") < 0


def test_scoring_imports_neither_finvader_nor_nltk():
    code = (
        "import sys; from agents.juniors.lexicon import sentiment;"
        "assert sentiment('profit rises') > 0;"
        "print(*sorted({m.split('.')[0] for m in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert not {"finvader", "nltk", "vaderSentiment", "pandas", "torch"} & loaded


def test_a_post_is_scored_within_sixty_microseconds():
    texts = [text for _, text in SIGNED]
    score = sentiment.__wrapped__
    times = []
    for _ in range(20):
        start = time.perf_counter()
        for text in texts:
            score(text)
        times.append((time.perf_counter() - start) / len(texts))
    assert min(times) < 60e-6


@pytest.mark.skipif(not POSTS.exists(), reason="shared data set stockemotions_2020 is missing")
def test_labelled_posts_are_told_apart_better_than_by_plain_vader():
    from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

    posts = pd.read_parquet(POSTS)
    posts = posts[posts["split"] != "train"]  # the terms were judged on the train split
    bullish = (posts["senti_label"] == "bullish").to_numpy()
    vader = SentimentIntensityAnalyzer()
    ours = balanced_accuracy([sentiment(t) for t in posts["original"]], bullish)
    plain = balanced_accuracy(
        [vader.polarity_scores(t)["compound"] for t in posts["original"]], bullish
    )
    assert ours > 0.60
    assert ours > plain + 0.05


@pytest.mark.skipif(not TWEETS.exists(), reason="shared data set stocknet_2014_2016 is missing")
def test_most_finance_tweets_are_scored_and_the_rest_are_zero_not_noise():
    tweets = pd.read_parquet(TWEETS, columns=["text"])["text"][::40]
    scores = np.array([sentiment(t) for t in tweets])
    assert np.isfinite(scores).all()
    assert 0.4 < np.mean(scores != 0) < 0.9


def balanced_accuracy(scores, positive):
    """Mean of both classes' hit rates; a score of 0 counts as half a hit."""
    scores = np.asarray(scores)
    hit = np.where(positive, scores > 0, scores < 0) + 0.5 * (scores == 0)
    return (hit[positive].mean() + hit[~positive].mean()) / 2
