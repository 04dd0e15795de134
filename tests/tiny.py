"""Tiny random models of every family: the real architectures in the real formats, offline, well under a second each."""

from __future__ import annotations

from typing import Any

import torch

FAMILIES = ("sd1", "sd2", "sdxl", "sd3", "flux")
_MERGES = 4000
_TEXT = 32


def tiny_model(family: str, seed: int = 0) -> Any:
    """`open_model` of a tiny pipeline."""
    from concept_edit.models import open_model

    return open_model(tiny_pipeline(family, seed))


def tiny_pipeline(family: str, seed: int = 0) -> Any:
    """A live diffusers pipeline with random weights; the same seed gives the same weights."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        pipeline = {"sd1": _sd1, "sd2": _sd2, "sdxl": _sdxl, "sd3": _sd3, "flux": _flux}[family]()
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def clip(
    *, projection: bool = False, pad: str = "<|endoftext|>", act: str = "quick_gelu", width: int = _TEXT, room: int = 77
) -> tuple:
    """A tiny CLIP text encoder and its tokenizer: CLIP's own BPE cut after its first merges."""
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    from concept_edit.models.files.tokenizers import clip_tokenizer

    tokenizer = clip_tokenizer(pad_token=pad, merges=_MERGES)
    config = CLIPTextConfig(
        vocab_size=len(tokenizer), hidden_size=width, intermediate_size=2 * width, projection_dim=width,
        num_hidden_layers=2, num_attention_heads=2, max_position_embeddings=room, hidden_act=act,
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    encoder = (CLIPTextModelWithProjection if projection else CLIPTextModel)(config)
    return _woken(encoder), tokenizer


def t5(width: int) -> tuple:
    """A tiny T5 encoder and its unigram tokenizer: letters and a few words."""
    from transformers import T5Config, T5EncoderModel, T5Tokenizer

    words = ("a", "the", "of", "by", "in", "style", "painting", "photo", "art", "apple", "village", "and", "man")
    letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789,.;:!?'-()é"
    vocab = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -3.0)]
    vocab += [("▁" + word, -4.0) for word in words] + [(letter, -5.0) for letter in letters]
    config = T5Config(
        vocab_size=len(vocab), d_model=width, d_kv=16, d_ff=2 * width, num_layers=2, num_heads=2,
        feed_forward_proj="gated-gelu", dense_act_fn="gelu_new", is_encoder_decoder=False, use_cache=False,
    )  # fmt: skip
    return _woken(T5EncoderModel(config)), T5Tokenizer(vocab=vocab, extra_ids=0, model_max_length=512)


def unet(width: int = _TEXT, **more: Any) -> Any:
    """A tiny UNet of the SD 1.x plan: cross-attention in two levels down, in the middle and in two levels up."""
    from diffusers import UNet2DConditionModel

    options: dict[str, Any] = {
        "sample_size": 8, "in_channels": 4, "out_channels": 4, "layers_per_block": 1,
        "block_out_channels": (16, 32, 32),
        "down_block_types": ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        "cross_attention_dim": width, "attention_head_dim": 2, "norm_num_groups": 8,
    }  # fmt: skip
    return _woken(UNet2DConditionModel(**(options | more)))


def vae(channels: int = 4, shift: float | None = None) -> Any:
    """A tiny autoencoder, 8 px to 1 latent."""
    from diffusers import AutoencoderKL

    with_quant = shift is None
    return AutoencoderKL(
        in_channels=3, out_channels=3, latent_channels=channels, norm_num_groups=4, layers_per_block=1, sample_size=64,
        block_out_channels=(8, 8, 8, 8), down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4, use_quant_conv=with_quant, use_post_quant_conv=with_quant,
        shift_factor=shift, scaling_factor=0.18215 if with_quant else 0.36,
    ).eval()  # fmt: skip


def _woken(module: Any) -> Any:
    """Random biases and norms too, so that nothing is zero or one by accident."""
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.ndim < 2:
                parameter.add_(0.1 * torch.randn_like(parameter))
    return module.eval().requires_grad_(False)


def _sd1() -> Any:
    from diffusers import DDIMScheduler, StableDiffusionPipeline

    encoder, tokenizer = clip()
    return StableDiffusionPipeline(
        vae=vae(), text_encoder=encoder, tokenizer=tokenizer, unet=unet(),
        scheduler=DDIMScheduler(clip_sample=False, steps_offset=1),
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip


def _sd2() -> Any:
    from diffusers import DDIMScheduler, StableDiffusionPipeline

    encoder, tokenizer = clip(pad="!", act="gelu")
    denoiser = unet(use_linear_projection=True, attention_head_dim=(2, 4, 4))
    scheduler = DDIMScheduler(clip_sample=False, steps_offset=1, prediction_type="v_prediction")
    return StableDiffusionPipeline(
        vae=vae(), text_encoder=encoder, tokenizer=tokenizer, unet=denoiser, scheduler=scheduler,
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip


def _sdxl() -> Any:
    from diffusers import EulerDiscreteScheduler, StableDiffusionXLPipeline

    encoder, tokenizer = clip()
    encoder_2, tokenizer_2 = clip(projection=True, pad="!", act="gelu")
    denoiser = unet(
        width=2 * _TEXT, addition_embed_type="text_time", addition_time_embed_dim=8, use_linear_projection=True,
        projection_class_embeddings_input_dim=_TEXT + 6 * 8, transformer_layers_per_block=(1, 2, 1),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    )  # fmt: skip
    return StableDiffusionXLPipeline(
        vae=vae(), text_encoder=encoder, text_encoder_2=encoder_2, tokenizer=tokenizer, tokenizer_2=tokenizer_2,
        unet=denoiser, scheduler=EulerDiscreteScheduler(), add_watermarker=False,
    )  # fmt: skip


def _sd3() -> Any:
    from diffusers import FlowMatchEulerDiscreteScheduler, SD3Transformer2DModel, StableDiffusion3Pipeline

    (encoder, tokenizer), (encoder_2, tokenizer_2) = clip(projection=True), clip(projection=True, pad="!", act="gelu")
    encoder_3, tokenizer_3 = t5(96)
    transformer = SD3Transformer2DModel(
        sample_size=8, patch_size=1, in_channels=16, num_layers=2, attention_head_dim=8, num_attention_heads=4,
        joint_attention_dim=96, caption_projection_dim=32, pooled_projection_dim=2 * _TEXT, out_channels=16,
        pos_embed_max_size=96,
    )  # fmt: skip
    return StableDiffusion3Pipeline(
        transformer=_woken(transformer), scheduler=FlowMatchEulerDiscreteScheduler(), vae=vae(16, shift=0.05),
        text_encoder=encoder, tokenizer=tokenizer, text_encoder_2=encoder_2, tokenizer_2=tokenizer_2,
        text_encoder_3=encoder_3, tokenizer_3=tokenizer_3,
    )  # fmt: skip


def _flux() -> Any:
    from diffusers import FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel

    encoder, tokenizer = clip()
    encoder_2, tokenizer_2 = t5(64)
    transformer = FluxTransformer2DModel(
        patch_size=1, in_channels=64, num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=64, pooled_projection_dim=_TEXT, axes_dims_rope=(4, 4, 8), guidance_embeds=True,
    )  # fmt: skip
    return FluxPipeline(
        transformer=_woken(transformer), scheduler=FlowMatchEulerDiscreteScheduler(), vae=vae(16, shift=0.05),
        text_encoder=encoder, tokenizer=tokenizer, text_encoder_2=encoder_2, tokenizer_2=tokenizer_2,
    )  # fmt: skip
