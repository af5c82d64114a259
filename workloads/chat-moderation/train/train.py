"""Trains the model of chat-moderation and says how good it is.

    python train.py DATA/chat/conda_train.csv            writes ../data/model.txt, prints F1 by cross-validation
    python train.py DATA/chat/conda_train.csv --check    judges the same rows with the Rust rules, expects the same margins

What a text looks like to the rules is told by `cargo run --example features`: this script normalises nothing itself.
A row of the CSV is conversation, utterance, intent (E, I, A, O). Folds never split a conversation. Rows that are judged
have had no part in anything: the thresholds of a fold come from folds within the rows that it learns from. Only n-grams that
occur in several rows become features, so the model holds no text of the data beyond fragments.
"""

import argparse
import csv
import functools
import pathlib
import subprocess

import numpy as np
from scipy import sparse
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_union
from sklearn.svm import LinearSVC

HERE = pathlib.Path(__file__).resolve().parent
CLASSES = "EIA"  # The lanes; each is one class against the rest.
LISTS = ["slur", "insult", "profanity", "sexual", "threat", "taunt", "action"]
GRAMS = range(3, 5)  # Symbols of a character n-gram. Shorter and longer ones gain nothing, nor do pairs of words.
WORD_MAX = 18  # Symbols of a word that is a feature itself, with its boundaries.
LENGTHS = [0, 1, 2, 3, 4, 6, 8, 12, 16, 24]  # A text with more different words than one of these.
ROWS_MIN = 6  # Rows that a feature occurs in, at least.
STRENGTH = 0.1  # Inverse strength of the regularisation: the best of 0.05 to 0.2 by cross-validation.
ROWS_KNOWN_MIN = 3  # Rows that a word occurs in which is looked up rather than walked.
PRUNED = 4  # An n-gram that weighs at most so much in each lane weighs nothing, which makes the automaton smaller.
SCALE = 64  # Steps of a weight in a unit of log-odds.
MARGIN_MAX = 1024  # Range of the calibration, in steps.
CALIBRATION_STEPS = 64
FOLDS = 5
FOLDS_INNER = 4
PART = 128  # Symbols of a text that is judged as a whole, at least.


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("csv")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--dry-run", action="store_true", help="cross-validation only")
    arguments = parser.parse_args()
    texts, intents, conversations = load(arguments.csv)
    if arguments.check:
        check(texts, intents)
        return
    parsed = features(texts)
    vocabulary, *readings = matrices(parsed)
    margins, decided, scores = np.zeros((len(texts), len(CLASSES))), np.empty(len(texts), dtype="<U1"), []
    for learn, judge in GroupKFold(FOLDS).split(texts, intents, conversations):
        within = [reading[learn] for reading in readings]
        offsets = thresholds(unseen(within, intents[learn], conversations[learn], FOLDS_INNER), intents[learn])
        margins[judge] = both(*(reading[judge] for reading in readings), *fit(within[0], intents[learn]))
        decided[judge] = decide(margins[judge] + offsets)
        scores.append([f1(decided[judge], intents[judge], intent) for intent in CLASSES])
    report("model, cross-validated", decided, intents)
    for intent, folds in zip(CLASSES, np.array(scores).T):
        print(f"  {intent} by fold: {folds.mean():.4f}, standard deviation {folds.std(ddof=1):.4f}", np.round(folds, 3))
    report("linear SVM, same folds", baseline(texts, intents, GroupKFold(FOLDS).split(texts, intents, conversations)), intents)
    fixed(texts, readings, intents, conversations)
    offsets = thresholds(margins, intents)
    table = calibrate(margins + offsets, intents)
    if not arguments.dry_run:
        weights, bias = fit(readings[0], intents)
        frequency = np.asarray(readings[0].sum(axis=0)).ravel()
        write(vocabulary, weights, bias + offsets, table, frequency, known(parsed))


def fixed(texts, readings, intents, conversations):
    """One split that everybody can repeat: the first three quarters of the rows are learned from, the last is judged."""
    learn, judge = np.split(np.arange(len(intents)), [len(intents) * 3 // 4])
    within = [reading[learn] for reading in readings]
    offsets = thresholds(unseen(within, intents[learn], conversations[learn], FOLDS_INNER), intents[learn])
    margins = both(*(reading[judge] for reading in readings), *fit(within[0], intents[learn]))
    report("model, fixed split", decide(margins + offsets), intents[judge])
    report("linear SVM, fixed split", baseline(texts, intents, [(learn, judge)])[judge], intents[judge])


def load(path):
    with open(path, encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))[1:]
    column = lambda index: np.array([row[index] for row in rows])
    return [" ".join(row[1].split("\n")) for row in rows], column(2), column(0)


def features(texts):
    """For each text: symbols and hits by list, once as it stands and once more if a disguise was seen through."""
    lines = rust("features", texts)
    parsed = []
    for line in lines:
        parts = line.split("\t")
        pairs = [(parts[i], [int(n) for n in parts[i + 1].split()]) for i in range(0, len(parts), 2)]
        parsed.append(pairs)
    return parsed


def rust(mode, texts):
    command = ["cargo", "run", "--quiet", "--release", "--locked", "-p", "selvedge-chat-moderation", "--example", "features", mode]
    done = subprocess.run(command, input="\n".join(texts) + "\n", capture_output=True, encoding="utf-8", cwd=HERE)
    lines = done.stdout.split("\n")[:-1]
    assert done.returncode == 0 and len(lines) == len(texts), done.stderr
    return lines


@functools.cache
def spared():
    """Beginnings of words that weigh nothing: innocent ones, and names of people."""
    return ["_" + word[1:] for word in (HERE.parent / "data/lists.txt").read_text().split() if word[0] in "!~"]


@functools.cache
def pieces(word):
    """Character n-grams of a word with its boundaries, and the word itself. What lies within a spared beginning is none."""
    from_here = max((len(beginning) for beginning in spared() if word.startswith(beginning)), default=0)
    found = [word[at : at + n] for n in GRAMS for at in range(len(word) - n + 1) if at + n > from_here]
    return found + [word] * (GRAMS.stop <= len(word) <= WORD_MAX and not from_here)


def words(symbols):
    """The different ones, in order, with their boundaries."""
    return [f"_{word}_" for word in dict.fromkeys(symbols.split("_")) if word]


def grams(symbols):
    return [piece for word in words(symbols) for piece in pieces(word)]


def matrices(rows):
    """The names of all features, and their counts: in the texts as they stand, and as they are behind a disguise."""
    counter = CountVectorizer(analyzer=grams, min_df=ROWS_MIN, dtype=np.float64)
    counter.fit([row[0][0] for row in rows])
    names = list(counter.get_feature_names_out()) + ["@" + name for name in LISTS] + [f"@words>{n}" for n in LENGTHS]
    return names, *(matrix(counter, [row[which] for row in rows]) for which in (0, -1))


def known(rows):
    """Words that are common enough to be looked up, whether they weigh anything by themselves or not."""
    counter = CountVectorizer(analyzer=lambda row: words(row[0][0]), min_df=ROWS_KNOWN_MIN).fit(rows)
    return [word for word in counter.get_feature_names_out() if len(word) <= WORD_MAX]


def matrix(counter, readings):
    hits = np.array([hits for _, hits in readings], dtype=float)
    lengths = np.array([[len(words(symbols)) > n for n in LENGTHS] for symbols, _ in readings], dtype=float)
    return sparse.csr_matrix(sparse.hstack([counter.transform([symbols for symbols, _ in readings]), hits, lengths]))


def fit(counts, intents):
    """A logistic regression for each class against the rest; weights and bias in whole steps."""
    model = LogisticRegression(C=STRENGTH, solver="liblinear", intercept_scaling=5, max_iter=200)
    fitted = [model.fit(counts, intents == intent) and (model.coef_[0], model.intercept_[0]) for intent in CLASSES]
    weights, bias = (np.round(SCALE * np.array(part)) for part in zip(*fitted))
    grams = weights[:, : -len(LISTS) - len(LENGTHS)]
    grams[:, np.abs(grams).max(axis=0) <= PRUNED] = 0
    return weights, bias


def both(plain, folded, weights, bias):
    """Margins; those behind a disguise count where they are worse, as in `rules.rs`."""
    return np.maximum(plain @ weights.T, folded @ weights.T) + bias


def unseen(readings, intents, conversations, folds):
    """The margins of rows by models that have not seen them."""
    margins = np.zeros((len(intents), len(CLASSES)))
    for learn, judge in GroupKFold(folds).split(intents, intents, conversations):
        margins[judge] = both(*(reading[judge] for reading in readings), *fit(readings[0][learn], intents[learn]))
    return margins


def decide(margins):
    """Explicit before anything else, as in `rules.rs`."""
    other = np.where(margins[:, 1:].max(axis=1) > 0, np.array(["I", "A"])[margins[:, 1:].argmax(axis=1)], "O")
    return np.where(margins[:, 0] > 0, "E", other)


def f1(decided, intents, intent):
    hit = np.sum((decided == intent) & (intents == intent))
    return 2 * hit / (np.sum(decided == intent) + np.sum(intents == intent))


def thresholds(margins, intents):
    """Offsets of the three margins for the best F1 on rows that the margins' models have not seen: explicit by itself, as it is
    decided first, then the others in turn for the sum of theirs."""
    offsets = np.zeros(3)
    for lane, judged in [(0, "E"), (1, "IA"), (2, "IA"), (1, "IA"), (2, "IA")]:
        tries = [offsets + np.eye(3)[lane] * step for step in range(-64, 65, 4)]
        scores = [sum(f1(decide(margins + o), intents, intent) for intent in judged) for o in tries]
        # The middle of what is nearly best, rather than a peak of these rows.
        offsets = np.mean([o for o, s in zip(tries, scores) if s > max(scores) - 0.001], axis=0)
    return np.round(offsets)


def calibrate(margins, intents):
    """Probability of toxicity at equal steps of the margin of the toxic classes (Platt, 1999)."""
    toxicity = np.maximum(margins[:, 0], margins[:, 1] - np.maximum(margins[:, 2], 0))
    toxic = np.isin(intents, ["E", "I"])
    model = LogisticRegression(C=1e6).fit(np.clip(toxicity, -MARGIN_MAX, MARGIN_MAX)[:, None] / SCALE, toxic)
    points = np.linspace(-MARGIN_MAX, MARGIN_MAX, CALIBRATION_STEPS + 1)[:, None] / SCALE
    for low in np.arange(0, 1, 0.1):
        p = model.predict_proba(np.clip(toxicity, -MARGIN_MAX, MARGIN_MAX)[:, None] / SCALE)[:, 1]
        there = (p >= low) & (p < low + 0.1)
        print(f"score {low:.1f} to {low + 0.1:.1f}: {there.sum():6} rows, {toxic[there].mean():.2f} of them toxic")
    return np.round(1000 * model.predict_proba(points)[:, 1]).astype(int)


def baseline(texts, intents, splits):
    """A linear SVM over character 2- to 5-grams and word 1- and 2-grams."""
    decided = np.empty(len(texts), dtype="<U1")
    for learn, judge in splits:
        common = dict(sublinear_tf=True, min_df=2)
        vectors = make_union(
            TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), **common),
            TfidfVectorizer(ngram_range=(1, 2), token_pattern=r"\S+", **common),
        )
        known = vectors.fit_transform([texts[i] for i in learn])
        decided[judge] = LinearSVC().fit(known, intents[learn]).predict(vectors.transform([texts[i] for i in judge]))
    return decided


def report(name, decided, intents):
    print(f"{name}: F1", ", ".join(f"{intent} {f1(decided, intents, intent):.4f}" for intent in CLASSES), flush=True)


def write(vocabulary, weights, bias, table, frequency, known):
    """The commonest n-grams first: states are numbered in this order, and those that are met often lie together."""
    line = lambda name, numbers: name + " " + " ".join(str(int(n)) for n in numbers)
    named, known = dict(zip(vocabulary, weights.T)), dict.fromkeys(known)
    order = [vocabulary[index] for index in np.argsort(-frequency, kind="stable")]
    lines = [
        "# Written by train/train.py. Weights for explicit, implicit and action, in 64ths of a unit of log-odds.",
        line("@bias", bias),
        *(line(name, named[name]) for name in vocabulary if name.startswith("@")),
        line("@calibration", table),
        *(line(name, named[name]) for name in order if not name.startswith("@") and (named[name].any() or name in known)),
        *(line(name, np.zeros(len(CLASSES))) for name in known if name not in named),
    ]
    (HERE.parent / "data/model.txt").write_text("\n".join(lines) + "\n")
    print(f"{len(lines)} lines written")


def check(texts, intents):
    """Judges with the Rust rules what the weights of model.txt give here."""
    named = {}
    for line in (HERE.parent / "data/model.txt").read_text().splitlines():
        if not line.startswith("#") and not line.startswith("@calibration"):
            name, *numbers = line.split()
            named[name] = np.array([int(n) for n in numbers])
    rows, judged = features(texts), [line.split("\t") for line in rust("judge", texts)]
    wrong = compared = 0
    for row, found in zip(rows, judged):
        (symbols, hits) = row[0]
        # A long text is judged by its worst part.
        if len(symbols) > PART:
            continue
        compared += 1
        expected = named["@bias"] + sum((named[gram] for gram in grams(symbols) if gram in named), np.zeros(3, int))
        expected = expected + sum(n * named["@" + name] for n, name in zip(hits, LISTS))
        expected = expected + sum(named[f"@words>{n}"] for n in LENGTHS if len(words(symbols)) > n)
        wrong += [int(n) for n in found[:3]] != list(expected)
    decided = np.array([{"Explicit": "E", "Implicit": "I", "Action": "A", "Other": "O"}[found[3]] for found in judged])
    report("the Rust rules on the rows that the model learnt from", decided, intents)
    print(f"{wrong} of {compared} rows have other margins in Rust")
    raise SystemExit(wrong > 0)


if __name__ == "__main__":
    main()
