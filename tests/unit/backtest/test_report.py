import base64
import gzip
import json
import re
import time
from dataclasses import replace
from html.parser import HTMLParser

import msgspec
import numpy as np
import pytest
from rich.console import Console

from agents.messages import ROUTES
from agents.supervisor.reward import route_reward
from backtest.report.charts import charts
from backtest.report.headlines import headlines, verdict
from backtest.report.page import write_report
from backtest.report.printed_table import print_table
from backtest.report.routes import mean_interval, regret_words, route_log
from backtest.results import Calls, RoleCalls
from backtest.statistics import tallies
from backtest.statistics.mask_comparison import compare_masking
from backtest.statistics.summary import results_json, summarise
from config.settings import SupervisorSettings
from tests.unit.backtest.synthetic_run import synthetic_run


@pytest.fixture(scope="module")
def run():
    return synthetic_run(sessions=400)


@pytest.fixture(scope="module")
def summary(run):
    return summarise(run, seed=1)


def written(result, summary, folder):
    path = folder / "report.html"
    write_report(result, summary, path)
    return path.read_text(encoding="utf-8")


def body_of(page):
    """Return what stands between <main> and </main>."""
    return page[page.index("<main>") : page.index("</main>")]


def test_the_report_is_the_same_bytes_twice_and_leaves_nothing_else(run, summary, tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    assert written(run, summary, one) == written(run, summary, two)
    assert [p.name for p in one.iterdir()] == ["report.html"]
    assert str(tmp_path) not in (one / "report.html").read_text(encoding="utf-8")


def test_notes_come_before_everything_else(run, summary, tmp_path):
    page = body_of(written(run, summary, tmp_path))
    assert page.index("baseline allocator, untrained") < page.index("<h1>")
    for fact in (run.run_id, "abababababababab", "2015-01-01", "rules", "synthetic"):
        assert page.index(fact) < page.index("Figures per book")


def test_the_page_fetches_nothing(run, summary, tmp_path):
    page = written(run, summary, tmp_path)
    assert page.count('id="plotly"') == 1
    assert not re.search(r"<(script|link|img|iframe)[^>]*\s(src|href)=", page)
    assert "default-src 'none'" in page


def test_every_plot_has_its_own_element_and_a_sentence_on_how_to_read_it(run, summary, tmp_path):
    page = body_of(written(run, summary, tmp_path))
    for plot in charts(run):
        assert page.count(f'id="plot-{plot.name}"') == 1
        assert len(plot.caption) > 40
    assert page.count("<figcaption>") == len(charts(run)) == 8


def test_plot_specifications_hold_no_nan_and_stay_inside_their_script(run, summary, tmp_path):
    page = written(run, summary, tmp_path)
    text = re.search(r'<script type="application/json" id="charts">(.*?)</script>', page)[1]
    specs = json.loads(text, parse_constant=lambda c: pytest.fail(c))
    assert [s["name"] for s in specs["charts"]] == [c.name for c in charts(run)]


def test_text_from_outside_cannot_become_markup(tmp_path):
    hostile = "<script>alert(1)</script><img src=x onerror=alert(2)>"
    result = synthetic_run(sessions=120, rationale=hostile)
    sly = replace(
        result,
        notes=("</ul><b>note</b>",),
        book=replace(result.book, exposures={"</script><b>": result.book.gross}),
    )
    page = written(sly, summarise(sly, seed=0), tmp_path)
    assert "alert(1)" in page
    assert "<script>alert" not in page
    assert "<img" not in body_of(page)
    assert "<b>note" not in page
    assert "</script><b>" not in page


def test_the_names_of_instruments_roles_and_runs_are_escaped(tmp_path):
    hostile = "<script>alert(3)</script>"
    run = synthetic_run(sessions=120)
    outcomes = tuple(msgspec.structs.replace(o, symbol=hostile) for o in run.outcomes[-200:])
    decisions = tuple(
        msgspec.structs.replace(
            d,
            minds=hostile,
            allocation=msgspec.structs.replace(d.allocation, weights={hostile: 0.1}),
        )
        for d in run.decisions
    )
    fills = tuple(msgspec.structs.replace(f, symbol=hostile) for f in run.fills)
    role = RoleCalls(**dict.fromkeys(RoleCalls.__struct_fields__, 1) | {"failures": {hostile: 1}})
    sly = replace(
        run,
        run_id=hostile,
        decisions=decisions,
        outcomes=outcomes,
        fills=fills,
        calls=Calls(rounds=1, max_rounds_of_decision=1, roles={hostile: role}),
    )
    summary = msgspec.structs.replace(
        summarise(sly, seed=0), masking=compare_masking(sly, replace(run, run_id=hostile), 0)
    )
    body = body_of(written(sly, summary, tmp_path))
    assert body.count("&lt;script&gt;alert(3)") >= 7
    assert "<script" not in body


def test_the_page_stays_below_a_megabyte_and_a_half(run, summary, tmp_path):
    written(run, summary, tmp_path)
    assert (tmp_path / "report.html").stat().st_size < 1_500_000


def test_lines_that_share_their_dates_hold_them_once(run, summary, tmp_path):
    page = written(run, summary, tmp_path)
    text = re.search(r'<script type="application/json" id="charts">(.*?)</script>', page)[1]
    data = json.loads(text)
    assert len({tuple(axis) for axis in data["axes"]}) == len(data["axes"])
    for plot, spec in zip(charts(run), data["charts"], strict=True):
        for trace, line in zip(spec["data"], plot.data, strict=True):
            assert data["axes"][trace["x"]] == line["x"]


def test_plots_use_only_what_the_basic_bundle_of_plotly_draws(run):
    assert {trace["type"] for plot in charts(run) for trace in plot.data} == {"scatter", "bar"}


class Balance(HTMLParser):
    void = ("meta", "br", "input")

    def __init__(self):
        super().__init__()
        self.open = []

    def handle_starttag(self, tag, attrs):
        if tag not in self.void:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_markup_is_balanced(run, summary, tmp_path):
    parser = Balance()
    parser.feed(body_of(written(run, summary, tmp_path)) + "</main>")
    assert parser.open == []


def test_a_run_without_decisions_or_baselines_is_reported(run, tmp_path):
    bare = replace(
        run,
        baselines=(),
        variants=(),
        decisions=(),
        verdicts=(),
        orders=(),
        fills=(),
        outcomes=(),
        notes=(),
    )
    page = body_of(written(bare, summarise(bare, seed=0), tmp_path))
    assert "Decisions that mattered" not in page
    assert "probabilistic Sharpe ratio" in page


def test_four_books_of_1800_sessions_are_written_in_three_seconds(tmp_path):
    result = synthetic_run(sessions=1800, gated=False)
    figures = summarise(result, seed=0)
    start = time.process_time()
    write_report(result, figures, tmp_path / "report.html")
    assert time.process_time() - start < 3.0


@pytest.mark.parametrize("width", [80, 100, 120])
def test_the_printed_table_never_cuts_a_figure_short(summary, width):
    console = Console(width=width, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    print_table(summary, console)
    console.file.close()
    text = console.export_text()
    low, high = summary.books[0].figures.sharpe_interval
    assert f"[{low:.2f}, {high:.2f}]" in text
    assert "…" not in text
    for name in ("hierarchy", "buy and hold", "equal weight", "moving average", "same vol."):
        assert name in text
    for name in ("stop off", "limits off", "0.3% a fill", "2% stop", "gated, no stop"):
        assert name in text
    flat = " ".join(text.split())
    for line in headlines(summary):
        assert line in flat
    if width >= 100:
        assert max(map(len, text.splitlines())) <= width


def test_the_verdict_says_when_luck_could_explain_the_result(summary):
    low, high = summary.books[0].figures.sharpe_interval
    assert ("luck alone" in verdict(summary)) == (low <= 0.0 <= high)


def test_hits_are_joined_by_decision_and_symbol(run):
    hits = tallies.hits_by_junior(run)
    outcomes = {(o.decision_id, o.symbol): o.instrument_return for o in run.outcomes}
    expected = [
        o.score * outcomes[d.decision_id, o.symbol] > 0
        for d in run.decisions
        for o in d.opinions
        if o.junior == "news" and o.score
    ]
    _, right, calls = hits["news"]
    assert calls.sum() == len(expected)
    assert right.sum() == sum(expected)
    assert right.sum() / calls.sum() > 0.5


def test_monthly_shares_of_routes_sum_to_one(run):
    months, shares = tallies.routes_by_month(run)
    assert months == sorted(months)
    np.testing.assert_allclose(shares.sum(axis=1), 1.0)


def test_costs_stand_beside_what_the_default_rate_would_charge(run):
    costs = {c.symbol: c for c in tallies.costs_by_symbol(run)}
    # AAPL pays 5 basis points of its own, the default is 30
    assert costs["AAPL"].at_default == pytest.approx(6.0 * costs["AAPL"].paid)
    assert costs["GOOG"].at_default == pytest.approx(costs["GOOG"].paid)
    bare = replace(run, manifest={})
    again = {c.symbol: c for c in tallies.costs_by_symbol(bare)}
    assert again["AAPL"].at_default == pytest.approx(costs["AAPL"].at_default)


def test_decisions_that_mattered_are_sorted_by_effect(run):
    helped, hurt = tallies.weightiest(run, 5)
    effects = [c.effect for c in helped]
    assert effects == sorted(effects, reverse=True)
    assert min(effects) > 0.0
    assert [c.effect for c in hurt] == sorted(c.effect for c in hurt)
    assert max(c.effect for c in hurt) < 0.0


def test_the_routes_section_says_what_each_route_earned_and_cost(run, summary, tmp_path):
    page = body_of(written(run, summary, tmp_path))
    section = page[page.index("<h2>Routes</h2>") :]
    section = section[: section.index("</section>")]
    for names in ROUTES:
        assert f">{' + '.join(names)}</th>" in section
    assert section.count("<tr") == 1 + len(ROUTES) + 1
    assert "Regret cannot be measured in one run" in section
    assert "quarterdeck bench supervisor" in section


def test_routes_are_paid_as_the_supervisor_was_and_cost_what_they_used(run):
    first = run.decisions[0]
    symbol = first.opinions[0].symbol
    arm = next(r.arm for r in first.routes if r.symbol == symbol)
    slow = [
        msgspec.structs.replace(o, tokens=500, latency_ns=2_000_000_000)
        if o.symbol == symbol
        else o
        for o in first.opinions
    ]
    spent = replace(
        run,
        decisions=(msgspec.structs.replace(first, opinions=tuple(slow)), *run.decisions[1:]),
    )
    before, after = route_log(run), route_log(spent)
    assert len(before.arm) == len(run.outcomes)
    assert after.earned.tolist() == before.earned.tolist()
    asked = sum(o.symbol == symbol for o in first.opinions)
    changed = after.cost - before.cost
    assert np.count_nonzero(changed) == 1
    assert changed.max() == pytest.approx(0.002 * asked * 0.5 + 0.001 * 2.0)
    assert after.tokens.max() == 500 * asked
    key = (first.decision_id, symbol)
    outcome = next(o for o in run.outcomes if (o.decision_id, o.symbol) == key)
    assert outcome.arm == arm
    prices = SupervisorSettings()
    assert route_reward(outcome, 0, 0.0, prices) in before.reward.tolist()


def test_the_bound_of_regret_is_what_the_learner_hoped_for_less_what_it_got(run):
    def hoping(score):
        return replace(
            run,
            decisions=tuple(
                msgspec.structs.replace(
                    d,
                    routes=tuple(
                        msgspec.structs.replace(r, scores=(0.0,) * 6 + (score,)) for r in d.routes
                    ),
                )
                for d in run.decisions
            ),
        )

    log = route_log(hoping(5.0))
    gap = 5.0 * len(run.outcomes) - float(log.reward.sum())
    assert f"lost at most {gap:,.1f} reward units" in regret_words(log)
    assert "bound nothing" in regret_words(route_log(hoping(0.001)))
    nothing = replace(hoping(5.0), outcomes=())
    assert "lost at most" not in regret_words(route_log(nothing))


def test_a_mean_over_few_sessions_has_no_interval_and_others_hold_their_mean():
    ts, values = np.repeat(np.arange(60), 3), np.random.default_rng(0).normal(1.0, 1.0, 180)
    assert mean_interval(ts[:30], values[:30]) is None
    low, high = mean_interval(ts, values)
    assert low < values.mean() < high
    assert high - low < 1.0


def test_the_first_screen_says_what_the_gate_costs_and_what_the_minds_add(run, summary, tmp_path):
    page = body_of(written(run, summary, tmp_path))
    cards = page.index('<div class="cards">')
    for words in ("What the gate costs:", "What the minds add to holding:"):
        assert page.index(words) < cards
    gate, minds, expired, capacity = headlines(summary)
    stop_off = summary.books[1].figures
    assert f"without the stop the same decisions return {stop_off.total_return:+.1%}" in gate
    assert f"Sharpe {stop_off.sharpe:.2f}" in gate
    assert f"{summary.minds_add[1].figures.mean:+.1%} a year" in minds
    assert minds.count("[") == gate.count("[") == 2
    assert expired == "3 decisions expired before they could be traded."
    assert capacity == "Orders reach 10% of mean daily volume at about $1.2 million of equity."


def test_the_capacity_of_an_account_in_rupees_is_in_rupees(run, tmp_path):
    shown = summarise(replace(run, currency="INR"), seed=0)
    assert headlines(shown)[-1] == (
        "Orders reach 10% of mean daily volume at about INR 1.2 million of equity."
    )
    found = results_json(shown)
    assert (found["capacity_usd"], found["account"]["currency"]) == (None, "INR")
    assert "account" not in results_json(summarise(run, seed=0))
    assert "$1" not in body_of(written(run, shown, tmp_path))


def test_a_run_without_orders_says_why_first(run, tmp_path):
    why = "no order was sent: 52 sessions of history, 60 are needed"
    idle = replace(run, no_orders=why, capacity=None, expired_decisions=0)
    shown = summarise(idle, seed=0)
    page = body_of(written(idle, shown, tmp_path))
    assert page.index(why) < page.index("baseline allocator, untrained")
    assert len(headlines(shown)) == 2


def test_nothing_is_said_of_a_gate_that_was_not_lifted(run):
    bare = summarise(replace(run, variants=(), baselines=(), capacity=None), seed=0)
    assert headlines(bare) == ["3 decisions expired before they could be traded."]


def test_a_book_that_was_never_invested_is_not_given_a_verdict(run):
    n = len(run.book.ts)
    idle = replace(
        run.book, equity=np.full(n, 1e5), gross=np.zeros(n), turnover=np.zeros(n), trades=()
    )
    said = verdict(summarise(replace(run, book=idle), seed=0))
    assert "It has no Sharpe ratio: never invested." in said


def test_the_page_holds_plotly_packed_and_whole(run, summary, tmp_path):
    page = written(run, summary, tmp_path)
    packed = re.search(r'<script type="application/gzip" id="plotly">([^<]*)</script>', page)
    script = gzip.decompress(base64.b64decode(packed[1])).decode()
    assert script.count("plotly.js (basic - minified) v") == 1
    assert len(page) < 1_000_000


def test_a_groups_name_is_text_in_the_plots_too(run, summary, tmp_path):
    named = '<a href="https://evil.example/">click</a>'
    exposures = {named: np.zeros(len(run.book.ts))} | run.book.exposures
    page = written(replace(run, book=replace(run.book, exposures=exposures)), summary, tmp_path)
    held = json.loads(re.search(r'id="charts">(.*?)</script>', page, re.S)[1])
    names = [trace["name"] for chart in held["charts"] for trace in chart["data"]]
    assert any("&lt;a href" in name for name in names)
    assert not any("<" in name for name in names)
