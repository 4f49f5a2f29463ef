"""Images to learn from: their sources, the cache of decoded ones, augmentation on the device."""
