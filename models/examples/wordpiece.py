"""BERT's uncased WordPiece: text to token numbers, from the vocabulary in a tokenizer.json."""

import unicodedata


class WordPiece:
    def __init__(self, tokenizer):
        self.vocabulary = tokenizer["model"]["vocab"]

    def encode(self, text):
        """The tokens of a sentence between [CLS] and [SEP]."""
        tokens = [piece for word in words(text) for piece in self.pieces(word)]
        return [self.vocabulary[token] for token in ["[CLS]", *tokens, "[SEP]"]]

    def pieces(self, word):
        """The longest pieces that the vocabulary has, from the left; a word that cannot be cut up is unknown."""
        found, start = [], 0
        while start < len(word):
            prefix = "##" if start else ""
            ends = (end for end in range(len(word), start, -1) if prefix + word[start:end] in self.vocabulary)
            end = next(ends, None)
            if end is None:
                return ["[UNK]"]
            found.append(prefix + word[start:end])
            start = end
        return found


def words(text):
    """Lower case, accents off, cut at white space and around punctuation."""
    plain = [sign for sign in unicodedata.normalize("NFD", text.lower()) if unicodedata.category(sign) != "Mn"]
    spaced = (f" {sign} " if not sign.isalnum() and not sign.isspace() else sign for sign in plain)
    return "".join(spaced).split()
