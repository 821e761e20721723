"""What a worker process does: it encodes the blocks that it is given until nobody is left to give any."""

from __future__ import annotations

import pickle
import signal
import traceback
from multiprocessing.connection import Connection

from streams.extraction.encoding import Encoder, timed, warm_up
from streams.extraction.shared import OpenBoxes, unpacked


def serve(connection: Connection, encoder: bytes) -> None:
    """Work at the other end of a connection.

    It is given ``(inbox, n_bytes, outbox)``, names of boxes and the length of the pickled block, and answers with
    ``("done", n_bytes, *seconds)``, the pickled rows being in the outbox; or ``("large", message, *seconds)`` where
    they do not fit; seconds are those that `timed` tells. It begins with ``("ready",)``. ``("failed", reason)`` is its
    last word.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    boxes = OpenBoxes()
    try:
        callable_: Encoder = pickle.loads(encoder)
        warm_up(callable_)
        connection.send(("ready",))
        while True:
            inbox, n_bytes, outbox = connection.recv()
            payloads = unpacked(boxes.get(inbox, n_bytes))
            encoded, *seconds = timed(callable_, payloads)
            message = pickle.dumps(encoded, 5)
            if boxes.put(outbox, message):
                connection.send(("done", len(message), *seconds))
            else:
                connection.send(("large", message, *seconds))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return
    except Exception as error:
        reason = "".join(traceback.format_exception_only(error)).strip()
        connection.send(("failed", reason))
