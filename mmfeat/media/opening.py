"""Opening picture files with Pillow: which formats, how large they are, how they are turned, and no stray warnings.

Only headers are read here; nothing is decoded. Two groups of formats are told apart: those with a magic number, found
by content whatever the name, and those without one, which are tried only under their own extension (a text file must
not become a picture by chance). Formats that run another program (EPS), only wrap an unknown one (GRIB, HDF5), or are
no raster (WMF) are never opened.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import io
import os
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

from PIL import Image

from mmfeat.errors import MediaError

__all__ = [
    "EXTENSIONS",
    "NAMED",
    "Header",
    "formats",
    "open_image",
    "orientation_of",
    "quiet",
    "read_header",
    "read_headers",
    "say",
]

#: Formats with a magic number, found by content.
MAGIC = (
    "JPEG",
    "MPO",
    "PNG",
    "GIF",
    "WEBP",
    "TIFF",
    "BMP",
    "AVIF",
    "JPEG2000",
    "PPM",
    "ICO",
    "ICNS",
    "PSD",
    "DDS",
    "SGI",
    "QOI",
)
#: Formats that are only tried under their extension.
NAMED = {
    "BLP": (".blp",),
    "CUR": (".cur",),
    "DCX": (".dcx",),
    "DIB": (".dib",),
    "FITS": (".fits",),
    "FLI": (".fli", ".flc"),
    "FTEX": (".ftc", ".ftu"),
    "GBR": (".gbr",),
    "IM": (".im",),
    "PCX": (".pcx",),
    "PIXAR": (".pxr",),
    "SPIDER": (".spider", ".spi"),
    "SUN": (".ras",),
    "TGA": (".tga",),
    "XBM": (".xbm",),
    "XPM": (".xpm",),
}
HEIF_EXTENSIONS = (".heic", ".heif", ".hif")
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
#: Extensions that announce a picture: a file with one of them that cannot be read is a failed picture.
EXTENSIONS = frozenset(
    [
        ".jpg",
        ".jpeg",
        ".jpe",
        ".jfif",
        ".mpo",
        ".png",
        ".apng",
        ".gif",
        ".webp",
        ".tif",
        ".tiff",
        ".bmp",
        ".avif",
        ".avifs",
    ]
    + [".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx", ".pbm", ".pgm", ".ppm", ".pnm", ".pfm", ".ico", ".icns", ".psd"]
    + [".dds", ".sgi", ".qoi", *HEIF_EXTENSIONS]
    + [extension for several in NAMED.values() for extension in several]
)


class Header(NamedTuple):
    """What the header says: width and height in pixels as shown (after the orientation, if it is applied), and the
    format's name.
    """

    width: int
    height: int
    format: str


_lock = threading.Lock()
_quiet_users = 0


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep Pillow's warnings (bombs, broken EXIF, odd palettes) from reaching the user while the block runs, in any
    thread.

    `warnings.catch_warnings` swaps a list that all threads share, so with several threads it may restore the wrong
    one; here the first to come puts one filter in and the last to go takes it out. Pillow's warnings only: `warnings`
    matches the module that warns. Its libtiff, which writes to standard error by itself, is silenced the same way.
    """
    global _quiet_users
    with _lock:
        _quiet_users += 1
        if _quiet_users == 1:
            warnings.filterwarnings("ignore", module=r"PIL\.")
            _swap_handlers()
    try:
        yield
    finally:
        with _lock:
            _quiet_users -= 1
            if _quiet_users == 0:
                _remove_filter()
                _swap_handlers()


@functools.cache
def _handler_setters() -> tuple[Any, ...]:
    """The two functions of Pillow's own libtiff that set who is told of warnings and errors; none where it is not found.

    Opened a second time a library is the same one, so this reaches the copy that Pillow uses, and no other.
    """
    folder = Path(Image.__file__).parent
    for path in (*folder.parent.glob("pillow.libs/libtiff*.so*"), *folder.glob(".dylibs/libtiff*.dylib")):
        with contextlib.suppress(OSError, AttributeError):
            library = ctypes.CDLL(os.fspath(path))
            setters = library.TIFFSetWarningHandler, library.TIFFSetErrorHandler
            for setter in setters:
                setter.argtypes, setter.restype = [ctypes.c_void_p], ctypes.c_void_p
            return setters
    return ()


_handlers: list[int | None] = [None, None]  # those that are not set now: nobody, or libtiff's own


def _swap_handlers() -> None:
    for number, setter in enumerate(_handler_setters()):
        _handlers[number] = setter(_handlers[number])


def _remove_filter() -> None:
    for number, (action, _, _, module, _) in enumerate(warnings.filters):
        if action == "ignore" and getattr(module, "pattern", None) == r"PIL\.":
            del warnings.filters[number]  # type: ignore[attr-defined]
            warnings._filters_mutated()  # type: ignore[attr-defined]
            return


@functools.cache
def _prepare() -> bool:
    """Load Pillow's plugins, and pillow-heif's where it is installed; returns whether it is."""
    Image.init()
    try:
        import pillow_heif
    except ImportError:
        return False
    pillow_heif.register_heif_opener()
    return True


@functools.lru_cache(maxsize=256)
def formats(extension: str = "") -> tuple[str, ...]:
    """Pillow's names of the formats that are tried for a file with this extension (lower case, with its dot), in order.

    >>> "TGA" in formats(".tga"), "TGA" in formats(".txt")
    (True, False)
    """
    named = tuple(name for name, extensions in NAMED.items() if extension in extensions)
    heif = ("HEIF",) if _prepare() else ()
    return tuple(name for name in MAGIC + heif + named if name in Image.OPEN)


def open_image(source: bytes | str | IO[bytes], extension: str = "", frame: int = 0) -> Image.Image:
    """Open a picture without decoding it. Call inside `quiet()`.

    source: the file's bytes, its path, or an open binary file. Raises MediaError when it is no picture, has no such
    frame, or is larger than Pillow itself allows.
    """
    if isinstance(source, bytes):
        source = io.BytesIO(source)
    try:
        image = Image.open(source, formats=formats(extension))
    except Image.DecompressionBombError as error:
        raise MediaError(
            "a picture stays below Pillow's own limit, 2 x PIL.Image.MAX_IMAGE_PIXELS", str(error), "cut it into tiles"
        ) from error
    except Exception as error:  # a plugin raises whatever its parser meets
        raise _unreadable(source, error) from error
    try:
        if frame:
            image.seek(frame)
        if image.width < 1 or image.height < 1:
            raise MediaError("a picture has pixels", f"{image.width} x {image.height}", "restore the file")
    except Exception as error:
        image.close()
        if isinstance(error, MediaError):
            raise
        came = f"no frame {frame}" if isinstance(error, EOFError) else say(error)
        raise MediaError("the file has the frame that is asked for", came, "ask for frame 0") from error
    return image


def orientation_of(image: Image.Image) -> int:
    """The EXIF or XMP orientation, 1 to 8, from the tags before the pixels; 1 where they are absent or broken.

    `getexif` of the base class is called on purpose: that of PNG decodes the whole picture to look for tags behind
    the pixels.
    """
    try:
        tags = image.tag_v2 if image.format == "TIFF" else Image.Image.getexif(image)  # type: ignore[attr-defined]
        value = tags.get(274)
    except Exception:  # noqa: BLE001 - broken EXIF raises anything; the picture itself may be sound
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def read_header(source: bytes | str | IO[bytes], extension: str = "", *, orient: bool = True, frame: int = 0) -> Header:
    """The size of a picture as shown, without decoding it; raises MediaError as `open_image`."""
    with quiet(), open_image(source, extension, frame) as image:
        width, height = image.size
        turned = orientation_of(image) >= 5
        # Pillow turns TIFF itself, and its size is already the turned one.
        if turned and orient != (image.format == "TIFF"):
            width, height = height, width
        return Header(width, height, image.format or "?")


def read_headers(source: IO[bytes], extension: str = "") -> list[Header | MediaError]:
    """The header of every page of a TIFF, in order; of any other picture its one. A page that is broken is its error.

    Raises MediaError as `open_image` where not even the first can be read.
    """
    with quiet(), open_image(source, extension) as image:
        if image.format != "TIFF":
            count = 1
        else:
            try:
                count = int(getattr(image, "n_frames", 1))
            except Exception as error:  # the chain of pages is damaged
                raise MediaError("the pages of a TIFF follow one another", say(error), "restore the file") from error
        found: list[Header | MediaError] = []
        for page in range(count):
            try:
                found.append(_page(image, page))
            except Exception as error:  # noqa: BLE001 - a page raises whatever its parser meets
                found.append(MediaError("the page of a file can be read", say(error), "restore the file"))
        return found


def _page(image: Image.Image, page: int) -> Header:
    if page:
        image.seek(page)
    width, height = image.size
    if orientation_of(image) >= 5 and image.format != "TIFF":
        width, height = height, width
    return Header(width, height, image.format or "?")


def _unreadable(source: str | IO[bytes], error: Exception) -> MediaError:
    start = _first_bytes(source)
    if start is None:
        return MediaError("a file can be read", say(error), "check that it exists and may be read")
    if not start:
        return MediaError("a picture has bytes", "an empty file", "restore the file from its source")
    if start[4:8] == b"ftyp" and start[8:12] in _HEIF_BRANDS and not _prepare():
        return MediaError("HEIC pictures need pillow-heif", "none installed", "run: pip install 'mmfeat[heif]'")
    if isinstance(error, Image.UnidentifiedImageError):
        return MediaError(
            "a picture begins with a header that Pillow knows", f"bytes {start[:8]!r}", "check what the file really is"
        )
    return MediaError("a picture's header can be read", say(error), "restore the file from its source")


def _first_bytes(source: str | IO[bytes]) -> bytes | None:
    try:
        if isinstance(source, str):
            with open(source, "rb") as file:
                return file.read(16)
        source.seek(0)
        return source.read(16)
    except OSError:
        return None


def say(error: Exception) -> str:
    """What a decoder says, on one line and not at length."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
