"""Exercises in filling in forms and reading the documentation of functions."""

from replication.collect.benchmarks.suite.words import NOUNS, PARAMETERS, VERBS, Lexicon
from replication.collect.training.exercises.parts import Turns, exchange, question_turns


def _manual(w: Lexicon) -> list[str]:
    names = [f"{verb}_{noun}" for verb, noun in w.sample([(v, n) for v in VERBS for n in NOUNS], w.integer(2, 5))]
    return [f"{n} {' '.join(w.sample(list(PARAMETERS), w.integer(1, 3)))}" for n in names]


def documentation(w: Lexicon) -> Turns:
    """Answer questions about the documentation of functions; none is called."""
    lines = _manual(w)
    pairs = []
    for line in w.sample(lines, w.integer(1, 4)):
        name, *parameters = line.split()
        verb, noun = name.split("_")
        pairs.append(
            w.choice(
                (
                    (w.choice((f"what does {name} take", f"what is needed to {verb} a {noun}")), " ".join(parameters)),
                    (f"which one can {verb} a {noun}", name),
                    (f"line of the one that can {verb} a {noun}", line),
                )
            )
        )
    if w.bernoulli(0.4):
        verb, noun = w.choice(VERBS), w.choice(NOUNS)
        exists = f"{verb}_{noun}" in [line.split()[0] for line in lines]
        pairs.append((f"which one can {verb} a {noun}", f"{verb}_{noun}" if exists else "none"))
    return question_turns(w, "\n".join(lines), pairs)


def fill(w: Lexicon) -> Turns:
    """Fill a form in with named values that come in another order."""
    kinds = w.sample(list(PARAMETERS.items()), w.integer(1, 4))
    values = {p: str(w.value(k)) for p, k in kinds}
    style = w.choice(("{0} {1}", "{0} is {1}", "{1} as {0}"))
    given = w.choice((", ", " and ")).join(style.format(p, values[p]) for p in w.sample(list(values), len(values)))
    fields = list(values)
    if w.bernoulli(0.2):
        missing = w.choice([p for p in PARAMETERS if p not in values])
        fields.insert(w.integer(0, len(fields)), missing)
        return exchange(f"fill {' '.join(fields)}\n{given}", f"missing {missing}")
    return exchange(f"fill {' '.join(fields)}\n{given}", " ".join(values[p] for p in fields))
