"""Names of the arrays that fitted scores are fitted to, which come from clean images of the source domain."""

from __future__ import annotations

from collections.abc import Mapping

#: Name to the array's shape and meaning: n cases in the same order in all arrays of a split, C classes,
#: F features.
REFERENCE_ARRAYS: Mapping[str, tuple[str, str]] = {
    "training_features": ("n,F", "features of the training cases"),
    "training_logits": ("n,C", "class logits of the training cases, one pass without dropout"),
    "training_labels": ("n", "classes of the training cases, in 0..C-1"),
    "validation_features": ("n,F", "features of the validation cases"),
    "validation_logits": ("n,C", "class logits of the validation cases, one pass without dropout"),
    "validation_labels": ("n", "classes of the validation cases, in 0..C-1"),
    "last_layer_weight": ("C,F", "weight of the linear layer from features to class logits"),
    "last_layer_bias": ("C", "bias of that layer"),
}
