"""Kinds of image files as strangers send them, each with its right pixels or what is wrong with it.

All are made of one small picture that no rotation, mirroring or swap of channels leaves alone.
"""

import io
import os
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

SIZE = 16  # side of the squares that are compared
LOSSY = 14  # of 255 levels: what compression and another filter may change
KNOWN = "no image of a known format"


@dataclass(frozen=True)
class Kind:
    """One file.

    Args:
        path: of the file.
        wanted: its pixels as a square [S S 3]; None where it must be refused.
        reason: what the refusal must say, of those that must be refused.
        atol: how far pixels may be from `wanted`.
    """

    path: Path
    wanted: np.ndarray | None
    reason: str = ""
    atol: int = 1


def make_kinds(folder: Path) -> list[Kind]:
    """Write all kinds into a folder."""
    return [*_good(folder), *_large(folder), *make_bad(folder)]


def make_bad(folder: Path) -> list[Kind]:
    """Write the kinds that must be refused into a folder."""
    return [*_damaged(folder), *_refused(folder)]


def picture() -> np.ndarray:
    """Return the picture [48 64 3]: each channel rises in a direction of its own."""
    y, x = np.mgrid[:48, :64]
    return np.stack([4 * x, 5 * y, 250 - 2 * x - 2 * y], axis=2).astype(np.uint8)


def square(pixels: np.ndarray) -> np.ndarray:
    """Return the centred square of right pixels [H W 3]."""
    return np.asarray(ImageOps.fit(Image.fromarray(pixels), (SIZE, SIZE)))


def on_white(pixels: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Return pixels [H W 3] laid on white by an alpha [H W] in 0 ... 255."""
    share = alpha[..., None] / 255
    return np.round(pixels * share + 255 * (1 - share)).astype(np.uint8)


def png(pixels: np.ndarray, colour: int, *chunks: bytes) -> bytes:
    """Return a PNG of 8 or 16 bits, which Pillow could not write, with further chunks."""
    height, width = pixels.shape[:2]
    rows = pixels.astype(pixels.dtype.newbyteorder(">")).reshape(height, -1)
    raw = b"".join(b"\0" + row.tobytes() for row in rows)
    header = struct.pack(">IIBBBBB", width, height, 8 * pixels.itemsize, colour, 0, 0, 0)
    body = [chunk(b"IHDR", header), *chunks, chunk(b"IDAT", zlib.compress(raw))]
    return b"\x89PNG\r\n\x1a\n" + b"".join([*body, chunk(b"IEND", b"")])


def chunk(kind: bytes, data: bytes) -> bytes:
    """Return a chunk of a PNG."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def exif(orientation: int) -> Image.Exif:
    """Return EXIF that says how to turn the stored pixels upright."""
    found = Image.Exif()
    found[0x0112] = orientation
    return found


def _good(folder: Path) -> list[Kind]:
    rgb = picture()
    image = Image.fromarray(rgb)
    grey, one = image.convert("L"), image.convert("1")
    grey3, one3 = (np.asarray(im.convert("RGB")) for im in (grey, one))
    few = image.quantize(16)
    few3 = np.asarray(few.convert("RGB"))
    index, level = np.asarray(few), np.asarray(grey)
    hole = np.where(np.arange(64) < 30, 0, 255).astype(np.uint8) * np.ones((48, 1), np.uint8)
    ramp = np.linspace(0, 255, 64).astype(np.uint8) * np.ones((48, 1), np.uint8)
    wide = rgb.astype(np.uint16) * 257
    other = Image.fromarray(255 - rgb)
    kinds: list[Kind] = []

    def good(name: str, right: np.ndarray, atol: int = 1) -> Path:
        kinds.append(Kind(folder / name, square(right), atol=atol))
        return folder / name

    image.save(good("plain.jpg", rgb, LOSSY), quality=95)
    image.save(good("progressive.jpg", rgb, LOSSY), quality=95, progressive=True)
    grey.save(good("grey.jpg", grey3, LOSSY), quality=95)
    image.convert("CMYK").save(good("cmyk.jpg", rgb, LOSSY), quality=95)
    image.save(good("profile.jpg", rgb, LOSSY), quality=95, icc_profile=b"no profile")
    image.save(good("png.jpg", rgb), "PNG")
    image.save(good("jpeg.png", rgb, LOSSY), "JPEG", quality=95)
    image.save(good("plain.png", rgb))
    grey.save(good("grey.png", grey3))
    one.save(good("one_bit.png", one3))
    few.save(good("palette.png", few3))
    few.save(good("palette_hole.png", on_white(few3, np.where(index == 3, 0, 255))), transparency=3)
    alphas = bytes(range(0, 256, 17))
    veil = on_white(few3, np.frombuffer(alphas, np.uint8)[index])
    few.save(good("palette_alpha.png", veil), transparency=alphas)
    Image.fromarray(np.dstack([rgb, hole])).save(good("hidden.png", on_white(rgb, hole), 2))
    Image.fromarray(np.dstack([rgb, ramp])).save(good("alpha.png", on_white(rgb, ramp), 2))
    veiled = on_white(grey3, ramp)
    Image.fromarray(np.dstack([level, ramp])).save(good("grey_alpha.png", veiled, 2))
    clear = on_white(grey3, np.where(level == 100, 0, 255))
    grey.save(good("grey_hole.png", clear), transparency=100)
    Image.fromarray(level.astype(np.uint16) * 257).save(good("grey16.png", grey3))
    good("rgb16.png", rgb).write_bytes(png(wide, 2))
    deep = np.dstack([wide, ramp.astype(np.uint16) * 257])
    good("rgba16.png", on_white(rgb, ramp), 2).write_bytes(png(deep, 6))
    image.save(good("turned.png", np.rot90(rgb, 2)), exif=exif(3))
    for turn, right in ((6, np.rot90(rgb, -1)), (5, rgb.transpose(1, 0, 2))):
        image.save(good(f"turned{turn}.jpg", right, LOSSY), quality=95, exif=exif(turn))
    image.save(good("turned.webp", np.rot90(rgb), 1), lossless=True, exif=exif(8))
    image.save(good("turned.tif", np.rot90(rgb, -1)), tiffinfo={0x0112: 6})
    image.save(good("plain.webp", rgb), lossless=True)
    image.save(good("lossy.webp", rgb, LOSSY), quality=95)
    image.save(good("plain.bmp", rgb))
    few.save(good("palette.bmp", few3))
    image.save(good("plain.tiff", rgb))
    image.save(good("packed.tif", rgb), compression="tiff_lzw")
    image.convert("CMYK").save(good("cmyk.tif", rgb))
    for order in ("I;16", "I;16B"):
        sixteen = Image.fromarray(level.astype(np.uint16) * 257).convert("I").convert(order)
        sixteen.save(good(f"grey16_{order[4:] or 'L'}.tif", grey3))
    few.save(good("hole.gif", on_white(few3, np.where(index == 3, 0, 255))), transparency=3)
    several: dict[str, object] = {"save_all": True, "append_images": [other, image]}
    few.save(good("moving.gif", few3), save_all=True, append_images=[other.quantize(16)])
    image.save(good("moving.png", rgb), **several)
    image.save(good("moving.webp", rgb), lossless=True, **several)
    image.save(good("pages.tif", rgb), **several)
    return kinds


def _large(folder: Path) -> list[Kind]:
    """Return images that are allowed, and too large to be copied in memory a few times."""
    kinds: list[Kind] = []
    for name, mode, factor in (
        ("large.jpg", "RGB", 90), ("large_cmyk.jpg", "CMYK", 60), ("large.png", "RGB", 110),
        ("large_alpha.png", "RGBA", 110), ("large_palette.png", "P", 120),
        ("large.tif", "RGB", 90), ("large.webp", "RGB", 70),
    ):  # fmt: skip
        image = Image.fromarray(picture())
        image = image.quantize(64) if mode == "P" else image.convert(mode)
        right = np.asarray(image.convert("RGB"))
        image = image.resize((64 * factor, 48 * factor), Image.Resampling.NEAREST)
        how = {"jpg": {"quality": 95}, "png": {"compress_level": 1}}.get(name[-3:], {})
        how = {"webp": {"method": 0, "quality": 90}, ".tif": {"compression": "tiff_lzw"}}.get(
            name[-4:], how
        )
        image.save(folder / name, **how)
        kinds.append(Kind(folder / name, square(right), atol=LOSSY))
    return kinds


def _damaged(folder: Path) -> list[Kind]:
    """Return files that were images once."""
    image, kinds = Image.fromarray(picture()), []
    for name, reason in (
        ("cut.jpg", "Truncated"), ("cut.png", "truncated"), ("cut.webp", "cut off"),
        ("cut.gif", "truncated"), ("cut.tif", "truncated"), ("cut.bmp", "truncated"),
    ):  # fmt: skip
        image.save(folder / name)
        whole = (folder / name).read_bytes()
        (folder / name).write_bytes(whole[: len(whole) // 2])
        kinds.append(Kind(folder / name, None, reason))
    image.save(folder / "short.jpg")
    (folder / "short.jpg").write_bytes((folder / "short.jpg").read_bytes()[:-2])
    image.save(folder / "crc.png")
    data = bytearray((folder / "crc.png").read_bytes())
    data[data.index(b"IDAT") + 20] ^= 1
    (folder / "crc.png").write_bytes(data)
    kinds.append(Kind(folder / "short.jpg", None, "truncated"))
    kinds.append(Kind(folder / "crc.png", None, "broken data"))
    return kinds


def _refused(folder: Path) -> list[Kind]:
    """Return files that are no images, or none that anybody should decode."""
    kinds: list[Kind] = []

    def bad(name: str, reason: str, data: bytes | None = None) -> Path:
        kinds.append(Kind(folder / name, None, reason))
        if data is not None:
            (folder / name).write_bytes(data)
        return folder / name

    bad("empty.jpg", "empty", b"")
    bad("notes.jpg", KNOWN, b"no image\n" * 99)
    bad("page.png", KNOWN, b"<!DOCTYPE html><html><body>404</body></html>")
    bad("drawing.png", KNOWN, b'<svg xmlns="http://www.w3.org/2000/svg"/>')
    bad("eps.jpg", KNOWN, b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EOF\n")
    bad("paper.png", KNOWN, b"%PDF-1.4\n1 0 obj\n<<>>\nendobj\n")
    bad("phone.jpg", KNOWN, b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(400))
    Image.fromarray(picture()).save(bad("jpeg2000.jpg", KNOWN), "JPEG2000")
    level = np.asarray(Image.fromarray(picture()).convert("L"))
    Image.fromarray(level / np.float32(255)).save(bad("float.tif", "mode F"))
    Image.fromarray(level.astype(np.int32) * 70_000).save(bad("int32.tif", "mode I"))
    Image.new("1", (9000, 9000)).save(bad("bomb81.png", "9000x9000 pixels"))
    Image.new("1", (12_000, 12_000)).save(bad("bomb144.png", "pixels"))
    Image.new("1", (1, 5000)).save(bad("line.png", "1x5000 pixels"))
    wide = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    tail = chunk(b"IDAT", zlib.compress(b"\0" * 99)) + chunk(b"IEND", b"")
    signature = b"\x89PNG\r\n\x1a\n"
    bad("bomb2500.png", "pixels", signature + chunk(b"IHDR", wide) + tail)
    nothing = struct.pack(">IIBBBBB", 0, 0, 8, 2, 0, 0, 0)
    bad("nothing.png", KNOWN, signature + chunk(b"IHDR", nothing) + tail)
    text = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(20 << 20)))
    bad("text_bomb.png", "data too large", png(picture(), 2, text))
    bad("bomb.gif", KNOWN, b"GIF89a\xff\xff\xff\xff\x00\x00\x00" + bytes(99))
    file = io.BytesIO()
    Image.fromarray(picture()).save(file, "JPEG")
    jpeg = bytearray(file.getvalue())
    at = jpeg.index(b"\xff\xc0") + 5
    jpeg[at : at + 4] = struct.pack(">HH", 65_000, 65_000)
    bad("bomb.jpg", "pixels", bytes(jpeg))
    file = io.BytesIO()
    Image.fromarray(picture()).save(file, "JPEG", progressive=True)
    scans = file.getvalue()[:-2]
    last = scans[scans.rindex(b"\xff\xda") :]
    bad("scans.jpg", "scans", scans + 5000 * last + b"\xff\xd9")
    with bad("endless.jpg", "bytes").open("wb") as endless:
        endless.write(b"\xff\xd8\xff")
        endless.truncate(3 << 30)  # no block of it is on the disk
    bad("nowhere.jpg", "No such file").symlink_to("nowhere")
    bad("device.png", "not an ordinary file").symlink_to("/dev/zero")
    os.mkfifo(bad("pipe.png", "not an ordinary file"))
    return kinds


def mutated(data: bytes, draw: np.random.Generator) -> bytes:
    """Return a file's bytes after one of six accidents."""
    changed, at = bytearray(data), int(draw.integers(len(data)))
    span = int(draw.integers(1, 64))
    kind = int(draw.integers(6))
    if kind == 0:
        changed[at] ^= 1 << int(draw.integers(8))
    elif kind == 1:
        changed[at : at + span] = draw.bytes(span)
    elif kind == 2:
        del changed[at : at + span]
    elif kind == 3:
        del changed[at:]
    elif kind == 4:
        changed[at:at] = changed[at : at + span]
    else:
        # Headers decide most: several bytes of the first hundred.
        for place in draw.integers(min(100, len(data)), size=3):
            changed[place] = int(draw.integers(256))
    return bytes(changed)
