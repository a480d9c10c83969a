"""From what was measured to Markdown: medians, ratios, and whether an aim is reached."""

from statistics import median

NAMES = {"rabbitmq": "RabbitMQ", "relay": "floor"}
NOTHING = "—"


class Results:
    """Every value that was measured, by rounds, and what could not be."""

    def __init__(self):
        self._values = {}
        self._problems = {}

    def add(self, round_, row, broker, figures):
        for key, value in figures.items():
            self._values.setdefault((row, key, broker), {})[round_] = value

    def problem(self, round_, row, broker, text):
        self._problems.setdefault((row, broker, text), []).append(round_)

    def values(self, row, key, broker):
        return list(self._values.get((row, key, broker), {}).values())

    def problems(self):
        """What could not be measured: the row, the broker, and why, with the rounds of which that is true."""
        for (row, broker, text), rounds in self._problems.items():
            yield row, broker, f"{text} (round {', '.join(str(round_ + 1) for round_ in rounds)})"

    def median(self, row, key, broker):
        values = self.values(row, key, broker)
        return median(values) if values else None

    def ratio(self, row, key, broker, to):
        one, other = self.median(row, key, broker), self.median(row, key, to)
        return one / other if one is not None and other else None

    def paired_ratios(self, row, key, broker, to):
        """Of each round its own ratio: what made a round slow made both slow."""
        ones, others = (self._values.get((row, key, name), {}) for name in (broker, to))
        return [one / others[round_] for round_, one in ones.items() if others.get(round_)]

    def reached(self, row, figure):
        """Whether each aim is reached; None when one cannot be told."""
        told = []
        for aim in figure.aims:
            if aim.against is None:
                value = self.median(row, figure.key, "leveret")
            else:
                value = self.ratio(row, figure.key, "leveret", aim.against)
            if value is None:
                told.append(None)
            else:
                told.append(value <= aim.bound if aim.at_most else value >= aim.bound)
        if not told or (None in told and False not in told):
            return None
        return all(told)


def comparison(rows, results):
    lines = _lines(
        ["#", "load", "leveret", "RabbitMQ", "floor", "leveret / RabbitMQ", "leveret / floor", "aim", "reached"],
        "rlrrrrrll",
    )
    for row in rows:
        for number, figure in enumerate(row.figures):
            key, name = figure.key, row.name
            reached = {True: "yes", False: "**no**", None: NOTHING}[results.reached(name, figure)]
            lines.append(
                _line(
                    str(row.number) if number == 0 else "",
                    figure.what,
                    *(_cell(results.values(name, key, b), figure.unit) for b in ("leveret", "rabbitmq", "relay")),
                    *(_number(results.ratio(name, key, "leveret", b)) for b in ("rabbitmq", "relay")),
                    _aims(figure),
                    reached if figure.aims else "",
                )
            )
    return "\n".join(lines)


def short_of_aims(rows, results):
    """What keeps figures from their aims, for those that do not reach them."""
    lines = []
    for row in rows:
        for figure in row.figures:
            if results.reached(row.name, figure) is False:
                why = figure.limit or "why is not known yet."
                lines.append(f"- Row {row.number}, {figure.what}: {why}{_of_the_floor(results, row, figure)}")
    return "\n".join(lines)


def _of_the_floor(results, row, figure):
    """Whether the floor itself would reach what is aimed at."""
    for aim in figure.aims:
        ratio = results.ratio(row.name, figure.key, "relay", aim.against) if aim.against == "rabbitmq" else None
        if ratio is not None:
            return f" The floor has {_number(ratio)} of RabbitMQ's."
    return ""


def paired(rows, results):
    lines = _lines(["#", "load", "old", "new", "new / old, by rounds"], "rlrrr")
    for row in rows:
        for number, figure in enumerate(row.figures):
            old, new = (results.values(row.name, figure.key, b) for b in ("old", "new"))
            ratios = results.paired_ratios(row.name, figure.key, "new", "old")
            cells = _cell(old, figure.unit), _cell(new, figure.unit), _cell(ratios, "")
            lines.append(_line(str(row.number) if number == 0 else "", figure.what, *cells))
    return "\n".join(lines)


def _aims(figure):
    texts = []
    for aim in figure.aims:
        sign = "≤" if aim.at_most else "≥"
        if aim.against is None:
            texts.append(f"{sign} {formatted(aim.bound, figure.unit)}")
        else:
            texts.append(f"{sign} {_number(aim.bound)} × {NAMES[aim.against]}")
    return ", ".join(texts)


def _cell(values, unit):
    if not values:
        return NOTHING
    middle = formatted(median(values), unit)
    least, most = formatted(min(values), unit), formatted(max(values), unit)
    return middle if least == most else f"{middle} ({least} – {most})"


def formatted(value, unit):
    if unit == "octets":
        for size, name in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
            if abs(value) >= size:
                return f"{_number(value / size)} {name}"
        return f"{_number(value)} B"
    separator = "" if unit == "/s" or not unit else " "
    return f"{_number(value)}{separator}{unit}"


def _number(value):
    """Three figures: more would say that a measurement is that exact."""
    if value is None:
        return NOTHING
    if value == 0:
        return "0"
    rounded = float(f"{value:.3g}")
    return f"{rounded:,.0f}" if abs(rounded) >= 100 else f"{rounded:g}"


def _lines(titles, alignment):
    return [_line(*titles), _line(*("---:" if side == "r" else "---" for side in alignment))]


def _line(*cells):
    return f"| {' | '.join(cells)} |"


def self_check():
    """The arithmetic and the rendering, without a broker."""
    from .rows import Aim, Figure, Row

    figure = Figure("rate", "a load", "/s", (Aim(25, "rabbitmq"), Aim(0.3, "relay")))
    memory = Figure("idle", "memory", "octets", (Aim(10 << 20, at_most=True),))
    row = Row(7, "load", (figure, memory), None, (0, 0, 0))
    results = Results()
    measured = ((3_000_000, 100_000, 9_000_000), (3_300_000, 110_000, 9_000_000), (2_900_000, 90_000, 0))
    for round_, rates in enumerate(measured):
        for broker, value in zip(("leveret", "rabbitmq", "relay"), rates):
            results.add(round_, "load", broker, {"rate": value})
    results.add(0, "load", "leveret", {"idle": 14.04 * (1 << 20)})

    assert results.median("load", "rate", "leveret") == 3_000_000
    assert results.ratio("load", "rate", "leveret", "rabbitmq") == 30
    assert results.ratio("load", "idle", "leveret", "rabbitmq") is None
    assert results.paired_ratios("load", "rate", "leveret", "rabbitmq")[:2] == [30, 30]
    assert results.reached("load", figure) is True
    assert results.reached("load", memory) is False
    assert Results().reached("load", figure) is None
    for round_ in range(3, 6):
        results.add(round_, "load", "rabbitmq", {"rate": 1_000_000})
    assert results.reached("load", figure) is False
    stuck = Results()
    for round_, (value, other) in enumerate(((5, 0), (6, 2), (7, 7))):
        stuck.add(round_, "load", "leveret", {"rate": value})
        if round_ != 1:
            stuck.add(round_, "load", "rabbitmq", {"rate": other})
    assert stuck.paired_ratios("load", "rate", "leveret", "rabbitmq") == [1], "a round without one has no ratio"
    stuck.add(2, "load", "rabbitmq", {"rate": 0})
    assert stuck.ratio("load", "rate", "leveret", "rabbitmq") is None, "there is nothing to divide by"
    stuck.problem(0, "load", "relay", "it fell over")
    stuck.problem(2, "load", "relay", "it fell over")
    assert list(stuck.problems()) == [("load", "relay", "it fell over (round 1, 3)")]

    for value, unit, text in (
        (3_123_456, "/s", "3,120,000/s"),
        (99.96, "µs", "100 µs"),
        (0.3049, "", "0.305"),
        (1536, "octets", "1.5 KiB"),
        (-12, "octets", "-12 B"),
        (0, "", "0"),
    ):
        assert formatted(value, unit) == text, (formatted(value, unit), text)

    lines = comparison([row], results).splitlines()
    assert len({line.count("|") for line in lines}) == 1, lines
    assert "| 3,000,000/s (2,900,000/s – 3,300,000/s) |" in lines[2], lines[2]
    assert "≥ 25 × RabbitMQ, ≥ 0.3 × floor" in lines[2], lines[2]
    assert lines[3].startswith("|  | memory | 14 MiB | — | — | — | — | ≤ 10 MiB | **no** |"), lines[3]
    results.add(3, "load", "leveret", {"rate": 3_000_000})
    limited = Row(7, "load", (figure, Figure("idle", "memory", "octets", memory.aims, limit="it is large.")), None, (0, 0, 0))
    assert short_of_aims([limited], results).splitlines() == [
        "- Row 7, a load: why is not known yet. The floor has 16.2 of RabbitMQ's.",
        "- Row 7, memory: it is large.",
    ]
    results.add(0, "load", "old", {"rate": 10})
    results.add(0, "load", "new", {"rate": 11})
    assert "| 10/s | 11/s | 1.1 |" in paired([row], results)
