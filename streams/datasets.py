"""The table of known data sets: what each holds, and where it can be had."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

DOWNLOADS = "https://raw.githubusercontent.com/"


@dataclass(frozen=True, slots=True)
class DatasetInfo:
    """A data set that is known by name.

    Parameters
    ----------
    name
        The file's name without its endings.
    n_events, n_features, n_labels, cardinality
        What the file holds; cardinality is the mean number of labels of an event. Row identifiers count as features.
    labels
        Where the labels stand, for a copy that does not say so itself.
    order
        What is known of the order of the events.
    paper
        Where the data come from.
    url
        Where they can be had: repository, commit and path, behind ``DOWNLOADS``.
    sha256
        Of the text, decompressed.
    """

    name: str
    n_events: int
    n_features: int
    n_labels: int
    cardinality: float
    labels: str
    order: str
    paper: str
    url: str
    sha256: str


DATASETS: tuple[DatasetInfo, ...] = (
    DatasetInfo(
        "flags",
        194,
        19,
        7,
        3.3918,
        labels="last:7",
        order="looks shuffled",
        paper=(
            'Goncalves, Plastino, Freitas, "A genetic algorithm for optimizing the label ordering in multi-'
            'label classifier chains", ICTAI 2013 (UCI Flags)'
        ),
        url="tsoumakas/mulan/43f6389/data/multi-label/flags/flags.arff",
        sha256="d3ed8b5683f1b27e68069aad2c29388bb57d4caa5041b559e646cc3854a0cd1e",
    ),
    DatasetInfo(
        "emotions",
        593,
        72,
        6,
        1.8685,
        labels="last:6",
        order="no local grouping, label mix shifts",
        paper=(
            'Trohidis, Tsoumakas, Kalliris, Vlahavas, "Multilabel classification of music into emotions", ISMIR 2008'
        ),
        url="tsoumakas/mulan/43f6389/data/multi-label/emotions/emotions.arff",
        sha256="6f2f790047073d1293ac0872c0d55f2dc98b6177802fc96c6b66b309dfee1e4b",
    ),
    DatasetInfo(
        "birds",
        645,
        260,
        19,
        1.0140,
        labels="last:19",
        order="looks shuffled",
        paper='Briggs et al., "The 9th annual MLSP competition", IEEE MLSP 2013',
        url="eldarfin/LD3-Label-Dependency-Drift-Detector/283c55d/datasets/Birds.arff",
        sha256="d3828ca6788d851f32991c248dfbbfa7ae6b2326012c49f3eca25a8cc66603c0",
    ),
    DatasetInfo(
        "yeast",
        2417,
        103,
        14,
        4.2371,
        labels="last:14",
        order="looks shuffled",
        paper='Elisseeff, Weston, "A kernel method for multi-labelled classification", NIPS 2001',
        url="tsoumakas/mulan/43f6389/data/multi-label/yeast/yeast.arff",
        sha256="55c07a3b6ff885ae338fb6987a1d57f55572b29809922c2822c4885c61230dd7",
    ),
    DatasetInfo(
        "scene",
        2407,
        294,
        6,
        1.0740,
        labels="last:6",
        order="grouped by class",
        paper=(
            'Boutell, Luo, Shen, Brown, "Learning multi-label scene classification", Pattern Recognition 37(9), 2004'
        ),
        url="nicoladimauro/dcsn/dd0f7a4/data/multilabel/scene.orig.arff.gz",
        sha256="5905548975b69b639ab31a295f7bf1ab7379a3f016450012722d28f660f4b143",
    ),
    DatasetInfo(
        "human-pseaac",
        3106,
        440,
        14,
        1.1851,
        labels="last:14",
        order="grouped by class, label mix shifts",
        paper=(
            'Xu, Liu, Yin, Sun, "A multi-label feature extraction algorithm via maximizing feature variance '
            'and feature-label dependence simultaneously", Knowledge-Based Systems 98, 2016'
        ),
        url="nicoladimauro/dcsn/dd0f7a4/data/multilabel/human3106.orig.arff.gz",
        sha256="c78e73c330d49e4f0c58f8bb1d63b74c93ec36dc299470d62a8a241cc2feb32c",
    ),
    DatasetInfo(
        "cal500",
        502,
        68,
        174,
        26.0438,
        labels="last:174",
        order="looks shuffled",
        paper=(
            'Turnbull, Barrington, Torres, Lanckriet, "Semantic annotation and retrieval of music and sound '
            'effects", IEEE TASLP 16(2), 2008'
        ),
        url="tsoumakas/mulan/43f6389/data/multi-label/cal500/cal500.arff",
        sha256="cfe6097ba5fd6e8584e54911ab9783dcab34e898446b7c9370c71d477eae56d3",
    ),
    DatasetInfo(
        "genbase",
        662,
        1186,
        27,
        1.2523,
        labels="last:27",
        order="grouped by class, label mix shifts",
        paper='Diplaris, Tsoumakas, Mitkas, Vlahavas, "Protein classification with multiple algorithms", PCI 2005',
        url="tsoumakas/mulan/43f6389/data/multi-label/genbase/genbase.arff",
        sha256="cb23052a49191e36e9a59cd661e97d79bed2e3f2583030a206692b57bf1e3671",
    ),
    DatasetInfo(
        "medical",
        978,
        1449,
        45,
        1.2454,
        labels="last:45",
        order="looks shuffled",
        paper=(
            'Pestian et al., "A shared task involving multi-label classification of clinical free text", BioNLP 2007'
        ),
        url="tsoumakas/mulan/43f6389/data/multi-label/medical/medical.arff",
        sha256="ad0630a9a409ed0023c3bb56a0be7610b635c1ca185c6035e3b198b01167aac4",
    ),
    DatasetInfo(
        "enron",
        1702,
        1001,
        53,
        3.3784,
        labels="last:53",
        order="locally clustered",
        paper=(
            'Read, Pfahringer, Holmes, "Multi-label classification using ensembles of pruned sets", ICDM '
            "2008; UC Berkeley Enron email analysis"
        ),
        url="eldarfin/LD3-Label-Dependency-Drift-Detector/283c55d/datasets/Enron.arff",
        sha256="58be1812856342885ceacbe9524b06a5dc9e7656df3b90e4a3dd7cd1cffa68ab",
    ),
    DatasetInfo(
        "slashdot",
        3782,
        1079,
        22,
        1.1809,
        labels="first:22",
        order="locally clustered",
        paper='Read, "Scalable Multi-label Classification", PhD thesis, University of Waikato, 2010',
        url="abuyukcakir/gooweml/544122a/datasets/SLASHDOT-F.arff",
        sha256="34159872618a6164f7a98ad3fdd4374f34a3b261678129227db378eec20ac36d",
    ),
    DatasetInfo(
        "bibtex",
        7395,
        1836,
        159,
        2.4019,
        labels="last:159",
        order="looks shuffled",
        paper=(
            'Katakis, Tsoumakas, Vlahavas, "Multilabel text classification for automated tag suggestion", '
            "ECML/PKDD Discovery Challenge 2008"
        ),
        url="tsoumakas/mulan/43f6389/data/multi-label/bibtex/bibtex.arff",
        sha256="a282a6d1fb3cdaf39bde3f81cd4e6079850a7a538a6bc44f8b4ed95dfe1e5014",
    ),
    DatasetInfo(
        "20ng",
        19300,
        1006,
        20,
        1.0289,
        labels="last:20",
        order="locally clustered, label mix shifts",
        paper=(
            'Lang, "NewsWeeder: learning to filter netnews", ICML 1995 / 20 Newsgroups; multi-label form: Read 2010'
        ),
        url="eldarfin/LD3-Label-Dependency-Drift-Detector/283c55d/datasets/20NG.arff",
        sha256="7a10655949a239fb7ff89f1c423aa28294e8b6cd1d67de0af402c0549ee577fc",
    ),
    DatasetInfo(
        "tmc2007-500",
        28596,
        500,
        22,
        2.2196,
        labels="last:22",
        order="locally clustered, label mix shifts",
        paper=(
            'Srivastava, Zane-Ulman, "Discovering recurring anomalies in text reports regarding complex '
            'space systems", IEEE Aerospace 2005; 500-feature version: Tsoumakas, Katakis, Vlahavas 2007'
        ),
        url="eldarfin/LD3-Label-Dependency-Drift-Detector/283c55d/datasets/tmc2007-500.arff",
        sha256="a42fbc4b97833a9fcc9f80c63009371a65ae0434850d019917672ad598874f92",
    ),
    DatasetInfo(
        "corel5k",
        5000,
        499,
        374,
        3.5220,
        labels="last:374",
        order="locally clustered, label mix shifts",
        paper='Duygulu, Barnard, de Freitas, Forsyth, "Object recognition as machine translation", ECCV 2002',
        url="tsoumakas/mulan/43f6389/data/multi-label/corel5k/Corel5k-sparse.arff",
        sha256="12c06161d2367f919f6da912089a6c9180c115cfcefa37afacfdeb903930eb7e",
    ),
    DatasetInfo(
        "delicious",
        16105,
        500,
        983,
        19.0200,
        labels="last:983",
        order="looks shuffled",
        paper=(
            'Tsoumakas, Katakis, Vlahavas, "Effective and efficient multilabel classification in domains '
            'with large number of labels", MMD 2008'
        ),
        url="tsoumakas/mulan/43f6389/data/multi-label/delicious/delicious.arff",
        sha256="b944de0bca910050c11d97eed57d17b073110ea3646a587f3d15d127cf581aab",
    ),
    DatasetInfo(
        "electricity",
        45312,
        6,
        1,
        0.4245,
        labels="last:1",
        order="time order, half-hourly",
        paper='Harries, "Splice-2 comparative evaluation: electricity pricing", 1999',
        url="adaptive-machine-learning/CapyMOA/095caba/data/electricity.arff",
        sha256="499595abc038ab51d795171148f89ac8a863056e41b007d9aac417e56cdb74a4",
    ),
)

_EMOTIONS = [
    "admiration",
    "amusement",
    "anger",
    "annoyance",
    "approval",
    "caring",
    "confusion",
    "curiosity",
    "desire",
    "disappointment",
    "disapproval",
    "disgust",
    "embarrassment",
    "excitement",
    "fear",
    "gratitude",
    "grief",
    "joy",
    "love",
    "nervousness",
    "optimism",
    "pride",
    "realization",
    "relief",
    "remorse",
    "sadness",
    "surprise",
    "neutral",
]

_GOEMOTIONS: dict[str, Any] = {
    "labels": "tags:1:,",
    "payload": "0",
    "columns": {"2": "key"},
    "header": False,
    "tag_names": _EMOTIONS,
}

TABLES: dict[str, dict[str, Any]] = {
    "stackexchange-robotics": {"labels": "tags:tags", "payload": "content", "columns": {"id": "key"}},
    "goemotions-train": _GOEMOTIONS,
    "goemotions-dev": _GOEMOTIONS,
    "goemotions-test": _GOEMOTIONS,
}
"""How to read tables that are known by name but not fetched: the parameters of `DelimitedSource`.

Questions and their tags from robotics.stackexchange.com (CC BY-SA 3.0), in the order of time; and GoEmotions
(Demszky et al., "GoEmotions: A Dataset of Fine-Grained Emotions", ACL 2020), whose labels are numbers of emotions.
"""
