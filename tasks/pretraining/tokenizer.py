"""A small CLIP tokenizer: byte-pair merges learned on the world's captions and plain English, so that any prompt tokenizes."""

import json
from collections.abc import Sequence
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import CLIPTokenizer

CONTEXT_LENGTH = 24
CLIP_PATTERN = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
PLAIN_ENGLISH = """
the of and to in is it you that he was for on are with as his they be at one have this from or had by hot but some what
there we can out other were all your when up use word how said each she which do their time if will way about many then
them would write like so these her long make thing see him two has look more day could go come did my sound no most
number who over know than call first people may down side been now find any new work part take get place made live where
after back little only round man year came show every good me give our under name very through just form much great think
say help low line before turn cause same mean differ move right boy old too does tell sentence set three want air well
also play small end put home read hand port large spell add even land here must big high such follow act why ask men
change went light kind off need house picture try us again animal point mother world near build self earth father head
stand own page should country found answer school grow study still learn plant cover food sun four thought let keep eye
never last door between city tree cross since hard start might story saw far sea draw left late run while press close
night real life few stop open seem together next white children begin got walk example ease paper often always music
those both mark book letter until mile river car feet care second group carry took rain eat room friend began idea fish
mountain north once base hear horse cut sure watch color face wood main toy figure shiny dark bright tall wide round
woman statue creature person beast tool machine vehicle building drink dessert fruit flower
"""


def train_tokenizer(captions: Sequence[str], folder: Path, vocab_size: int = 1600) -> CLIPTokenizer:
    """Learn merges and write a `CLIPTokenizer` folder; `<|endoftext|>` gets the highest id, as CLIP's pooling expects."""
    tokenizer = Tokenizer(models.BPE(end_of_word_suffix="</w>", unk_token="<|endoftext|>"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(CLIP_PATTERN), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=vocab_size, end_of_word_suffix="</w>", initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator([*captions, *[PLAIN_ENGLISH] * 20], trainer)
    model = json.loads(tokenizer.to_str())["model"]
    # CLIP's own order: the bytes, the bytes that end a word, the merges, the two special tokens.
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [tuple(merge) if isinstance(merge, list) else tuple(merge.split(" ")) for merge in model["merges"]]
    words = dict.fromkeys(
        [*alphabet, *(f"{letter}</w>" for letter in alphabet), *("".join(merge) for merge in merges), "<|startoftext|>", "<|endoftext|>"]
    )
    vocab = {word: index for index, word in enumerate(words)}
    clip = CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=CONTEXT_LENGTH)
    clip.save_pretrained(folder)
    return clip
