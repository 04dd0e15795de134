"""Tiny random pipelines of the families whose encoder is a language model; the real classes, offline."""

from __future__ import annotations

from functools import cache, partial
from importlib import import_module
from typing import Any

import torch
from tiny import _woken, clip, t5, unet, vae

CHAT = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.content is string %}{{ m.content }}{% else %}{% for c in m.content %}{{ c.text }}{% endfor %}{% endif %}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
IMAGE = "<|image_pad|>"
_WORDS = (
    "a painting by Van Gogh, in the style of an artist; the photo of a red apple on the table. Describe the image by "
    "detailing the color, shape, size, texture, quantity, text, spatial relationships of the objects and background: "
    "system user assistant You are an AI that reasons about image descriptions. User Prompt: Given a user prompt, "
    "generate an Enhanced prompt that provides detailed visual descriptions suitable for image generation. "
)


def modern_pipeline(family: str, seed: int = 0, **more: Any) -> Any:
    """A live diffusers pipeline with random weights; the same seed gives the same weights."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        pipeline = MODERN[family](**more)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@cache
def _trained(bos: bool) -> str:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<bos>", "<|vision_start|>", IMAGE, "<|vision_end|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=700, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator([_WORDS] * 3, trainer)
    if bos:
        tokenizer.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 3)])
    return str(tokenizer.to_str())


def tokenizer(*, bos: bool = False, length: int = 2048) -> Any:
    """A byte-level BPE of 700 tokens that knows the words of the templates."""
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(_trained(bos)), chat_template=CHAT, model_max_length=length,
        pad_token="<|endoftext|>", eos_token="<|im_end|>", padding_side="right",
        extra_special_tokens={"start": "<|im_start|>"}, **({"bos_token": "<bos>"} if bos else {}),
    )  # fmt: skip


def qwen3(layers: int = 3, width: int = 32) -> Any:
    """A tiny Qwen3."""
    from transformers import Qwen3Config, Qwen3Model

    config = Qwen3Config(
        vocab_size=700, hidden_size=width, intermediate_size=48, num_hidden_layers=layers, num_attention_heads=2,
        num_key_value_heads=1, head_dim=16, max_position_embeddings=4096,
    )  # fmt: skip
    return _woken(Qwen3Model(config))


def scheduler() -> Any:
    """The flow-matching Euler steps all of them take."""
    from diffusers import FlowMatchEulerDiscreteScheduler

    return FlowMatchEulerDiscreteScheduler()


def _zimage() -> Any:
    from diffusers import ZImagePipeline, ZImageTransformer2DModel

    transformer = ZImageTransformer2DModel(
        dim=32, n_layers=1, n_refiner_layers=1, n_heads=2, n_kv_heads=2, cap_feat_dim=32, in_channels=16,
        axes_dims=[4, 6, 6], axes_lens=[256, 64, 64],
    )  # fmt: skip
    return ZImagePipeline(
        scheduler=scheduler(), vae=vae(16, shift=0.05), text_encoder=qwen3(), tokenizer=tokenizer(),
        transformer=_woken(transformer),
    )  # fmt: skip


def _small(kind: str, config: str, layers: int, width: int, **more: Any) -> Any:
    """A tiny causal language model of transformers."""
    import transformers

    options = {
        "vocab_size": 700, "hidden_size": width, "intermediate_size": 48, "num_hidden_layers": layers,
        "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16, "max_position_embeddings": 4096,
    }  # fmt: skip
    return _woken(getattr(transformers, kind)(getattr(transformers, config)(**(options | more))))


def flux2_transformer(width: int) -> Any:
    """A tiny denoiser of FLUX.2."""
    from diffusers import Flux2Transformer2DModel

    return _woken(
        Flux2Transformer2DModel(
            patch_size=1, in_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=16,
            num_attention_heads=2, joint_attention_dim=width, timestep_guidance_channels=32,
            axes_dims_rope=(4, 4, 4, 4),
        )
    )  # fmt: skip


def flux2_vae() -> Any:
    """A tiny autoencoder of FLUX.2."""
    from diffusers import AutoencoderKLFlux2

    return AutoencoderKLFlux2(
        block_out_channels=(8, 8, 8, 8), layers_per_block=1, latent_channels=4, norm_num_groups=4, sample_size=64,
    ).eval()  # fmt: skip


def _flux2() -> Any:
    import transformers
    from diffusers import Flux2Pipeline

    text = {
        "model_type": "mistral", "vocab_size": 700, "hidden_size": 16, "intermediate_size": 32,
        "num_hidden_layers": 31, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8,
    }  # fmt: skip
    vision = {
        "model_type": "pixtral", "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1,
        "num_attention_heads": 2, "image_size": 32, "patch_size": 8, "head_dim": 8,
    }  # fmt: skip
    config = transformers.Mistral3Config(text_config=text, vision_config=vision, image_token_index=10)
    return Flux2Pipeline(
        scheduler=scheduler(), vae=flux2_vae(), tokenizer=tokenizer(), transformer=flux2_transformer(48),
        text_encoder=_woken(transformers.Mistral3ForConditionalGeneration(config)),
    )  # fmt: skip


def _klein() -> Any:
    from diffusers import Flux2KleinPipeline

    return Flux2KleinPipeline(
        scheduler=scheduler(), vae=flux2_vae(), tokenizer=tokenizer(), transformer=flux2_transformer(48),
        text_encoder=qwen3(28, 16), is_distilled=True,
    )  # fmt: skip


def film_vae(kind: str) -> Any:
    """A tiny autoencoder of Wan, or of Qwen-Image, that is made like it."""
    import diffusers

    return getattr(diffusers, kind)(
        base_dim=8, z_dim=4, dim_mult=[1, 1, 1, 1], num_res_blocks=1, latents_mean=[0.0] * 4, latents_std=[1.0] * 4,
    ).eval()  # fmt: skip


def qwen_vae() -> Any:
    """A tiny autoencoder of Qwen-Image."""
    return film_vae("AutoencoderKLQwenImage")


def qwen_vl(kind: str, config: str, width: int = 32, layers: int = 2) -> Any:
    """A tiny Qwen2.5-VL or Qwen3-VL."""
    import transformers

    text = {
        "vocab_size": 700, "hidden_size": width, "intermediate_size": 48, "num_hidden_layers": layers,
        "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16, "bos_token_id": 0, "eos_token_id": 2,
        "rope_scaling": {"type": "default", "rope_type": "default", "mrope_section": [2, 3, 3]},
    }  # fmt: skip
    vision = {
        "depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "out_hidden_size": width,
        "fullatt_block_indexes": [0], "deepstack_visual_indexes": [0],
    }  # fmt: skip
    made = getattr(transformers, config)(
        text_config=text, vision_config=vision, vision_start_token_id=4, image_token_id=5, vision_end_token_id=6
    )
    return _woken(getattr(transformers, kind)(made))


def qwen_transformer(width: int = 32) -> Any:
    """A tiny denoiser of Qwen-Image."""
    from diffusers import QwenImageTransformer2DModel

    return _woken(
        QwenImageTransformer2DModel(
            patch_size=2, in_channels=16, out_channels=4, num_layers=1, attention_head_dim=16, num_attention_heads=2,
            joint_attention_dim=width, axes_dims_rope=(4, 6, 6),
        )
    )  # fmt: skip


def _qwen() -> Any:
    from diffusers import QwenImagePipeline

    return QwenImagePipeline(
        scheduler=scheduler(), vae=qwen_vae(), tokenizer=tokenizer(), transformer=qwen_transformer(),
        text_encoder=qwen_vl("Qwen2_5_VLForConditionalGeneration", "Qwen2_5_VLConfig"),
    )  # fmt: skip


class PlainProcessor:
    """What `Qwen2VLProcessor` does with a picture, for machines without torchvision, which it wants."""

    def __init__(self, pictures: Any, words: Any) -> None:
        self.pictures, self.tokenizer = pictures, words

    def __call__(self, text: list[str], images: Any = None, **more: Any) -> Any:
        if images is None:
            return self.tokenizer(text, **more)
        seen = self.pictures(images, return_tensors="pt")
        count = int(seen["image_grid_thw"].prod()) // 4
        given = self.tokenizer([each.replace(IMAGE, IMAGE * count) for each in text], **more)
        given.update(seen)
        return given

    def apply_chat_template(self, messages: Any, **more: Any) -> Any:
        return [self.tokenizer.apply_chat_template(messages, **more)]


def processor(words: Any) -> Any:
    """What puts words and pictures together for Qwen-VL; pictures become four tokens."""
    from importlib.util import find_spec

    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    pictures = Qwen2VLImageProcessorPil(
        patch_size=14, merge_size=2, temporal_patch_size=2, min_pixels=56**2, max_pixels=60**2
    )
    if find_spec("torchvision") is None:
        return PlainProcessor(pictures, words)
    from transformers import Qwen2VLProcessor, Qwen2VLVideoProcessor

    return Qwen2VLProcessor(pictures, words, Qwen2VLVideoProcessor())


def _qwen_edit(kind: str, *size: Any) -> Any:
    import diffusers

    words, made = tokenizer(), getattr(diffusers, kind)
    import_module(made.__module__).calculate_dimensions = lambda *_: size  # they paint a megapixel else
    return made(
        scheduler=scheduler(), vae=qwen_vae(), tokenizer=words, processor=processor(words),
        transformer=qwen_transformer(), text_encoder=qwen_vl("Qwen2_5_VLForConditionalGeneration", "Qwen2_5_VLConfig"),
    )  # fmt: skip


def _qwen21() -> Any:
    from diffusers import AutoencoderKLQwenImage21, QwenImage21Pipeline, QwenImage21Transformer2DModel

    transformer = QwenImage21Transformer2DModel(
        in_channels=4, out_channels=4, num_layers=1, attention_head_dim=16, num_attention_heads=2, context_in_dim=32,
        axes_dims_rope=(4, 6, 6),
    )  # fmt: skip
    autoencoder = AutoencoderKLQwenImage21(
        base_dim=8, decoder_base_dim=8, z_dim=4, dim_mult=[1, 1, 1, 1, 1], num_res_blocks=1, latents_mean=[0.0] * 4,
        latents_std=[1.0] * 4,
    )  # fmt: skip
    return QwenImage21Pipeline(
        scheduler=scheduler(), vae=autoencoder.eval(), processor=processor(tokenizer()),
        transformer=_woken(transformer), text_encoder=qwen_vl("Qwen3VLForConditionalGeneration", "Qwen3VLConfig"),
    )  # fmt: skip


def _krea2() -> Any:
    from diffusers import Krea2Pipeline, Krea2Transformer2DModel

    transformer = Krea2Transformer2DModel(
        in_channels=16, num_layers=1, attention_head_dim=16, num_attention_heads=2, num_key_value_heads=1,
        intermediate_size=32, timestep_embed_dim=32, text_hidden_dim=32, num_text_layers=2, text_num_attention_heads=2,
        text_num_key_value_heads=1, text_intermediate_size=32, num_layerwise_text_blocks=1, num_refiner_text_blocks=1,
        axes_dims_rope=(4, 6, 6),
    )  # fmt: skip
    return Krea2Pipeline(
        scheduler=scheduler(), vae=qwen_vae(), tokenizer=tokenizer(), transformer=_woken(transformer),
        text_encoder=qwen_vl("Qwen3VLModel", "Qwen3VLConfig"), text_encoder_select_layers=(1, 2),
    )  # fmt: skip


def _chroma() -> Any:
    from diffusers import ChromaPipeline, ChromaTransformer2DModel

    encoder, words = t5(32)
    transformer = ChromaTransformer2DModel(
        patch_size=1, in_channels=64, num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=32, axes_dims_rope=(4, 4, 8), approximator_num_channels=8, approximator_hidden_dim=16,
        approximator_layers=1,
    )  # fmt: skip
    return ChromaPipeline(
        scheduler=scheduler(), vae=vae(16, shift=0.05), tokenizer=words, text_encoder=encoder,
        transformer=_woken(transformer),
    )  # fmt: skip


def gemma2(width: int = 32) -> Any:
    """A tiny Gemma 2."""
    return _small("Gemma2Model", "Gemma2Config", 3, width, bos_token_id=3, eos_token_id=2, pad_token_id=0)


def _lumina2() -> Any:
    from diffusers import Lumina2Pipeline, Lumina2Transformer2DModel

    transformer = Lumina2Transformer2DModel(
        sample_size=8, patch_size=2, in_channels=4, hidden_size=32, num_layers=1, num_refiner_layers=1,
        num_attention_heads=2, num_kv_heads=1, multiple_of=16, axes_dim_rope=(4, 6, 6), axes_lens=(300, 64, 64),
        cap_feat_dim=32,
    )  # fmt: skip
    return Lumina2Pipeline(
        scheduler=scheduler(), vae=vae(4, shift=0.05), tokenizer=tokenizer(bos=True), text_encoder=gemma2(),
        transformer=_woken(transformer),
    )  # fmt: skip


def umt5() -> tuple[Any, Any]:
    """A tiny UMT5 encoder and its tokenizer."""
    from transformers import UMT5Config, UMT5EncoderModel

    _, words = t5(32)
    config = UMT5Config(
        vocab_size=len(words), d_model=32, d_kv=16, d_ff=64, num_layers=2, num_heads=2, feed_forward_proj="gated-gelu",
        is_encoder_decoder=False, use_cache=False,
    )  # fmt: skip
    return _woken(UMT5EncoderModel(config)), words


def _auraflow() -> Any:
    from diffusers import AuraFlowPipeline, AuraFlowTransformer2DModel

    encoder, words = umt5()
    transformer = AuraFlowTransformer2DModel(
        sample_size=8, patch_size=2, in_channels=4, num_mmdit_layers=1, num_single_dit_layers=1, attention_head_dim=16,
        num_attention_heads=2, joint_attention_dim=32, caption_projection_dim=32, pos_embed_max_size=64,
    )  # fmt: skip
    return AuraFlowPipeline(
        scheduler=scheduler(), vae=vae(4), tokenizer=words, text_encoder=encoder, transformer=_woken(transformer),
    )  # fmt: skip


def _sana() -> Any:
    from diffusers import AutoencoderDC, SanaPipeline, SanaTransformer2DModel

    transformer = SanaTransformer2DModel(
        in_channels=4, out_channels=4, num_attention_heads=2, attention_head_dim=16, num_layers=2,
        num_cross_attention_heads=2, cross_attention_head_dim=16, cross_attention_dim=32, caption_channels=24,
        sample_size=16, patch_size=1,
    )  # fmt: skip
    blocks = ("ResBlock",) * 5 + ("EfficientViTBlock",)
    autoencoder = AutoencoderDC(
        latent_channels=4, attention_head_dim=4, encoder_block_types=blocks, decoder_block_types=blocks,
        encoder_block_out_channels=(4,) * 6, decoder_block_out_channels=(4,) * 6, encoder_layers_per_block=(1,) * 6,
        decoder_layers_per_block=(1,) * 6, encoder_qkv_multiscales=((),) * 5 + ((5,),),
        decoder_qkv_multiscales=((),) * 5 + ((5,),), upsample_block_type="interpolate",
        downsample_block_type="stride_conv",
    )  # fmt: skip
    return SanaPipeline(
        scheduler=scheduler(), vae=autoencoder.eval(), tokenizer=tokenizer(bos=True), text_encoder=gemma2(24),
        transformer=_woken(transformer),
    )  # fmt: skip


def _pixart() -> Any:
    from diffusers import DPMSolverMultistepScheduler, PixArtSigmaPipeline, PixArtTransformer2DModel

    encoder, words = t5(24)
    transformer = PixArtTransformer2DModel(
        sample_size=32, num_layers=2, patch_size=2, attention_head_dim=16, num_attention_heads=2, caption_channels=24,
        in_channels=4, out_channels=8, cross_attention_dim=32, norm_type="ada_norm_single",
    )  # fmt: skip
    return PixArtSigmaPipeline(
        scheduler=DPMSolverMultistepScheduler(), vae=vae(4), tokenizer=words, text_encoder=encoder,
        transformer=_woken(transformer),
    )  # fmt: skip


def _longcat() -> Any:
    from diffusers import LongCatImagePipeline, LongCatImageTransformer2DModel

    transformer = LongCatImageTransformer2DModel(
        patch_size=1, in_channels=64, num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=32, pooled_projection_dim=32, axes_dims_rope=[4, 6, 6],
    )  # fmt: skip
    return LongCatImagePipeline(
        scheduler=scheduler(), vae=vae(16, shift=0.05), tokenizer=tokenizer(), transformer=_woken(transformer),
        text_encoder=qwen_vl("Qwen2_5_VLForConditionalGeneration", "Qwen2_5_VLConfig"), text_processor=None,
    )  # fmt: skip


def _ovis() -> Any:
    from diffusers import OvisImagePipeline, OvisImageTransformer2DModel

    transformer = OvisImageTransformer2DModel(
        patch_size=1, in_channels=64, out_channels=64, num_layers=1, num_single_layers=1, attention_head_dim=16,
        num_attention_heads=2, joint_attention_dim=32, axes_dims_rope=(4, 6, 6),
    )  # fmt: skip
    return OvisImagePipeline(
        scheduler=scheduler(), vae=vae(16, shift=0.05), tokenizer=tokenizer(), transformer=_woken(transformer),
        text_encoder=qwen3(),
    )  # fmt: skip


def _cogview4() -> Any:
    from diffusers import CogView4Pipeline, CogView4Transformer2DModel

    transformer = CogView4Transformer2DModel(
        patch_size=2, in_channels=4, out_channels=4, num_layers=1, attention_head_dim=16, num_attention_heads=2,
        text_embed_dim=32, time_embed_dim=16, condition_dim=8, pos_embed_max_size=64, sample_size=8,
        rope_axes_dim=(64, 64),
    )  # fmt: skip
    encoder = _small("GlmModel", "GlmConfig", 3, 32, pad_token_id=0, bos_token_id=3, eos_token_id=2)
    return CogView4Pipeline(
        scheduler=scheduler(), vae=vae(4), tokenizer=tokenizer(bos=True), text_encoder=encoder,
        transformer=_woken(transformer),
    )  # fmt: skip


def _ernie() -> Any:
    from diffusers import ErnieImagePipeline, ErnieImageTransformer2DModel

    transformer = ErnieImageTransformer2DModel(
        hidden_size=32, num_attention_heads=2, num_layers=1, ffn_hidden_size=48, in_channels=16, out_channels=16,
        text_in_dim=24, rope_axes_dim=(4, 6, 6),
    )  # fmt: skip
    return ErnieImagePipeline(
        scheduler=scheduler(), vae=flux2_vae(), tokenizer=tokenizer(bos=True), text_encoder=qwen3(3, 24),
        transformer=_woken(transformer),
    )  # fmt: skip


def _wan() -> Any:
    from diffusers import WanPipeline

    encoder, words = umt5()
    return WanPipeline(
        scheduler=scheduler(), vae=film_vae("AutoencoderKLWan"), tokenizer=words, text_encoder=encoder,
        transformer=wan_transformer(),
    )  # fmt: skip


def wan_transformer() -> Any:
    """A tiny denoiser of Wan."""
    from diffusers import WanTransformer3DModel

    return _woken(
        WanTransformer3DModel(
            num_attention_heads=2, attention_head_dim=16, in_channels=4, out_channels=4, text_dim=32, freq_dim=16,
            ffn_dim=32, num_layers=1, rope_max_seq_len=32,
        )
    )  # fmt: skip


def _hunyuan() -> Any:
    from diffusers import AutoencoderKLHunyuanImage, HunyuanImagePipeline, HunyuanImageTransformer2DModel
    from transformers import ByT5Tokenizer, T5Config, T5EncoderModel

    config = T5Config(vocab_size=384, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2, use_cache=False)
    transformer = HunyuanImageTransformer2DModel(
        in_channels=4, out_channels=4, num_attention_heads=2, attention_head_dim=16, num_layers=1, num_single_layers=1,
        num_refiner_layers=2, text_embed_dim=32, text_embed_2_dim=16, rope_axes_dim=(8, 8),
    )  # fmt: skip
    autoencoder = AutoencoderKLHunyuanImage(
        in_channels=3, out_channels=3, latent_channels=4, block_out_channels=(32, 32, 32, 32), layers_per_block=1,
        spatial_compression_ratio=8, sample_size=64, scaling_factor=1.0,
    )  # fmt: skip
    return HunyuanImagePipeline(
        scheduler=scheduler(), vae=autoencoder.eval(), transformer=_woken(transformer), tokenizer=tokenizer(),
        text_encoder=qwen_vl("Qwen2_5_VLForConditionalGeneration", "Qwen2_5_VLConfig", layers=3),
        text_encoder_2=_woken(T5EncoderModel(config)), tokenizer_2=ByT5Tokenizer(),
    )  # fmt: skip


def _glm_words() -> Any:
    """ChatGLM's own tokenizer, trained on the words of the templates."""
    from tempfile import mkdtemp

    import sentencepiece
    from diffusers.pipelines.kolors import ChatGLMTokenizer

    place = mkdtemp()
    with open(f"{place}/words.txt", "w") as file:
        file.write("\n".join(_WORDS.split(". ") * 20))
    sentencepiece.SentencePieceTrainer.train(
        input=f"{place}/words.txt", model_prefix=f"{place}/words", vocab_size=300, hard_vocab_limit=False,
        minloglevel=2,
    )  # fmt: skip
    return ChatGLMTokenizer(f"{place}/words.model")


def _kolors() -> Any:
    import pytest

    pytest.importorskip("sentencepiece", reason="diffusers wants it for Kolors")
    from diffusers import EulerDiscreteScheduler, KolorsPipeline
    from diffusers.pipelines.kolors import ChatGLMModel
    from diffusers.pipelines.kolors.text_encoder import ChatGLMConfig

    config = ChatGLMConfig(
        num_layers=2, padded_vocab_size=700, hidden_size=32, ffn_hidden_size=32, kv_channels=16, num_attention_heads=2,
        seq_length=512, add_qkv_bias=True, multi_query_attention=True, original_rope=True,
    )  # fmt: skip
    encoder = ChatGLMModel(config, empty_init=False)
    with torch.no_grad():  # its weights are whatever was in memory
        for name, weight in encoder.named_parameters():
            weight.copy_(0.2 * torch.randn_like(weight) + ("norm" in name))
    denoiser = unet(
        encoder_hid_dim=32, encoder_hid_dim_type="text_proj", addition_embed_type="text_time",
        addition_time_embed_dim=8, projection_class_embeddings_input_dim=80,
    )  # fmt: skip
    return KolorsPipeline(
        scheduler=EulerDiscreteScheduler(), vae=vae(4), unet=denoiser, tokenizer=_glm_words(),
        text_encoder=encoder.eval().requires_grad_(False), force_zeros_for_empty_prompt=False,
    )  # fmt: skip


def _bria() -> Any:
    from diffusers import BriaPipeline, BriaTransformer2DModel

    encoder, words = t5(32)
    transformer = BriaTransformer2DModel(
        patch_size=1, in_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=32, axes_dims_rope=[0, 8, 8],
    )  # fmt: skip
    return BriaPipeline(
        scheduler=scheduler(), vae=vae(4), transformer=_woken(transformer), text_encoder=encoder, tokenizer=words,
    )  # fmt: skip


def _fibo(blocks: int = 3) -> Any:
    """Of `blocks` double and as many single blocks, read by an encoder of three layers."""
    from diffusers import BriaFiboPipeline, BriaFiboTransformer2DModel

    encoder = _small(
        "SmolLM3ForCausalLM", "SmolLM3Config", 3, 16, vocab_size=128001, bos_token_id=128000, eos_token_id=2,
        pad_token_id=0,
    )  # fmt: skip
    transformer = BriaFiboTransformer2DModel(
        in_channels=4, num_layers=blocks, num_single_layers=blocks, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=32, text_encoder_dim=16, axes_dims_rope=[0, 8, 8],
    )  # fmt: skip
    return BriaFiboPipeline(
        scheduler=scheduler(), vae=film_vae("AutoencoderKLWan"), transformer=_woken(transformer),
        text_encoder=encoder, tokenizer=tokenizer(),
    )  # fmt: skip


def _hidream() -> Any:
    from diffusers import HiDreamImagePipeline, HiDreamImageTransformer2DModel

    transformer = HiDreamImageTransformer2DModel(
        patch_size=2, in_channels=4, out_channels=4, num_layers=1, num_single_layers=1, attention_head_dim=16,
        num_attention_heads=2, caption_channels=[24, 32], text_emb_dim=64, num_routed_experts=2,
        num_activated_experts=1, axes_dims_rope=(4, 6, 6), max_resolution=(8, 8), llama_layers=[0, 1],
    )  # fmt: skip
    (clip_1, words_1), (clip_2, words_2) = clip(projection=True, room=248), clip(projection=True, room=248)
    encoder, words = t5(24)
    llama = _small("LlamaForCausalLM", "LlamaConfig", 2, 32, bos_token_id=3, eos_token_id=2, pad_token_id=0)
    return HiDreamImagePipeline(
        scheduler=scheduler(), vae=vae(4, shift=0.05), transformer=_woken(transformer), text_encoder=clip_1,
        tokenizer=words_1, text_encoder_2=clip_2, tokenizer_2=words_2, text_encoder_3=encoder, tokenizer_3=words,
        text_encoder_4=llama, tokenizer_4=tokenizer(bos=True),
    )  # fmt: skip


def _kandinsky5() -> Any:
    from diffusers import Kandinsky5T2IPipeline, Kandinsky5Transformer3DModel

    transformer = Kandinsky5Transformer3DModel(
        in_visual_dim=4, in_text_dim=32, in_text_dim2=32, time_dim=16, out_visual_dim=4, model_dim=32, ff_dim=32,
        num_text_blocks=1, num_visual_blocks=1, axes_dims=(4, 6, 6),
    )  # fmt: skip
    with torch.no_grad():  # its modulation begins at zero: nothing would move with time
        for weight in (w for w in transformer.parameters() if not w.any()):
            weight.copy_(0.1 * torch.randn_like(weight))
    encoder, words = clip()
    pipe = Kandinsky5T2IPipeline(
        scheduler=scheduler(), vae=vae(4), transformer=_woken(transformer), tokenizer=tokenizer(),
        text_encoder=qwen_vl("Qwen2_5_VLForConditionalGeneration", "Qwen2_5_VLConfig"), text_encoder_2=encoder,
        tokenizer_2=words,
    )  # fmt: skip
    pipe.resolutions = [(64, 64)]
    return pipe


def _ideogram4() -> Any:
    from diffusers import Ideogram4Pipeline

    def transformer() -> Any:
        from diffusers import Ideogram4Transformer2DModel

        return _woken(
            Ideogram4Transformer2DModel(
                in_channels=16, num_layers=1, attention_head_dim=16, num_attention_heads=2, intermediate_size=32,
                adaln_dim=16, llm_features_dim=13 * 16, mrope_section=(4, 2, 2),
            )
        )  # fmt: skip

    return Ideogram4Pipeline(
        scheduler=scheduler(), vae=flux2_vae(), tokenizer=tokenizer(), transformer=transformer(),
        unconditional_transformer=transformer(),
        text_encoder=qwen_vl("Qwen3VLModel", "Qwen3VLConfig", width=16, layers=36),
    )  # fmt: skip


MODERN = {
    "zimage": _zimage,
    "flux2": _flux2,
    "flux2-klein": _klein,
    "qwen-image": _qwen,
    "qwen-image-edit": partial(_qwen_edit, "QwenImageEditPipeline", 64, 64, None),
    "qwen-image-edit-plus": partial(_qwen_edit, "QwenImageEditPlusPipeline", 64, 64),
    "qwen-image-2.1": _qwen21,
    "krea2": _krea2,
    "chroma": _chroma,
    "lumina2": _lumina2,
    "auraflow": _auraflow,
    "sana": _sana,
    "pixart": _pixart,
    "longcat": _longcat,
    "ovis": _ovis,
    "cogview4": _cogview4,
    "ernie": _ernie,
    "wan": _wan,
    "hunyuan-image": _hunyuan,
    "kandinsky5": _kandinsky5,
    "kolors": _kolors,
    "hidream": _hidream,
    "bria": _bria,
    "fibo": _fibo,
    "ideogram4": _ideogram4,
}
