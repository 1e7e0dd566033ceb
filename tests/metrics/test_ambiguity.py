"""Laws of finding ambiguous words and of scoring translations on them."""

from __future__ import annotations

import json
import math
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from sklearn.metrics import f1_score

from data_prep.ambiguous import main as find_command
from eval.ambiguous import main as score_command
from mmt.data.dataset import DatasetInfo, write_dataset
from mmt.errors import MMTError
from mmt.evidence.collect import Inputs, collect
from mmt.inference.controls import wrong_images
from mmt.inference.torch_runtime import Translation, Translator
from mmt.metrics.ambiguity import (
    RARE_P,
    RARER,
    SURPRISING,
    USUAL,
    AmbiguousWord,
    Lexicon,
    Sense,
    ambiguous_word,
    find_ambiguous,
    sense_accuracy,
)
from mmt.metrics.lemmas import is_content, lemmatizer, true_case
from tests.worlds import make_features, tiny_folder

ACTORS = {"man": "Mann", "dog": "Hund", "cat": "Kater", "thief": "Dieb"}
VERBS = {"sees": "sieht", "finds": "findet", "paints": "malt"}
THINGS = {"house": ("das", "es", "Haus"), "tree": ("den", "en", "Baum"), "car": ("das", "es", "Auto")}
BANKS = [("das", "es", "Ufer"), ("die", "e", "Bank"), ("die", "e", "Bank")]
COLOURS = {"red": "rot", "blue": "blau", "green": "grün"}


def corpus(size: int = 400) -> list[tuple[str, str]]:
    """Every third bank is a shore; a colour has as many forms as its noun has genders."""
    chance = random.Random(1)
    pairs = []
    for number in range(size):
        actor, verb, colour = (chance.choice(list(words)) for words in (ACTORS, VERBS, COLOURS))
        thing = chance.choice([*THINGS, "bank", "bank"])
        article, ending, noun = BANKS[number % 3] if thing == "bank" else THINGS[thing]
        german = f"Ein {ACTORS[actor]} {VERBS[verb]} {article} {COLOURS[colour]}{ending} {noun}."
        pairs.append((f"A {actor} {verb} the {colour} {thing}.", german))
    return pairs


def word(name: str, **probability: float) -> AmbiguousWord:
    senses = tuple(Sense((lemma,), round(100 * p), p) for lemma, p in probability.items())
    return AmbiguousWord(name, 100, 1.0, senses)


def lexicon(*words: AmbiguousWord) -> Lexicon:
    return Lexicon("en", "de", "by hand", {one.word: one for one in words})


BANK = lexicon(word("bank", bank=0.7, ufer=0.3))


def accuracy(source: str, reference: str, hypothesis: str, words: Lexicon = BANK) -> float | None:
    return sense_accuracy(words, [source], [reference], [hypothesis]).accuracy


def test_word_of_two_translations_is_found_and_its_neighbours_are_not() -> None:
    pairs = corpus()
    found = find_ambiguous(*zip(*pairs, strict=True), "en", "de")
    assert list(found.words) == ["bank"]
    shares = {sense.name: sense.probability for sense in found.words["bank"].senses}
    truth = Counter(("ufer" if "Ufer" in german else "bank") for english, german in pairs if "bank" in english)
    assert shares == pytest.approx({name: count / truth.total() for name, count in truth.items()}, abs=0.05)
    assert next(iter(shares)) == "bank"


def test_order_of_training_sentences_changes_nothing() -> None:
    # Nonsense, of which the aligner makes something else in another order.
    chance = random.Random(1)
    syllables = [first + last for first in "bdfgklmnprst" for last in ("av", "ov", "uv")]
    pairs = [tuple(" ".join(chance.choices(syllables, k=8)) for _ in range(2)) for _ in range(300)]
    found = find_ambiguous(*zip(*pairs, strict=True), "en", "de", min_count=1, min_share=0)
    random.Random(2).shuffle(pairs)
    assert find_ambiguous(*zip(*pairs, strict=True), "en", "de", min_count=1, min_share=0) == found


def test_words_at_the_start_of_a_sentence_are_written_as_inside() -> None:
    words = true_case(["Rote Autos", "Autos und rote Räder", "Weite Wiese"])
    assert words == [["rote", "Autos"], ["Autos", "und", "rote", "Räder"], ["Weite", "Wiese"]]


@pytest.mark.parametrize(
    ("lang", "forms", "lemma"),
    [
        ("en", "men man Men man's", "man"),
        ("de", "rote roten rotes rot", "rot"),
        ("fr", "marchant marchent l'enfant", "marcher marcher enfant"),
        ("cs", "psa psi pes", "pes"),
    ],
)
def test_forms_of_a_word_have_one_lemma(lang: str, forms: str, lemma: str) -> None:
    found = [lemmatizer(lang)(form) for form in forms.split()]
    assert found == (lemma.split() if " " in lemma else [lemma] * len(found))


def test_function_words_and_numbers_are_no_content_words() -> None:
    words = ["the", "two", "12", "x", "dog", "beside", "sees", "nice"]
    assert [word for word in words if is_content(word, "en")] == ["dog", "sees", "nice"]


def test_a_compound_of_two_source_words_translates_neither() -> None:
    pairs = corpus()
    for source, target in (("tennis ball", "Tennisball"), ("ball", "Ball"), ("tennis", "Tennis")):
        pairs += [(f"The man sees a {source}.", f"Der Mann sieht einen {target}.")] * 60
    assert list(find_ambiguous(*zip(*pairs, strict=True), "en", "de").words) == ["bank"]


def test_inflections_and_rare_translations_are_no_senses_of_their_own() -> None:
    counts = Counter({"ball": 50, "junge": 30, "junges": 20, "tanz": 9, "schuss": 4})
    forms = {lemma: lemma for lemma in counts}
    found = ambiguous_word("ball", counts, forms, min_count=5, min_share=0.1)
    assert found is not None
    assert [(sense.lemmas, sense.count) for sense in found.senses] == [(("ball",), 50), (("junge", "junges"), 50)]
    assert found.count == counts.total()
    assert ambiguous_word("ball", counts, forms, min_count=5, min_share=0.45) is None
    assert ambiguous_word("ball", counts, forms, min_count=60, min_share=0.1) is None


def test_probabilities_are_those_of_the_listed_translations() -> None:
    counts = Counter({"bank": 60, "ufer": 20, "see": 9, "park": 8})
    found = ambiguous_word("bank", counts, {lemma: lemma for lemma in counts}, min_count=10, min_share=0.05)
    assert found is not None
    assert [sense.probability for sense in found.senses] == [0.75, 0.25]
    assert found.count == 97
    assert found.entropy == pytest.approx(0.75 * math.log2(4 / 3) + 0.25 * 2)


def test_forms_that_look_alike_are_one_word_though_the_lemmatiser_errs() -> None:
    counts = Counter({"weiß": 50, "wissen": 20})
    assert ambiguous_word("white", counts, {"weiß": "weiße", "wissen": "weißen"}, 5, 0.05) is None


def test_the_same_translation_is_right_and_another_is_wrong() -> None:
    assert accuracy("He sits on the bank.", "Er sitzt am Ufer.", "Er ist am Ufer.") == 100
    assert accuracy("He sits on the bank.", "Er sitzt am Ufer.", "Er sitzt an der Bank.") == 0
    assert accuracy("He sits on the bank.", "Er sitzt am Ufer.", "Er sitzt.") == 0


@pytest.mark.parametrize("form", ["Bänken", "Bank", "bank", "bänken", "BANK"])
def test_every_form_of_the_right_translation_is_right(form: str) -> None:
    assert accuracy("The banks.", "Eine Bank.", f"Die {form} hier") == 100
    assert accuracy("The banks.", "Eine Bank.", f"{form} hier") == 100


def test_a_word_with_two_readings_is_what_it_is_as_it_stands() -> None:
    words = lexicon(word("dress", kleid=0.5, kleiden=0.5))
    assert accuracy("Her dress.", "Sie kleiden sich.", "Das Kleid.", words) == 0
    assert accuracy("Her dress.", "Das Kleid.", "Das Kleid.", words) == 100


def test_each_item_uses_up_one_word() -> None:
    source = "A bank beside a bank."
    assert accuracy(source, "Ein Ufer neben einem Ufer.", "Ein Ufer.") == 50
    assert accuracy(source, "Ein Ufer neben einem Ufer.", "Ein Ufer, ein Ufer, ein Ufer.") == 100
    score = sense_accuracy(BANK, [source], ["Ein Ufer."], ["Ein Ufer neben einem Ufer."])
    assert len(score.items) == 1


def test_of_two_translations_in_the_reference_the_nearest_is_the_right_one() -> None:
    words = lexicon(word("bank", bank=0.7, ufer=0.3), word("seat", bank=0.6, sitz=0.4))
    source, reference = "A bank with a seat.", "Ein Ufer mit einer Bank."
    items = sense_accuracy(words, [source], [reference], [reference]).items
    assert [(item.word, item.gold, item.hit) for item in items] == [("bank", "ufer", True), ("seat", "bank", True)]


def test_nearest_is_by_the_words_place_in_its_sentence() -> None:
    sources, reference = ["The bank stands here.", "Here stands the bank."], "Ein Ufer vor einer Bank."
    items = sense_accuracy(BANK, sources, [reference] * 2, [reference] * 2).items
    assert [item.gold for item in items] == ["ufer", "bank"]


def test_words_without_a_known_translation_in_the_reference_are_no_items() -> None:
    score = sense_accuracy(BANK, ["A bank.", "A house."], ["Ein Haus.", "Eine Bank."], ["Bank", "Bank"])
    assert score.items == ()
    assert score.accuracy is score.macro_f1 is score.usual_accuracy is None
    assert score.groups[USUAL].accuracy is None


def test_translations_are_grouped_by_how_frequent_they_are() -> None:
    words = lexicon(word("bank", bank=0.6, ufer=0.25, damm=0.15))
    targets = ["Eine Bank.", "Ein Ufer.", "Ein Damm."]
    score = sense_accuracy(words, ["A bank."] * 3, targets, [targets[0], targets[1], "Ein Ufer."])
    assert [item.group for item in score.items] == [USUAL, RARER, SURPRISING]
    assert [group.accuracy for group in score.groups.values()] == [100, 100, 0]
    assert score.items[1].surprisal == pytest.approx(2)
    edge = lexicon(word("bank", bank=1 - RARE_P, ufer=RARE_P))
    assert sense_accuracy(edge, ["A bank."], ["Ein Ufer."], ["Ein Ufer."]).items[0].group == RARER


def test_f1_is_what_its_definition_says() -> None:
    references = ["Eine Bank."] * 3 + ["Ein Ufer."]
    score = sense_accuracy(BANK, ["A bank."] * 4, references, ["Bank", "Bank", "Ufer", "nichts"])
    assert score.accuracy == 50
    assert score.micro_f1 == pytest.approx(100 * 2 * (2 / 3) * (2 / 4) / (2 / 3 + 2 / 4))
    assert score.macro_f1 == pytest.approx(100 * (2 * 1 * (2 / 3) / (1 + 2 / 3) + 0) / 2)


def test_f1_is_scikit_learns() -> None:
    says = {"bank": "Eine Bank.", "ufer": "Ein Ufer.", "": "nichts"}
    draw = random.Random(4)
    gold = draw.choices(["bank", "ufer"], [3, 1], k=60)
    predicted = [one if draw.random() < 0.6 else draw.choice([*says]) for one in gold]
    score = sense_accuracy(BANK, ["A bank."] * 60, [says[one] for one in gold], [says[one] for one in predicted])
    for average, value in (("micro", score.micro_f1), ("macro", score.macro_f1)):
        expected = f1_score(gold, predicted, labels=["bank", "ufer"], average=average)
        assert value == pytest.approx(100 * expected)


def test_the_baseline_is_the_system_that_always_takes_the_usual_translation() -> None:
    references = ["Eine Bank."] * 3 + ["Ein Ufer."]
    score = sense_accuracy(BANK, ["A bank."] * 4, references, ["Eine Bank."] * 4)
    assert (score.usual_accuracy, score.usual_macro_f1) == (score.accuracy, score.macro_f1) == (75, score.macro_f1)


def test_order_of_test_sentences_changes_no_score() -> None:
    rows = [("A bank.", "Ein Ufer.", "Bank"), ("Banks.", "Bänke", "Bank"), ("A bank.", "Ein Ufer.", "Ufer")]
    score = sense_accuracy(BANK, *zip(*rows, strict=True))
    turned = sense_accuracy(BANK, *zip(*rows[::-1], strict=True))
    assert replace(turned, items=()) == replace(score, items=())
    assert [replace(item, sentence=2 - item.sentence) for item in turned.items[::-1]] == list(score.items)


def test_a_saved_lexicon_reads_back_equal(tmp_path: Path) -> None:
    BANK.save(tmp_path / "new" / "bank.json")
    assert Lexicon.load(tmp_path / "new" / "bank.json") == BANK
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["bank.json"]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"words": 3}', '{"words": [{"word": "bank"}]}'])
def test_what_is_no_lexicon_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "bad.json").write_text(text)
    with pytest.raises(MMTError, match=r"bad\.json: not a list of ambiguous words"):
        Lexicon.load(tmp_path / "bad.json")
    with pytest.raises(MMTError, match=r"none\.json: cannot be read"):
        Lexicon.load(tmp_path / "none.json")


def test_texts_that_cannot_be_learned_from_are_refused() -> None:
    sources, targets = map(list, zip(*corpus(), strict=True))
    with pytest.raises(MMTError, match="one target for each of the 400 sources, got 399"):
        find_ambiguous(sources, targets[1:], "en", "de")
    with pytest.raises(MMTError, match="language 'fi'"):
        find_ambiguous(sources, targets, "en", "fi")
    with pytest.raises(MMTError, match="150 sentence pairs, but it takes at least 200"):
        find_ambiguous(sources[:150] + [""] * 100, targets[:250], "en", "de")


def test_a_text_without_ambiguous_words_is_refused() -> None:
    pairs = [pair for pair in corpus(800) if "bank" not in pair[0]]
    with pytest.raises(MMTError, match="no word with two translations"):
        find_ambiguous(*zip(*pairs, strict=True), "en", "de")


def test_unequal_lines_are_refused() -> None:
    with pytest.raises(MMTError, match="got 1, 2 and 2"):
        sense_accuracy(BANK, ["a", "b"], ["a", "b"], ["a"])


def prepared(folder: Path, target_lang: str = "de", *, masked: bool = False) -> Path:
    splits = {}
    for split, size in (("train", 400), ("test", 40)):
        rows = []
        for number, (source, target) in enumerate(corpus(size)):
            row = {"id": f"{split}{number}", "image": f"{split}{number}.png", "has_image": True}
            row |= {"source": source, "target": target}
            if masked:
                row |= {"source": source.replace("bank", "[MASK_N]"), "unmasked": source}
            rows.append(row)
        splits[split] = rows
    write_dataset(folder, DatasetInfo("banks", "en", target_lang, ""), splits)
    return folder


def test_masked_sources_are_read_as_they_were(tmp_path: Path) -> None:
    found = {}
    for name, masked in (("plain", False), ("masked", True)):
        data = prepared(tmp_path / name, masked=masked)
        out = tmp_path / f"{name}.json"
        result = CliRunner().invoke(find_command, [str(data), str(out)])
        assert result.exit_code == 0, result.output
        assert "bank" in result.output
        (tmp_path / "hyp").write_text("".join(f"{german}\n" for _, german in corpus(40)))
        scored = [str(out), str(data), "test", str(tmp_path / "hyp"), "--format", "json"]
        found[name] = out.read_text(), json.loads(CliRunner().invoke(score_command, scored).output)["systems"]
    assert found["plain"] == found["masked"]
    assert found["plain"][1][0]["accuracy"] == 100


def test_systems_are_compared_with_the_first(tmp_path: Path) -> None:
    data = prepared(tmp_path / "data")
    BANK.save(tmp_path / "bank.json")
    right = [german for _, german in corpus(40)]
    for name, lines in (("right", right), ("wrong", [line.replace("Ufer", "Bank") for line in right])):
        (tmp_path / name).write_text("".join(f"{line}\n" for line in lines))
    given = [str(tmp_path / "bank.json"), str(data), "test", str(tmp_path / "right"), str(tmp_path / "wrong")]
    result = CliRunner().invoke(score_command, [*given, "--format", "json"])
    assert result.exit_code == 0, result.output
    first, second = json.loads(result.output)["systems"]
    assert first["difference"] is None
    assert second["difference"]["only_first"] == len(first["items"]) - second["groups"][USUAL]["items"] > 0
    assert second["accuracy"] == second["usual_accuracy"] < first["accuracy"] == 100
    table = CliRunner().invoke(score_command, given)
    assert "baseline" in table.output
    assert "McNemar" in table.output


def test_lexicon_and_data_must_be_of_the_same_languages_and_length(tmp_path: Path) -> None:
    BANK.save(tmp_path / "bank.json")
    french = prepared(tmp_path / "french", "fr")
    (tmp_path / "hyp").write_text("Bank\n")
    result = CliRunner().invoke(
        score_command, [str(tmp_path / "bank.json"), str(french), "test", str(tmp_path / "hyp")]
    )
    assert result.exit_code == 2
    assert "is en-fr, but the ambiguous words are those of en-de" in " ".join(result.output.split())
    german = prepared(tmp_path / "german")
    result = CliRunner().invoke(
        score_command, [str(tmp_path / "bank.json"), str(german), "test", str(tmp_path / "hyp")]
    )
    assert result.exit_code == 2
    assert "has 1 lines" in " ".join(result.output.split())


# In the evidence


@pytest.mark.parametrize("masked", [False, True])
def test_the_evidence_scores_ambiguous_words_under_every_control(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, masked: bool
) -> None:
    """The model translates the image that it is shown, and says the usual word where there is none."""
    english, german = map(list, zip(*corpus(40), strict=True))
    of_image = {f"test{number}.png": target for number, target in enumerate(german)}

    def hypotheses(
        self: Translator, sentences: Sequence[str], images: Sequence[str] | None, progress: Callable[[int], object]
    ) -> list[list[Translation]]:
        texts = [of_image[image] for image in images] if images else ["Eine Bank."] * len(sentences)
        return [[Translation(text, 0.0, True)] for text in texts]

    monkeypatch.setattr(Translator, "hypotheses", hypotheses)
    data = prepared(tmp_path / "data", masked=masked)
    make_features(tmp_path / "features", list(of_image))
    model = tiny_folder(tmp_path / "model", world, "gated")
    rows = collect(Inputs({"model": model}, data, "test", (tmp_path / "features",), draws=2, gallery=0))[0].senses
    says = {
        "right": german,
        "wrong": [of_image[image] for image in wrong_images(list(of_image), 1)],
        "blank": ["Eine Bank."] * 40,
    }
    found = find_ambiguous(*zip(*corpus(), strict=True), "en", "de")
    assert [(row.system, row.control) for row in rows] == [("model", control) for control in says]
    for row in rows:
        score = sense_accuracy(found, english, german, says[row.control])
        shares = {
            group: (g.accuracy / 100, g.items) for group, g in score.groups.items() if g.accuracy is not None
        }
        assert (row.items, row.by_surprise) == (len(score.items), shares)
        expected = [score.accuracy, score.macro_f1, score.usual_accuracy]
        assert [row.accuracy, row.f1, row.usual] == [pytest.approx(value / 100) for value in expected]
    right, wrong, blank = (row.accuracy for row in rows)
    assert right == 1 > blank == rows[0].usual
    assert right > wrong


def test_the_evidence_says_why_it_has_no_ambiguous_words(world: Path, tmp_path: Path) -> None:
    model = tiny_folder(tmp_path / "model", world)
    evidence = collect(Inputs({"model": model}, world / "data", "test"))[0]
    assert evidence.senses == []
    assert dict(evidence.not_run)["ambiguous words"].startswith("found 60 sentence pairs, but")
