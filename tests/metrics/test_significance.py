"""The bootstrap agrees with sacrebleu's; one rule writes every p value."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence

import pytest
import sacrebleu
from sacrebleu.significance import PairedTest, Result

from mmt.errors import MMTError
from mmt.metrics.significance import (
    FEWEST_SENTENCES,
    Spread,
    holm,
    p_text,
    paired_bootstrap,
)
from mmt.metrics.translation import corpus_scores
from tests.metrics.texts import damaged, some_references


def test_a_system_does_not_differ_from_itself() -> None:
    references = some_references()
    system = damaged(references, 0.2)
    (differences,) = paired_bootstrap(system, [system], references, target_lang="de", samples=50)
    assert list(differences) == ["bleu", "chrf", "ter", "bleu_lc_tok"]
    assert {(d.value, d.p_value) for d in differences.values()} == {(0.0, 1.0)}


def test_differences_are_those_of_the_scores_and_turn_with_the_baseline() -> None:
    references = some_references()
    one, two = damaged(references, 0.2), damaged(references, 0.22, seed=2)
    (there,) = paired_bootstrap(one, [two], references, target_lang="de", samples=100)
    (back,) = paired_bootstrap(two, [one], references, target_lang="de", samples=100)
    scores = [corpus_scores(system, references, target_lang="de") for system in (one, two)]
    for key, difference in there.items():
        assert difference.value == pytest.approx(scores[1][key].value - scores[0][key].value)
        assert back[key].value == -difference.value
        assert back[key].p_value == difference.p_value


def test_p_values_are_those_of_sacrebleu(monkeypatch: pytest.MonkeyPatch) -> None:
    references = some_references()
    systems = [damaged(references, share, seed) for seed, share in enumerate((0.2, 0.22, 0.25))]
    ours = paired_bootstrap(systems[0], systems[1:], references, target_lang=None, samples=100, seed=7)
    monkeypatch.setenv("SACREBLEU_SEED", "7")
    metrics = {"BLEU": sacrebleu.BLEU(), "chrF2": sacrebleu.CHRF(), "TER": sacrebleu.TER()}
    named: list[tuple[str, Sequence[str]]] = [(str(number), system) for number, system in enumerate(systems)]
    signatures, theirs = PairedTest(named, metrics, [references], "bs", 100)()
    for key, name in (("bleu", "BLEU"), ("chrf", "chrF2"), ("ter", "TER")):
        assert [system[key].p_value for system in ours] == [
            result.p_value for result in theirs[name][1:] if isinstance(result, Result)
        ]
        assert ours[0][key].signature == f"{signatures[name]}|norm:nfc"


def test_a_much_worse_system_is_significantly_worse() -> None:
    references = some_references()
    (worse, other) = paired_bootstrap(
        damaged(references, 0.1),
        [damaged(references, 0.5), damaged(references, 0.1, seed=5)],
        references,
        target_lang=None,
        samples=200,
    )
    for key in worse:
        p_worse, p_other = worse[key].p_value, other[key].p_value
        assert p_worse is not None
        assert p_other is not None
        assert p_worse < 0.01 < p_other


def test_the_seed_decides_and_the_environment_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    references = some_references()
    one, two = damaged(references, 0.2), damaged(references, 0.22, seed=2)

    def p_values(seed: int) -> list[float | None]:
        (differences,) = paired_bootstrap(one, [two], references, target_lang="de", samples=60, seed=seed)
        return [difference.p_value for difference in differences.values()]

    monkeypatch.delenv("SACREBLEU_SEED", raising=False)
    first = p_values(1)
    assert "SACREBLEU_SEED" not in os.environ
    monkeypatch.setenv("SACREBLEU_SEED", "99")
    assert p_values(1) == first
    assert p_values(2) != first
    assert os.environ["SACREBLEU_SEED"] == "99"


def test_a_handful_of_sentences_gives_no_p_value() -> None:
    references = some_references()
    system = damaged(references, 0.5)
    for number, has_p in ((1, False), (FEWEST_SENTENCES - 1, False), (FEWEST_SENTENCES, True)):
        some = references[:number]
        (differences,) = paired_bootstrap(some, [system[:number]], some, target_lang="de", samples=20)
        assert {difference.p_value is not None for difference in differences.values()} == {has_p}


@pytest.mark.parametrize(("samples", "seed"), [(0, 1), (10, 0), (-1, 1)])
def test_a_bootstrap_of_nothing_is_refused(samples: int, seed: int) -> None:
    with pytest.raises(MMTError, match="at least 1"):
        paired_bootstrap(["a"], [["a"]], ["a"], target_lang=None, samples=samples, seed=seed)


def test_holm_by_hand() -> None:
    """Sorted .01 .02 .03 .04, times 4 3 2 1: .04 .06 .06 .04, never less than the one before."""
    assert holm([0.03, 0.01, None, 0.04, 0.02]) == pytest.approx([0.06, 0.04, None, 0.06, 0.06])
    assert holm([0.6, 0.5]) == [1.0, 1.0]


def test_a_spread_is_mean_and_sample_deviation() -> None:
    spread = Spread.of([1.0, 2.0, 6.0])
    assert (spread.mean, spread.std) == (3.0, pytest.approx(math.sqrt(7)))
    assert spread.to_dict("draws") == {"mean": 3.0, "std": spread.std, "draws": [1.0, 2.0, 6.0]}
    assert (str(spread), spread.text(2, 100)) == ("3.0 ± 2.6", "300.00 ± 264.58")
    assert (Spread.of([4]).std, str(Spread.of([4]))) == (None, "4.0")


@pytest.mark.parametrize(
    ("value", "text", "cell"),
    [
        (0.0312, "p = 0.031", "0.031"),
        (0.001, "p = 0.001", "0.001"),
        (0.00099, "p < 0.001", "< 0.001"),
        (0.0, "p < 0.001", "< 0.001"),
        (1.0, "p = 1", "1"),
        (None, "not tested", "not tested"),
        (math.nan, "not tested", "not tested"),
    ],
)
def test_one_rule_writes_every_p_value(value: float | None, text: str, cell: str) -> None:
    assert (p_text(value), p_text(value, label=False)) == (text, cell)
    assert (p_text(value, equal=True) == "no difference") == (text == "not tested")
