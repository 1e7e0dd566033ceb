"""``hf:``: models of transformers, compared with transformers' own generation, one sentence at a time."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import AutoProcessor, AutoTokenizer, GenerationConfig, LogitsProcessor

from mmt.errors import MMTError
from mmt.inference.hf import HFSystem
from mmt.inference.hf_checkpoint import open_checkpoint
from mmt.inference.scoring import score_pairs
from mmt.inference.torch_runtime import Translator
from mmt.io.normalization import normalize
from tests.inference import hf_checkpoints
from tests.inference.hf_checkpoints import IMAGE_MODELS
from tests.model.pretrained import checkpoints
from tests.worlds import sentences

SENTENCES = ["A dog [MASK_C] runs.", "A cat.", "The bird sees the old tree and runs away."]
TARGETS = ["Der Hund rennt.", "Katze", "Vogel und Baum, x"]
Make = Callable[..., HFSystem]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three images of different sizes and shapes, 0.png to 2.png."""
    folder, draw = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    for number, shape in enumerate([(40, 60, 3), (30, 30, 3), (90, 20, 3)]):
        Image.fromarray(draw.integers(0, 255, shape, dtype=np.uint8)).save(folder / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A checkpoint by its name: of ``IMAGE_MODELS``, ``causal`` or ``completion``."""
    root = tmp_path_factory.mktemp("hf")

    def folder(name: str) -> Path:
        place = root / name
        if not place.exists():
            place.mkdir()
            if name in IMAGE_MODELS:
                IMAGE_MODELS[name](place)
            else:
                hf_checkpoints.causal(place, chat=name == "causal")
        return place

    return folder


@pytest.fixture
def make(folders: Callable[[str], Path], pictures: Path) -> Make:
    def make(name: str | Path, **changes: Any) -> HFSystem:
        place = folders(name) if isinstance(name, str) else name
        options = {"source_lang": "en", "target_lang": "de", "batch_size": 3, "max_new_tokens": 5} | changes
        return HFSystem(str(place), files=pictures.joinpath, **options)

    return make


class _Forced(LogitsProcessor):
    """Lets generation write the given tokens alone."""

    def __init__(self, start: int, ids: list[int]) -> None:
        self.start, self.ids = start, ids

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        only = torch.full_like(scores, -torch.inf)
        only[:, self.ids[input_ids.shape[1] - self.start]] = 0
        return only


def _generated(folder: Path, sentence: str, picture: Path | None, target: str | None) -> tuple[str, float]:
    """transformers' own answer to one sentence, or the given one, with the mean log-probability of its tokens."""
    model = open_checkpoint(str(folder), "cpu", "float32").model
    has_images = picture is not None or (folder / "preprocessor_config.json").exists()
    processor = (AutoProcessor if has_images else AutoTokenizer).from_pretrained(folder)
    tokenizer = getattr(processor, "tokenizer", processor)
    image = None if picture is None else Image.open(picture)
    if tokenizer.chat_template or getattr(processor, "chat_template", None):
        text = f"Translate this sentence from English into German. Answer with the translation only.\n\n{sentence}"
        content: Any = text
        if has_images:
            content = [{"type": "image", "image": image}] * (image is not None) + [{"type": "text", "text": text}]
        template = {"tokenize": True, "return_dict": True, "return_tensors": "pt", "add_generation_prompt": True}
        inputs = processor.apply_chat_template([{"role": "user", "content": content}], **template)
        end = "<end_of_turn>" if folder.name == "gemma3" else "<|im_end|>"
        answer = f"{target}{end}"
    else:
        text = f"English: {sentence}\nGerman:"
        if image is not None:
            inputs = processor(text=f"<image>{text}", images=image, return_tensors="pt")
        else:
            text = f"<bos>{text}\n" if folder.name == "paligemma" else text
            inputs = tokenizer(text, return_tensors="pt", add_special_tokens=False)
        answer = f"{target}<eos>" if folder.name == "paligemma" else f" {target}\n"
    inputs.pop("token_type_ids", None) if picture is None else None
    start, more = inputs["input_ids"].shape[1], {}
    ids = tokenizer(answer, add_special_tokens=False)["input_ids"]
    if target is not None:
        more = {"logits_processor": [_Forced(start, ids)]}
    config = GenerationConfig(
        max_new_tokens=5 if target is None else len(ids),
        eos_token_id=model.generation_config.eos_token_id if target is None else None,
        pad_token_id=tokenizer.pad_token_id,
        output_logits=True,
        return_dict_in_generate=True,
    )
    output = model.generate(**inputs, generation_config=config, use_model_defaults=False, **more)
    written = output.sequences[0, start:]
    log_p = [logits[0].log_softmax(0)[token].item() for logits, token in zip(output.logits, written, strict=True)]
    return tokenizer.decode(written, skip_special_tokens=True), sum(log_p) / len(log_p)


MODELS = [*IMAGE_MODELS, "causal", "completion"]


@pytest.mark.parametrize("name", MODELS)
def test_answers_and_scores_are_those_of_generation_one_by_one(
    name: str, make: Make, folders: Callable[[str], Path], pictures: Path
) -> None:
    system = make(name)
    assert system.uses_images is (name in IMAGE_MODELS)
    images: list[str | None] = ["0.png", "1.png", "2.png"]
    for shown in [images, None] if system.uses_images else [None]:
        answers = system.translate(SENTENCES, shown)
        scores = system.score(SENTENCES, shown, TARGETS)
        for row, sentence in enumerate(SENTENCES):
            sentence = sentence.replace("[MASK_C]", "[MASK]")
            picture = None if shown is None else pictures / f"{row}.png"
            answer, _ = _generated(folders(name), sentence, picture, None)
            if name == "completion":  # ends at a line's end
                answer = (answer.lstrip().splitlines() or [""])[0]
            lines = [line for line in answer.splitlines() if line.strip()]
            assert answers[row] == (lines[0].strip() if lines else "")
            _, score = _generated(folders(name), sentence, picture, TARGETS[row])
            assert scores[row] == pytest.approx(score, abs=1e-4)


@pytest.mark.parametrize("name", IMAGE_MODELS)
def test_images_matter_and_sentences_with_and_without_them_mix(name: str, make: Make) -> None:
    system = make(name)
    told: list[int] = []
    sources, targets = [SENTENCES[1]] * 4, [TARGETS[1]] * 4
    mixed = system.score(sources, ["0.png", None, "2.png", "0.png"], targets, told.append)
    assert mixed[0] == mixed[3]
    assert len(set(mixed)) == 3
    assert sum(told) == 4
    assert mixed[1] == pytest.approx(system.score(sources[:1], None, targets[:1])[0], abs=1e-5)
    assert mixed[2] == pytest.approx(system.score(sources[:1], ["2.png"], targets[:1])[0], abs=1e-5)
    blind = make(name, text_only=True)
    assert (system.uses_images, blind.uses_images) == (True, False)
    assert blind.score(sources[:1], None, targets[:1])[0] == pytest.approx(mixed[1], abs=1e-5)
    with pytest.raises(MMTError, match="a text-only system takes no images"):
        blind.score(sources[:1], ["0.png"], targets[:1])


def test_half_precision_is_near(make: Make) -> None:
    exact = make("idefics3").score(SENTENCES, ["0.png", None, "1.png"], TARGETS)
    half = make("idefics3", dtype="bfloat16")
    assert half.describe()["precision"] == "bfloat16"
    found = half.score(SENTENCES, ["0.png", None, "1.png"], TARGETS)
    assert found == pytest.approx(exact, abs=0.2)
    assert found != exact


def test_description_and_blank_lines(make: Make, folders: Callable[[str], Path]) -> None:
    system = make("completion")
    assert system.translate(["A cat.", " \u200b"], None)[1] == ""
    about = json.loads(json.dumps(system.describe()))
    assert about["model"] == str(folders("completion"))
    assert len(about["files"]["model.safetensors"]) == 64
    assert about["prompt"]["template"] == "{source_language}: {source}\n{target_language}:"
    assert about["cleaned"]["empty"] + about["unfinished"] <= 1
    with pytest.raises(MMTError, match="line 2: the sentence or its target is empty"):
        system.score(["A cat.", "A dog."], None, ["Katze", " "])
    system.close()


def test_examples_and_template_are_read(make: Make, tmp_path: Path) -> None:
    prompt, examples = tmp_path / "prompt.txt", tmp_path / "examples.tsv"
    prompt.write_text("{source} auf {target_language} heißt:\n")
    examples.write_text("A cat.\tEine Katze.\n")
    own = make("completion", prompt=prompt).score(["A dog."], None, ["Ein Hund."])
    assert own != make("completion").score(["A dog."], None, ["Ein Hund."])
    shown = make("completion", prompt=prompt, examples=examples)
    assert shown.score(["A dog."], None, ["Ein Hund."]) != own
    assert shown.describe()["prompt"]["examples"] == 1
    assert make("causal", examples=examples).score(["A dog."], None, ["x"]) != make("causal").score(
        ["A dog."], None, ["x"]
    )


# --- sequence to sequence ---------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["marian", "two vocabularies", "tags", "nllb", "m2m100"])
def translation_model(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> checkpoints.Checkpoint:
    folder = tmp_path_factory.mktemp("seq2seq") / "model"
    made = {
        "marian": lambda: checkpoints.marian(folder),
        "two vocabularies": lambda: checkpoints.marian(folder, two_vocabularies=True, safe=False),
        "tags": lambda: checkpoints.marian(folder, tags=("deu", "fra")),
        "nllb": lambda: checkpoints.nllb(folder),
        "m2m100": lambda: checkpoints.m2m100(folder),
    }[request.param]()
    path = folder / "generation_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"num_beams": 4, "early_stopping": True}))
    return made


def test_translation_models_agree_with_our_import_of_them(
    translation_model: checkpoints.Checkpoint, make: Make
) -> None:
    languages = {"source_lang": "en", "target_lang": "de"}
    system = make(translation_model.folder, max_new_tokens=40, **languages)
    several = languages if translation_model.languages else {}
    ours = Translator.from_dir(translation_model.base, **several)
    sources, targets = map(list, zip(*sentences(12, 5), strict=True))
    theirs = system.score(sources, None, targets)
    assert theirs == pytest.approx([s.mean_log_prob for s in score_pairs(ours, sources, targets)], abs=1e-4)
    best = [found[0] for found in ours.hypotheses(sources, None)]
    written = system.translate(sources, None)
    short = [row for row, one in enumerate(best) if len(one.text.split()) < 12]  # not at the length limit
    assert len(short) >= 6
    assert [normalize(written[row]) for row in short] == [normalize(best[row].text) for row in short]
    assert system.describe()["decoding"] == "beam search, 4 beams"
    assert "cleaned" not in system.describe()


def test_translation_models_take_no_prompt(
    translation_model: checkpoints.Checkpoint, make: Make, tmp_path: Path
) -> None:
    prompt = tmp_path / "prompt.txt"
    prompt.write_text("{source}")
    with pytest.raises(MMTError, match="takes no prompt"):
        make(translation_model.folder, prompt=prompt)
    if translation_model.languages:
        with pytest.raises(MMTError, match="language 'xyz'"):
            make(translation_model.folder, target_lang="xyz")
    with pytest.raises(MMTError, match="text-only system takes no images"):
        make(translation_model.folder).translate(["A cat."], ["0.png"])


def test_a_model_without_languages_of_its_own_gets_the_prompt(make: Make, tmp_path: Path) -> None:
    (tmp_path / "t5").mkdir()
    folder = hf_checkpoints.t5(tmp_path / "t5")
    prompt = tmp_path / "prompt.txt"
    prompt.write_text("translate {source_language} to {target_language}: {source}")
    system = make(folder, prompt=prompt, max_new_tokens=6)
    tokenizer = AutoTokenizer.from_pretrained(folder, model_input_names=["input_ids", "attention_mask"])
    model = open_checkpoint(str(folder), "cpu", "float32").model
    for sentence, answer in zip(SENTENCES, system.translate(SENTENCES, None), strict=True):
        text = f"translate English to German: {sentence.replace('MASK_C', 'MASK')}"
        written = model.generate(**tokenizer(text, return_tensors="pt"), max_new_tokens=6, do_sample=False)
        lines = tokenizer.decode(written[0], skip_special_tokens=True).splitlines()
        assert answer == next((line.strip() for line in lines if line.strip()), "")
    target = tokenizer(TARGETS[0], return_tensors="pt").input_ids
    assert target[0, -1] == tokenizer.eos_token_id
    inputs = tokenizer(f"translate English to German: {SENTENCES[1]}", return_tensors="pt")
    with torch.no_grad():
        log_p = model(**inputs, labels=target).logits.log_softmax(2)[0].gather(1, target[0, :, None]).mean().item()
    scores = system.score([SENTENCES[1], SENTENCES[2]], None, [TARGETS[0], TARGETS[2]])
    assert scores[0] == pytest.approx(log_p, abs=1e-4)
    assert system.describe()["prompt"]["template"].startswith("translate")


# --- errors -----------------------------------------------------------------------------------------------


def _copied(folder: Path, to: Path) -> Path:
    to.mkdir()
    for path in folder.iterdir():
        (to / path.name).write_bytes(path.read_bytes())
    return to


def test_an_image_above_the_limit_is_an_error(
    make: Make, folders: Callable[[str], Path], pictures: Path, tmp_path: Path
) -> None:
    folder = _copied(folders("qwen2_5_vl"), tmp_path / "small")
    config = json.loads((folder / "config.json").read_text())
    config["text_config"]["max_position_embeddings"] = config["max_position_embeddings"] = 36
    (folder / "config.json").write_text(json.dumps(config))
    prompt = tmp_path / "prompt.txt"
    prompt.write_text("{source}")
    Image.new("RGB", (112, 112)).save(pictures / "large.png")
    Image.new("RGB", (4000, 16)).save(pictures / "thin.png")
    system = make(folder, prompt=prompt)
    system.translate(["A cat."], ["1.png"])
    with pytest.raises(MMTError, match=r"large\.png and the prompt take \d\d tokens.*at most 36.*image smaller"):
        system.translate(["A cat.", "A dog."], ["1.png", "large.png"])
    with pytest.raises(MMTError, match=r"thin\.png"):
        system.translate(["A cat."], ["thin.png"])
    with pytest.raises(MMTError, match=r"nowhere\.png"):
        system.score(["A cat."], ["nowhere.png"], ["x"])


def test_checkpoints_that_are_damaged_or_need_code(
    folders: Callable[[str], Path], make: Make, tmp_path: Path
) -> None:
    damaged = _copied(folders("causal"), tmp_path / "damaged")
    weights = load_file(damaged / "model.safetensors")
    weight = weights.pop("model.layers.0.mlp.up_proj.weight")
    for others in ({}, {"model.layers.0.mlp.up_proj.weight": weight[1:].clone()}):
        save_file(weights | others, damaged / "model.safetensors", {"format": "pt"})
        with pytest.raises(MMTError, match=r"1 weights are missing or have other shapes, such as .*mlp\.up_proj"):
            make(damaged)
    code = _copied(folders("causal"), tmp_path / "code")
    config = json.loads((code / "config.json").read_text())
    config |= {"model_type": "own", "auto_map": {"AutoConfig": "own.Config", "AutoModelForCausalLM": "own.Model"}}
    (code / "config.json").write_text(json.dumps(config))
    ran = tmp_path / "ran"
    (code / "own.py").write_text(f"open({str(ran)!r}, 'w')\nclass Config: ...\nclass Model: ...\n")
    with pytest.raises(MMTError, match="cannot be opened"):
        make(code)
    pickled = _copied(folders("causal"), tmp_path / "pickled")
    (pickled / "model.safetensors").unlink()
    (pickled / "pytorch_model.bin").write_bytes(pickle.dumps(_Writes(str(ran))))
    with pytest.raises(MMTError, match="cannot be opened"):
        make(pickled)
    assert not ran.exists()


class _Writes:
    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (self.path, "w")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dtype": "int3"}, "precision 'int3': expected one of float32"),
        ({"device": "nonsense"}, "device 'nonsense'"),
        ({"batch_size": 0}, "at least 1"),
        ({"target_lang": "mul"}, "language 'mul'"),
    ],
)
def test_wrong_options(changes: dict[str, Any], message: str, make: Make) -> None:
    with pytest.raises(MMTError, match=message):
        make("causal", **changes)


@pytest.mark.parametrize("name", ["a/b/c", "https://example.org/model", "/nowhere/at/all"])
def test_no_such_checkpoint(name: str, make: Make) -> None:
    with pytest.raises(MMTError, match="found neither"):
        HFSystem(name, files=Path, source_lang="en", target_lang="de")
