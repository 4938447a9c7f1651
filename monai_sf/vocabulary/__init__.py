"""The shared vocabulary: methods, kinds of shift, titles, palettes, and rules for ids and logits."""
