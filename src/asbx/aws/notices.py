"""The door to the queue that EventBridge fills: receive, and delete what is done."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import Any

from asbx.aws.client import client, translated
from asbx.aws.notices_parse import read_notice
from asbx.config.interruptions import Interruptions
from asbx.config.limits import NOTICE_BATCH, NOTICE_VISIBILITY, NOTICE_WAIT
from asbx.config.schema import Aws
from asbx.model.notice import Message
from asbx.ports import Clock


class SqsNotices:
    """The Notices port over SQS. The client is made, and the queue's address asked for, when first used."""

    def __init__(self, aws: Aws, settings: Interruptions, clock: Clock) -> None:
        self._aws = aws
        self._settings = settings
        self._clock = clock
        self._lock = threading.Lock()
        self._made: tuple[Any, str] | None = None

    def receive(self) -> tuple[Message, ...]:
        """Wait for messages, 20 seconds at the longest. Raises CloudError."""
        sqs, url = self._queue()
        with translated("sqs", "ReceiveMessage"):
            raw = sqs.receive_message(
                QueueUrl=url,
                MaxNumberOfMessages=NOTICE_BATCH,
                WaitTimeSeconds=round(NOTICE_WAIT.total_seconds()),
                VisibilityTimeout=round(NOTICE_VISIBILITY.total_seconds()),
            )
        now = self._clock.now()
        return tuple(
            Message(str(one["ReceiptHandle"]), read_notice(str(one.get("Body", ""))), now)
            for one in raw.get("Messages") or []
        )

    def done(self, handles: Sequence[str]) -> None:
        """Delete messages; those that are gone or have come again meanwhile are no error. Raises CloudError."""
        sqs, url = self._queue()
        for batch in _batches(handles):
            entries = [{"Id": str(number), "ReceiptHandle": handle} for number, handle in enumerate(batch)]
            with translated("sqs", "DeleteMessageBatch"):
                sqs.delete_message_batch(QueueUrl=url, Entries=entries)

    def _queue(self) -> tuple[Any, str]:
        with self._lock:
            if self._made is None:
                sqs = client(self._aws, "sqs")
                self._made = sqs, self._url(sqs)
            return self._made

    def _url(self, sqs: Any) -> str:
        name = self._settings.queue
        if name.startswith(("https://", "http://")):
            return name
        owner = {"QueueOwnerAWSAccountId": self._settings.queue_account} if self._settings.queue_account else {}
        with translated("sqs", "GetQueueUrl"):
            return str(sqs.get_queue_url(QueueName=name, **owner)["QueueUrl"])


def _batches(handles: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(handles), NOTICE_BATCH):
        yield handles[start : start + NOTICE_BATCH]
