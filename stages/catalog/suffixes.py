"""What a file's suffix says about it: a video, certainly something else, or unknown."""

from __future__ import annotations

from typing import Literal

VIDEO = frozenset(
    b"264 265 266 3g2 3gp 3gpp 4xm amv apng apv asf av1 avc avi avs2 avs3 bik bk2 cavs cdxl cine cpk dav "
    b"dif divx dpg drc dv dvr-ms evc evo f4v flc fli flm flv gdv gif gxf h261 h263 h264 h265 h266 h26l "
    b"hevc ismv isv ivf ivr k3g kux lvf lxf m1v m2p m2t m2ts m2v m4p m4v mgv mj2 mjpeg mjpg mk3d mkv "
    b"mlv mod moflex moov mov mp4 mp4v mpe mpeg mpeg4 mpg mpv mpv2 mqv mts mtv mve mvi mxf mxg nsv nut nuv "
    b"obu ogm ogv ogx pmp pva qt r3d rcv rec rl2 rm rmvb roq rpl ser smk str svi swf thp tod tp trp ts ty "
    b"usm vc1 vivo viv vmd vob vp6 vp8 vp9 vqa vro vvc webm wm wmv wtv xesc xmv xvid y4m yop".split()
)
"""Containers and elementary streams that ffmpeg demuxes and that normally hold moving pictures."""

IMAGE = frozenset(b"avif bmp heic heif j2k jp2 jpe jpeg jpg jxl pbm pgm png ppm tif tiff webp".split())
"""Still images."""

FRAME = frozenset(b"jpg jpeg png bmp webp tif tiff ppm pgm".split())
"""Images that make a folder a video; those that `stages.decode.decoders.images` reads."""

OTHER = IMAGE | frozenset(
    # images that are never frames of a video, and files of image editors
    b"ai arw cr2 cr3 cur dcm dds dng eps exr fits hdr icns ico nef orf pcx pdn psd raf rw2 svg tga xcf "
    # audio
    b"aac ac3 aif aifc aiff alac amr ape au caf dsf dts eac3 flac m3u m4a m4b m4r mid midi mka mlp mp1 mp2 "
    b"mp3 mpa mpc oga opus ra shn snd spx tak thd tta voc w64 wav wma wv "
    # subtitles, playlists and chapters
    b"ass cue edl ffconcat idx ismc lrc m3u8 mpd pls rt scc sdp smi srt ssa stl sub sup sbv ttml vtt xspf "
    # text, markup, code and settings
    b"asc bat bib c cc cfg cff cmake conf cpp css csv cu diz doc docx env go h hpp htm html ini ipynb ics "
    b"java js json json5 jsonl key lock log lst m4 markdown md nfo numbers odp ods odt org pages pdf php "
    b"pl plist pot ppt pptx properties ps ps1 py pyc pyi r rb rdf rs rst rtf sh sql tex text toml torrent "
    b"tsv txt url vcf xls xlsx xml xmp yaml yml "
    # archives, disk images, checksums and unfinished downloads
    b"7z aria2 bz2 cab crc crdownload deb dmg gz img iso jar lz lz4 lzma md5 par2 part rar rpm sfv sha1 "
    b"sha256 sha512 sig tar tbz2 tgz tmp txz whl xz z zip zst "
    # tables, arrays, models and programs
    b"arrow bak bib ckpt db dll dylib exe feather h5 hdf5 index lmdb mat msgpack npy npz o onnx orc "
    b"parquet pickle pkl pt pth rdb safetensors so sqlite sqlite3 swp tfevents tfrecord ttf otf woff woff2 "
    # telemetry that cameras write beside their videos
    b"bdm bup clpi cpi gpx insprj kml lrprev mpl mpls thm".split()
)
"""Suffixes of files that are no videos: such files are passed over without a word."""

Kind = Literal["video", "other", "unknown"]


def suffix_of(name: bytes) -> bytes:
    """What follows the last dot of a file name, in lower case; empty without a dot."""
    return name.rpartition(b".")[2].lower() if b"." in name else b""


def kind_of(name: bytes) -> Kind:
    """What the suffix of the file name says; an ``unknown`` file is probed, and skipped if it is none."""
    suffix = suffix_of(name)
    if suffix in VIDEO:
        return "video"
    return "other" if suffix in OTHER else "unknown"
