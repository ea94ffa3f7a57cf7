# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of the real classes of transformers, tiny and with random weights."""

from pathlib import Path
from typing import Any

import torch
import transformers

LABELS = {0: "person", 1: "chair", 2: "wall-other-merged", 3: "floor-other-merged", 4: "sky-other-merged"}
SWIN = {"embed_dim": 16, "depths": [1, 1, 1, 1], "num_heads": [1, 2, 2, 4], "window_size": 4,
        "out_features": ["stage1", "stage2", "stage3", "stage4"]}  # fmt: skip
SMALL = {"feature_size": 32, "mask_feature_size": 32, "hidden_dim": 32, "encoder_feedforward_dim": 32,
         "encoder_layers": 1, "decoder_layers": 2, "num_attention_heads": 2, "dim_feedforward": 32}  # fmt: skip


def write(family: str, folder: Path, labels: dict[int, str] = LABELS) -> Path:
    """A checkpoint of a family, as ``save_pretrained`` leaves it."""
    torch.manual_seed(0)
    writers = {"eomt": _eomt, "mask2former": _mask2former, "oneformer": _oneformer, "sam2": _sam2, "sam3": _sam3,
               "sam3-video": _sam3_video}  # fmt: skip
    writers[family](folder, labels)
    return folder


def _eomt(folder: Path, labels: dict[int, str]) -> None:
    config = transformers.EomtConfig(
        hidden_size=32, num_hidden_layers=3, num_attention_heads=2, image_size=64, patch_size=8, num_blocks=1,
        num_queries=12, num_register_tokens=1, mlp_ratio=2, id2label=labels,
    )  # fmt: skip
    transformers.EomtForUniversalSegmentation(config).save_pretrained(folder)
    transformers.EomtImageProcessor(size={"shortest_edge": 64, "longest_edge": 64}, do_pad=True).save_pretrained(folder)


def _mask2former(folder: Path, labels: dict[int, str]) -> None:
    config = transformers.Mask2FormerConfig(
        backbone_config=transformers.SwinConfig(**SWIN), num_queries=12, id2label=labels, **SMALL
    )
    transformers.Mask2FormerForUniversalSegmentation(config).save_pretrained(folder)
    transformers.Mask2FormerImageProcessor(size={"shortest_edge": 64, "longest_edge": 128}).save_pretrained(folder)


def _oneformer(folder: Path, labels: dict[int, str]) -> None:
    small = {key: value for key, value in SMALL.items() if key not in ("feature_size", "mask_feature_size")}
    small.pop("encoder_feedforward_dim")
    config = transformers.OneFormerConfig(
        backbone_config=transformers.SwinConfig(**SWIN), num_queries=12, id2label=labels, mask_dim=32, conv_dim=32,
        text_encoder_width=32, text_encoder_context_length=77, text_encoder_num_layers=1,
        text_encoder_vocab_size=600, text_encoder_proj_layers=1, text_encoder_n_ctx=4, is_training=False,
        task_seq_len=77, max_seq_len=77, **small,
    )  # fmt: skip
    transformers.OneFormerForUniversalSegmentation(config).save_pretrained(folder)
    processor = transformers.OneFormerImageProcessor(size={"shortest_edge": 64, "longest_edge": 128}, num_text=2)
    transformers.OneFormerProcessor(processor, _letters()).save_pretrained(folder)


def _sam2(folder: Path, labels: dict[int, str]) -> None:
    backbone = transformers.Sam2HieraDetConfig(
        hidden_size=8, image_size=[64, 64], blocks_per_stage=[1, 1, 2, 1], embed_dim_per_stage=[8, 16, 32, 64],
        num_attention_heads_per_stage=[1, 1, 2, 4], window_size_per_stage=[8, 8, 8, 8], global_attention_blocks=[3],
        window_positional_embedding_background_size=[4, 4],
    )  # fmt: skip
    vision = transformers.Sam2VisionConfig(
        backbone_config=backbone, backbone_channel_list=[64, 32, 16, 8], fpn_hidden_size=32,
        backbone_feature_sizes=[[16, 16], [8, 8], [4, 4]],
    )  # fmt: skip
    config = transformers.Sam2Config(
        vision_config=vision,
        prompt_encoder_config={"hidden_size": 32, "image_size": 64, "patch_size": 16},
        mask_decoder_config={"hidden_size": 32, "mlp_dim": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
                             "iou_head_hidden_dim": 32},
    )  # fmt: skip
    transformers.Sam2Model(config).save_pretrained(folder)
    size = {"height": 64, "width": 64}
    transformers.Sam2ImageProcessor(size=size, mask_size=size).save_pretrained(folder)


def _sam3(folder: Path, labels: dict[int, str]) -> None:
    transformers.Sam3Model(transformers.Sam3Config(**_detector(32, 6))).save_pretrained(folder)
    processor = transformers.Sam3ImageProcessor(size={"height": 56, "width": 56})
    transformers.Sam3Processor(processor, _letters()).save_pretrained(folder)


def _sam3_video(folder: Path, labels: dict[int, str]) -> None:
    width = 128  # the memory's 64 channels are fixed in the library, and have to be fewer
    tracker = {
        "vision_config": _detector(width, 2)["vision_config"], "image_size": 56,
        "prompt_encoder_config": {"hidden_size": width, "image_size": 56, "patch_size": 14},
        "mask_decoder_config": {"hidden_size": width, "mlp_dim": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
                                "iou_head_hidden_dim": 32},
        "memory_attention_hidden_size": width, "memory_attention_num_layers": 1,
        "memory_attention_feed_forward_hidden_size": 32, "memory_encoder_hidden_size": width,
        "mask_downsampler_embed_dim": width, "memory_fuser_embed_dim": width, "memory_fuser_intermediate_dim": 32,
        "memory_fuser_num_layers": 1, "num_maskmem": 3, "max_object_pointers_in_encoder": 4, "max_cond_frame_num": 2,
    }  # fmt: skip
    # Random weights are sure of nothing: what is found counts, and is the same object wherever it overlaps at all.
    config = transformers.Sam3VideoConfig(
        detector_config={"model_type": "sam3", **_detector(width, 2)},
        tracker_config={"model_type": "sam3_tracker_video", **tracker}, low_res_mask_size=16,
        score_threshold_detection=0.0, new_det_thresh=0.0, assoc_iou_thresh=0.3, trk_assoc_iou_thresh=0.3,
        hotstart_delay=3, hotstart_unmatch_thresh=2, hotstart_dup_thresh=2, recondition_every_nth_frame=3,
        high_conf_thresh=0.0, high_iou_thresh=0.3,
    )  # fmt: skip
    model = transformers.Sam3VideoModel(config)
    for name, parameter in model.tracker_model.mask_decoder.pred_obj_score_head.named_parameters():
        if name == "proj_out.bias":
            parameter.data.fill_(10.0)  # whatever is followed is there
    model.save_pretrained(folder)
    size = {"height": 56, "width": 56}
    images, videos = transformers.Sam3ImageProcessor(size=size), transformers.Sam2VideoVideoProcessor(size=size)
    transformers.Sam3VideoProcessor(images, videos, _letters()).save_pretrained(folder)


def _detector(width: int, queries: int) -> dict[str, Any]:
    part = {"hidden_size": width, "num_attention_heads": 2, "intermediate_size": 32, "num_layers": 1}
    return {
        "vision_config": {
            "backbone_config": {
                "model_type": "sam3_vit_model", "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2,
                "num_attention_heads": 2, "image_size": 56, "patch_size": 14, "window_size": 2,
                "global_attn_indexes": [1], "pretrain_image_size": 56,
            },
            "fpn_hidden_size": width, "backbone_feature_sizes": [[16, 16], [8, 8], [4, 4]],
        },
        "text_config": {"model_type": "clip_text_model", "vocab_size": 600, "hidden_size": 32, "intermediate_size": 32,
                        "projection_dim": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
                        "max_position_embeddings": 32},
        "geometry_encoder_config": part, "detr_encoder_config": part,
        "detr_decoder_config": {**part, "num_queries": queries},
        "mask_decoder_config": {"hidden_size": width, "num_attention_heads": 2},
    }  # fmt: skip


def _letters() -> transformers.CLIPTokenizer:
    """A tokenizer that spells."""
    alphabet = [chr(33 + i) for i in range(94)] + [chr(33 + i) + "</w>" for i in range(94)]
    vocabulary = {token: i for i, token in enumerate([*alphabet, "<|startoftext|>", "<|endoftext|>"])}
    return transformers.CLIPTokenizer(vocab=vocabulary, merges=[])
