"""The live bytes of four language models in training, counted by hand from shapes and dtypes."""
