"""A CLIP in miniature on disk."""

from pathlib import Path


def make_clip(folder: Path) -> Path:
    """A random CLIP of two layers with a byte-level tokenizer."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel, CLIPProcessor, PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate(["<pad>", "<s>", "</s>", *letters])}
    plain = Tokenizer(models.BPE(vocabulary, []))
    plain.pre_tokenizer, plain.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    plain.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=plain, bos_token="<s>", eos_token="</s>", pad_token="<pad>", model_max_length=64
    )
    torch.manual_seed(0)
    small = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    config = CLIPConfig(
        text_config=small | {"vocab_size": len(vocabulary), "max_position_embeddings": 64, "bos_token_id": 1,
                             "eos_token_id": 2, "pad_token_id": 0},
        vision_config=small | {"image_size": 28, "patch_size": 14}, projection_dim=16,
    )  # fmt: skip
    CLIPModel(config).save_pretrained(folder)
    size = {"shortest_edge": 28}
    CLIPProcessor(CLIPImageProcessorPil(size=size, crop_size={"height": 28, "width": 28}), tokenizer).save_pretrained(
        folder
    )
    return folder
