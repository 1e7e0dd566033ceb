"""The model: text encoder and decoder, image encoder, fusion, heads."""
