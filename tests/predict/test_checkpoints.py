# SPDX-License-Identifier: Apache-2.0
"""Checkpoints that cannot be had or opened, as a hub and a disk give them."""

import http.server
import pickle
import threading

import pytest

pytest.importorskip("transformers")

import small_transformers
from huggingface_hub import constants as hub_constants

from panoptic_gs import InputError
from panoptic_gs.predict.masks.found import MaskOptions, load_mask_predictor
from panoptic_gs.predict.masks.hub import readable, require_at_hand


@pytest.fixture
def hub(monkeypatch):
    """A hub whose answer to everything is a status and an error code; and the number of questions."""
    answer, asked = {"status": 200, "code": None}, []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self):
            asked.append(self.path)
            self.send_response(answer["status"])
            if answer["code"]:
                self.send_header("X-Error-Code", answer["code"])
            self.send_header("X-Repo-Commit", "a" * 40)
            self.send_header("ETag", '"b"')
            self.send_header("Content-Length", "2")
            self.end_headers()

        def log_message(self, *arguments):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    address = f"http://127.0.0.1:{server.server_address[1]}"
    monkeypatch.setattr(hub_constants, "ENDPOINT", address)
    template = address + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(hub_constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(hub_constants, "HF_HUB_OFFLINE", False)
    yield answer, asked
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("status", "code", "found", "mend"),
    [
        (401, "RepoNotFound", "no checkpoint of this name", "Check the name"),
        (403, "GatedRepo", "asks for a login", "hf auth login"),
        (404, "EntryNotFound", "no config.json", "transformers can load"),
        (500, None, "cannot be had", "hf download a/checkpoint"),
    ],
)
def test_what_a_hub_refuses_is_told_apart_and_asked_for_once(hub, status, code, found, mend):
    answer, asked = hub
    answer.update(status=status, code=code)
    with pytest.raises(InputError) as refused:
        require_at_hand("a/checkpoint")
    assert found in refused.value.found
    assert mend in refused.value.mend
    assert len(asked) == 1


def test_what_a_hub_has_is_to_be_downloaded_and_a_folder_is_not(hub, tmp_path):
    assert require_at_hand("a/checkpoint")
    assert not require_at_hand(str(tmp_path))


@pytest.mark.parametrize(
    ("name", "found"),
    [("./nowhere", "no such folder"), ("/no/where", "no such folder"), ("a/b/c", "no name that the hub allows"),
     ("FILE", "a single file")],
)  # fmt: skip
def test_paths_are_not_looked_for_on_the_hub(hub, tmp_path, name, found):
    if name == "FILE":
        name = str(tmp_path / "model.safetensors")
        (tmp_path / "model.safetensors").touch()
    with pytest.raises(InputError) as refused:
        load_mask_predictor(name, MaskOptions())
    assert found in refused.value.found
    assert hub[1] == []


@pytest.mark.parametrize("lack", ["the end of its weights", "its processor", "its weights"])
def test_a_folder_that_lacks_something_is_not_to_be_downloaded(tmp_path, lack):
    folder = small_transformers.write("eomt", tmp_path / "eomt")
    if lack == "the end of its weights":
        with (folder / "model.safetensors").open("r+b") as file:
            file.truncate(3000)
    else:
        (folder / ("preprocessor_config.json" if lack == "its processor" else "model.safetensors")).unlink()
    with pytest.raises(InputError, match="cannot be used") as refused:
        load_mask_predictor(str(folder), MaskOptions())
    assert refused.value.source == str(folder)
    assert "Copy or download all of its files again" in refused.value.mend
    assert "hf download" not in refused.value.mend


@pytest.mark.parametrize(
    ("error", "found"),
    [
        (OSError(28, "No space left on device"), "no space left"),
        (RuntimeError("Data processing error: No space left on device (os error 28)"), "no space left"),
        (pickle.UnpicklingError("pickle data was truncated"), "cannot be used"),
        (ConnectionError("refused"), "cannot be had"),
    ],
)  # fmt: skip
def test_whatever_fails_while_weights_are_fetched_or_opened_is_said(error, found):
    with pytest.raises(InputError, match=found), readable("a/checkpoint"):
        raise error


def test_a_full_disk_is_told_by_what_is_at_the_bottom():
    error = OSError("Can't load the model")
    error.__cause__ = OSError(28, "No space left on device")
    with pytest.raises(InputError, match="no space left"), readable("a/checkpoint"):
        raise error
