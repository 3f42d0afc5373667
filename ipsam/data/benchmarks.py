"""Known benchmarks: published numbers of pairs, folder layouts in use, and peculiarities."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ipsam.data.matching import SizeMismatch

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Layout:
    """Folders of images and of masks, relative to `folder`; upper and lower case match."""

    folder: str
    images: str
    masks: str
    shared: bool = False  # other sets lie here too: only stems that match the benchmark's pattern belong to it
    extra_masks: bool = False  # the folder of masks serves several splits
    lists: bool = False  # not divided: the split is `only`, or a list of stems, `<split>.txt` beside the images' folder


@dataclass(frozen=True)
class Benchmark:
    """Published dataset.

    Attributes:
        page: its web page, with the terms of use in full.
        archive: address of its files, if they can be fetched.
        terms: of use, in short.
    """

    name: str
    page: str
    num_pairs: Mapping[str, tuple[int, ...]]  # split -> published numbers
    layouts: Mapping[str, tuple[Layout, ...]]  # split -> layouts, in the order of search
    aliases: tuple[str, ...] = ()
    stems: str = ""  # pattern that identifies its stems in a shared folder
    whole_without_stems: bool = False  # a shared folder in which no stem matches belongs to this set alone
    leave_out: str | None = None  # pattern of stems that are not part of the benchmark
    only: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # split -> its stems, where folders hold more
    selection_of: str = ""  # name of the set from which it selects, under which papers print its scores
    size_mismatch: SizeMismatch = "error"
    note: str = ""
    archive: str | None = None
    terms: str = "research use"


# Folder pairs. COD and polyp sets share none, so that neither takes the other's shared TrainDataset.
COD = (("Imgs", "GT"), ("Image", "Mask"), ("im", "gt"), ("Image", "GT_Object"), ("Image", "GT"))
COD10K = (("Image", "GT_Object"),)  # the original release
POLYP = (("images", "masks"),)
CLINICDB = (("Original", "Ground Truth"),)  # the original release
ECSSD = (("images", "ground_truth_mask"),)  # the original release


# The test list of PraNet (MICCAI 2020).
# fmt: off
PRANET_CLINICDB = (
    14, 21, 25, 31, 42, 50, 52, 61, 65, 66, 73, 80, 89, 100, 106, 119, 134, 148, 154, 163, 166,
    171, 179, 181, 185, 191, 205, 240, 251, 266, 279, 287, 300, 307, 349, 353, 374, 381, 388, 397, 400, 404,
    425, 429, 431, 442, 453, 459, 464, 474, 481, 483, 492, 526, 529, 545, 555, 559, 561, 569, 571, 575,
)

# Photos of ECSSD that no training here may see; drawn once at random, as the set has no division of its own.
ECSSD_HELD_OUT = (
    7, 22, 26, 30, 35, 36, 45, 46, 49, 53, 55, 56, 62, 69, 70, 82, 88, 91, 95, 99, 109, 110, 114, 115, 117, 124,
    125, 126, 129, 138, 140, 145, 148, 153, 161, 169, 176, 202, 218, 220, 231, 232, 237, 238, 244, 251, 261, 262,
    264, 270, 271, 273, 274, 276, 284, 291, 296, 302, 303, 304, 305, 321, 322, 330, 331, 340, 350, 353, 355, 357,
    360, 369, 371, 373, 390, 391, 392, 393, 399, 400, 403, 416, 423, 435, 438, 440, 451, 466, 471, 472, 474, 478,
    480, 485, 487, 500, 503, 504, 508, 509, 512, 514, 515, 518, 522, 531, 539, 540, 544, 550, 553, 560, 563, 567,
    568, 577, 585, 589, 592, 596, 600, 607, 622, 624, 629, 635, 637, 639, 647, 654, 658, 659, 661, 662, 669, 672,
    675, 699, 704, 707, 710, 711, 720, 729, 730, 731, 739, 740, 744, 746, 754, 755, 763, 764, 765, 770, 782, 783,
    784, 785, 787, 794, 797, 799, 805, 816, 827, 833, 836, 840, 851, 854, 856, 862, 872, 875, 876, 886, 895, 909,
    911, 915, 919, 931, 934, 945, 946, 952, 954, 958, 969, 970, 976, 978, 980, 986, 988, 990, 996, 1000,
)
# fmt: on


def _layouts(kinds: Sequence[tuple[str, str]], *folders: str, **flags: bool) -> tuple[Layout, ...]:
    return tuple(Layout(folder, images, masks, **flags) for folder in folders for images, masks in kinds)


def _original_camo(split: str) -> tuple[Layout, ...]:
    # The release's COCO part has the same folders, hence `shared`: only CAMO's own stems count.
    return tuple(
        Layout(folder, f"Images/{split}", masks, shared=True, extra_masks=masks == "GT")
        for folder in ("", "CAMO", "CAMO-COCO-V.1.0-CVPR2019/CAMO")
        for masks in (f"{split}_gt", f"Images/{split}_gt", "GT")
    )


CLINICDB_LAYOUTS = (
    *_layouts(POLYP, "TestDataset/CVC-ClinicDB", "CVC-ClinicDB"),
    *_layouts(CLINICDB, "CVC-ClinicDB", "CVC-ClinicDB/TIF", "CVC-ClinicDB/PNG"),
)
ECSSD_LAYOUTS = (
    *_layouts((*ECSSD, *POLYP, *COD), "ECSSD", lists=True),
    *_layouts(ECSSD, "", lists=True),  # paths.data is the set's own folder
)

_BENCHMARKS = (
    Benchmark(
        "COD10K",
        page="https://dengpingfan.github.io/pages/COD.html",
        aliases=("COD10K-TE", "COD10KTE"),
        num_pairs={"train": (3040,), "test": (2026,)},
        layouts={
            "train": (
                *_layouts(COD, "TrainDataset", "TrainValDataset", shared=True),
                *_layouts(COD, "TrainDataset/COD10K", "Train/COD10K-TR", "COD10K-TR", "COD/TR-COD10K", "TR-COD10K"),
                *_layouts(COD10K, "COD10K-v2/Train", "COD10K-v3/Train", "COD10K/Train", "Train", shared=True),
            ),
            "test": (
                *_layouts(COD, "TestDataset/COD10K", "Test/COD10K", "Test/COD10K-TE", "COD/TE-COD10K", "TE-COD10K"),
                *_layouts(COD10K, "COD10K-v2/Test", "COD10K-v3/Test", "COD10K/Test", "Test", shared=True),
            ),
        },
        stems="COD10K",
        leave_out="COD10K-NonCAM",
        note="camouflaged part only",
    ),
    Benchmark(
        "CAMO",
        page="https://sites.google.com/view/ltnghia/research/camo",
        aliases=("CAMO-TE", "CAMOTE"),
        num_pairs={"train": (1000,), "test": (250,)},
        layouts={
            "train": (
                *_layouts(COD, "TrainDataset", "TrainValDataset", shared=True),
                *_layouts(COD, "TrainDataset/CAMO", "Train/CAMO-TR", "CAMO-TR", "COD/TR-CAMO", "TR-CAMO"),
                *_original_camo("Train"),
            ),
            "test": (
                *_layouts(COD, "TestDataset/CAMO", "Test/CAMO", "Test/CAMO-TE", "COD/TE-CAMO", "TE-CAMO"),
                *_original_camo("Test"),
            ),
        },
        stems="camou(r)?flage",  # the release itself spells it with the r
    ),
    Benchmark(
        "CHAMELEON",
        page="https://www.polsl.pl/rau6/chameleon-database-animal-camouflage-analysis/",
        num_pairs={"test": (76,)},
        layouts={"test": _layouts(COD, *(f"{folder}CHAMELEON" for folder in ("TestDataset/", "Test/", "COD/", "")))},
        note="two .jpg are PNG inside; some copies have inverted masks",
    ),
    Benchmark(
        "NC4K",
        page="https://github.com/JingZhang617/COD-Rank-Localize-and-Segment",
        num_pairs={"test": (4121,)},
        layouts={"test": _layouts(COD, *(f"{folder}NC4K" for folder in ("TestDataset/", "Test/", "COD/", "")))},
        size_mismatch="resize",
        note="77 masks differ from their image in size",
    ),
    Benchmark(
        "Kvasir-SEG",
        page="https://datasets.simula.no/kvasir-seg/",
        aliases=("Kvasir",),
        num_pairs={"train": (900, 880, 800), "val": (100, 120), "test": (100, 120)},
        layouts={
            split: (
                *_layouts(POLYP, f"{folder}/Kvasir", f"{folder}/Kvasir-SEG"),
                # A test folder is never one pool: PraNet's holds a folder for each set.
                *(_layouts(POLYP, folder, shared=True) if split != "test" else ()),
                *_layouts(POLYP, "Kvasir-SEG", "Kvasir", lists=True),
            )
            for split, folder in (("train", "TrainDataset"), ("val", "ValDataset"), ("test", "TestDataset"))
        },
        stems="cju",  # PraNet's TrainDataset: 900 of Kvasir named so, and 550 numbered ones of ClinicDB
        whole_without_stems=True,
        note="the 1000 pairs are divided 900/100, 880/120 or 800/100/100",
        archive="https://datasets.simula.no/downloads/kvasir-seg.zip",
    ),
    Benchmark(
        "CVC-ClinicDB",
        page="https://polyp.grand-challenge.org/CVCClinicDB/",
        aliases=("ClinicDB",),
        num_pairs={"test": (62, 612)},
        layouts={"test": CLINICDB_LAYOUTS},
        note="62 in PraNet's test list, 612 in all; the other 550 are in PraNet's training set",
    ),
    Benchmark(
        "CVC-ClinicDB-612",
        page="https://polyp.grand-challenge.org/CVCClinicDB/",
        num_pairs={"test": (612,)},
        layouts={"test": CLINICDB_LAYOUTS},
        only={"test": tuple(map(str, range(1, 613)))},
        selection_of="CVC-ClinicDB",
        note="all 612; PraNet's 62 are CVC-ClinicDB-62",
    ),
    Benchmark(
        "CVC-ClinicDB-62",
        page="https://polyp.grand-challenge.org/CVCClinicDB/",
        num_pairs={"test": (62,)},
        layouts={"test": CLINICDB_LAYOUTS},
        only={"test": tuple(map(str, PRANET_CLINICDB))},
        selection_of="CVC-ClinicDB",
        note="PraNet's test list; all 612 are CVC-ClinicDB-612",
    ),
    Benchmark(
        "ETIS",
        page="https://polyp.grand-challenge.org/ETISLarib/",
        aliases=("ETIS-LaribPolypDB",),
        num_pairs={"test": (196,)},
        layouts={
            "test": _layouts(POLYP, "TestDataset/ETIS-LaribPolypDB", "TestDataset/ETIS", "ETIS-LaribPolypDB", "ETIS")
        },
    ),
    Benchmark(
        "ECSSD",
        page="https://www.cse.cuhk.edu.hk/leojia/projects/hsaliency/dataset.html",
        num_pairs={"train": (800,), "test": (200,)},
        layouts=dict.fromkeys(("train", "test"), ECSSD_LAYOUTS),
        only={
            "train": tuple(f"{number:04}" for number in range(1, 1001) if number not in ECSSD_HELD_OUT),
            "test": tuple(f"{number:04}" for number in ECSSD_HELD_OUT),
        },
        note="its 1000 photos and their masks are two archives to unpack in one folder; a fixed list holds 200 out",
    ),
)
KNOWN: dict[str, Benchmark] = {benchmark.name: benchmark for benchmark in _BENCHMARKS}


def benchmark(name: str) -> Benchmark:
    """Return the benchmark with this name or alias, in upper or lower case; otherwise raise ValueError."""
    for known in KNOWN.values():
        if name.casefold() in (alias.casefold() for alias in (known.name, *known.aliases)):
            return known
    raise ValueError(
        f"unknown dataset {name!r}; known are {', '.join(KNOWN)}; "
        "any other is given as a mapping {name: ..., images: FOLDER, masks: FOLDER}"
    )
