"""mmt push, and models named hub:OWNER/NAME, on a local server of the hub's protocol."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.shell_completion import BashComplete
from click.testing import CliRunner

import mmt
from mmt.cli.main import main
from mmt.errors import MMTError
from mmt.inference.ensemble import members_of
from mmt.inference.onnx_export import export_into
from mmt.io.hub import hub_model
from tests.hub_server import HubServer
from tests.worlds import ONE_LAYER, add_graphs, tiny_folder, without_torch

RESULTS = Path(__file__).parents[2] / "recipes" / "results"
SENTENCES = ["The man sees the dog .", "A dog ."]


@pytest.fixture
def model(exported_gated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HF_TOKEN", "hf_right")
    return Path(shutil.copytree(exported_gated / "model", tmp_path / "model"))


def run(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(main, list(map(str, arguments)))
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


def card_of(page: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(page.split("---\n")[1])
    return found


def test_a_pushed_model_translates_by_its_name(
    hub: HubServer, model: Path, exported_gated: Path, tmp_path: Path
) -> None:
    expected = mmt.Translator.from_dir(model).translate(SENTENCES)
    for folder, repo in ((model, "org/model"), (exported_gated / "graphs", "org/exported")):
        status, said = run("push", folder, repo, "--licence", "mit")
        assert status == 0, said
        assert said.strip().splitlines()[-1] == f"{hub.url}/{repo}/commit/{hub.refs[repo]['main']}"
        assert "hf_right" not in said
        for name in (repo, f"hub:{repo}"):
            assert mmt.Translator.from_pretrained(name).translate(SENTENCES) == expected
        assert mmt.Translator.from_pretrained(repo, revision="main").translate(SENTENCES) == expected
    assert mmt.Translator.from_dir("hub:org/model").translate(SENTENCES) == expected
    (tmp_path / "in.txt").write_text("".join(f"{line}\n" for line in SENTENCES))
    for named in ("hub:org/model@main", "hub:org/exported", "hub:org/model+hub:org/exported"):
        out = tmp_path / "out.txt"
        status, said = run("translate", "--model", named, "--input", tmp_path / "in.txt", "--output", out)
        assert status == 0, said
        assert out.read_text().splitlines() == expected
    status, said = run("translate", "--model", "hub:org/none", "--input", tmp_path / "in.txt")
    assert status == 2
    assert "hub:org/none: the Hugging Face hub gave no such model" in said
    with pytest.raises(MMTError, match="expected OWNER/NAME"):
        mmt.Translator.from_pretrained("hub:org/model@main", revision="v2")


@pytest.mark.parametrize("external", [False, True], ids=["whole graphs", "graphs with weights beside them"])
def test_a_pushed_model_has_its_graphs_and_needs_no_torch(
    external: bool, hub: HubServer, exported_text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_right")
    model = Path(shutil.copytree(exported_text / "model", tmp_path / "model"))
    if external:
        add_graphs(model, exported_text / "graphs")
    else:
        export_into(model, ["float32"], show_progress=False)
    assert any(path.suffix == ".data" for path in (model / "exported").iterdir()) == external
    expected = mmt.Translator.from_dir(model).translate(SENTENCES)
    status, said = run("push", model, "org/model", "--licence", "mit")
    assert status == 0, said
    assert "not uploaded" not in said
    there = hub.files("org/model")
    graphs = {name for name in there if name.startswith("exported/")}
    assert {Path(name).name for name in graphs} == {path.name for path in (model / "exported").iterdir()}
    assert set(json.loads(there["mmt.json"])["sha256"]) >= graphs
    assert "mmt-toolkit[hf]" in there["README.md"].decode()
    assert str(tmp_path) not in "".join(there[name].decode() for name in graphs if name.endswith(".json"))
    fetched = mmt.Translator.from_pretrained("org/model")
    assert fetched.translate(SENTENCES) == expected
    assert fetched.runtime == "ONNX Runtime (the model's graphs)"
    program = "import sys, mmt; print(*mmt.Translator.from_dir(sys.argv[1]).translate(sys.argv[2:]), sep='\\n')"
    folder = hub_model("hub:org/model")
    done = without_torch(program, folder, *SENTENCES)
    assert done.stdout.splitlines() == expected, done.stderr
    monkeypatch.setattr("mmt.inference.own_graphs.file_checksum", lambda path: pytest.fail(f"{path} was read"))
    assert mmt.Translator.from_dir(folder).runtime == fetched.runtime  # the cache has compared the weights
    status, said = run("push", folder, "org/copy", "--licence", "mit")  # what was fetched can be pushed again
    assert status == 0, said
    assert hub.files("org/copy")["mmt.json"] == there["mmt.json"]


def test_graphs_of_other_weights_are_not_pushed_and_damaged_ones_refused(
    hub: HubServer, exported_text: Path, world: Path, tmp_path: Path
) -> None:
    model = Path(shutil.copytree(exported_text / "model", tmp_path / "model"))
    graph = add_graphs(model, exported_text / "graphs") / "exported" / "decoder.float32.onnx"
    graph.write_bytes(graph.read_bytes()[:-1])
    status, said = run("push", model, "org/model", "--licence", "mit", "--dry-run")
    assert status == 2
    assert f"{graph}: damaged" in said
    tiny_folder(tmp_path / "other", world, seed=3, **ONE_LAYER)
    shutil.copytree(model / "exported", tmp_path / "other" / "exported")
    status, said = run("push", tmp_path / "other", "org/model", "--licence", "mit", "--dry-run")
    assert status == 0, said
    assert "not uploaded: exported\n" in said
    assert "exported/" not in said


def test_a_language_may_have_a_region(hub: HubServer, model: Path) -> None:
    card = json.loads((model / "mmt.json").read_text())
    (model / "mmt.json").write_text(json.dumps(card | {"source_lang": "pt-BR"}))
    status, said = run("push", model, "org/model", "--licence", "mit", "--dry-run")
    assert status == 0, said
    assert card_of(said)["language"] == ["pt", "de"]
    assert "Portuguese (Brazil) to German" in said
    card["training"]["pairs"] = ["pt-BR-en", "en-pt-BR", "en-de"]
    (model / "mmt.json").write_text(json.dumps(card | {"source_lang": "mul", "target_lang": "mul"}))
    status, said = run("push", model, "org/model", "--licence", "mit", "--dry-run")
    assert status == 0, said
    assert card_of(said)["language"] == ["pt", "en", "de"]
    assert "Portuguese (Brazil) to English, English to Portuguese (Brazil), English to German" in said


def test_the_card_says_what_the_model_its_result_and_its_evidence_say(
    hub: HubServer, model: Path, tmp_path: Path
) -> None:
    trained = json.loads((model / "mmt.json").read_text())["training"]
    scored = json.loads((RESULTS / "pictures_en_de_gated" / "result.json").read_text()) | {"training": trained}
    (tmp_path / "result.json").write_text(json.dumps(scored))
    evidence = {
        "model": {"training": trained},
        "verdict": {"answer": "yes", "sentence": "Yes: the model uses the image. p < 0.001"},
        "comparison": {
            "question": "Better than text-only?",
            "answer": "not shown",
            "sentence": "Not shown: chance.",
        },
        "data": {"name": "shop", "split": "test"},
    }
    (tmp_path / "evidence.json").write_text(json.dumps(evidence))
    options = ["--licence", "cc-by-4.0", "--result", tmp_path, "--evidence", tmp_path]
    status, said = run("push", model, "org/model", *options, "--dry-run")
    assert status == 0, said
    assert "org/model" not in hub.repos
    assert run("push", model, "org/model", *options)[0] == 0
    page = hub.files("org/model")["README.md"].decode()
    assert page in said
    about = card_of(page)
    assert (about["license"], about["library_name"], about["language"]) == ("cc-by-4.0", "mmt", ["en", "de"])
    assert about["pipeline_tag"] == "image-text-to-text"
    (result,) = about["model-index"][0]["results"]
    metrics = {one["type"]: (one["value"], one["args"]["signature"]) for one in result["metrics"]}
    scores = scored["scores"]
    assert metrics == {
        name: (round(scores[name]["value"], 2), scores[name]["signature"]) for name in ("bleu", "chrf", "ter")
    }
    assert result["dataset"]["name"] == "pictures_en_de"
    assert "**Yes.** The model uses the image. p < 0.001" in page
    assert "**Better than text-only? Not shown.** Chance." in page
    assert "`nrefs:1|case:mixed" in page
    assert "Translates English to German, with an image" in page
    (tmp_path / "evidence.json").write_text(json.dumps(evidence | {"model": {"training": trained | {"seed": 99}}}))
    status, said = run("push", model, "org/model", *options, "--dry-run")
    assert status == 2
    assert f"--evidence {tmp_path}: expected what was measured with MODEL" in said
    status, said = run(
        "push", model, "org/model", "--licence", "mit", "--result", RESULTS / "pictures_en_de_gated"
    )
    assert status == 2
    assert "pictures_en_de_gated: expected what was measured with MODEL" in said


def test_what_concerns_only_this_machine_is_not_published(hub: HubServer, model: Path, tmp_path: Path) -> None:
    card = json.loads((model / "mmt.json").read_text())
    card["features"]["backbone"] = "clip:/home/ann/vit"
    card["training"]["text"] = {"name": "nllb:facebook/nllb-200", "frozen": False}
    card["training"]["config"] = {
        "data": {"path": "/home/ann/secret/data", "datasets": ["../ann/other", "ann/third/"]},
        "images": {"features": ["~/ann/vit", "C:\\ann\\store"]},
        "model": {"text": "nllb:facebook/nllb-200", "fusion": "gated"},
        "stack": {"server": "https://ann:pass@word@example.org/x"},
        "mlflow": {"tracking_uri": "https://ann:password@example.org", "experiment": "ann"},
    }
    before = json.dumps(card)
    (model / "mmt.json").write_text(before)
    (model / "notes.txt").write_text("ann's notes")
    (model / "all").symlink_to(tmp_path)
    (model / "key").symlink_to(tmp_path / "model" / "mmt.json")
    status, said = run("push", model, "org/model", "--licence", "mit")
    assert status == 0, said
    assert "not uploaded: all, key, notes.txt" in said
    files = hub.files("org/model")
    assert set(files) == {".gitattributes", "README.md", "mmt.json", *card["sha256"]}
    there = json.loads(files["mmt.json"])
    assert there["training"]["config"] == {
        "data": {"path": "data", "datasets": ["other", "third"]},
        "images": {"features": ["vit", "store"]},
        "model": {"text": "nllb:facebook/nllb-200", "fusion": "gated"},
        "stack": {"server": "https://***@example.org/x"},
    }
    assert there["features"]["backbone"] == "clip:vit"
    assert there["training"]["text"] == card["training"]["text"]
    for name in ("mmt.json", "README.md"):
        assert b"ann" not in files[name].replace(b"planned", b"")
    assert (model / "mmt.json").read_text() == before
    assert run("info", "hub:org/model")[0] == 0


def test_a_folder_that_is_called_like_a_model_of_the_hub_is_not_downloaded(
    hub: HubServer, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path.parent)
    name = f"{tmp_path.name}/model"
    with pytest.raises(MMTError, match=f"{name}: that is a folder: use from_dir"):
        mmt.Translator.from_pretrained(name)
    assert hub.asked == []


def test_only_options_that_name_models_download_and_only_when_the_command_runs(
    hub: HubServer, model: Path, tmp_path: Path
) -> None:
    complete = BashComplete(main, {}, "mmt", "_MMT_COMPLETE")
    assert "--beam-size" in {
        item.value for item in complete.get_completions(["translate", "--model", "hub:a/b"], "--")
    }
    assert hub.asked == []
    for option in ("--output", "--input"):
        status, said = run("translate", "--model", model, option, "hub:org/model")
        assert status == 2
        assert "hub:org/model is a model of the Hugging Face hub; expected a path" in " ".join(said.split())
    assert hub.asked == []


def test_a_process_takes_all_that_it_reads_of_a_model_from_one_commit(hub: HubServer, model: Path) -> None:
    assert run("push", model, "org/model", "--licence", "mit")[0] == 0
    first = hub.refs["org/model"]["main"]
    (folder,) = members_of("hub:org/model")
    hub.commit("org/model", {"mmt.json": b"{}"})
    assert members_of("hub:org/model") == [folder]
    assert folder.name == first


def test_a_text_only_card(hub: HubServer, world: Path, tmp_path: Path) -> None:
    folder = tiny_folder(tmp_path / "text", world)
    status, page = run("push", folder, "org/text", "--licence", "mit", "--dry-run")
    assert status == 0, page
    assert card_of(page)["pipeline_tag"] == "translation"
    assert "It is a text-only model" in page
    assert "No scores were given." in page
    assert "model-index" not in card_of(page)


@pytest.mark.parametrize(
    ("heads", "task", "use"),
    [
        (["contrastive"], "feature-extraction", 'mmt retrieve --model hub:org/it --index photos.index "YOUR'),
        (["classification"], "text-classification", "mmt predict --model hub:org/it --input"),
    ],
)
def test_a_card_of_what_writes_nothing(heads: list[str], task: str, use: str, hub: HubServer, model: Path) -> None:
    card = json.loads((model / "mmt.json").read_text())
    card["config"] |= {"writes": False, "heads": heads}
    card["training"]["text"] = {"name": "bert:org/encoder", "frozen": False}
    (model / "mmt.json").write_text(json.dumps(card))
    status, page = run("push", model, "org/it", "--licence", "mit", "--dry-run")
    assert status == 0, page
    about = card_of(page)
    assert (about["pipeline_tag"], about["language"], about["base_model"]) == (task, ["en"], "org/encoder")
    assert use in page
    assert "in English" in page
    assert "| base | bert:org/encoder |" in page
    assert "ranslat" not in page
    assert "mmt evidence" not in page


def test_what_cannot_be_pushed(hub: HubServer, model: Path, tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text("{}")
    cases: list[tuple[list[object], str]] = [
        ([model, "model", "--licence", "mit"], "model: expected OWNER/NAME"),
        ([model, "org/model@v1", "--licence", "mit"], "Name a branch with --revision"),
        ([tmp_path, "org/model", "--licence", "mit"], "no mmt.json, so no model folder"),
        ([model, "org/model"], "Missing option '--licence'"),
        ([model, "org/model", "--licence", "mit", "--result", tmp_path / "other.json"], "one lacks 'scores'"),
        (
            [model, "org/model", "--licence", "mit", "--evidence", tmp_path],
            "evidence.json: expected evidence.json",
        ),
    ]
    for arguments, expected in cases:
        status, said = run("push", *arguments)
        assert status == 2
        assert expected in " ".join(said.split())
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\1")
    status, said = run("push", model, "org/model", "--licence", "mit")
    assert status == 2
    assert "damaged, its checksum is another" in said
    weights.unlink()
    assert "model.safetensors is missing" in run("push", model, "org/model", "--licence", "mit")[1]
    assert hub.repos == {}
