"""Reusable MONAI transforms, imported as ``monai_sf.transforms``."""
