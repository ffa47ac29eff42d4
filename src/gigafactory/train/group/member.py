"""The life of a process in a replica group: epoch after epoch, until nothing more is wanted.

A step is computed by all members of an epoch, and committed by each when all have said that it
is good. Whoever vanishes leaves a step that nobody committed, or that somebody did: then those
who are behind take the state from those who are ahead. So no committed step is ever lost while
one member is left, and what a survivor had computed of the step in flight it need not compute
again.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from gigafactory.describe.group import (
    Compare,
    Compared,
    Discarded,
    Doing,
    GroupTask,
    Halt,
    Halted,
    Held,
    Here,
    Proceed,
    Regroup,
    Regrouped,
    Stepped,
    Why,
)
from gigafactory.describe.rank import COMMIT_MARK, Finished, checkpoint_name
from gigafactory.train import evaluate, loop, tokens
from gigafactory.train.batches import Batch
from gigafactory.train.checkpoint import NotSavedError
from gigafactory.train.copies import clip
from gigafactory.train.group import exchange
from gigafactory.train.group.band import Band
from gigafactory.train.group.checksum import checksum, is_finite
from gigafactory.train.group.exchange import Standing
from gigafactory.train.group.gate import Decision, Ruling, Verdict, judge, judge_again
from gigafactory.train.group.gradients import Gradients
from gigafactory.train.group.line import Line, Pulse
from gigafactory.train.group.links import Interrupted, Links, Listener, PeerGone, meet
from gigafactory.train.group.shards import num_shards, share_out
from gigafactory.train.group.together import Together
from gigafactory.train.schedule import learning_rate

_SAVE_AGAIN_S = 1.0
_SAY_AGAIN_S = 1.0
_LOOK_EVERY_S = 0.1
#: What a defective processor makes of a gradient, for those who shoot at runs.
_DEFECT_FACTOR = 1024.0


class WrongStateError(RuntimeError):
    """The state of these groups is not what it was when they wrote down its checksum."""

    def __init__(self, replicas: tuple[int, ...]) -> None:
        super().__init__(f"the state of groups {replicas} is damaged")
        self.replicas = replicas


class Member:
    """One process; ``live`` never returns."""

    def __init__(
        self, task: GroupTask, trainer: loop.Trainer, *, me: int, line: Line, pulse: Pulse,
        listener: Listener, secret: str, defect: Path | None = None,
    ) -> None:  # fmt: skip
        """``defect``: a file whose presence makes this process compute wrongly."""
        job, layout = task.task.job, task.task.layout
        self.task, self.trainer, self.me = task.task, trainer, me
        self.line, self.pulse, self.listener = line, pulse, listener
        self.step = -1
        self.state_sum = ""
        self.members: tuple[int, ...] = ()
        self._secret = secret
        self._together = Together(pulse)
        self._num_shards = num_shards(
            job.global_batch // layout.micro_batch, num_replicas=task.num_replicas
        )
        self.gradients = Gradients(trainer.net, num_shards=self._num_shards)
        self._held: dict[int, tuple[Tensor, float, str]] = {}
        """Of the step after ``step``: gradient, loss and checksum by shard."""
        self._band, self._norm = Band(), 0.0
        self._defect = defect

    def live(self) -> None:
        """Follow orders."""
        while True:
            self.pulse.beat(Doing.IDLE)
            order = self._together.follow(self.line.next)
            if isinstance(order, Halt):
                self.line.halt(order.token)
                self.line.tell(Halted(token=order.token, step=self.step))
            else:
                self._belong(order)

    # -- an epoch

    def _belong(self, order: Regroup) -> None:
        """Compute with the members of ``order`` for as long as it lasts."""
        self.pulse.epoch = order.epoch
        self.line.begin(order.epoch)
        links: Links | None = None
        try:
            if order.restore_step is not None:
                self._go_back(order.restore_step)
            links = self._together.all_or_none(lambda: self._meet(order))
            met = links
            standing = self._standing()
            held = self._together.all_or_none(lambda: self._agree_on_state(met, standing))
            # from here on a planned change waits for the end of a step
            links.interrupted = lambda: self.line.is_interrupted
            self.members = tuple(sorted(order.addresses))
            self.line.tell(Regrouped(epoch=order.epoch, step=self.step))
            if self._train(order, links, held):
                self._end(scribe=min(order.addresses))
        except PeerGone as gone:
            self._discard(order.epoch, Why.PEER_LOST, (gone.replica,))
        except WrongStateError as wrong:
            self._discard(order.epoch, Why.CORRUPT, wrong.replicas)
        except Interrupted:
            pass
        finally:
            self.members = ()
            if links is not None:
                links.close()

    def _discard(self, epoch: int, why: Why, replicas: tuple[int, ...], detail: str = "") -> None:
        self.line.tell(
            Discarded(epoch=epoch, step=self.step, why=why, replicas=replicas, detail=detail)
        )

    def _go_back(self, step: int) -> None:
        self.pulse.beat(Doing.PREPARING)
        if step > 0:
            loop.restore(self.trainer, step)
        self._stand_at(step)

    def _stand_at(self, step: int) -> None:
        self.step, self.state_sum = step, checksum(self._state())
        self._held.clear()

    def _state(self) -> Iterator[Tensor]:
        """All that the next step depends on."""
        state = loop.state_of(self.trainer)
        return exchange.leaves(state)

    def _meet(self, order: Regroup) -> Links:
        rank = self._together.rank
        return meet(
            order.epoch,
            me=self.me,
            addresses={replica: ranks[rank] for replica, ranks in order.addresses.items()},
            listener=self.listener,
            secret=self._secret,
            interrupted=lambda: self.line.is_interrupted or self.line.newest_epoch > order.epoch,
            waits=self.pulse.wait_for,
        )

    def _agree_on_state(self, links: Links, standing: Standing) -> dict[int, tuple[int, ...]]:
        """All hold the newest state afterwards; returns who holds which shards of the next step.

        WrongStateError names those whose own state is damaged.
        """
        said = exchange.standings(standing, me=self.me, links=links)
        wrong = tuple(sorted(replica for replica, one in said.items() if not one.intact))
        if wrong:
            raise WrongStateError(wrong)
        newest = max(one.step for one in said.values())
        behind = [replica for replica, one in said.items() if one.step < newest]
        if behind:
            source = min(replica for replica in said if replica not in behind)
            self._share_state(links, source=source, behind=behind, wanted=said[source])
        return {replica: one.held if one.step == newest else () for replica, one in said.items()}

    def _standing(self) -> Standing:
        """Where this group stands."""
        intact = self.step < 0 or checksum(self._state()) == self.state_sum
        return Standing(
            step=self.step,
            state=self.state_sum,
            intact=all(self._together.each(intact)),
            held=tuple(self._held),
        )

    def _share_state(
        self, links: Links, *, source: int, behind: list[int], wanted: Standing
    ) -> None:
        if self.me == source:
            exchange.hand_over(self._state(), to=behind, links=links)
        elif self.me in behind:
            exchange.take_over(self._state(), source=source, links=links)
            self._stand_at(wanted.step)
            if self.state_sum != wanted.state:
                raise WrongStateError((source,))
        else:
            links.swap({})

    # -- steps

    def _train(self, order: Regroup, links: Links, held: dict[int, tuple[int, ...]]) -> bool:
        """Steps until the last (True), or until the epoch ends (False)."""
        while self.step < self.task.num_steps:
            began_s = time.perf_counter()
            owned = share_out(self._num_shards, members=order.addresses, held=held)
            decision, total, losses = self._attempt(owned, links)
            if decision.ruling is Ruling.HOLD:
                self._hold(order, owned)
            elif decision.ruling is not Ruling.COMMIT:
                why = decision.why or Why.DISAGREE
                if why is not Why.CORRUPT:
                    # nothing says that what was computed is right
                    self._held.clear()
                self._discard(order.epoch, why, decision.culprits, _show(losses))
                return False
            known = self._together.each((decision.epoch, self.line.take_save()))
            self._commit(order, total, losses, began_s)
            self._save_if_due(order, is_asked=any(asked for _, asked in known))
            held = {}
            if min(epoch for epoch, _ in known) > order.epoch:
                return False
        return True

    def _attempt(
        self, owned: dict[int, tuple[int, ...]], links: Links
    ) -> tuple[Decision, Tensor, dict[int, float]]:
        """Compute, sum up and judge the step after ``self.step``."""
        not_finite, changed = self._compute(owned[self.me])
        is_repeated = False
        while True:
            total = self._together.all_or_none(lambda: self._add_up(owned, links))
            mine = self._verdict(owned[self.me], total, not_finite, changed)
            said = self._together.all_or_none(
                lambda: exchange.verdicts(mine, me=self.me, links=links)  # noqa: B023
            )
            decision = judge(said, is_repeated=is_repeated)
            if decision.ruling is not Ruling.AGAIN or is_repeated:
                break
            is_repeated = True
        losses = {s: loss for one in said.values() for s, loss in one.losses.items()}
        if decision.ruling is Ruling.RECOMPUTE:
            decision = self._ask_others(decision.shards, owned, links)
        return decision, total, losses

    def _add_up(self, owned: dict[int, tuple[int, ...]], links: Links) -> Tensor:
        own = {shard: self._held[shard][0] for shard in owned[self.me]}
        num = self.gradients.num_elements
        return exchange.add_up(own, owned=owned, num=num, me=self.me, links=links)

    def _verdict(
        self, shards: tuple[int, ...], total: Tensor, not_finite: tuple[int, ...], changed: bool
    ) -> Verdict:
        """What this group says, the same from each of its processes."""
        losses = {shard: self._held[shard][1] for shard in shards}
        self._norm = float(torch.linalg.vector_norm(total))
        odd = self._band.is_odd(self._norm)
        said = self._together.each(
            (self.state_sum, checksum([total]), self._is_intact(), losses, self.line.newest_epoch,
             odd)
        )  # fmt: skip
        states, sums, intact, by_rank, epochs, odds = zip(*said, strict=True)
        tp = self.trainer.gang.layout.tp
        return Verdict(
            step=self.step + 1,
            state="".join(states),
            sum="".join(sums),
            # tensor-parallel processes computed the same loss
            losses={shard: math.fsum(one[shard] for one in by_rank[::tp]) for shard in shards},
            intact=all(intact),
            changed=changed,
            not_finite=not_finite,
            odd=any(odds),
            epoch=max(min(epochs), self.pulse.epoch),
        )

    def _compute(self, shards: tuple[int, ...]) -> tuple[tuple[int, ...], bool]:
        """Gradients of ``shards``; (those not finite twice over, whether any came out changed)."""
        not_finite, changed = [], False
        for shard in shards:
            if not all(self._together.each(shard in self._held)):
                self._held[shard] = self._shard(shard)
            grad, loss, print_ = self._held[shard]
            if all(self._together.each(is_finite(grad) and math.isfinite(loss))):
                continue
            again = self._shard(shard)
            changed = changed or any(self._together.each(again[2] != print_))
            not_finite.append(shard)
        return tuple(not_finite), changed

    def _shard(self, shard: int) -> tuple[Tensor, float, str]:
        """(gradient, loss, checksum) of one shard of the step in flight."""
        if self.line.is_interrupted and self._together.num == 1:
            raise Interrupted  # the others of a group would wait in the middle of a collective
        self.pulse.beat(Doing.COMPUTING)
        self.gradients.clear()
        gang = self.trainer.gang
        loss = loop.accumulate(
            self.trainer,
            self._batch(),
            rank=shard * gang.num_data_ranks + gang.data_rank,
            of=self._num_shards * gang.num_data_ranks,
        )
        grad = self.gradients.take(shard)
        if self._defect is not None and self._defect.exists():
            grad.mul_(_DEFECT_FACTOR)
        return grad, loss, checksum([grad])

    def _batch(self) -> Batch:
        """Of the step in flight, whole."""
        return self.trainer.mixture.batch(
            step=self.step + 1, num_sequences=self.task.job.global_batch
        )

    def _is_intact(self) -> bool:
        """Nothing in memory changed since it was written down."""
        if checksum(self._state()) != self.state_sum:
            return False
        return all(checksum([grad]) == print_ for grad, _, print_ in self._held.values())

    def _ask_others(
        self, shards: tuple[int, ...], owned: dict[int, tuple[int, ...]], links: Links
    ) -> Decision:
        """Shards that are not finite where they were computed, computed by the next member."""
        owner = {shard: member for member, some in owned.items() for shard in some}
        members = sorted(owned)
        mine = {}
        for shard in shards:
            referee = members[(members.index(owner[shard]) + 1) % len(members)]
            if referee == self.me:
                grad, loss, _ = self._shard(shard)
                mine[shard] = all(self._together.each(is_finite(grad) and math.isfinite(loss)))
        said = self._together.all_or_none(lambda: exchange.findings(mine, links=links))
        return judge_again(owner, said)

    # -- a step that is held

    def _hold(self, order: Regroup, owned: dict[int, tuple[int, ...]]) -> None:
        """Until the driver says that the step is to be committed; Interrupted where it is not."""
        said_s = -math.inf
        self.pulse.beat(Doing.IDLE)
        while True:
            if self._together.leads and time.monotonic() - said_s > _SAY_AGAIN_S:
                self.line.tell(Held(epoch=order.epoch, step=self.step, norm=self._norm))
                said_s = time.monotonic()
            about = self._together.follow(
                lambda: self.line.next_about_held(timeout_s=_LOOK_EVERY_S)
            )
            # an epoch that was to begin after this step begins before it
            is_over = self.line.is_interrupted or self.line.newest_epoch > order.epoch
            if any(self._together.each(is_over)):
                raise Interrupted
            if about is None or about.step != self.step:
                continue
            if isinstance(about, Proceed):
                return
            self._compare(about, owned)
            self.pulse.beat(Doing.IDLE)

    def _compare(self, order: Compare, owned: dict[int, tuple[int, ...]]) -> None:
        """Compute the shards of another member, and say what came out."""
        members = sorted(owned)
        other = members[(members.index(self.me) - order.shift) % len(members)]
        others = {s: self._shard(s)[2] for s in owned[other]} if other != self.me else {}
        own = {shard: self._held[shard][2] for shard in owned[self.me]}
        by_rank = self._together.each((own, others))
        if self._together.leads:
            own, others = (
                {shard: "".join(one[shard] for one in part) for shard in part[0]}
                for part in zip(*by_rank, strict=True)
            )
            self.line.tell(Compared(token=order.token, step=self.step, own=own, others=others))

    def _commit(
        self, order: Regroup, total: Tensor, losses: dict[int, float], began_s: float
    ) -> None:
        step, train = self.step + 1, self.task.train
        self.pulse.beat(Doing.COMPUTING)
        self.gradients.put(total)
        grad_norm = clip(self.trainer.net.parameters(), max_norm=train.clip_norm)
        rate = learning_rate(train, step=step, num_steps=self.task.num_steps)
        self.trainer.optimiser.step(rate)
        self._band.add(self._norm)
        self._stand_at(step)
        self.line.tell(
            Stepped(
                epoch=order.epoch,
                step=step,
                loss=math.fsum(losses.values()),
                grad_norm=grad_norm,
                learning_rate=rate,
                step_s=time.perf_counter() - began_s,
                tokens=self.task.job.tokens_per_step,
                checksum=self.state_sum,
            )
        )

    # -- checkpoints and the end

    def _save_if_due(self, order: Regroup, *, is_asked: bool) -> None:
        """The lowest member writes; the others hold the same state, and go on."""
        is_due = self.step % self.task.train.checkpoint_steps == 0
        is_mine = self.me == min(order.addresses) and self.step < self.task.num_steps
        if is_mine and (is_due or is_asked):
            self._save()

    def _save(self) -> None:
        self.pulse.beat(Doing.SAVING)
        self.trainer.checkpointer.begin(loop.state_of(self.trainer), step=self.step)

    def _end(self, *, scribe: int) -> None:
        """The last step is done: it is made safe, the model evaluated and exported, by one."""
        if self.me != scribe:
            return
        while not self._is_last_one_safe():
            self._save()
            try:
                self.trainer.checkpointer.finish()
            except NotSavedError:
                # told; a full disk may have room again
                time.sleep(_SAVE_AGAIN_S)
                if any(self._together.each(self.line.is_interrupted)):
                    raise Interrupted from None
        self.pulse.beat(Doing.ENDING)
        self._finish()

    def _is_last_one_safe(self) -> bool:
        name = checkpoint_name(self.task.num_steps)
        mark = Path(self.task.directory) / "checkpoints" / name / COMMIT_MARK
        return any(self._together.each(mark.is_file()))

    def _finish(self) -> None:
        from gigafactory.net.export import save_exported

        trainer, task = self.trainer, self.task
        text = tokens.load(task.train, directory=Path(task.directory) / "corpus")
        score = evaluate.evaluate(
            trainer.net, text, train=task.train, seq_len=task.job.seq_len, gang=trainer.gang
        )
        state = loop.whole_state(trainer)
        if not self._together.leads:
            return
        save_exported(
            Path(task.directory) / "model",
            model=task.model,
            state=state,
            tokenizer=text.tokenizer,
        )
        self.line.tell(
            Finished(
                held_out_loss=score.nats_per_token,
                held_out_bits_per_byte=score.bits_per_byte,
                bits_per_byte_by_source=score.bits_per_byte_by_source,
            )
        )

    # -- who it is

    def here(self, incarnation: int) -> Here:
        """For the driver."""
        return Here(
            secret=self._secret,
            replica=self.me,
            rank=self._together.rank,
            incarnation=incarnation,
            pid=os.getpid(),
            epoch=max(self.pulse.epoch, self.line.newest_epoch),
            members=self.members,
            step=self.step,
            address=self.listener.address,
        )


def _show(losses: dict[int, float]) -> str:
    return ", ".join(f"{shard}: {loss:.4g}" for shard, loss in sorted(losses.items()))
