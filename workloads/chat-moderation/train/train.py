"""Trains the model of chat-moderation and says how good it is.

    python train.py DATA/chat/conda_train.csv            writes ../data/model.txt, prints F1 by cross-validation
    python train.py DATA/chat/conda_train.csv --check    judges the same rows with the Rust rules, expects the same margins

What a text looks like to the rules is told by `cargo run --example features`: this script normalises nothing itself.
A row of the CSV is conversation, utterance, intent (E, I, A, O). Folds never split a conversation. Only n-grams that
occur in several rows become features, so the model holds no text of the data beyond fragments.
"""

import argparse
import csv
import pathlib
import subprocess

import numpy as np
from scipy import optimize, sparse
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_union
from sklearn.svm import LinearSVC

HERE = pathlib.Path(__file__).resolve().parent
CLASSES = "EIA"  # The lanes; O is what they are measured against.
LISTS = ["slur", "insult", "profanity", "sexual", "threat", "taunt", "action"]
CLASSES_ALL = 1 + len(CLASSES)
GRAM_MAX = 3  # Symbols of a character n-gram. Four and five gain nothing and do not fit into 16,384 states.
WORDS_MAX = 20  # Symbols of a word or of a pair of words that is longer than that.
ROWS_MIN = 6  # Rows that a feature occurs in, at least.
STRENGTH = 0.1  # Inverse strength of the regularisation: the best of 0.05 to 1.5 by cross-validation.
SCALE = 64  # Steps of a weight in a unit of log-odds.
MARGIN_MAX = 1024  # Range of the calibration, in steps.
CALIBRATION_STEPS = 64
FOLDS = 5
SUM_MIN = 128  # Symbols of a text that is judged as a whole, at least.


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
    vocabulary, counts, folded = matrices(features(texts))
    margins = np.zeros((len(texts), len(CLASSES)))
    for learn, judge in GroupKFold(FOLDS).split(texts, intents, conversations):
        margins[judge] = both(counts[judge], folded[judge], *fit(counts[learn], intents[learn]))
    offsets = thresholds(margins, intents)
    report("model, cross-validated", decide(margins + offsets), intents)
    report("linear SVM, same folds", baseline(texts, intents, conversations), intents)
    table = calibrate(margins + offsets, intents)
    if not arguments.dry_run:
        weights, bias = fit(counts, intents)
        frequency = np.asarray(counts.sum(axis=0)).ravel()
        write(vocabulary, weights, bias + offsets, table, frequency)


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


def grams(symbols):
    """Character n-grams, and longer words and pairs of words, all as pieces of the symbols with their boundaries."""
    pieces = [symbols[at : at + n] for n in range(1, GRAM_MAX + 1) for at in range(len(symbols) - n + 1)]
    edges = [at for at, symbol in enumerate(symbols) if symbol == "_"]
    for words in (1, 2):
        for first, last in zip(edges, edges[words:]):
            if GRAM_MAX < last - first + 1 <= WORDS_MAX:
                pieces.append(symbols[first : last + 1])
    # The first boundary is where the automaton begins: by itself it is not counted.
    return [piece for piece in pieces if piece != "_"]


def matrices(rows):
    counter = CountVectorizer(analyzer=grams, min_df=ROWS_MIN, dtype=np.float32)
    plain = counter.fit_transform([row[0][0] for row in rows])
    vocabulary = list(counter.get_feature_names_out()) + ["@" + name for name in LISTS]
    hits = lambda index: sparse.csr_matrix(np.array([row[index][1] for row in rows], dtype=np.float32))
    counts = sparse.csr_matrix(sparse.hstack([plain, hits(0)]))
    seen = counter.transform([row[-1][0] for row in rows])
    return vocabulary, counts, sparse.csr_matrix(sparse.hstack([seen, hits(-1)]))


def fit(counts, intents):
    """Multinomial logistic regression; weights and bias of each lane over O, in whole steps."""
    counts = sparse.csr_matrix(counts, dtype=np.float64)
    transposed = counts.T.tocsr()
    size = counts.shape[1] * CLASSES_ALL
    truth = np.array([("O" + CLASSES).index(intent) for intent in intents])
    ideal = np.eye(CLASSES_ALL)[truth]

    def loss(parameters):
        weights, bias = parameters[:size].reshape(-1, CLASSES_ALL), parameters[size:]
        odds = counts @ weights + bias
        odds -= odds.max(axis=1, keepdims=True)
        total = np.exp(odds).sum(axis=1, keepdims=True)
        value = STRENGTH * (np.log(total[:, 0]) - odds[np.arange(len(truth)), truth]).sum() + 0.5 * (weights**2).sum()
        rest = STRENGTH * (np.exp(odds) / total - ideal)
        return value, np.concatenate([(transposed @ rest + weights).ravel(), rest.sum(axis=0)])

    start = np.zeros(size + CLASSES_ALL)
    found = optimize.minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 200}).x
    weights, bias = found[:size].reshape(-1, CLASSES_ALL), found[size:]
    return np.round(SCALE * (weights[:, 1:] - weights[:, :1]).T), np.round(SCALE * (bias[1:] - bias[0]))


def both(counts, folded, weights, bias):
    """Margins; those behind a disguise count where they are worse, as in `rules.rs`."""
    return np.maximum(counts @ weights.T, folded @ weights.T) + bias


def decide(margins):
    best = margins.argmax(axis=1)
    return np.where(margins.max(axis=1) > 0, np.array(list(CLASSES))[best], "O")


def f1(decided, intents, intent):
    hit = np.sum((decided == intent) & (intents == intent))
    return 2 * hit / (np.sum(decided == intent) + np.sum(intents == intent))


def thresholds(margins, intents):
    """Offsets of the three margins, by coordinate ascent on the mean F1 of the rows that each fold did not learn from."""
    offsets = np.zeros(3)
    score = lambda offsets: sum(f1(decide(margins + offsets), intents, intent) for intent in CLASSES)
    for _ in range(2):
        for lane in range(3):
            tries = [offsets + np.eye(3)[lane] * step for step in range(-48, 49, 4)]
            scores = [score(offsets) for offsets in tries]
            # The middle of what is nearly best, rather than a peak of these rows.
            offsets = np.mean([o for o, s in zip(tries, scores) if s > max(scores) - 0.001], axis=0)
    return np.round(offsets)


def calibrate(margins, intents):
    """Probability of toxicity at equal steps of the margin of the toxic classes (Platt, 1999)."""
    toxicity = np.maximum(margins[:, 0], margins[:, 1]) - np.maximum(margins[:, 2], 0)
    toxic = np.isin(intents, ["E", "I"])
    model = LogisticRegression(C=1e6).fit(np.clip(toxicity, -MARGIN_MAX, MARGIN_MAX)[:, None] / SCALE, toxic)
    points = np.linspace(-MARGIN_MAX, MARGIN_MAX, CALIBRATION_STEPS + 1)[:, None] / SCALE
    for low in np.arange(0, 1, 0.1):
        p = model.predict_proba(np.clip(toxicity, -MARGIN_MAX, MARGIN_MAX)[:, None] / SCALE)[:, 1]
        there = (p >= low) & (p < low + 0.1)
        print(f"score {low:.1f} to {low + 0.1:.1f}: {there.sum():6} rows, {toxic[there].mean():.2f} of them toxic")
    return np.round(1000 * model.predict_proba(points)[:, 1]).astype(int)


def baseline(texts, intents, conversations):
    """A linear SVM over character 2- to 5-grams and word 1- and 2-grams."""
    decided = np.empty(len(texts), dtype="<U1")
    for learn, judge in GroupKFold(FOLDS).split(texts, intents, conversations):
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


def write(vocabulary, weights, bias, table, frequency):
    """The commonest n-grams first: states are numbered in this order, and those that are met often lie together."""
    line = lambda name, numbers: name + " " + " ".join(str(int(n)) for n in numbers)
    named = dict(zip(vocabulary, weights.T))
    order = [vocabulary[index] for index in np.argsort(-frequency, kind="stable")]
    lines = [
        "# Written by train/train.py. Weights for explicit, implicit and action, in 64ths of a unit of log-odds.",
        line("@bias", bias),
        *(line("@" + name, named["@" + name]) for name in LISTS),
        line("@calibration", table),
        *(line(name, named[name]) for name in order if not name.startswith("@") and named[name].any()),
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
    spared = ["_" + word[1:] for word in (HERE.parent / "data/lists.txt").read_text().split() if word[0] in "!~"]
    wrong = compared = 0
    for row, found in zip(rows, judged):
        (symbols, hits) = row[0]
        # What is innocent, or names people, weighs less in Rust; a long text is judged by its worst part.
        if any(word in symbols for word in spared) or len(symbols) > SUM_MIN:
            continue
        compared += 1
        expected = named["@bias"] + sum((named[gram] for gram in grams(symbols) if gram in named), np.zeros(3, int))
        expected = expected + sum(n * named["@" + name] for n, name in zip(hits, LISTS))
        wrong += [int(n) for n in found[:3]] != list(expected)
    decided = np.array([{"Explicit": "E", "Implicit": "I", "Action": "A", "Other": "O"}[found[3]] for found in judged])
    report("the Rust rules on the rows that the model learnt from", decided, intents)
    print(f"{wrong} of {compared} rows have other margins in Rust")
    raise SystemExit(wrong > 0)


if __name__ == "__main__":
    main()
