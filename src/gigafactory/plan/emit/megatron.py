"""Command-line arguments of Megatron-LM's pretrain_gpt.py, one option a line.

Names as in megatron/training/arguments.py of 2026. The rank order of Megatron (tp-cp-ep-dp-pp) is
that of plan.placement.
"""

from __future__ import annotations

from collections.abc import Iterator

from gigafactory.describe.cluster import Precision
from gigafactory.describe.layout import Layout, Recompute, Sharding
from gigafactory.describe.model import Block, Model
from gigafactory.describe.study import Study
from gigafactory.plan.emit import Emitted

_STRATEGIES = {
    Sharding.ZERO2: "optim_grads",
    Sharding.FSDP: "optim_grads_params",
    Sharding.HSDP: "optim_grads_params",
}
_PRECISIONS = {
    Precision.FP32: (),
    Precision.FP16: ("--fp16",),
    Precision.BF16: ("--bf16",),
    Precision.FP8: ("--bf16", "--fp8-format hybrid", "--fp8-recipe tensorwise"),
    Precision.NVFP4: ("--bf16", "--fp4-format e2m1", "--fp4-recipe nvfp4"),
}
_GATED_GELU = {Block.GROK1, Block.GROK2}


def megatron(study: Study, layout: Layout) -> Emitted:
    """The arguments of a legal layout."""
    lines = (
        *_model(study.model),
        *_job(study, layout),
        *_mesh(study.model, layout),
        *_state(layout),
        *_recompute(study.model, layout),
        *_PRECISIONS[layout.precision],
    )
    return Emitted("\n".join(lines), tuple(_notes(study, layout)))


def _model(model: Model) -> Iterator[str]:
    yield f"--num-layers {model.num_layers}"
    yield f"--hidden-size {model.hidden}"
    yield f"--ffn-hidden-size {model.ffn or model.moe_ffn}"
    yield f"--num-attention-heads {model.num_heads}"
    if model.mla is None:
        yield f"--kv-channels {model.head_dim}"
        if model.num_kv_heads != model.num_heads:
            yield "--group-query-attention"
            yield f"--num-query-groups {model.num_kv_heads}"
    yield from _latent(model)
    yield f"--vocab-size {model.vocab}"
    if not model.tied_embeddings:
        yield "--untie-embeddings-and-output-weights"
    if model.block is not Block.GPT:
        yield "--normalization RMSNorm"
        yield "--position-embedding-type rope"
        yield "--disable-bias-linear"
    if model.block is Block.QWEN3_MOE:
        yield "--qk-layernorm"
    if model.gated_ffn:
        yield "--swiglu"
    if model.window:
        yield f"--window-size {model.window},0"
    yield from _experts(model)


def _latent(model: Model) -> Iterator[str]:
    if model.mla is None:
        return
    mla = model.mla
    yield "--multi-latent-attention"
    if mla.q_lora_rank:
        yield f"--q-lora-rank {mla.q_lora_rank}"
    yield f"--kv-lora-rank {mla.kv_lora_rank}"
    yield f"--qk-head-dim {mla.qk_nope_head_dim}"
    yield f"--qk-pos-emb-head-dim {mla.qk_rope_head_dim}"
    yield f"--v-head-dim {mla.v_head_dim}"


def _experts(model: Model) -> Iterator[str]:
    if not model.num_experts:
        return
    yield f"--num-experts {model.num_experts}"
    yield f"--moe-router-topk {model.topk}"
    yield f"--moe-ffn-hidden-size {model.moe_ffn}"
    if model.num_dense_layers:
        freq = f"([0]*{model.num_dense_layers}+[1]*{model.num_moe_layers})"
        yield f"--moe-layer-freq {freq}"
    # a dense MLP beside the experts is a shared expert of its width
    beside = model.num_shared_experts * model.moe_ffn + model.dense_residual * model.ffn
    if beside:
        yield f"--moe-shared-expert-intermediate-size {beside}"
    yield "--moe-grouped-gemm"
    yield "--moe-token-dispatcher-type alltoall"


def _job(study: Study, layout: Layout) -> Iterator[str]:
    job = study.job
    yield f"--seq-length {job.seq_len}"
    yield f"--max-position-embeddings {max(job.seq_len, study.model.context)}"
    yield f"--micro-batch-size {layout.micro_batch}"
    yield f"--global-batch-size {job.global_batch}"
    yield f"--train-iters {job.num_steps}"


def _mesh(model: Model, layout: Layout) -> Iterator[str]:
    yield f"--tensor-model-parallel-size {layout.tp}"
    if layout.tp > 1:
        yield "--sequence-parallel"
    yield f"--pipeline-model-parallel-size {layout.pp}"
    if layout.vpp > 1:
        yield f"--num-virtual-stages-per-pipeline-rank {layout.vpp}"
        yield "--overlap-p2p-communication-warmup-flush"
    if model.num_layers % (layout.pp * layout.vpp):
        yield "--account-for-embedding-in-pipeline-split"
        yield "--account-for-loss-in-pipeline-split"
    yield f"--context-parallel-size {layout.cp}"
    if layout.cp > 1:
        yield "--cp-comm-type p2p"
    if model.num_experts:
        yield f"--expert-model-parallel-size {layout.ep}"
        yield f"--expert-tensor-parallel-size {layout.etp}"


def _state(layout: Layout) -> Iterator[str]:
    yield "--overlap-grad-reduce"
    if layout.sharding is Sharding.NONE:
        return
    yield "--use-distributed-optimizer"
    yield "--overlap-param-gather"
    if layout.sharding in _STRATEGIES:
        yield "--use-megatron-fsdp"
        yield f"--data-parallel-sharding-strategy {_STRATEGIES[layout.sharding]}"
        yield "--no-gradient-accumulation-fusion"
        yield "--ckpt-format fsdp_dtensor"
    if layout.shard:
        yield f"--num-distributed-optimizer-instances {layout.dp * layout.cp // layout.shard}"
    if layout.offload:
        yield "--optimizer-cpu-offload"
        yield "--optimizer-offload-fraction 1.0"
        yield "--use-precision-aware-optimizer"


def _recompute(model: Model, layout: Layout) -> Iterator[str]:
    if layout.recompute is Recompute.SELECTIVE:
        yield "--recompute-granularity selective"
        yield f"--recompute-modules layernorm {'moe_act' if model.num_experts else 'mlp'}"
    elif layout.recompute is Recompute.FULL:
        some = layout.recompute_layers
        yield "--recompute-granularity full"
        yield f"--recompute-method {'block' if some else 'uniform'}"
        yield f"--recompute-num-layers {some or 1}"


def _notes(study: Study, layout: Layout) -> Iterator[str]:
    model = study.model
    yield f"start {layout.num_gpus} ranks; tokenizer, data and learning rate are not part of a plan"
    if model.block in _GATED_GELU:
        yield f"{model.block} gates with GELU; --swiglu has the same shapes and speed"
    if layout.recompute is Recompute.SELECTIVE and not model.num_experts:
        yield "Megatron recomputes a dense MLP whole (mlp), the plan only its activation"
