"""
The finance terms that general word lists misread or lack: words, phrases, directions, quantities.

Valences are on VADER's scale, -4..4. The tables are ours, from market usage and from Loughran and
McDonald 2011 ("When is a liability not a liability?", J. Finance 66), whose point is that words
such as tax, cost, liability, capital and vice are not negative in finance; no entry was copied
from their list. It holds no scoring rule.
"""


def listed(words: str) -> tuple[str, ...]:
    """Return the words of a text."""
    return tuple(words.split())


def _words(table: dict[float, str]) -> dict[str, float]:
    return {word: value for value, words in table.items() for word in words.split()}


# Words on which finance overrides the general lists.
TERMS: dict[str, float] = _words(
    {
        3.0: "bullish skyrocket skyrockets skyrocketed skyrocketing blowout",
        2.4: """soar soars soared soaring surge surges surged surging upgrade upgrades upgraded
            undervalued outperform outperforms outperformed outperforming moon mooning multibagger
            breakout""",
        2.0: """rally rallies rallied rallying jump jumps jumped rebound rebounds rebounded
            rebounding buyback buybacks approval approved approves profitable profitability
            overweight accretive tendies buy buys buying beat beats beating""",
        1.6: """rise rises rose risen rising climb climbs climbed climbing gain gains gained
            gaining recover recovers recovered recovery bull repurchase repurchases boost boosts
            boosted boosting raise raises raised raising exceed exceeds exceeded grow grows grew
            grown growing growth increase increases increased increasing higher awarded wins
            outpace outpaces outpaced uptrend bottomed accelerate accelerates accelerated
            accumulate accumulating uptick upside smash smashes smashed squeeze""",
        1.2: """up long calls green hodl bought tops topped lift lifts lifted hike
            hikes hiked strong stronger expand expands expanded loading loaded cheap bounce bounces
            bounced ath oversold takeover expansion momentum reiterates""",
        0.6: "above high highs merger acquisition acquires dividend dividends record launches",
        -0.5: "below sold overhang uncertain offering offerings soften softens softer",
        -1.2: """cut cuts cutting lower lowers lowered lowering down trim trims trimmed reduce
            reduces reduced bear red resign resigns resigned overbought expensive volatile outage
            outages delay delays delayed pullback retreat retreats retreated slow slows slowed
            slowdown downside ease eases eased tariff tariffs halt halted fine fined drag
            drags dragged soft layoff layoffs rejected rejects rejection warn warns warned""",
        -1.8: """fall falls fell fallen falling drop drops dropped dropping decline declines
            declined declining sell sells selling short shorting shorted puts lawsuit lawsuits
            probe probes probed subpoena recall recalls sue sues sued miss misses missed slide
            slides slid slip slips slipped sink sinks sank sinking weak weaker weakness slash
            slashes slashed underperform underperforms underperformed underperforming underweight
            dilution dilutive writedown impairment shortfall glut correction downtrend warning
            warnings antitrust sanction sanctions loss losses bubble overpriced""",
        -2.4: """plunge plunges plunged plunging plummet plummets plummeted plummeting tumble
            tumbles tumbled tumbling slump slumps slumped slumping selloff downgrade downgrades
            downgraded overvalued recession breach hack hacked breakdown dump dumps dumped dumping
            bagholder bagholders default defaults defaulted delist delisted delisting tank tanks
            tanked tanking misstated misstates misstatement restatement""",
        -3.0: "bearish bankrupt bankruptcy insolvency insolvent fraud crash crashes crashed "
        "crashing crater craters cratered worthless scam ponzi",
        0.0: """tax taxes taxed cost costs capital board liability liabilities foreign vice gross
            crude shares stock stocks depreciation amortization debt debts option options
            interest trust fed cancer tumor mine mining demand demanding expense expenses share
            shareholder shareholders security securities equity bond bonds yield yields treasury
            reserve reserves volume active alert alerts watch watches consensus estimate estimates
            target targets outlook forecast forecasts guidance revenue revenues sales eps profit
            profits earnings margin margins price prices market markets trade trades trading trader
            traders close closed opening open put call calling hold holding holds no please well
            like just play playing straddle strangle exposure leverage material change energy
            hedge hedges cash credit value values bill bills bank banks block blocks
            bulls bears shorts top dip dips resistance right off end hit save full split wake
            lol lmao wow luck most least help action head question sure yes yeah meeting
            answer answers party parties worth fun funny""",
    }
)

# Phrases, longest first within a head when looked up. A value of 0 makes the words say nothing.
PHRASES: dict[str, float] = {
    **dict.fromkeys(
        """better than expected|above expectations|beats expectations|strong buy|all time high
        |all time highs|record high|record highs|new high|new highs|52 week high|golden cross
        |short squeeze|higher high|double upgrade|price target raised|pt raised|raises pt
        |initiated buy|to the moon|record profit|record revenue|record sales|swings to profit
        |swing to profit|swung to profit|diamond hands|fda approval""".replace("\n", "").split(
            "|"
        ),
        2.6,
    ),
    **dict.fromkeys(
        """buy the dip|buying the dip|bought the dip|buy rating|buy opportunity
        |buying opportunity|go long|going long|stock split|wins contract|special dividend
        |bear trap|rate cut|rate cuts|tax cut|tax cuts|break out|breaking out|breaks out|broke out
        |in the green|cup and handle|higher lows|bull flag|can't wait|cant wait|cannot wait
        |sold out|no brainer|price target increased|load up|bottom is in""".replace(
            "\n", ""
        ).split("|"),
        1.8,
    ),
    **dict.fromkeys(
        """worse than expected|below expectations|lower than expected|less than expected
        |misses expectations|going concern|chapter 11|death cross|all time low|record low|new low
        |new lows|52 week low|strong sell|dead cat|profit warning|class action|price target cut
        |price target lowered|pt lowered|pt cut|cuts pt|lowers pt|sell off|sells off|selling off
        |sold off|record loss|swings to loss|swing to loss|swung to loss|accounting irregularities
        |stops trading|ponzi scheme|data breach|pump and dump|head and shoulders|bag holder
        |bag holders|stay away|short of""".replace("\n", "").split("|"),
        -2.6,
    ),
    **dict.fromkeys(
        """bull trap|job cuts|rate hike|rate hikes|price cut|price cuts|steps down|step down
        |go short|going short|sell rating|in the red|gap down|lower lows|lower highs|bear flag
        |double top|break down|breaking down|breaks down|broke down|tax hike|guides lower
        |trade war|secondary offering|share offering|insider selling|get out|puts printing
        |falling knife|top is in|red flag|red flags""".replace("\n", "").split("|"),
        -1.8,
    ),
    **dict.fromkeys(
        """not only|no doubt|never been|no wonder|why not|long term|long run|long time|short term
        |long way|as long as|stop loss|cash flow|call option|put option|short interest|short float
        |united states|treasury yield|trust me|looks like|feels like|look like|look forward
        |top stocks|top stock|end up|set up|signed up|sign up|follow up|up to|back up|wake up
        |shut up|catch up|come up|coming up|showed up|give up|gave up|calm down|hedge fund
        |hedge funds|conference call|earnings call|free trial|of course|no idea|at least|at most
        |sit down|year high low|high school|high low|buy or sell|buys or sells|buy sell
        |long or short|long short|high frequency|call it|call me|low float|lower case|more than
        |less than|bull market|win win""".replace("\n", "").split("|"),
        0.0,
    ),
}

# Words that move a quantity up (1) or down (-1).
DIRECTIONS: dict[str, int] = {
    **dict.fromkeys(
        listed(
            """rise rises rose risen rising raise raises raised raising increase increases
            increased increasing grow grows grew grown growing growth gain gains gained climb
            climbs climbed jump jumps jumped surge surges surged surging soar soars soared
            soaring boost boosts boosted boosting lift lifts lifted hike hikes hiked hiking up
            higher widen widens widened widening wider expand expands expanded expanding top
            tops topped beat beats beating exceed exceeds exceeded above accelerate accelerates
            accelerated strong stronger rebound rebounds rebounded rally rallies rallied mount
            mounts mounting swell swells swelled double doubles doubled triple triples tripled
            better record robust high"""
        ),
        1,
    ),
    **dict.fromkeys(
        listed(
            """fall falls fell fallen falling drop drops dropped dropping decline declines
            declined declining decrease decreases decreased decreasing cut cuts cutting lower
            lowers lowered lowering slash slashes slashed trim trims trimmed reduce reduces
            reduced reducing sink sinks sank sinking slide slides slid slip slips slipped slump
            slumps slumped tumble tumbles tumbled plunge plunges plunged plummet plummets
            plummeted shrink shrinks shrank shrinking narrow narrows narrowed narrowing narrower
            ease eases eased easing down miss misses missed below weak weaker weakens weakened
            halve halves halved suspend suspends suspended slow slows slowed slowing lost loses
            disappoint disappoints disappointing dips dipped worse poor soft fade fades faded
            low"""
        ),
        -1,
    ),
}

# Quantities of which more is good (1) or bad (-1).
QUANTITIES: dict[str, int] = {
    **dict.fromkeys(
        listed(
            """guidance outlook forecast forecasts estimate estimates expectations expectation
            consensus street views view dividend dividends target targets pt revenue revenues
            sales eps profit profits earnings income margin margins price prices share shares
            stock stocks demand shipments deliveries orders bookings subscribers users traffic
            backlog growth output production rating ratings confidence stake results quarter
            futures"""
        ),
        1,
    ),
    **dict.fromkeys(
        listed(
            """cost costs debt debts loss losses expense expenses unemployment deficit deficits
            delinquencies delinquency charges risk risks fear fears tension tensions worries
            concerns tax taxes tariff tariffs inflation churn inventories jobless claims
            leverage burn provisions defaults writedowns shorts resistance competition fees"""
        ),
        -1,
    ),
}

EMOJI: dict[str, float] = {
    **dict.fromkeys("🚀📈🐂", 2.4),
    **dict.fromkeys("💎🤑💰💵🎉🥳💪🔥👍🏆🍾🌝🌕", 1.2),
    **dict.fromkeys("😎🤩😍🙌🎯✅🍻", 0.8),
    **dict.fromkeys("📉🐻", -2.4),
    **dict.fromkeys("💩👎🤮🩸🤡💀", -1.4),
    **dict.fromkeys("😱😭😡🤬😢😞🤦🚨❌", -0.9),
}
