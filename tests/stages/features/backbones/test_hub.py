import hashlib
import http.server
import os
import socket
import subprocess
import sys
import threading
import time

import pytest
import torch

from stages.features.backbone_spec import BackboneSpec
from stages.features.backbones.hub import download
from stages.features.backbones.torch_backbone import load_model

FETCH = """
import sys, time, timm, huggingface_hub
from stages.errors import SettingsError
from stages.features.backbone_spec import BackboneSpec
from stages.features.backbones.hub import hub_file
for name in sys.argv[1:]:
    start = time.monotonic()
    try:
        print("FOUND", hub_file(BackboneSpec(name=name)))
    except SettingsError as error:
        print("SETTINGS", round(time.monotonic() - start), error)
"""


def closed_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def offline(tmp_path):
    """An environment in which no hub can be reached and nothing is cached."""
    nowhere = f"http://127.0.0.1:{closed_port()}"
    own = {"TORCH_HOME": tmp_path / "torch", "HF_HOME": tmp_path / "hf", "HF_ENDPOINT": nowhere}
    own |= dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), nowhere)
    own |= {"no_proxy": "", "NO_PROXY": ""}
    return {**os.environ, **{key: str(value) for key, value in own.items()}}


def fetch(environment, *names):
    done = subprocess.run(
        [sys.executable, "-c", FETCH, *names], capture_output=True, text=True, env=environment, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_an_unreachable_hub_gives_one_sentence_that_helps(tmp_path):
    environment = offline(tmp_path)
    official, timms = fetch(environment, "dino_vits16", "resnet18")
    target = tmp_path / "torch" / "hub" / "checkpoints" / "dino_deitsmall16_pretrain.pth"
    for line in (official, timms):
        kind, seconds, sentence = line.split(" ", 2)
        assert kind == "SETTINGS" and int(seconds) <= 20
        assert "can't be fetched" in sentence and "--set backbone.weights=PATH" in sentence
    assert "dino_deitsmall16_pretrain.pth at " + str(target) in official
    assert "model.safetensors of the hub repository timm/resnet18" in timms and "revision main" in timms
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(b"put there by hand")
    assert fetch(environment, "dino_vits16") == [f"FOUND {target}"]


def test_released_weights_are_loaded_from_the_cache(tmp_path, monkeypatch):
    """A file of the released layout (random content) where the release would lie."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    path = tmp_path / "hub" / "checkpoints" / "dinov2_vits14_reg4_pretrain.pth"
    path.parent.mkdir(parents=True)
    own = load_model(BackboneSpec(name="dinov2_vits14_reg", weights="random"))[0].state_dict()
    released = {name: value for name, value in own.items() if name != "reg_token"}
    released |= {"register_tokens": own["reg_token"], "mask_token": torch.zeros(1, 384)}
    released["pos_embed"] = torch.cat([torch.ones(1, 1, 384), own["pos_embed"]], dim=1)
    torch.save(released, path)
    model, digest = load_model(BackboneSpec(name="dinov2_vits14_reg", weights="hub"))
    assert digest == hashlib.sha256(path.read_bytes()).hexdigest()
    found = model.state_dict()
    assert torch.equal(found.pop("cls_token"), own.pop("cls_token") + 1)
    assert found.keys() == own.keys() and all(torch.equal(found[name], own[name]) for name in own)


class Server(http.server.BaseHTTPRequestHandler):
    """``/whole`` sends what it announces, ``/short`` less, ``/silent`` nothing."""

    def do_GET(self):
        if self.path == "/silent":
            self.server.released.wait(20)
            return
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        self.wfile.write(b"x" * (1000 if self.path == "/whole" else 400))

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
    server.released = threading.Event()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.released.set()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def test_a_download_appears_whole_or_not_at_all(tmp_path, server):
    target = tmp_path / "cache" / "w.pth"
    with pytest.raises(OSError, match="400 of 1000 bytes"):
        download(f"{server}/short", target)
    assert list(target.parent.iterdir()) == []
    download(f"{server}/whole", target)
    assert target.read_bytes() == b"x" * 1000
    assert list(target.parent.iterdir()) == [target]


def test_a_silent_server_costs_no_more_than_the_limit(tmp_path, server):
    start = time.monotonic()
    with pytest.raises(OSError, match="timed out"):
        download(f"{server}/silent", tmp_path / "w.pth", timeout_s=0.5)
    assert time.monotonic() - start < 10
    assert list(tmp_path.iterdir()) == []
