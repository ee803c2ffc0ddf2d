import pickle

import pytest
import timm
import torch
from safetensors.torch import save_file

from stages.errors import SettingsError
from stages.features.backbone_spec import BackboneSpec
from stages.features.backbones.weights import adapt, load_strictly, load_weights, read_file

CNN, VIT = "resnet10t", "vit_tiny_patch16_224"


def create(name, seed):
    torch.manual_seed(seed)
    return timm.create_model(name, pretrained=False, num_classes=0)


def load(name, path):
    model = create(name, 1)
    digest = load_weights(model, BackboneSpec(name=name, weights=str(path)))
    assert len(digest) == 64
    return model.state_dict()


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


@pytest.fixture(scope="module")
def released():
    return create(VIT, 0).state_dict()


def test_the_same_weights_in_every_wrapping(tmp_path, released):
    """DINO as released; safetensors; training checkpoints with a teacher, a head and prefixes."""
    teacher = {f"backbone.{k}": v for k, v in released.items()} | {"head.mlp.0.weight": torch.zeros(2, 2)}
    files = {
        "plain.pth": released,
        "headed.pth": released | {"head.weight": torch.zeros(10, 192), "head.bias": torch.zeros(10)},
        "wrapped.pt": {"model": released, "epoch": 3},
        "teacher.pth": {"student": {}, "teacher": {f"module.{k}": v for k, v in teacher.items()}},
    }
    for name, content in files.items():
        torch.save(content, tmp_path / name)
    save_file(released, tmp_path / "plain.safetensors")
    for name in (*files, "plain.safetensors"):
        assert same(load(VIT, tmp_path / name), released), name


def test_moco_checkpoints(tmp_path):
    encoder = create(CNN, 0).state_dict()
    state = {f"module.encoder_q.{k}": v for k, v in encoder.items()}
    state |= {f"module.encoder_k.{k}": torch.zeros_like(v) for k, v in encoder.items()}
    state |= {"module.queue": torch.zeros(8, 8), "module.encoder_q.fc.0.weight": torch.zeros(4, 4)}
    torch.save({"epoch": 800, "arch": "resnet", "state_dict": state}, tmp_path / "moco.pth.tar")
    assert same(load(CNN, tmp_path / "moco.pth.tar"), encoder)


def test_training_counters_may_be_absent():
    model, state = create(CNN, 0), create(CNN, 1).state_dict()
    shorter = {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}
    load_strictly(model, shorter, "file")
    assert torch.equal(model.state_dict()["conv1.0.weight"], state["conv1.0.weight"])


def test_nothing_missing_nothing_left_over(released):
    model = create(VIT, 1)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    wrong = dict(released)
    wrong["blocks.99.norm1.weight"] = wrong.pop("blocks.3.norm1.weight")
    wrong["pos_embed"] = wrong["pos_embed"][:, :-1]
    with pytest.raises(SettingsError) as caught:
        load_strictly(model, adapt(wrong, model), "this.pth")
    for part in (
        "this.pth",
        "1 missing: blocks.3.norm1",
        "1 unexpected: blocks.99",
        "of another shape: pos_embed",
    ):
        assert part in str(caught.value)
    assert same(model.state_dict(), before)


class Payload:
    """Unpickling it creates the file that it was given."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_pickled_code_is_refused_and_not_run(tmp_path):
    ran = tmp_path / "ran"
    torch.save({"state_dict": {}, "extra": Payload(ran)}, tmp_path / "zipped.pth")
    (tmp_path / "bare.pth").write_bytes(pickle.dumps({"extra": Payload(ran)}, protocol=2))
    for name in ("zipped", "bare"):
        with pytest.raises(SettingsError, match=rf"{name}\.pth is refused: .*could run code"):
            read_file(tmp_path / f"{name}.pth")
        assert not ran.exists()


def test_damaged_files(tmp_path, released):
    torch.save(released, tmp_path / "whole.pth")
    whole = (tmp_path / "whole.pth").read_bytes()
    save_file(released, tmp_path / "whole.safetensors")
    safe = (tmp_path / "whole.safetensors").read_bytes()
    contents = {"cut.pth": whole[: len(whole) // 2], "empty.pth": b"", "cut.safetensors": safe[:1000]}
    contents |= {"text.pth": b"not weights at all", "latin.pth": b"caf\xe9\n", "empty.safetensors": b""}
    for name, content in contents.items():
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(SettingsError, match=rf"{name}"):
            read_file(path)
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(SettingsError, match="holds no state_dict"):
        read_file(tmp_path / "list.pth")
