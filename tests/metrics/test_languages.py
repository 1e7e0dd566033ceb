"""Languages: their codes, and what of the metrics means something in each."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from sacrebleu import corpus_bleu

from mmt.errors import MMTError
from mmt.metrics.languages import UNSPACED, is_unspaced, primary_language
from mmt.metrics.significance import paired_bootstrap
from mmt.metrics.translation import METRICS, corpus_scores, metrics_for
from mmt.training.validation import validation_bleu

TEXTS = {
    "en": "Two dogs are running through the deep snow.", "de": "Zwei Hunde laufen durch den tiefen Schnee.",
    "fr": "L'homme qui s'assoit n'a pas d'argent.", "cs": "Dva psi běží hlubokým sněhem.",
    "tr": "İki köpek derin karda birlikte koşuyor.", "ar": "كلبان يركضان معا في الثلج العميق.",
    "uk": "Дві собаки біжать крізь глибокий сніг.", "ru": "Две собаки бегут по глубокому снегу.",
    "el": "Δύο σκυλιά τρέχουν στο βαθύ χιόνι.", "hi": "दो कुत्ते गहरी बर्फ में दौड़ रहे हैं ।",
    "he": "שני כלבים רצים יחד בשלג העמוק.", "fa": "دو سگ در برف عمیق می‌دوند.",
    "vi": "Hai con chó đang chạy trong tuyết sâu.", "ta": "இரண்டு நாய்கள் ஆழமான பனியில் ஓடுகின்றன.",
    "ka": "ორი ძაღლი ღრმა თოვლში ერთად გარბის.", "am": "ሁለት ውሾች በጥልቅ በረዶ ውስጥ ይሮጣሉ።",
    "ko": "개 두 마리가 눈 속을 달리고 있다.", "zh": "两只狗在雪地里奔跑。",
    "ja": "二匹の犬が雪の中を走っている。",
    "th": "สุนัขสองตัวกำลังวิ่งอยู่ในหิมะ", "km": "ឆ្កែពីរក្បាលកំពុងរត់ក្នុងព្រិល។",
    "lo": "ໝາສອງໂຕກຳລັງແລ່ນຢູ່ໃນຫິມະ", "my": "ခွေးနှစ်ကောင် နှင်းထဲမှာ ပြေးနေတယ်။",
    "bo": "ཁྱི་གཉིས་གངས་ནང་རྒྱུག་བཞིན་འདུག",
}  # fmt: skip
PERFECT = {"bleu": 100, "chrf": 100, "ter": 0, "bleu_lc_tok": 100}
EXPECTED = {"de": set(METRICS), "tr": {"bleu", "chrf", "ter"}, "ja": {"bleu", "chrf", "ter"}, "th": {"chrf"}}


@pytest.fixture(autouse=True)
def without_downloads(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    monkeypatch.setattr("sacrebleu.utils.SACREBLEU_DIR", str(tmp_path_factory.mktemp("sacrebleu")))


@pytest.mark.parametrize("lang", TEXTS)
@pytest.mark.parametrize("tag", ["{}", "{}-XX", "{}_Abcd", None])
def test_the_references_are_perfect_by_every_metric_that_is_shown(lang: str, tag: str | None) -> None:
    lines = [TEXTS[lang], TEXTS[lang][:-1]]
    target_lang = tag.format(lang) if tag else None
    scores = corpus_scores(lines, lines, target_lang=target_lang)
    assert "chrf" in scores
    assert {key: round(score.value, 6) for key, score in scores.items()} == {key: PERFECT[key] for key in scores}
    omitted = metrics_for(lines, target_lang=target_lang)[1]
    assert {*scores, *omitted} == set(METRICS)
    assert all(omitted.values())
    assert list(paired_bootstrap(lines, [lines], lines, target_lang=target_lang, samples=2)[0]) == list(scores)


def test_a_tokenizer_that_is_on_the_machine_is_used_and_none_is_downloaded(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any SentencePiece model stands for flores200's here."""
    from sacrebleu.tokenizers import tokenizer_spm

    def download(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(tokenizer_spm, "download_file", download)
    monkeypatch.setattr("sacrebleu.utils.SACREBLEU_DIR", str(tmp_path))
    monkeypatch.setattr(tokenizer_spm, "SACREBLEU_DIR", str(tmp_path))
    assert "flores200" in metrics_for([TEXTS["th"]], target_lang="th")[1]["bleu"]
    (tmp_path / "models").mkdir()
    shutil.copy(world / "tokenizer.model", tmp_path / "models" / "flores200sacrebleuspm")
    score = corpus_scores([TEXTS["th"]], [TEXTS["th"]], target_lang="th")["bleu"]
    assert score.value == pytest.approx(100)
    assert "tok:flores200" in score.signature


@pytest.mark.parametrize(("lang", "keys"), EXPECTED.items())
def test_what_means_something_is_not_left_out(lang: str, keys: set[str]) -> None:
    assert set(metrics_for([TEXTS[lang]], target_lang=lang)[0]) == keys


def test_a_wrong_word_of_many_is_not_all_wrong() -> None:
    """A sentence without spaces must not be one word."""
    for lang, hypothesis in (("zh", "两只狗在雪中奔跑。"), ("ja", "二匹の犬が雪の上を走っている。")):
        scores = corpus_scores([hypothesis], [TEXTS[lang]], target_lang=lang)
        assert 10 < scores["bleu"].value < 90
        assert 5 < scores["ter"].value < 70


@pytest.mark.parametrize("lang", ["xx", "zza", None])
@pytest.mark.parametrize("text", ["zh", "th", "my"])
def test_text_without_spaces_is_seen_whatever_its_language_is_called(lang: str | None, text: str) -> None:
    metrics, omitted = metrics_for([TEXTS[text]], target_lang=lang)
    assert set(metrics) == {"chrf"}
    assert "no spaces between words" in omitted["bleu"]


def test_validation_tells_translations_apart_in_every_script() -> None:
    """By 13a a Chinese sentence is one word: every checkpoint would have BLEU 0, and the first be the best."""
    for lang, worse, better in (
        ("zh", "一只猫在家里睡觉。", "两只狗在雪中奔跑。"),
        ("th", "แมวกำลังนอนอยู่ในบ้าน", "สุนัขสองตัวกำลังวิ่งในหิมะ"),
        ("de", "Eine Katze schläft im Haus.", "Zwei Hunde laufen durch den Schnee."),
    ):
        scores = [validation_bleu([line], [TEXTS[lang]]).score for line in (worse, better, TEXTS[lang])]
        assert scores == sorted(scores)
        assert scores[1] > scores[0] + 10
        assert scores[2] == pytest.approx(100)
    assert (
        validation_bleu(["Zwei Hunde ."], [TEXTS["de"]]).score
        == corpus_bleu(["Zwei Hunde ."], [[TEXTS["de"]]]).score
    )


def test_references_too_short_for_bleu_have_none() -> None:
    assert "four tokens" in metrics_for(["Ja.", "Nein."], target_lang="de")[1]["bleu"]
    assert set(corpus_scores(["Ja.", "Ja."], ["Ja.", "Nein."], target_lang="de")) == {"chrf", "ter"}


TAGS = {
    "de": "de", "DE": "de", "de-DE": "de", "pt-BR": "pt", "zh_TW": "zh", "zh-Hant-HK": "zh", "deu_Latn": "de",
    "zho_Hans": "zh", "cmn": "zh", "yue": "zh", "jpn_Jpan": "ja", "tha": "th", "kor": "ko", "xx": "xx",
}  # fmt: skip


@pytest.mark.parametrize(("tag", "lang"), TAGS.items())
def test_a_tag_is_its_language(tag: str, lang: str) -> None:
    assert primary_language(tag) == lang


@pytest.mark.parametrize(
    ("tag", "meant"), [("german", "'de'"), ("Chinese", "'zh'"), ("d", ""), ("de fr", ""), ("", "")]
)
def test_a_name_is_no_code(tag: str, meant: str) -> None:
    with pytest.raises(MMTError, match=f"expected a code such as de.*{meant}"):
        primary_language(tag)


def test_scripts_without_spaces_are_told_from_the_others() -> None:
    assert {lang for lang, text in TEXTS.items() if is_unspaced([text])} == set(UNSPACED) - {"dz"}
    assert is_unspaced(["两只狗 and more"]) is False
    assert is_unspaced([]) is False
