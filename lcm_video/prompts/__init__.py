"""The prompt language: texts to tokens, tokens to encodings."""
