"""Prompts, and the cleaning of answers."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmt.errors import MMTError
from mmt.inference.cleaning import RULES, Cleaner
from mmt.inference.prompts import CHAT, COMPLETION, Prompt, language_name, show_masks


def test_placeholders_are_filled_and_nothing_else() -> None:
    prompt = Prompt('{"en": "{source}"} {source_language}>{target_language}', "English", "German")
    assert prompt.fill("a {source} {0.__class__} \\1") == '{"en": "a {source} {0.__class__} \\1"} English>German'
    assert prompt.fill("a [MASK_C] [MASK_P] [MASK_N] [MASK]").count("[MASK]") == 4
    assert show_masks("[MASK_X] [mask_c]") == "[MASK_X] [mask_c]"


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("Translate!", "expected {source}"),
        ("{source_language} to {target_language}", "expected {source}"),
        ("{source} {sources}", "unknown placeholder {sources}. Did you mean 'source'"),
        ("{source} {target}", "unknown placeholder {target}"),
    ],
)
def test_templates_without_the_sentence_or_with_other_names_are_refused(
    template: str, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "prompt.txt"
    path.write_text(template)
    with pytest.raises(MMTError) as error:
        Prompt.read("en", "de", path, None)
    assert f"{path}: " in str(error.value)
    assert message in str(error.value)


def test_examples_come_before_the_sentence(tmp_path: Path) -> None:
    examples = tmp_path / "examples.tsv"
    examples.write_text("A cat.\tEine Katze.\nA dog.\tEin Hund.\n")
    chat = Prompt.read("eng_Latn", "deu_Latn", None, examples)
    assert chat.template == CHAT
    assert [role for role, _ in chat.turns("A bird.")] == ["user", "assistant", "user", "assistant", "user"]
    assert chat.turns("A bird.")[1][1] == "Eine Katze."
    assert "from English into German" in chat.turns("A bird.")[4][1]
    text = Prompt.read("en", "de", None, examples, COMPLETION).completion("A bird.")
    assert text.endswith("English: A dog.\nGerman: Ein Hund.\n\nEnglish: A bird.\nGerman:")
    assert chat.describe()["examples"] == 2
    other = Prompt.read("en", "fr", None, examples)
    assert len({chat.checksum, other.checksum, Prompt.read("en", "de", None, None).checksum}) == 3
    for line in ("no tab", "a\tb\tc", "\ta"):
        examples.write_text(f"A cat.\tKatze.\n{line}\n")
        with pytest.raises(MMTError, match="line 2: expected a sentence, a tab"):
            Prompt.read("en", "de", None, examples)


def test_language_names() -> None:
    assert [language_name(code) for code in ("de", "deu", "deu_Latn", "cs", "zho_Hant")] == [
        "German", "German", "German", "Czech", "Chinese (Traditional)",
    ]  # fmt: skip
    for code in ("", "mul", "xx", "und", "nonsense code"):
        with pytest.raises(MMTError, match="expected the code of one language"):
            language_name(code)


CLEAN = "Ein Hund läuft."


@pytest.mark.parametrize(
    ("answer", "rules"),
    [
        (CLEAN, []),
        (f"  {CLEAN}\n", []),
        (f"<think>\nA dog: Hund?\n</think>\n\n{CLEAN}", ["thoughts"]),
        (f"A dog... </think>{CLEAN}", ["thoughts"]),
        (f"assistant\n{CLEAN}", ["role"]),
        (f"<|im_start|>assistant\n{CLEAN}", ["role"]),
        (f"Assistant: {CLEAN}", ["role"]),
        (f"```\n{CLEAN}\n```", ["fence"]),
        (f"```text\n{CLEAN}\n```\nI hope this helps!", ["fence"]),
        (f"Here is the translation:\n\n```de\n{CLEAN}\n```", ["fence"]),
        (f"Translation: {CLEAN}", ["label"]),
        (f"**Translation:** {CLEAN}", ["label"]),
        (f"German: {CLEAN}", ["label"]),
        (f"Deutsch: {CLEAN}", ["label"]),
        (f"German translation: {CLEAN}", ["label"]),
        (f"Sure! Here is the German translation:\n\n{CLEAN}", ["label"]),
        (f"The translation of the sentence: {CLEAN}", ["label"]),
        (f"Here's the translation in German: {CLEAN}", ["label"]),
        (f"{CLEAN}\n\n(A dog runs.)", ["lines"]),
        (f"{CLEAN}\nEnglish: A cat.\nGerman: Eine Katze.", ["lines"]),
        (f'"{CLEAN}"', ["quotes"]),
        (f"„{CLEAN}“", ["quotes"]),
        (f"**{CLEAN}**", ["quotes"]),
        (f"« {CLEAN} »", ["quotes"]),
        (f'Translation: "{CLEAN}"\n\nNote: a dog', ["label", "lines", "quotes"]),
    ],
)
def test_answers_are_cleaned_and_each_rule_counts(answer: str, rules: list[str]) -> None:
    cleaner = Cleaner("en", "de")
    assert cleaner.clean(answer, "A dog runs.") == CLEAN
    assert [rule for rule in RULES if cleaner.counts[rule]] == rules
    assert cleaner.clean(CLEAN, "A dog runs.") == CLEAN
    assert sum(cleaner.counts.values()) == len(rules)


@pytest.mark.parametrize(
    ("source", "answer"),
    [
        ('"Stop", says a man.', '"Halt", sagt ein Mann.'),
        ('A man says "stop"', 'Ein Mann sagt "halt"'),
        ('"A sign."', '"Ein Schild."'),
        ("German: a language.", "German: eine Sprache."),
        ("A sign says: stop.", "Auf einem Schild steht: Halt."),
        ("The translation is good.", "Die Translation ist gut: sehr gut."),
        ("It's 'one' or 'two'", "'Eins' oder 'zwei'"),
    ],
)
def test_what_belongs_to_the_translation_stays(source: str, answer: str) -> None:
    cleaner = Cleaner("en", "de")
    assert cleaner.clean(answer, source) == answer
    assert not sum(cleaner.counts.values())


@pytest.mark.parametrize("answer", ["", " \n", "\u200b", "<think>what is", "Translation:", "``` \n```"])
def test_an_answer_without_text_is_empty(answer: str) -> None:
    cleaner = Cleaner("en", "de")
    assert cleaner.clean(answer, "A dog.") == ""
    assert cleaner.counts["empty"] == 1
