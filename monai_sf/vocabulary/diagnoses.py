"""Diagnoses of the published dermoscopy datasets."""

#: Published diagnosis to label, 1 for malignant.
HAM10000 = {"mel": 1, "bcc": 1, "akiec": 1, "nv": 0, "bkl": 0, "df": 0, "vasc": 0}
DERM7PT = {
    **dict.fromkeys(
        (
            *("basal cell carcinoma", "melanoma", "melanoma (in situ)", "melanoma (less than 0.76 mm)"),
            *("melanoma (0.76 to 1.5 mm)", "melanoma (more than 1.5 mm)", "melanoma metastasis"),
        ),
        1,
    ),
    **dict.fromkeys(
        (
            *("blue nevus", "clark nevus", "combined nevus", "congenital nevus", "dermal nevus"),
            *("recurrent nevus", "reed or spitz nevus", "nevus", "dermatofibroma", "lentigo", "melanosis"),
            *("miscellaneous", "seborrheic keratosis", "vascular lesion"),
        ),
        0,
    ),
}
#: Diagnoses of the archive until 2024; its hundreds of names since then are not listed.
ISIC_2020 = (
    *("unknown", "acrochordon", "actinic keratosis", "adnexal tumor", "aimp"),
    *("angiofibroma or fibrous papule", "angiokeratoma", "angioma"),
    *("atypical melanocytic proliferation", "atypical spitz tumor"),
    *("basal cell carcinoma", "cafe-au-lait macule", "clear cell acanthoma", "dermatofibroma", "ephelis"),
    *("epidermal nevus", "lentigo nos", "lentigo simplex", "lichenoid keratosis", "melanoma"),
    *("melanoma metastasis", "merkel cell carcinoma", "mucosal melanosis", "neurofibroma", "nevus"),
    *("nevus spilus", "other", "pigmented benign keratosis", "pyogenic granuloma", "scar"),
    *("sebaceous adenoma", "sebaceous hyperplasia", "seborrheic keratosis", "solar lentigo"),
    *("squamous cell carcinoma", "vascular lesion", "verruca"),
    # their names since 2024 that a study's rule reads
    *("lichen planus like keratosis", "solar or actinic keratosis"),
)
PH2 = {"Common Nevus": 0, "Atypical Nevus": 0, "Melanoma": 1}

#: All of them as the column ``diagnosis`` of the case table holds them.
DIAGNOSES = frozenset(map(str.lower, (*HAM10000, *DERM7PT, *ISIC_2020, *PH2)))
