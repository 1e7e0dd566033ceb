"""Models on the hub, on a local server of its protocol: downloads, checksums, offline, uploads, tokens."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub.utils import reset_sessions

import mmt.io.hub
from mmt.errors import MMTError
from mmt.io.hub import HubModel, fetch, is_hub_name, upload
from tests.hub_server import HubServer


def card(**more: int) -> bytes:
    """A model's mmt.json; the checksum is compared when the model is opened."""
    return json.dumps({"sha256": {"model.safetensors": "0"}, **more}).encode()


FILES = {"mmt.json": card(), "model.safetensors": bytes(range(256)) * 40, "README.md": b"# card"}
MODEL = HubModel("org/model")


def test_names() -> None:
    assert HubModel.parse("hub:org/model@v1.0") == HubModel("org/model", "v1.0")
    assert HubModel.parse("org/model") == MODEL
    assert str(HubModel.parse("hub:org/model@v1")) == "hub:org/model@v1"
    assert is_hub_name("hub:org/model")
    assert not is_hub_name("org/model")
    for bad in ("hub:model", "hub:org/model@", "hub:../x", "hub:org/../x", "hub:https://x/y", "hub:"):
        with pytest.raises(MMTError, match="expected OWNER/NAME"):
            HubModel.parse(bad)


def test_a_model_is_downloaded_once_and_read_offline(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    oid = hub.commit("org/model", FILES)
    folder = fetch(MODEL)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
        name: data for name, data in FILES.items() if name != "README.md"
    }
    assert folder.name == oid
    assert fetch(MODEL) == folder
    assert hub.gets("model.safetensors") == [""]
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    reset_sessions()
    hub.asked.clear()
    assert fetch(MODEL) == folder
    assert hub.asked == []
    with pytest.raises(MMTError, match="hub:org/other: the Hugging Face hub gave no such model"):
        fetch(HubModel("org/other"))


def test_the_cache_is_used_where_the_server_is_down(hub: HubServer) -> None:
    hub.commit("org/model", FILES)
    folder = fetch(MODEL)
    hub.shutdown()
    hub.server_close()
    assert fetch(MODEL) == folder


def test_revisions(hub: HubServer) -> None:
    first = hub.commit("org/model", FILES)
    hub.commit("org/model", {"mmt.json": card(new=1)})
    hub.commit("org/model", {"mmt.json": card(branch=1)}, branch="v2")
    contents = [fetch(HubModel("org/model", one)).joinpath("mmt.json").read_bytes() for one in (first, None, "v2")]
    assert contents == [card(), card(new=1), card(branch=1)]
    with pytest.raises(MMTError, match="hub:org/model@v3: the Hugging Face hub gave no such model"):
        fetch(HubModel("org/model", "v3"))


def test_only_a_model_is_downloaded_and_only_its_files(hub: HubServer) -> None:
    others = {"film.mp4": b"0" * 5000, "model.safetensors.bak": b"1", "deep/model.safetensors": b"2"}
    hub.commit("org/model", {**FILES, **others})
    assert {path.name for path in fetch(MODEL).iterdir()} == {"mmt.json", "model.safetensors"}
    assert [hub.gets(name) for name in others if name != "deep/model.safetensors"] == [[], []]
    hub.commit("org/other", others)
    with pytest.raises(MMTError, match=r"hub:org/other: has no mmt\.json, so no model of mmt"):
        fetch(HubModel("org/other"))
    for bad in (b"{}", b"[", b'{"sha256": {}}', b'{"sha256": {"*": "0"}}', b'{"sha256": {"../x": "0"}}'):
        hub.commit("org/other", {"mmt.json": bad})
        with pytest.raises(MMTError, match=r"hub:org/other: expected an mmt\.json with the model's files"):
            fetch(HubModel("org/other"))
    assert hub.gets("film.mp4") == []
    hub.commit("org/lacks", {"mmt.json": card()})
    with pytest.raises(MMTError, match=r"hub:org/lacks: model\.safetensors is missing"):
        fetch(HubModel("org/lacks"))


def test_all_files_are_of_one_commit(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    old = hub.commit("org/model", FILES)
    download = huggingface_hub.snapshot_download

    def later(*arguments: Any, **settings: Any) -> str:
        hub.commit("org/model", {"mmt.json": card(new=1), "model.safetensors": b"new" * 1000})
        return download(*arguments, **settings)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", later)
    folder = fetch(MODEL)
    assert folder.name == old
    assert {name: (folder / name).read_bytes() for name in ("mmt.json", "model.safetensors")} == {
        name: FILES[name] for name in ("mmt.json", "model.safetensors")
    }


def test_an_interrupted_download_resumes(hub: HubServer) -> None:
    large = b"0123456789abcdef" * 800_000  # the library writes blocks of 10 MiB
    hub.commit("org/model", {**FILES, "model.safetensors": large})
    hub.cut["model.safetensors"] = 11_000_000
    with pytest.raises(MMTError, match="rerun the same command to resume"):
        fetch(MODEL)
    assert (fetch(MODEL) / "model.safetensors").read_bytes() == large
    assert hub.gets("model.safetensors") == ["", f"bytes={10 << 20}-"]


@pytest.mark.parametrize("name", ["mmt.json", "model.safetensors"])  # git's checksum, and LFS's
def test_a_wrong_checksum_is_refused(hub: HubServer, name: str) -> None:
    hub.commit("org/model", FILES)
    hub.objects[f"wrong {name}"] = bytes([FILES[name][0] ^ 1]) + FILES[name][1:]
    with pytest.raises(MMTError, match=f"hub:org/model: wrong checksum of {name}, twice"):
        fetch(MODEL)
    assert len(hub.gets(name)) == 2
    del hub.objects[f"wrong {name}"]
    assert (fetch(MODEL) / name).read_bytes() == FILES[name]


def test_a_file_damaged_in_the_cache_is_downloaded_again(hub: HubServer) -> None:
    hub.commit("org/model", FILES)
    blob = (fetch(MODEL) / "model.safetensors").resolve()
    blob.write_bytes(b"\0" * blob.stat().st_size)
    assert (fetch(MODEL) / "model.safetensors").read_bytes() == FILES["model.safetensors"]


def test_whole_files_are_compared_once(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.commit("org/model", FILES)
    folder = fetch(MODEL)
    monkeypatch.setattr(mmt.io.hub, "file_checksum", lambda path: pytest.fail(f"{path} was read"))
    assert fetch(MODEL) == folder


def test_an_upload_is_one_commit(hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_right")
    (tmp_path / "weights").write_bytes(FILES["model.safetensors"])
    files: dict[str, Path | bytes] = {"mmt.json": card(), "model.safetensors": tmp_path / "weights"}
    url = upload("org/model", files, message="first")
    there = hub.files("org/model")
    assert {name: there[name] for name in there if name != ".gitattributes"} == {
        name: FILES[name] for name in files
    }
    assert url == f"{hub.url}/org/model/commit/{hub.refs['org/model']['main']}"
    assert (fetch(MODEL) / "model.safetensors").read_bytes() == FILES["model.safetensors"]
    upload("org/model", {"mmt.json": card(v2=1)}, message="second", revision="v2")
    assert hub.files("org/model", "v2")["mmt.json"] == card(v2=1)
    assert hub.files("org/model")["mmt.json"] == card()


def test_a_token_is_never_in_a_message(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(MMTError) as refused:
        upload("org/model", {"mmt.json": b"{}"}, message="first")
    assert "Bearer hf_wrong" in hub.tokens
    assert "hf_wrong" not in str(refused.value)
    assert "hf auth login" in str(refused.value)

    def refuse(*_: object, **__: object) -> None:
        raise ValueError("the token hf_wrong is invalid")

    monkeypatch.setattr(huggingface_hub.HfApi, "create_repo", refuse)
    with pytest.raises(MMTError, match=r"the token hf_\*\*\* is invalid"):
        upload("org/model", {"mmt.json": b"{}"}, message="first")


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(
        MMTError, match=r"hub:org/model: .*huggingface_hub is missing. pip install 'mmt-toolkit\[hf\]'"
    ):
        fetch(MODEL)


def test_variables_of_the_environment_are_followed(hub: HubServer, tmp_path: Path) -> None:
    hub.commit("org/model", FILES)
    code = "from mmt.io.hub import HubModel, fetch; print(fetch(HubModel('org/model')))"
    environment = {**os.environ, "HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "other")}
    ran = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    folder = ran.stdout.strip()
    assert Path(folder).is_relative_to(tmp_path / "other")
    assert (Path(folder) / "mmt.json").read_bytes() == card()
