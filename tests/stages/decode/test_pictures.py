"""The right pixels: colours, rotation, tiny frames, folders of images."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from stages.decode.decoders.pyav_ import clockwise
from stages.decode.image_files import list_images
from stages.decode.spec import Geometry
from stages.outcome import MediaError
from stages.stage import MemoryAttempts
from tests.outside import outside
from tests.stages.decode.media import collect, request, write_video

QUADRANTS = np.zeros((64, 96, 3), np.uint8)
QUADRANTS[:32, :48], QUADRANTS[:32, 48:] = (220, 30, 30), (30, 220, 30)
QUADRANTS[32:, :48], QUADRANTS[32:, 48:] = (30, 30, 220), (230, 230, 230)


def corners(rgb):
    """Mean colours of the four quadrants of one frame, without their edges."""
    h, w = rgb.shape[0] // 2, rgb.shape[1] // 2
    return [
        rgb[y + h // 4 : y + h - h // 4, x + w // 4 : x + w - w // 4].mean(axis=(0, 1))
        for y in (0, h)
        for x in (0, w)
    ]


@pytest.mark.parametrize("decoder", ["auto", "pyav"])
@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("a.mp4", {}),
        ("a.mp4", {"pix_fmt": "yuv444p"}),
        ("a.mp4", {"pix_fmt": "yuvj444p"}),
        ("a.mp4", {"pix_fmt": "yuv422p10le"}),
        ("a.mp4", {"pix_fmt": "yuv420p10le"}),
        ("a.mp4", {"codec": "libx264rgb", "pix_fmt": "rgb24"}),
        ("a.webm", {"codec": "libvpx-vp9", "pix_fmt": "yuva420p"}),
        ("a.mov", {"codec": "qtrle", "pix_fmt": "argb"}),
        ("a.avi", {"codec": "mjpeg", "pix_fmt": "yuvj420p"}),
        ("a.gif", {"codec": "gif", "pix_fmt": "rgb8"}),
    ],
    ids=lambda value: "-".join(str(v) for v in value.values()) if isinstance(value, dict) else value,
)
def test_colours(client, tmp_path, name, settings, decoder):
    path = write_video(tmp_path / name, [QUADRANTS] * 4, **settings)
    _, _, rgb, _ = collect(client, request(path, decoder=decoder))
    assert rgb.shape == (4, *QUADRANTS.shape)
    tolerance = 40 if name.endswith("gif") else 16  # an eight-bit palette has coarse steps
    for frame in rgb:
        assert np.abs(np.array(corners(frame)) - corners(QUADRANTS)).max() < tolerance


@pytest.mark.parametrize("decoder", ["auto", "pyav"])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 5), (3, 3), (2, 2), (2, 4), (35, 51), (17, 130)])
def test_small_and_odd_sizes(client, tmp_path, height, width, decoder):
    colour = np.full((height, width, 3), (200, 60, 20), np.uint8)
    path = write_video(tmp_path / "small.mp4", [colour] * 3, pix_fmt="yuv444p")
    _, _, rgb, _ = collect(client, request(path, decoder=decoder))
    assert rgb.shape == (3, height, width, 3)
    assert np.abs(rgb.astype(int) - (200, 60, 20)).max() < 12
    _, _, rgb, _ = collect(client, request(path, decoder=decoder, geometry=Geometry((28, 28), 14)))
    assert rgb.shape == (3, 28, 28, 3) and np.abs(rgb.astype(int) - (200, 60, 20)).max() < 12


@pytest.mark.parametrize("decoder", ["auto", "pyav"])
@pytest.mark.parametrize("resizer", ["pil", "decoder"])
@pytest.mark.parametrize("turn", [0, 90, 180, 270])
def test_rotation_is_honoured(client, tmp_path, turn, decoder, resizer):
    # stored turned anticlockwise, with the order to turn it back clockwise
    stored = [np.ascontiguousarray(np.rot90(QUADRANTS, turn // 90))] * 3
    path = write_video(tmp_path / "turned.mp4", stored, rotation=-turn)
    probe = client.probe("key", path, MemoryAttempts())
    assert (probe.rotation, probe.height, probe.width) == (turn, *stored[0].shape[:2])
    for size in (None, (48, 80)):
        asked = request(path, decoder=decoder, resizer=resizer, geometry=Geometry(size))
        _, _, rgb, _ = collect(client, asked)
        assert rgb.shape[1:3] == (size or QUADRANTS.shape[:2])
        assert np.abs(np.array(corners(rgb[1])) - corners(QUADRANTS)).max() < 16


@pytest.mark.parametrize("decoder", ["auto", "pyav"])
def test_nonsense_rotation_is_none(client, tmp_path, decoder):
    path = write_video(tmp_path / "turned.mp4", [QUADRANTS] * 3, rotation=37)
    assert client.probe("key", path, MemoryAttempts()).rotation == 0
    _, _, rgb, _ = collect(client, request(path, decoder=decoder))
    assert np.abs(np.array(corners(rgb[0])) - corners(QUADRANTS)).max() < 16


def test_clockwise():
    assert [clockwise(r) for r in (0, -90, 90, 180, -180, 270, -89, 89)] == [
        0,
        90,
        270,
        180,
        180,
        90,
        90,
        270,
    ]
    assert [clockwise(r) for r in (37, -2147483648, 2147483647, 45)] == [0, 0, 0, 0]


@pytest.fixture
def folder(tmp_path):
    """Images 1.png … 12.png, number n filled with grey 10 n."""
    path = tmp_path / "frames of a video"
    path.mkdir()
    for number in range(1, 13):
        Image.fromarray(np.full((8, 12, 3), 10 * number, np.uint8)).save(path / f"{number}.png")
    (path / "notes.txt").write_text("no image")
    (path / ".hidden.png").write_bytes(b"no image")
    return path


@pytest.mark.parametrize("decoder", ["auto", "images", "pyav", "decord"])
def test_folder_of_images_in_natural_order(client, folder, decoder):
    index, pts, rgb, info = collect(client, request(folder, decoder=decoder))
    assert rgb[:, 0, 0, 0].tolist() == [10 * n for n in range(1, 13)]
    assert pts.tolist() == index.tolist() == list(range(12))
    assert info == {"decoder": "images", "native": [8, 12], "borders": [0, 0, 0, 0]}


def test_folder_with_a_clock(client, folder):
    index, pts, _, _ = collect(client, request(folder, fps=5.0, clock=10.0))
    assert index.tolist() == [0, 2, 4, 6, 8, 10] and pts.tolist() == pytest.approx(
        [0, 0.2, 0.4, 0.6, 0.8, 1.0]
    )
    index, _, _, _ = collect(client, request(folder, fps=5.0))
    assert len(index) == 12
    index, _, _, _ = collect(client, request(folder, stride=5, start=4, frames=7))
    assert index.tolist() == [5, 10]
    probe = client.probe("key", str(folder), MemoryAttempts())
    assert (probe.frames, probe.fps, probe.height, probe.width, probe.rotation) == (12, None, 8, 12, 0)


def test_names_sort_naturally(tmp_path):
    names = ["10.jpg", "2.jpg", "a10.PNG", "a9.png", "02.jpg", "b.jpeg"]
    for name in names:
        (tmp_path / name).touch()
    assert list_images(str(tmp_path)) == ["02.jpg", "2.jpg", "10.jpg", "a9.png", "a10.PNG", "b.jpeg"]


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "CMYK", "1", "I;16", "F"])
def test_image_modes(client, tmp_path, mode):
    grey = np.zeros((6, 6), np.uint8)
    grey[:, 3:] = 255
    image = Image.fromarray(grey)
    if mode == "I;16":
        image = Image.fromarray(grey.astype(np.uint16) * 257)
    elif mode == "F":
        image = Image.fromarray(grey.astype(np.float32))
    else:
        image = image.convert("RGB").convert(mode)
    image.save(tmp_path / ("1.tif" if mode in ("F", "CMYK") else "1.png"))
    _, _, rgb, _ = collect(client, request(tmp_path))
    assert rgb.shape == (1, 6, 6, 3)
    assert np.abs(rgb[0].astype(int) - grey[..., None]).max() <= 2


def test_exif_orientation_is_honoured(client, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turn clockwise by 90 degrees
    Image.fromarray(np.ascontiguousarray(np.rot90(QUADRANTS))).save(tmp_path / "1.jpg", exif=exif, quality=95)
    _, _, rgb, _ = collect(client, request(tmp_path))
    assert rgb.shape == (1, *QUADRANTS.shape)
    assert np.abs(np.array(corners(rgb[0])) - corners(QUADRANTS)).max() < 16


def test_images_of_differing_sizes_get_one_size(client, folder):
    Image.fromarray(np.full((40, 30, 3), 77, np.uint8)).save(folder / "13.png")
    _, _, rgb, _ = collect(client, request(folder))
    assert rgb.shape == (13, 8, 12, 3) and rgb[12].mean() == 77


@pytest.mark.parametrize("content", [b"", b"no image", None], ids=["empty", "text", "cut"])
def test_a_broken_image_is_named(client, folder, content):
    whole = (folder / "1.png").read_bytes()
    (folder / "7.png").write_bytes(whole[:50] if content is None else content)
    with pytest.raises(MediaError, match="frames of a video: the image 7.png") as caught:
        collect(client, request(folder))
    assert caught.value.error_class == "decode_error"


@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (12, 8)])
def test_one_image_is_a_video_of_one_frame(client, tmp_path, size):
    Image.fromarray(np.full((*size, 3), 90, np.uint8)).save(tmp_path / "a.JPEG")
    index, pts, rgb, info = collect(client, request(tmp_path / "a.JPEG", geometry=Geometry((16, 24))))
    assert (index.tolist(), pts.tolist(), info["native"]) == ([0], [0.0], list(size))
    assert rgb.shape == (1, 16, 24, 3) and np.abs(rgb.astype(int) - 90).max() <= 1
    probe = client.probe("key", str(tmp_path / "a.JPEG"), MemoryAttempts())
    assert (probe.frames, probe.fps, (probe.height, probe.width)) == (1, None, size)


def test_one_broken_image_is_named(client, tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"no image")
    with pytest.raises(MediaError, match="a.jpg: is a broken image") as caught:
        collect(client, request(tmp_path / "a.jpg"))
    assert caught.value.error_class == "decode_error"


def test_davis_frames(client):
    sequences = sorted(outside("data", "davis2016_mini", "JPEGImages", "480p").iterdir())
    index, _, rgb, info = collect(client, request(sequences[0], stride=20, geometry=Geometry(64)))
    assert info == {"decoder": "images", "native": [480, 854], "borders": [0, 0, 0, 0]}
    assert len(index) == -(-len(list(sequences[0].iterdir())) // 20)
    assert rgb.std() > 10
