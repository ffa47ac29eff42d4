"""Communication inside a layer, as far as no computing hides it: tensor, context, expert parallel.

Legend
    t       tokens of a microbatch on a rank before tp;  h hidden;  k experts a token

Tensor parallelism gathers and scatters t*h numbers before and after each half of a layer
(arXiv:2205.05198 section 4.2.2). Context parallelism passes keys and values round a ring, beside
the attention of the block that is there (arXiv:2310.01889). Expert parallelism sends each token to
its k experts and back. An overlapping engine hides a fitted share of the first and the last.
"""

from __future__ import annotations

import numpy as np

from gigafactory.cost.collectives import all_gather_s, all_to_all_s, group, send_s
from gigafactory.cost.columns import Columns, Floats
from gigafactory.cost.flops import attention_width, routed_tokens, tokens_per_rank
from gigafactory.cost.setting import Setting

#: Exposed (tp, cp, ep) seconds of a layer in one direction; shapes (num_layouts,).
Exposed = tuple[Floats, Floats, Floats]


def exposed_s(
    x: Setting, columns: Columns, attention: tuple[Floats, Floats]
) -> tuple[Exposed, Exposed]:
    """Forward and backward, given what attention takes in each."""
    c, engine = x.constants, x.engine
    tp = tensor_parallel_s(x, columns) * (1 - c.hidden_tp * engine.overlap_tp)
    ep = expert_parallel_s(x, columns) * (1 - c.hidden_ep * engine.overlap_ep)
    ring = ring_s(x, columns)

    def cp(passes: int, beside: Floats) -> Floats:
        hidden = np.minimum(passes * ring, beside)
        return np.asarray(passes * ring - hidden * (1 - c.overlap_contention))

    return (tp, cp(1, attention[0]), ep), (tp, cp(2, attention[1]), ep)


def tensor_parallel_s(x: Setting, columns: Columns) -> Floats:
    """all_gather before and reduce_scatter after each half of a layer."""
    model, c = x.model, x.constants
    t = tokens_per_rank(columns, seq_len=x.seq_len)
    members = group(columns.tp, stride=1, net=x.net)
    tokens_bytes = t * model.hidden * c.sixteen_bit_bytes
    once = 2 * all_gather_s(tokens_bytes, members=members, net=x.net)
    beside = bool(model.num_shared_experts or model.dense_residual)
    total = once * (1 + x.dense_share + x.expert_share * beside) * (columns.tp > 1)
    if model.num_moe_layers:
        copies = routed_tokens(model, columns, seq_len=x.seq_len) * columns.etp
        cut = group(columns.etp, stride=1, net=x.net)
        gathered = copies * model.hidden * c.sixteen_bit_bytes
        spread = 2 * all_gather_s(gathered, members=cut, net=x.net)
        total = total + x.expert_share * spread * (columns.etp > 1)
    return np.asarray(total)


def ring_s(x: Setting, columns: Columns) -> Floats:
    """Keys and values going round the context-parallel ranks once."""
    model, c = x.model, x.constants
    t = tokens_per_rank(columns, seq_len=x.seq_len)
    heads = np.maximum(model.num_kv_heads / columns.tp, 1.0)
    width = 2.0 * model.head_dim
    if model.mla is not None:
        width = attention_width(model) / model.num_heads
    block = t * heads * width * c.sixteen_bit_bytes
    return np.asarray((columns.cp - 1) * send_s(block, stride=columns.tp, net=x.net))


def expert_parallel_s(x: Setting, columns: Columns) -> Floats:
    """Dispatch and combine of a mean layer, one direction."""
    model, c = x.model, x.constants
    if not model.num_moe_layers:
        return np.zeros(len(columns))
    routed = routed_tokens(model, columns, seq_len=x.seq_len)
    members = group(columns.ep, stride=columns.etp, net=x.net)
    sent = routed * model.hidden * c.sixteen_bit_bytes * c.expert_imbalance
    one_way = all_to_all_s(
        sent, members=members, net=x.net, copies=model.topk, sparse=x.engine.sparse_dispatch
    )
    return np.asarray(x.expert_share * 2 * one_way * (columns.ep > 1))
